"""The published layout: wherever it lies, with styles.csv, with JSONs, with withdrawals, and with what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fashion_ray.catalog import published
from fashion_ray.catalog.published import PublishedSource
from fashion_ray.catalog.schema import FEED_COLUMNS
from fashion_ray.catalog.trees import shown
from fashion_ray.catalog.zips import ZipTree
from fashion_ray.errors import UserError
from tests.unit.feeds import (
    Files,
    Maker,
    bad,
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

HEADER = ",".join(FEED_COLUMNS)


def styles_of(*product_ids: str) -> bytes:
    """A styles.csv with these products."""
    lines = [f"{product_id},Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,Shirt" for product_id in product_ids]
    return "\n".join([HEADER, *lines, ""]).encode()


def product(product_id: int | str = 15970, **changes: Any) -> bytes:
    """A product's JSON as the large edition has it."""
    data = {
        "id": product_id,
        "price": 899,
        "productDisplayName": "Turtle Check Men Navy Blue Shirt",
        "gender": "Men",
        "baseColour": "Navy Blue",
        "season": "Fall",
        "year": "2011",
        "usage": "Casual",
        "masterCategory": {"id": 9, "typeName": "Apparel", "active": True},
        "subCategory": {"id": 31, "typeName": "Topwear"},
        "articleType": {"id": 90, "typeName": "Shirts"},
        "styleImages": {"default": {"imageURL": "http://assets.example.com/1.jpg"}},
    }
    kept = {key: value for key, value in {**data, **changes}.items() if value is not ...}
    return json.dumps({"notification": {}, "meta": {"code": 200}, "data": kept}).encode()


PICTURES: Files = {f"images/{number}.jpg": picture(number * 50) for number in range(1, 4)}
FEED: Files = {"styles.csv": styles_of("1", "2", "3"), **PICTURES}


@kinds
@pytest.mark.parametrize("wrapping", ["", "fashion-dataset/", "a/b c/fashion/"])
def test_a_feed_gives_its_rows_and_its_pictures_however_deep_it_lies(wrapping: str, make: Maker, tmp_path: Path) -> None:
    clutter = {f"__MACOSX/{wrapping}._styles.csv": b"x", f"{wrapping}images/._1.jpg": b"x", f"{wrapping}readme.txt": b"x"}
    source = opened(make, tmp_path / "feed", {**{f"{wrapping}{name}": FEED[name] for name in FEED}, **clutter})
    assert isinstance(source, PublishedSource) and not source.in_order
    rows = rows_of(source)
    assert rows["product_id"].to_pylist() == ["1", "2", "3"] and reasons(rows) == []
    assert rows["locator"].null_count == 3 and rows["withdrawn"].to_pylist() == [False] * 3
    assert [(shown(row["locator"]), row["size_bytes"]) for row in source.pictures().to_pylist()] == [
        (f"{wrapping}{name}", len(PICTURES[name])) for name in PICTURES
    ]
    assert contents_of(source) == {name[7:-4]: content for name, content in PICTURES.items()}


@kinds
def test_only_picture_files_below_images_are_pictures(make: Maker, tmp_path: Path) -> None:
    others = {"images/notes.txt": b"x", "images/Thumbs.db": b"x", "other/4.jpg": b"x", "5.jpg": b"x", "images.csv": b"x"}
    more = {"images/0.jpg": b"x", "images/6.PNG": b"x", "images/7.jpeg": b"x", "images/8.WebP": b"x", "images/d/9.jpg": b"x"}
    source = opened(make, tmp_path / "feed", {**FEED, **others, **more})
    assert list(map(shown, source.pictures()["locator"].to_pylist())) == sorted([*PICTURES, *more])


def test_a_copy_of_the_feed_further_down_does_not_count(tmp_path: Path) -> None:
    copy = {f"myntradataset/{name}": FEED[name] for name in FEED}
    source = opened(zip_of, tmp_path / "feed.zip", {**FEED, **copy})
    assert source.row_files() == ["styles.csv"] and source.pictures().num_rows == 3


def test_two_feeds_side_by_side_are_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 feeds \(a/, b/\), expected one"):
        opened(zip_of, tmp_path / "feed.zip", {f"{side}/{name}": FEED[name] for side in "ab" for name in FEED})


