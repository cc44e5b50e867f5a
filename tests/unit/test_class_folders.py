"""Class folders: every picture is a row with the last folder's name as its label, and an id that stays and is its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fashion_ray.catalog.class_folders import ClassFolderSource, path_id
from fashion_ray.catalog.feed_rows import check_id
from fashion_ray.catalog.trees import shown
from fashion_ray.errors import UserError
from tests.unit.feeds import (
    Files,
    Maker,
    contents_of,
    folder_of,
    kinds,
    opened,
    picture,
    reasons,
    rows_of,
    usable,
    zip_of,
)

FEED: Files = {
    "Shirts/1.jpg": picture(10), "Shirts/2.png": picture(20), "Ankle Boots/1.jpg": picture(30), "Shirts/notes.txt": b"x",
    "labels.csv": b"x",
}  # fmt: skip


@kinds
@pytest.mark.parametrize("wrapping", ["", "train/", "data set/v1.0/"])
def test_every_picture_is_a_row(wrapping: str, make: Maker, tmp_path: Path) -> None:
    source = opened(make, tmp_path / "feed", {f"{wrapping}{name}": FEED[name] for name in FEED})
    assert isinstance(source, ClassFolderSource) and not source.in_order
    rows = rows_of(source)
    assert rows["articleType"].to_pylist() == ["Ankle Boots", "Shirts", "Shirts"] and reasons(rows) == []
    named = [f"{wrapping}{name}" for name in ("Ankle Boots/1.jpg", "Shirts/1.jpg", "Shirts/2.png")]
    assert list(map(shown, rows["locator"].to_pylist())) == named and source.pictures().num_rows == 0
    assert rows["size_bytes"].to_pylist() == [len(FEED[name.removeprefix(wrapping)]) for name in named]
    assert sorted(contents_of(source).values(), key=str) == sorted((picture(10), picture(20), picture(30)), key=str)
    assert [check_id(found) for found in rows["product_id"].to_pylist()] == [path_id(name) for name in named]


def test_parts_of_a_data_set_share_their_labels_and_not_their_ids(tmp_path: Path) -> None:
    files = {f"{part}/{label}/1.jpg": picture() for part in ("train", "test") for label in ("Shirts", "Jeans")}
    rows = rows_of(opened(zip_of, tmp_path / "feed.zip", files))
    assert rows["product_id"].to_pylist() == ["test.Jeans.1", "test.Shirts.1", "train.Jeans.1", "train.Shirts.1"]
    assert rows["articleType"].to_pylist() == ["Jeans", "Shirts"] * 2


def test_labels_go_into_the_column_that_was_asked_for(tmp_path: Path) -> None:
    one = opened(folder_of, tmp_path / "feed", FEED, label_column="subCategory")
    assert rows_of(one)["subCategory"].to_pylist() == ["Ankle Boots", "Shirts", "Shirts"]
    assert rows_of(one)["articleType"].null_count == 3
    assert one.fingerprint() != opened(folder_of, tmp_path / "feed", FEED).fingerprint()


def test_a_picture_at_the_top_or_in_a_folder_named_na_has_no_label(tmp_path: Path) -> None:
    rows = rows_of(opened(zip_of, tmp_path / "feed.zip", {**FEED, "0.jpg": picture(), "NA/1.jpg": picture()}))
    labels = dict(zip(rows["product_id"].to_pylist(), rows["articleType"].to_pylist(), strict=True))
    assert labels["0"] is None and labels["NA.1"] is None and labels["Shirts.1"] == "Shirts"


def test_the_reserved_label_is_a_bad_row_that_names_its_picture(tmp_path: Path) -> None:
    rows = rows_of(opened(zip_of, tmp_path / "feed.zip", {**FEED, "(other)/1.jpg": picture()}))
    assert [reason for _, reason in reasons(rows)] == ["bad_row"]
    assert "(other)/1.jpg" in map(shown, rows["locator"].to_pylist()) and usable(rows).num_rows == 3


@pytest.mark.parametrize("files", [["images/1.jpg", "images/2.jpg"], ["1.jpg", "2.jpg"], ["a/Shirts/1.jpg", "b/Shirts/2.jpg"]])
def test_one_folder_of_pictures_is_no_feed(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"two or more class folders"):
        opened(zip_of, tmp_path / "feed.zip", dict.fromkeys(files, picture()))


def test_the_fingerprint_heeds_pictures_only(tmp_path: Path) -> None:
    before = opened(folder_of, tmp_path, FEED).fingerprint()
    assert opened(folder_of, tmp_path, {"Shirts/notes.txt": b"other"}).fingerprint() == before
    assert opened(folder_of, tmp_path, {"Shirts/3.jpg": picture()}).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Shirts/1.jpg", r"Shirts\.1"),
        ("train/Shirts/img_0001-a.jpeg", r"train\.Shirts\.img_0001-a"),
        ("T-shirt/top/1.jpg", r"T-shirt\.top\.1"),
        ("x" * 126 + "/1.jpg", r"x{126}\.1"),
        ("x" * 127 + "/1.jpg", r"x{119}-[0-9a-f]{8}"),
        ("Ankle Boots/1.jpg", r"Ankle_Boots\.1-[0-9a-f]{8}"),
        ("Shirts/1.front.jpg", r"Shirts\.1\.front-[0-9a-f]{8}"),
        ("../../etc/passwd.jpg", r"etc\.passwd-[0-9a-f]{8}"),
        ("é/1.jpg", r"1-[0-9a-f]{8}"),
        ("___/-.jpg", r"picture-[0-9a-f]{8}"),
    ],
)
def test_an_id_is_the_path_or_a_tidy_name_with_its_hash(name: str, expected: str) -> None:
    assert re.fullmatch(expected, path_id(name))
    assert check_id(path_id(name)) == path_id(name)


def test_paths_that_look_alike_have_ids_of_their_own() -> None:
    names = [
        "a/b/c.jpg",
        "a/b.c.jpg",
        "a.b/c.jpg",
        "a b/c.jpg",
        "a_b/c.jpg",
        "a-b/c.jpg",
        "A/b/c.jpg",
        "/a/b/c.jpg",
        "a//b/c.jpg",
    ]
    assert len({path_id(name) for name in names}) == len(names)
