"""Where files lie: zip, folder and bucket list and read alike, and nothing that is damaged or hostile is more than a row."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import threading
import zipfile
from pathlib import Path

import fsspec
import pytest

from fashion_ray.catalog import trees, zips
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.trees import FolderTree, Tree
from fashion_ray.catalog.zips import ZipTree
from fashion_ray.errors import UserError
from tests.unit.feeds import Files, Maker, bad, bucket_of, folder_of, kinds, zip_of

FILES: Files = {"b/2.jpg": b"two", "a.txt": b"", "b/c/3.jpg": b"three" * 500, "b/1.jpg": b"one"}


def tree_of(make: Maker, path: Path, files: Files = FILES) -> Tree:
    """The files as a tree."""
    location = make(path, files)
    return ZipTree(location) if make.__name__ in ("zip_of", "deflated_of") else FolderTree(location)


@kinds
def test_files_are_listed_by_name_with_their_sizes(make: Maker, tmp_path: Path) -> None:
    found = tree_of(make, tmp_path / "feed").files()
    assert [(file.name, file.size_bytes) for file in found] == [(name, len(FILES[name])) for name in sorted(FILES)]
    assert all(file.stamp for file in found)


@kinds
def test_a_folder_lists_what_lies_directly_in_it(make: Maker, tmp_path: Path) -> None:
    tree = tree_of(make, tmp_path / "feed")
    found = {folder: [file.name for file in tree.files_in(folder)] for folder in ("", "b", "b/c")}
    assert found == {"": ["a.txt"], "b": ["b/1.jpg", "b/2.jpg"], "b/c": ["b/c/3.jpg"]}
    assert [file for folder in found for file in tree.files_in(folder)] == tree.files()


@kinds
def test_contents_come_in_the_order_asked_for(make: Maker, tmp_path: Path) -> None:
    wanted = [*FILES, *reversed(FILES)] * 20  # more than are fetched from a bucket at once
    tree = tree_of(make, tmp_path / "feed")
    assert list(tree.read(wanted, limit_bytes=10_000)) == [FILES[name] for name in wanted]
    assert list(pickle.loads(pickle.dumps(tree)).read(wanted[:2], limit_bytes=99)) == [FILES[name] for name in wanted[:2]]
    assert len(pickle.dumps(tree)) < 1000


@kinds
def test_what_is_larger_than_the_limit_or_gone_is_refused_and_its_neighbours_are_not(make: Maker, tmp_path: Path) -> None:
    tree = tree_of(make, tmp_path / "feed")
    one, large, gone, two = tree.read(["b/1.jpg", "b/c/3.jpg", "b/9.jpg", "b/2.jpg"], limit_bytes=2499)
    assert (one, two) == (b"one", b"two")
    assert bad(large).reason == "too_large" and "2500 bytes, at most 2499" in bad(large).detail
    assert bad(gone).reason == "not_an_image" and "gone" in bad(gone).detail
    assert list(tree.read(["b/c/3.jpg"], limit_bytes=2500)) == [FILES["b/c/3.jpg"]]


@kinds
def test_an_open_file_seeks(make: Maker, tmp_path: Path) -> None:
    with tree_of(make, tmp_path / "feed").open("b/c/3.jpg") as opened:
        opened.seek(-5, os.SEEK_END)
        assert opened.read() == b"three"
        opened.seek(1)
        assert opened.read(4) == b"hree"


@kinds
def test_what_macos_adds_is_left_out(make: Maker, tmp_path: Path) -> None:
    clutter = {"__MACOSX/b/._1.jpg": b"x", "b/._1.jpg": b"x", "._a.txt": b"x", "w/__MACOSX/1.jpg": b"x"}
    tree = tree_of(make, tmp_path / "feed", {**FILES, **clutter})
    assert [file.name for file in tree.files()] == sorted(FILES)
    assert [file.name for file in tree.files_in("b")] == ["b/1.jpg", "b/2.jpg"]


def test_a_fingerprint_changes_with_names_sizes_and_contents_and_says_the_same_of_a_copy(tmp_path: Path) -> None:
    changes: list[Files] = [
        FILES,
        {**FILES, "b/1.jpg": b"eno"},
        {**FILES, "b/1.jpg": b"longer"},
        {**FILES, "b/4.jpg": b"new"},
        {name: FILES[name] for name in list(FILES)[1:]},
    ]
    prints = [
        trees.fingerprint(tree_of(zip_of, tmp_path / f"{number}.zip", files).files()) for number, files in enumerate(changes)
    ]
    assert len(set(prints)) == len(changes)
    assert trees.fingerprint(tree_of(zip_of, tmp_path / "copy.zip").files()) == prints[0]
    assert trees.fingerprint(tree_of(zip_of, tmp_path / "copy.zip").files(), "usage") != prints[0]


# Zips.


def test_of_two_entries_of_one_name_the_first_is_read_and_both_are_listed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "feed.zip", "w") as archive:
        archive.writestr("a.jpg", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.jpg", b"second")
    tree = ZipTree(str(tmp_path / "feed.zip"))
    assert [file.name for file in tree.files()] == ["a.jpg", "a.jpg"]
    assert list(tree.read(["a.jpg", "a.jpg"], limit_bytes=100)) == [b"first", b"first"]


@pytest.mark.parametrize("name", ["../../outside.jpg", "/etc/outside.jpg", "a/../../outside.jpg", "C:\\outside.jpg"])
def test_a_name_that_climbs_out_of_a_zip_is_only_a_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    tree = ZipTree(zip_of(tmp_path / "a" / "b" / "feed.zip", {name: b"inside"}))
    (file,) = tree.files()
    assert list(tree.read([file.name], limit_bytes=100)) == [b"inside"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["feed.zip", "outside.jpg"]


def test_backslashes_of_windows_tools_part_folders(tmp_path: Path) -> None:
    tree = ZipTree(zip_of(tmp_path / "feed.zip", {"images\\1.jpg": b"one"}))
    assert [file.name for file in tree.files_in("images")] == ["images/1.jpg"]
    assert list(tree.read(["images/1.jpg"], limit_bytes=100)) == [b"one"]


def test_folders_and_links_in_a_zip_are_no_contents(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "feed.zip", "w") as archive:
        archive.mkdir("folder.jpg")
        link = zipfile.ZipInfo("link.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
    tree = ZipTree(str(tmp_path / "feed.zip"))
    assert [file.name for file in tree.files()] == ["link.jpg"]
    (found,) = tree.read(["link.jpg"], limit_bytes=100)
    assert bad(found).reason == "not_an_image" and "link" in bad(found).detail
    with pytest.raises(UserError, match="link"):
        tree.open("link.jpg")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_bomb_whose_header_lies_is_read_no_further_than_the_header_says(
    method: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(zip_of(tmp_path / "feed.zip", {"a.jpg": bytes(50_000_000), "b.jpg": b"b"}, method))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = content.index(mark) + offset
        content[at : at + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    longest = 0
    update_crc = zipfile.ZipExtFile._update_crc  # type: ignore[attr-defined]

    def watched(stream: object, data: bytes) -> None:
        nonlocal longest
        longest = max(longest, len(data))
        update_crc(stream, data)

    monkeypatch.setattr(zipfile.ZipExtFile, "_update_crc", watched)
    found, neighbour = ZipTree(str(path)).read(["a.jpg", "b.jpg"], limit_bytes=5000)
    assert bad(found).reason == "truncated" and neighbour == b"b"
    assert 0 < longest <= 1001


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_limit_are_refused(method: int, tmp_path: Path) -> None:
    tree = ZipTree(zip_of(tmp_path / "feed.zip", {"a.jpg": b"a"}, method))
    (found,) = tree.read(["a.jpg"], limit_bytes=100)
    assert bad(found).reason == "not_an_image" and "deflated" in bad(found).detail
    with pytest.raises(UserError, match="deflated"):
        tree.open("a.jpg")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_entry_is_refused_and_its_neighbours_are_not(method: int, tmp_path: Path) -> None:
    path = Path(zip_of(tmp_path / "feed.zip", {"1.jpg": b"one", "2.jpg": os.urandom(64) * 20, "3.jpg": b"three"}, method))
    content = bytearray(path.read_bytes())
    start = content.index(b"2.jpg") + 5
    for position in range(start + 16, start + 34):
        content[position] ^= 0x5A
    path.write_bytes(content)
    one, two, three = ZipTree(str(path)).read(["1.jpg", "2.jpg", "3.jpg"], limit_bytes=10_000)
    assert bad(two).reason == "truncated" and (one, three) == (b"one", b"three")


@pytest.mark.parametrize("damage", ["header", "encrypted", "method"])
def test_an_entry_that_cannot_be_opened_is_refused(damage: str, tmp_path: Path) -> None:
    path = Path(zip_of(tmp_path / "feed.zip", {"1.jpg": b"one", "2.jpg": b"two", "3.jpg": b"three"}))
    content = bytearray(path.read_bytes())
    local, central = content.index(b"2.jpg") - 30, content.rindex(b"2.jpg") - 46
    if damage == "header":
        content[local] = 0
    elif damage == "encrypted":
        content[local + 6] |= 1
        content[central + 8] |= 1
    else:
        content[local + 8] = content[central + 10] = 97
    path.write_bytes(content)
    one, two, three = ZipTree(str(path)).read(["1.jpg", "2.jpg", "3.jpg"], limit_bytes=10_000)
    bad(two)
    assert (one, three) == (b"one", b"three")


def test_a_storage_that_fails_is_no_bad_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ZipTree(zip_of(tmp_path / "feed.zip", {"1.jpg": b"one"}))

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    with pytest.raises(OSError, match="Input/output"):
        list(tree.read(["1.jpg"], limit_bytes=100))


# Folders and buckets.


@pytest.mark.parametrize("make", [folder_of, bucket_of])
def test_a_file_that_may_not_be_read_fails_the_reading(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tree_of(make, tmp_path / "feed")

    def fail(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    filesystem = fsspec.core.url_to_fs(tree.location)[0]  # type: ignore[attr-defined]
    monkeypatch.setattr(type(filesystem), "cat_file", fail)
    with pytest.raises(PermissionError):
        list(tree.read(["b/1.jpg", "b/2.jpg"], limit_bytes=100))


def test_a_bucket_is_read_concurrently_and_a_few_objects_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{number:03d}.jpg": b"x" for number in range(100)}
    tree = tree_of(bucket_of, tmp_path / "feed", files)
    filesystem = type(fsspec.filesystem("memory"))
    meeting = threading.Barrier(trees.REMOTE_READERS, timeout=10)
    read, begun = filesystem.cat_file, 0

    def together(self: object, path: str, *arguments: object) -> bytes:
        nonlocal begun
        begun += 1
        if int(path[-7:-4]) < trees.REMOTE_READERS:
            meeting.wait()  # passes only if as many are at work at once
        return bytes(read(self, path, *arguments))

    monkeypatch.setattr(filesystem, "cat_file", together)
    reading = tree.read(list(files), limit_bytes=100)
    assert next(reading) == b"x" and begun <= trees.REMOTE_READERS
    assert list(reading) == [b"x"] * 99


def test_links_are_followed_and_links_to_nothing_or_in_a_circle_do_no_harm(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    folder_of(kept, {"deep/1.jpg": b"one"})
    feed = tmp_path / "feed"
    feed.mkdir()
    (feed / "images").symlink_to(kept / "deep")
    (kept / "deep" / "around").symlink_to(feed)
    (feed / "file.jpg").symlink_to(kept / "deep" / "1.jpg")
    (feed / "nothing.jpg").symlink_to(kept / "nothing")
    tree = FolderTree(str(feed))
    assert [file.name for file in tree.files()] == ["file.jpg", "images/1.jpg", "nothing.jpg"]
    one, same, nothing = tree.read(["images/1.jpg", "file.jpg", "nothing.jpg"], limit_bytes=3)
    assert (one, same) == (b"one", b"one") and bad(nothing).reason == "not_an_image"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder_of(tmp_path, {"1.jpg": b"one"})
    os.mkfifo(tmp_path / "2.jpg")
    one, pipe = FolderTree(str(tmp_path)).read(["1.jpg", "2.jpg"], limit_bytes=100)
    assert one == b"one" and bad(pipe).reason == "not_an_image"


def test_a_name_that_is_no_text_is_listed_and_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    tree = FolderTree(str(tmp_path))
    (file,) = tree.files()
    assert file.name.encode() and file.name.endswith(".jpg")
    assert isinstance(next(tree.read([file.name], limit_bytes=100)), BadPicture)


def test_a_tree_of_one_file_holds_that_file(tmp_path: Path) -> None:
    folder_of(tmp_path, FILES)
    tree = FolderTree(str(tmp_path), only="a.txt")
    assert [file.name for file in tree.files()] == ["a.txt"] and tree.name == f"{tmp_path}/a.txt"
    assert pickle.loads(pickle.dumps(tree)) == tree


@pytest.mark.parametrize("kind", [ZipTree, FolderTree])
def test_the_name_of_a_tree_holds_no_password(kind: type[ZipTree] | type[FolderTree]) -> None:
    name = kind("https://reader:hunter2@files.example.com/feed").name
    assert "hunter2" not in name and "files.example.com/feed" in name


@pytest.mark.parametrize("maker", [zip_of, folder_of])
def test_a_locator_finds_what_its_name_finds_and_in_a_zip_without_the_index(maker: Maker, tmp_path: Path) -> None:
    files = {f"images/{number}.jpg": bytes([number]) * (number * 50) for number in range(1, 9)}
    tree = ZipTree(maker(tmp_path / "feed.zip", files)) if maker is zip_of else trees.FolderTree(maker(tmp_path / "f", files))
    found = tree.files()
    assert [trees.shown(file.locator) for file in found] == sorted(files)
    zips.forget()
    assert list(tree.read([file.locator for file in found], limit_bytes=10**6)) == [files[file.name] for file in found]
    assert maker is folder_of or zips._archive.cache_info().currsize == 0
    (large,) = tree.read([found[-1].locator], limit_bytes=10)
    assert isinstance(large, BadPicture) and large.reason == "too_large"


@pytest.mark.parametrize(
    "place", ["@7+50+50+0+00000000:", "@0+50+50+0+00000000:", "@0+50+9999+8+12345678:", "@999999+50+50+0+00000000:"]
)
def test_a_place_that_lies_is_a_damaged_picture(place: str, tmp_path: Path) -> None:
    tree = ZipTree(zip_of(tmp_path / "feed.zip", {"images/1.jpg": b"x" * 50}))
    (content,) = tree.read([f"{place}images/1.jpg"], limit_bytes=10**6)
    assert isinstance(content, BadPicture) and content.reason == "truncated"