def test_a_picture_that_a_zip_holds_twice_is_listed_twice_and_the_first_is_read(tmp_path: Path) -> None:
    import zipfile

    location = zip_of(tmp_path / "feed.zip", FEED)
    with zipfile.ZipFile(location, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("images/1.jpg", b"another")
        archive.writestr("styles.csv", styles_of("9"))
    source = published.recognise(ZipTree(location))
    assert source is not None
    assert list(map(shown, source.pictures()["locator"].to_pylist())) == ["images/1.jpg", *PICTURES]
    assert contents_of(source)["1"] == PICTURES["images/1.jpg"]
    assert rows_of(source)["product_id"].to_pylist() == ["1", "2", "3"]


@kinds
def test_pictures_that_are_too_large_are_refused(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(make, tmp_path / "feed", {**FEED, "images/2.jpg": bytes(5000)})
    monkeypatch.setattr(published, "MAX_BYTES", 4999)
    found = contents_of(source)
    assert bad(found["2"]).reason == "too_large"
    assert (found["1"], found["3"]) == (PICTURES["images/1.jpg"], PICTURES["images/3.jpg"])


@kinds
def test_a_styles_csv_that_is_too_large_is_refused(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(make, tmp_path / "feed", FEED)
    monkeypatch.setattr(published, "MAX_ROWS_BYTES", 100)
    with pytest.raises(UserError, match="at most 100"):
        source.read_rows(["styles.csv"])


@kinds
def test_a_styles_csv_that_is_none_is_named(make: Maker, tmp_path: Path) -> None:
    source = opened(make, tmp_path / "feed", {**FEED, "styles.csv": b"number,label\n1,Shirts\n"})
    with pytest.raises(UserError) as caught:
        rows_of(source)
    assert str(tmp_path / "feed") in str(caught.value) and "number,label" in str(caught.value)


# The large edition.


@kinds
@pytest.mark.parametrize("wrapping", ["", "fashion-dataset/"])
def test_products_as_json_are_rows(wrapping: str, make: Maker, tmp_path: Path) -> None:
    files = {f"{wrapping}styles/15970.json": product(), f"{wrapping}images/15970.jpg": picture()}
    source = opened(make, tmp_path / "feed", files)
    (row,) = rows_of(source).to_pylist()
    assert row == {
        "product_id": "15970", "source_row": 1, "gender": "Men", "masterCategory": "Apparel", "subCategory": "Topwear",
        "articleType": "Shirts", "baseColour": "Navy Blue", "season": "Fall", "usage": "Casual", "year": 2011,
        "productDisplayName": "Turtle Check Men Navy Blue Shirt", "locator": None, "size_bytes": None, "withdrawn": False,
        "reason": None, "detail": None,
    }  # fmt: skip
    assert contents_of(source) == {"15970": picture()}


@kinds
def test_styles_csv_counts_where_it_has_a_usable_row(make: Maker, tmp_path: Path) -> None:
    table = styles_of("1", "2") + b"3,Men,too short\n"
    files = {**FEED, "styles.csv": table} | {f"styles/{number}.json": product(number, gender="Women") for number in (2, 3, 4)}
    source = opened(make, tmp_path / "feed", files)
    assert source.row_files() == ["styles.csv", "styles/3.json", "styles/4.json"]
    rows = rows_of(source)
    assert dict(zip(usable(rows)["product_id"].to_pylist(), usable(rows)["gender"].to_pylist(), strict=True)) == {
        "1": "Men", "2": "Men", "3": "Women", "4": "Women",
    }  # fmt: skip
    assert reasons(rows) == [("3", "bad_row")]


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"id": ...}, "Shirts"),
        ({"articleType": ..., "year": ...}, None),
        ({"articleType": None, "season": None}, None),
        ({"articleType": {"id": 3}}, None),
        ({"articleType": {"typeName": ""}}, None),
        ({"articleType": "Shirts", "year": 2011}, "Shirts"),
    ],
)
def test_a_key_that_is_missing_is_null_and_costs_no_row(changes: dict[str, Any], label: str | None) -> None:
    row = published.product_row(product(**changes), "15970")
    assert row.get("reason") is None and row["product_id"] == "15970" and row["gender"] == "Men"
    assert row["articleType"] == label


