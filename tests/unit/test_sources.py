"""Which source lies at a location: every layout is told from the others, travels to workers, and a wrong place is named."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_ray.catalog.class_folders import ClassFolderSource
from fashion_ray.catalog.idx import IdxSource
from fashion_ray.catalog.pictures import BadPicture, inspect
from fashion_ray.catalog.published import PublishedSource
from fashion_ray.catalog.schema import FEED_ROWS, PICTURES
from fashion_ray.catalog.sources import DemoSource, Source, open_source, product_id_of
from fashion_ray.catalog.tables import TableSource
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
    rows_of,
    usable,
    zip_of,
)


def table() -> bytes:
    """A Parquet feed of three rows, one without a picture."""
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 3], "usage": ["a", "b", "c"], "image": [picture(), None, picture()]}), out)
    return out.getvalue()


STYLES = b"id,gender,productDisplayName\n1,Men,Shirt\n2,Women,Jeans, blue\nbroken\n../x,Men,Shirt\n"
LAYOUTS: dict[str, tuple[type[Source], Files, int]] = {
    "published": (PublishedSource, {"styles.csv": STYLES, "images/1.jpg": picture(), "images/3.jpg": picture()}, 4),
    "large": (PublishedSource, {"styles/1.json": b'{"data": {"id": 1, "gender": "Men"}}', "styles/2.json": b"{"}, 2),
    "class folders": (ClassFolderSource, {"a/1.jpg": picture(), "b/1.jpg": picture(), "(other)/1.jpg": picture()}, 3),
    "tables": (TableSource, {"data/train-0.parquet": table()}, 3),
    "idx": (
        IdxSource,
        {
            "train-images-idx3-ubyte.gz": gzip.compress(struct.pack(">IIII", 0x803, 3, 8, 8) + bytes(130)),
            "train-labels-idx1-ubyte.gz": gzip.compress(struct.pack(">II", 0x801, 3) + b"\1\2\x0b"),
        },
        3,
    ),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


@kinds
@layouts
def test_every_layout_is_told_from_the_others(layout: str, make: Maker, tmp_path: Path) -> None:
    kind, files, _ = LAYOUTS[layout]
    source = opened(make, tmp_path / "feed", {**files, "readme.md": b"x", "__MACOSX/._x.jpg": b"x"})
    assert isinstance(source, kind) and str(tmp_path / "feed") in source.name
    assert source == open_source(make(tmp_path / "feed", files) + "/")


@kinds
@layouts
def test_rows_in_are_rows_usable_and_rows_with_a_reason(layout: str, make: Maker, tmp_path: Path) -> None:
    _, files, count = LAYOUTS[layout]
    source = opened(make, tmp_path / "feed", files)
    rows = rows_of(source)
    assert rows.num_rows == count
    assert usable(rows).num_rows == {"published": 2, "large": 1, "class folders": 2, "tables": 3, "idx": 2}[layout]
    assert rows.schema == FEED_ROWS and source.pictures().schema == PICTURES
    assert rows["withdrawn"].null_count == rows["source_row"].null_count == 0
    # Every picture file is named by a row or lies beside the rows, and is read.
    named = {shown(locator).split("#")[0] for locator in rows["locator"].to_pylist() if locator}
    beside = set(map(shown, source.pictures()["locator"].to_pylist()))
    assert named | beside == {name for name in files if name.endswith((".jpg", ".parquet")) or "images-idx" in name}
    found = contents_of(source)
    assert all(isinstance(content, (bytes, BadPicture)) for content in found.values())
    assert set(found) >= {
        row
        for row, place in zip(usable(rows)["product_id"].to_pylist(), usable(rows)["locator"].to_pylist(), strict=True)
        if place
    }


@kinds
@layouts
def test_a_source_travels_to_other_processes_after_it_was_used(layout: str, make: Maker, tmp_path: Path) -> None:
    source = opened(make, tmp_path / "feed", LAYOUTS[layout][1])
    contents, print_of = contents_of(source), source.fingerprint()
    packed = pickle.dumps(source)
    back = pickle.loads(packed)
    assert len(packed) < 1000 and back == source and back.fingerprint() == print_of
    assert {i: getattr(content, "reason", content) for i, content in contents_of(back).items()} == {
        i: getattr(content, "reason", content) for i, content in contents.items()
    }


@pytest.mark.parametrize("make", [zip_of, folder_of])
@layouts
def test_the_same_feed_has_the_same_fingerprint_wherever_it_lies(layout: str, make: Maker, tmp_path: Path) -> None:
    one, other = (opened(make, tmp_path / side, LAYOUTS[layout][1]) for side in ("one", "other"))
    assert one.fingerprint() == other.fingerprint() == one.fingerprint()


def test_what_is_more_specific_counts_first(tmp_path: Path) -> None:
    order = ["published", "idx", "tables", "class folders"]
    for number, first in enumerate(order):
        files = {name: content for layout in order[number:] for name, content in LAYOUTS[layout][1].items()}
        assert isinstance(opened(zip_of, tmp_path / f"{number}.zip", files), LAYOUTS[first][0])


@kinds
def test_a_relative_location_means_the_same_after_a_change_of_folder(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = make(tmp_path / "feed", LAYOUTS["published"][1])
    monkeypatch.chdir(tmp_path)
    source = open_source(location if "://" in location or location.startswith("memory") else "feed")
    monkeypatch.chdir("/")
    assert list(source.read(["images/1.jpg"])) == [picture()]


@pytest.mark.parametrize("locator", ["images/15970.jpg", "15970.png", "images/deep/15970.jpeg"])
def test_the_name_of_a_picture_is_its_product(locator: str) -> None:
    assert product_id_of(locator) == "15970"
    assert product_id_of("images/a.b.jpg") == "a.b"


# Wrong places.


def _wrong(tmp_path: Path) -> dict[str, str]:
    """Locations that are no feed."""
    files = LAYOUTS["published"][1]
    (tmp_path / "file.zip").write_bytes(b"this is no zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "cut.zip").write_bytes(Path(zip_of(tmp_path / "whole.zip", files)).read_bytes()[:-40])
    return {
        "missing": str(tmp_path / "nowhere" / "feed.zip"),
        "missing table": str(tmp_path / "nowhere.parquet"),
        "not a zip": str(tmp_path / "file.zip"),
        "empty file": str(tmp_path / "empty.zip"),
        "cut zip": str(tmp_path / "cut.zip"),
        "below a file": str(tmp_path / "file.zip" / "feed"),
        "zip without rows": zip_of(tmp_path / "bare.zip", {"images/1.jpg": b"x"}),
        "empty zip": zip_of(tmp_path / "none.zip", {}),
        "folder without rows": folder_of(tmp_path / "bare", {"images/1.jpg": b"x", "notes.txt": b"x"}),
        "unknown scheme": "nosuch://bucket/feed.zip",
    }


@pytest.mark.parametrize(
    "what",
    ["missing", "missing table", "not a zip", "empty file", "cut zip", "below a file", "zip without rows", "empty zip",
     "folder without rows", "unknown scheme"],
)  # fmt: skip
def test_a_wrong_location_is_the_users_mistake_and_the_message_lists_what_is_understood(what: str, tmp_path: Path) -> None:
    location = _wrong(tmp_path)[what]
    with pytest.raises(UserError) as caught:
        open_source(location)
    message = str(caught.value)
    assert "--source" in message and location in message and "\n" not in message
    assert all(word in message for word in ("styles.csv", "idx3-ubyte", "Parquet", "class folders", "demo"))


def test_a_password_is_not_repeated_in_a_message() -> None:
    with pytest.raises(UserError) as caught:
        open_source("nosuch://reader:hunter2@bucket/feed.zip")
    assert "hunter2" not in str(caught.value) and "bucket/feed.zip" in str(caught.value)


def test_a_label_column_that_is_none_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"--label-column: got 'colour', expected one of gender"):
        open_source("demo", label_column="colour")


# The demo.


def test_the_demo_gives_rows_and_pictures_that_belong_together() -> None:
    source = open_source("demo", seed=1, products=200)
    assert source == DemoSource(seed=1, products=200)
    rows = rows_of(source)
    located = source.pictures()["locator"].to_pylist()
    named = {product_id_of(locator) for locator in located}
    assert len(named) == len(located) and usable(rows).num_rows < rows.num_rows
    assert len(named & set(usable(rows)["product_id"].to_pylist())) > 150
    few = located[:12]
    contents = list(source.read(few))
    assert list(source.read(list(reversed(few)))) == list(reversed(contents))
    assert sum(_decodes(content) for content in contents) >= 9


def _decodes(content: bytes | BadPicture) -> bool:
    if isinstance(content, BadPicture):
        return False
    try:
        return inspect(content).width > 0
    except BadPicture:
        return False


def test_the_fingerprint_of_the_demo_tells_seeds_and_sizes_apart() -> None:
    one, other = DemoSource(seed=1, products=200), DemoSource(seed=1, products=200)
    assert one.fingerprint() == other.fingerprint() and rows_of(one).equals(rows_of(other))
    found = {DemoSource(seed=seed, products=products).fingerprint() for seed in (1, 2) for products in (200, 210)}
    assert len(found) == 4
    assert DemoSource(seed=1, products=200).name != DemoSource(seed=2, products=200).name
