"""Where a catalog comes from: zip, folder and demo give the same rows and bytes, and a wrong place is named."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from fashion_ray.catalog import sources
from fashion_ray.catalog.pictures import BadPicture, inspect
from fashion_ray.catalog.schema import FEED_COLUMNS, REASONS
from fashion_ray.catalog.sources import DemoSource, FolderSource, Source, ZipSource, open_source, product_id_of
from fashion_ray.errors import UserError

SEEN_AT = "2026-01-02T03:04:05Z"
HEADER = ",".join(FEED_COLUMNS)


def styles_of(*product_ids: str) -> bytes:
    """A styles.csv with these products."""
    lines = [f"{product_id},Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,Shirt" for product_id in product_ids]
    return "\n".join([HEADER, *lines, ""]).encode()


def picture(shade: int) -> bytes:
    """A small JPEG."""
    out = io.BytesIO()
    Image.new("RGB", (12, 16), (shade, 0, 0)).save(out, format="JPEG")
    return out.getvalue()


FEED = {"styles.csv": styles_of("1", "2", "3"), **{f"images/{number}.jpg": picture(number * 50) for number in range(1, 4)}}
LOCATORS = ["images/1.jpg", "images/2.jpg", "images/3.jpg"]


def zip_of(path: Path, files: Mapping[str, bytes] = FEED, compression: int = zipfile.ZIP_STORED) -> str:
    """A feed as a zip."""
    with zipfile.ZipFile(path, "w", compression=compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def folder_of(path: Path, files: Mapping[str, bytes] = FEED) -> str:
    """A feed as a folder; its files are of one day, whenever they were written."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
        os.utime(path / name, (1_700_000_000, 1_700_000_000))
    return str(path)


MAKERS = {"zip": zip_of, "folder": folder_of}
kinds = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
Maker = Callable[[Path, Mapping[str, bytes]], str]


@pytest.fixture(autouse=True)
def no_open_archives() -> Iterator[None]:
    """An archive that a test opened is closed with it."""
    yield
    sources._zip.cache_clear()


def source_of(make: Maker, path: Path, changes: Mapping[str, bytes | None] | None = None) -> Source:
    """A feed with some files changed, added, or removed (None)."""
    files = {name: content for name, content in {**FEED, **(changes or {})}.items() if content is not None}
    return open_source(make(path, files))


def bad(found: bytes | BadPicture) -> BadPicture:
    """What must be a refusal."""
    assert isinstance(found, BadPicture) and found.reason in REASONS
    return found


@kinds
def test_a_feed_gives_its_rows_and_its_pictures(make: Maker, tmp_path: Path) -> None:
    source = source_of(make, tmp_path / "feed")
    rows, quarantined = source.rows(SEEN_AT)
    assert rows["product_id"].to_pylist() == ["1", "2", "3"] and quarantined == []
    assert source.pictures() == LOCATORS
    assert list(source.read(LOCATORS)) == [FEED[name] for name in LOCATORS]
    assert str(tmp_path / "feed") in source.name


def test_the_kind_of_source_is_found_out(tmp_path: Path) -> None:
    assert isinstance(open_source(zip_of(tmp_path / "feed.zip")), ZipSource)
    assert isinstance(open_source(folder_of(tmp_path / "feed")), FolderSource)
    assert isinstance(open_source(folder_of(tmp_path / "feed") + "/"), FolderSource)
    assert open_source("demo", seed=3, products=250) == DemoSource(seed=3, products=250)


@kinds
def test_a_relative_location_means_the_same_after_a_change_of_folder(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "feed", FEED)
    monkeypatch.chdir(tmp_path)
    source = open_source("feed")
    monkeypatch.chdir("/")
    assert list(source.read(["images/2.jpg"])) == [FEED["images/2.jpg"]]


@kinds
def test_pictures_come_in_the_order_asked_for(make: Maker, tmp_path: Path) -> None:
    wanted = ["images/3.jpg", "images/1.jpg", "images/3.jpg"]
    assert list(source_of(make, tmp_path / "feed").read(wanted)) == [FEED[name] for name in wanted]