def test_a_product_may_stand_without_its_envelope() -> None:
    row = published.product_row(b'{"id": "7", "articleType": "Shirts"}', "7")
    assert (row["product_id"], row["articleType"], row.get("reason")) == ("7", "Shirts", None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"17",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": {}}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"data": {"id": ' + b"9" * 5000 + b"}}",
        product(15971),
        product(year="soon"),
        product(year={"typeName": "2011"}),
        product(articleType={"typeName": ["Shirts"]}),
        product(articleType=["Shirts"]),
        product(gender=True),
        product(gender="\ud800"),
        product(articleType="(other)"),
        b"x" * 10_000,
    ],
)
def test_rubbish_is_a_bad_row_and_its_neighbours_are_rows(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_PRODUCT_BYTES", 200_000 if content[:1] == b"[" else 9_999)
    files = {"styles/15969.json": product(15969), "styles/15970.json": content, "styles/15972.json": product(15972)}
    rows = rows_of(opened(zip_of, tmp_path / "feed.zip", files))
    assert usable(rows)["product_id"].to_pylist() == ["15969", "15972"]
    assert reasons(rows) == [("15970", "bad_row")]


def test_a_json_whose_name_is_no_id_is_a_bad_id(tmp_path: Path) -> None:
    rows = rows_of(opened(zip_of, tmp_path / "feed.zip", {"styles/a b.json": product("a b"), "styles/1.json": product(1)}))
    assert reasons(rows) == [(None, "bad_id")] and usable(rows)["product_id"].to_pylist() == ["1"]


# Withdrawals and fingerprints.


@kinds
def test_withdrawals_stand_beside_styles_csv(make: Maker, tmp_path: Path) -> None:
    feed = {f"w/{name}": content for name, content in FEED.items()}
    source = opened(make, tmp_path / "feed", {**feed, "w/withdrawn.csv": b"id\n8\n9\n", "withdrawn.csv": b"id\n1\n"})
    rows = rows_of(source)
    assert source.row_files() == ["w/styles.csv", "w/withdrawn.csv"]
    assert rows.filter(rows["withdrawn"])["product_id"].to_pylist() == ["8", "9"] and rows.num_rows == 5


@kinds
def test_withdrawals_alone_or_with_pictures_are_a_feed(make: Maker, tmp_path: Path) -> None:
    alone = opened(make, tmp_path / "alone", {"w/withdrawn.csv": b"id\n8\n9\n"})
    assert rows_of(alone)["withdrawn"].to_pylist() == [True, True] and alone.pictures().num_rows == 0
    pictured = opened(make, tmp_path / "pictured", {"withdrawn.csv": b"id\n8\n", "images/1.jpg": FEED["images/1.jpg"]})
    assert rows_of(pictured).num_rows == 1 and list(map(shown, pictured.pictures()["locator"].to_pylist())) == ["images/1.jpg"]


@kinds
def test_withdrawals_beside_another_layout_are_not_taken_for_the_whole_feed(make: Maker, tmp_path: Path) -> None:
    classes = {f"{label}/1.jpg": FEED["images/1.jpg"] for label in ("Ties", "Belts")}
    source = opened(make, tmp_path / "feed", {**classes, "withdrawn.csv": b"id\n8\n"})
    assert rows_of(source)["articleType"].to_pylist() == ["Belts", "Ties"]


@pytest.mark.parametrize("make", [zip_of, folder_of])
def test_the_fingerprint_changes_with_the_feed_and_only_then(make: Maker, tmp_path: Path) -> None:
    changes: list[dict[str, bytes | None]] = [
        {},
        {"styles.csv": styles_of("1", "2", "4")},
        {"withdrawn.csv": b"id\n1\n"},
        {"styles/9.json": product(9)},
        {"images/1.jpg": picture(7) + b"more"},
        {"images/1.jpg": None},
        {"images/1.jpg": None, "images/9.jpg": FEED["images/1.jpg"]},
    ]

    def of(number: str, change: dict[str, bytes | None]) -> str:
        files = {name: content for name, content in {**FEED, **change}.items() if content is not None}
        return opened(make, tmp_path / number, files).fingerprint()

    assert len({of(str(number), change) for number, change in enumerate(changes)}) == len(changes)
    assert of("copy", {}) == of("0", {}) == of("more", {"images/.DS_Store": b"x", "notes.txt": b"x", "more/1.jpg": b"x"})


def test_a_styles_csv_that_was_rewritten_at_the_same_size_and_time_changes_the_fingerprint_of_a_folder(tmp_path: Path) -> None:
    before = opened(folder_of, tmp_path, FEED).fingerprint()
    assert opened(folder_of, tmp_path, {"styles.csv": styles_of("1", "2", "4")}).fingerprint() != before