@kinds
def test_a_source_travels_to_other_processes_after_it_was_used(make: Maker, tmp_path: Path) -> None:
    source = source_of(make, tmp_path / "feed")
    list(source.read(LOCATORS))
    packed = pickle.dumps(source)
    assert len(packed) < 1000
    assert list(pickle.loads(packed).read(LOCATORS)) == [FEED[name] for name in LOCATORS]


@kinds
def test_only_picture_files_in_images_are_pictures(make: Maker, tmp_path: Path) -> None:
    others = {"images/notes.txt": b"x", "images/Thumbs.db": b"x", "other/4.jpg": b"x", "5.jpg": b"x", "images.csv": b"x"}
    kinds_of_pictures = {"images/0.jpg": b"x", "images/6.PNG": b"x", "images/7.jpeg": b"x", "images/8.WebP": b"x"}
    source = source_of(make, tmp_path / "feed", {**others, **kinds_of_pictures})
    assert source.pictures() == sorted([*LOCATORS, *kinds_of_pictures])


@kinds
def test_a_feed_without_pictures_has_none(make: Maker, tmp_path: Path) -> None:
    source = source_of(make, tmp_path / "feed", dict.fromkeys(LOCATORS))
    assert source.pictures() == [] and source.rows(SEEN_AT)[0].num_rows == 3


@pytest.mark.parametrize("locator", ["images/15970.jpg", "15970.png", "images/deep/15970.jpeg"])
def test_the_name_of_a_picture_is_its_product(locator: str) -> None:
    assert product_id_of(locator) == "15970"
    assert product_id_of("images/a.b.jpg") == "a.b"


# Fingerprints.


@kinds
def test_the_same_feed_has_the_same_fingerprint_wherever_it_lies(make: Maker, tmp_path: Path) -> None:
    one, other = source_of(make, tmp_path / "one"), source_of(make, tmp_path / "other")
    assert one.fingerprint() == one.fingerprint() == other.fingerprint()
    assert one.fingerprint() == pickle.loads(pickle.dumps(one)).fingerprint()


@kinds
def test_the_fingerprint_changes_with_the_feed(make: Maker, tmp_path: Path) -> None:
    changes: list[dict[str, bytes | None]] = [
        {},
        {"styles.csv": styles_of("1", "2", "4")},
        {"styles.csv": styles_of("1", "2")},
        {"images/1.jpg": picture(7) + b"more"},
        {"images/1.jpg": None},
        {"images/1.jpg": None, "images/9.jpg": FEED["images/1.jpg"]},
        {"images/4.jpg": picture(200)},
    ]
    found = {source_of(make, tmp_path / str(number), change).fingerprint() for number, change in enumerate(changes)}
    assert len(found) == len(changes)


def test_a_changed_byte_changes_the_fingerprint_of_a_zip(tmp_path: Path) -> None:
    changed = FEED["images/1.jpg"][:-3] + b"x" + FEED["images/1.jpg"][-2:]
    one = source_of(zip_of, tmp_path / "one.zip")
    other = source_of(zip_of, tmp_path / "other.zip", {"images/1.jpg": changed})
    assert one.fingerprint() != other.fingerprint()


def test_a_rewritten_file_changes_the_fingerprint_of_a_folder(tmp_path: Path) -> None:
    source = source_of(folder_of, tmp_path)
    before = source.fingerprint()
    (tmp_path / "images" / "1.jpg").write_bytes(FEED["images/1.jpg"][:-3] + b"x" + FEED["images/1.jpg"][-2:])
    assert source.fingerprint() != before


def test_files_that_are_no_part_of_the_feed_do_not_change_the_fingerprint_of_a_folder(tmp_path: Path) -> None:
    source = source_of(folder_of, tmp_path)
    before = source.fingerprint()
    folder_of(tmp_path, {"images/.DS_Store": b"x", "notes.txt": b"x", "more/1.jpg": b"x"})
    assert source.fingerprint() == before


def test_finding_the_fingerprint_opens_no_picture(tmp_path: Path) -> None:
    source = source_of(folder_of, tmp_path)
    before = source.fingerprint()
    content = FEED["images/1.jpg"]
    (tmp_path / "images" / "1.jpg").write_bytes(bytes(len(content)))
    os.utime(tmp_path / "images" / "1.jpg", (1_700_000_000, 1_700_000_000))
    assert source.fingerprint() == before


# Pictures that cannot be read.


@kinds
def test_a_picture_that_is_too_large_is_refused_without_being_read(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(make, tmp_path / "feed", {"images/2.jpg": bytes(5000)})
    limit = max(len(FEED[name]) for name in LOCATORS)
    monkeypatch.setattr(sources, "MAX_BYTES", limit)
    opened = ["images/1.jpg", "images/3.jpg"]

    def guarded(name: str) -> None:
        assert name.endswith(tuple(opened)), name

    _watch(monkeypatch, guarded)
    found = list(source.read(LOCATORS))
    assert bad(found[1]).reason == "too_large" and "5000" in bad(found[1]).detail and str(limit) in bad(found[1]).detail
    assert [found[0], found[2]] == [FEED[name] for name in opened]


def _watch(monkeypatch: pytest.MonkeyPatch, guarded: Callable[[str], None]) -> None:
    """Call a function with the name of every picture whose bytes are asked for."""
    zip_open = zipfile.ZipFile.open
    folder_read = sources.fsspec.AbstractFileSystem.cat_file

    def open_entry(archive: zipfile.ZipFile, name: str, *arguments: object, **options: object) -> object:
        guarded(name)
        return zip_open(archive, name, *arguments, **options)  # type: ignore[arg-type]

    def read_file(filesystem: object, path: str, *arguments: object, **options: object) -> object:
        guarded(path)
        return folder_read(filesystem, path, *arguments, **options)

    monkeypatch.setattr(zipfile.ZipFile, "open", open_entry)
    monkeypatch.setattr(sources.fsspec.AbstractFileSystem, "cat_file", read_file)


METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_entry_of_a_zip_is_a_bad_picture_and_its_neighbours_are_not(method: str, tmp_path: Path) -> None:
    large = os.urandom(64) * 20
    path = Path(zip_of(tmp_path / "feed.zip", {**FEED, "images/2.jpg": large}, METHODS[method]))
    content = bytearray(path.read_bytes())
    start = content.index(b"images/2.jpg") + len(b"images/2.jpg")
    for position in range(start + 16, start + 34):
        content[position] ^= 0x5A
    path.write_bytes(content)
    found = list(open_source(str(path)).read(LOCATORS))
    assert bad(found[1]).reason == "truncated"
    assert [found[0], found[2]] == [FEED["images/1.jpg"], FEED["images/3.jpg"]]


@pytest.mark.parametrize("damage", ["header", "encrypted", "method"])
def test_an_entry_that_cannot_be_opened_is_a_bad_picture(damage: str, tmp_path: Path) -> None:
    path = Path(zip_of(tmp_path / "feed.zip"))
    content = bytearray(path.read_bytes())
    local = content.index(b"images/2.jpg") - 30
    central = content.rindex(b"images/2.jpg") - 46
    if damage == "header":
        content[local] = 0
    elif damage == "encrypted":
        content[local + 6] |= 1
        content[central + 8] |= 1
    else:
        content[local + 8] = content[central + 10] = 97
    path.write_bytes(content)
    found = list(open_source(str(path)).read(LOCATORS))
    bad(found[1])
    assert [found[0], found[2]] == [FEED["images/1.jpg"], FEED["images/3.jpg"]]


def test_pictures_are_handed_on_as_they_are_also_when_they_are_none(tmp_path: Path) -> None:
    for make in (zip_of, folder_of):
        source = source_of(make, tmp_path / make.__name__, {"images/2.jpg": b"", "images/3.jpg": b"<html>"})
        assert list(source.read(LOCATORS)) == [FEED["images/1.jpg"], b"", b"<html>"]


# Wrong places.


def _wrong(tmp_path: Path) -> dict[str, str]:
    """Locations that are no feed."""
    (tmp_path / "file.zip").write_bytes(b"this is no zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "cut.zip").write_bytes(Path(zip_of(tmp_path / "whole.zip")).read_bytes()[:-40])
    return {
        "missing": str(tmp_path / "nowhere" / "feed.zip"),
        "not a zip": str(tmp_path / "file.zip"),
        "empty file": str(tmp_path / "empty.zip"),
        "cut zip": str(tmp_path / "cut.zip"),
        "below a file": str(tmp_path / "file.zip" / "feed"),
        "zip without styles.csv": zip_of(tmp_path / "bare.zip", {"images/1.jpg": b"x"}),
        "zip with a folder around it": zip_of(tmp_path / "deep.zip", {f"feed/{name}": FEED[name] for name in FEED}),
        "folder without styles.csv": folder_of(tmp_path / "bare", {"images/1.jpg": b"x"}),
        "unknown scheme": "nosuch://bucket/feed.zip",
    }


@pytest.mark.parametrize(
    "what",
    ["missing", "not a zip", "empty file", "cut zip", "below a file", "zip without styles.csv", "zip with a folder around it",
     "folder without styles.csv", "unknown scheme"],
)  # fmt: skip
def test_a_wrong_location_is_the_users_mistake(what: str, tmp_path: Path) -> None:
    location = _wrong(tmp_path)[what]
    with pytest.raises(UserError) as caught:
        open_source(location)
    message = str(caught.value)
    assert "--source" in message and location in message and "styles.csv" in message and "\n" not in message


@kinds
def test_a_feed_with_other_columns_is_the_users_mistake(make: Maker, tmp_path: Path) -> None:
    source = source_of(make, tmp_path / "feed", {"styles.csv": b"id,label\n1,Shirts\n"})
    with pytest.raises(UserError) as caught:
        source.rows(SEEN_AT)
    assert str(tmp_path / "feed") in str(caught.value) and "id,label" in str(caught.value)


@pytest.mark.parametrize("kind", [ZipSource, FolderSource])
def test_the_name_of_a_source_holds_no_password(kind: type[ZipSource] | type[FolderSource]) -> None:
    name = kind("https://reader:hunter2@files.example.com/feed").name
    assert "hunter2" not in name and "files.example.com/feed" in name


# The demo.


def test_the_demo_gives_rows_and_pictures_that_belong_together() -> None:
    source = open_source("demo", seed=1, products=200)
    rows, quarantined = source.rows(SEEN_AT)
    located = source.pictures()
    named = {product_id_of(locator) for locator in located}
    assert len(named) == len(located) and quarantined
    assert len(named & set(rows["product_id"].to_pylist())) > 150
    few = located[:12]
    contents = list(source.read(few))
    assert list(source.read(list(reversed(few)))) == list(reversed(contents))
    assert sum(_usable(content) for content in contents) >= 9


def _usable(content: bytes | BadPicture) -> bool:
    if isinstance(content, BadPicture):
        return False
    try:
        return inspect(content).width > 0
    except BadPicture:
        return False


def test_the_fingerprint_of_the_demo_tells_seeds_and_sizes_apart() -> None:
    one, other = DemoSource(seed=1, products=200), DemoSource(seed=1, products=200)
    assert one.fingerprint() == other.fingerprint() and one.rows(SEEN_AT)[0].equals(other.rows(SEEN_AT)[0])
    found = {DemoSource(seed=seed, products=products).fingerprint() for seed in (1, 2) for products in (200, 210)}
    assert len(found) == 4
    assert DemoSource(seed=1, products=200).name != DemoSource(seed=2, products=200).name


def test_pictures_that_are_links_are_read_and_links_to_nothing_are_quarantined(tmp_path: Path) -> None:
    kept = tmp_path / "store"
    kept.mkdir()
    feed = tmp_path / "feed"
    (feed / "images").mkdir(parents=True)
    (feed / "styles.csv").write_text(HEADER + "\n")
    Image.new("RGB", (20, 20)).save(kept / "picture.jpg")
    (feed / "images" / "1.jpg").symlink_to(kept / "picture.jpg")
    (feed / "images" / "2.jpg").symlink_to(kept / "nothing.jpg")
    source = open_source(str(feed))
    assert source.pictures() == ["images/1.jpg", "images/2.jpg"]
    first, second = source.read(source.pictures())
    assert first == (kept / "picture.jpg").read_bytes()
    assert isinstance(second, BadPicture) and second.reason == "not_an_image"


def test_a_styles_csv_that_is_too_large_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "feed.zip", "w") as archive:
        archive.writestr("styles.csv", HEADER + "\n" + "1" * 500)
    monkeypatch.setattr(sources, "MAX_ROWS_BYTES", 400)
    with pytest.raises(UserError, match="at most 400"):
        open_source(str(tmp_path / "feed.zip")).rows(SEEN_AT)
