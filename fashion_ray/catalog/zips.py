"""A zip as a tree of files. In: its location. Out: names, sizes and bytes of its entries, none of them ever a path.

Entries are read by their places in the zip, which their locators carry, so that a worker needs no index of it.
"""

from __future__ import annotations

import functools
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.trees import PLACE, ZIP_BLOCK_BYTES, File, filesystem_of, is_clutter, stamp_of
from fashion_ray.config import without_password
from fashion_ray.errors import UserError

UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
"""What a damaged entry of a zip raises; OSError also when the storage fails, and then it has an errno."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""bzip2 and LZMA are refused: a few bytes of theirs can ask for gigabytes, and Python's reader sets no limit."""


@dataclass(frozen=True)
class ZipTree:
    """A zip, read in place; `stamp` is that of the file as it was first opened, and another one is refused from then on."""

    location: str
    stamp: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        return without_password(self.location)

    def files(self) -> list[File]:
        return self._archive.files

    def files_in(self, folder: str) -> list[File]:
        return self._archive.folders.get(folder, [])

    def read(self, names: Sequence[str], *, limit_bytes: int) -> Iterator[bytes | BadPicture]:
        for name in names:
            place = PLACE.match(name)
            if place is None:
                archive = self._archive
                yield _read_entry(archive.opened, archive.entries.get(name), limit_bytes)
            else:
                offset, packed, size, method = (int(number) for number in place.groups()[:4])
                yield _read_at(
                    _handle(self.location, self._stamp), offset, packed, size, method, int(place[5], 16), limit_bytes
                )

    def open(self, name: str) -> IO[bytes]:
        archive = self._archive
        entry = archive.entries[name]
        refusal = _refusal(entry)
        if refusal:
            raise UserError(f"--source: {name} in the zip {self.name!r} cannot be read: {refusal}")
        try:
            return archive.opened.open(entry)
        except UNREADABLE as error:
            _raise_if_storage(error)
            raise UserError(f"--source: {name} in the zip {self.name!r} is damaged ({error}); pass a whole one") from error

    @property
    def _archive(self) -> _Archive:
        return _archive(self.location, self._stamp)

    @functools.cached_property
    def _stamp(self) -> str:
        return self.stamp or _zip_stamp(self.location)

    def __reduce__(self) -> tuple[type[ZipTree], tuple[str, str]]:
        """Workers read the zip that the driver saw, or none."""
        return ZipTree, (self.location, self._stamp)


class _Archive(NamedTuple):
    """An open zip and its index; where a name is there twice, the first entry is the one that is read."""

    opened: zipfile.ZipFile
    entries: dict[str, zipfile.ZipInfo]
    files: list[File]
    folders: dict[str, list[File]]


@functools.lru_cache(maxsize=2)
def _archive(location: str, stamp: str) -> _Archive:
    """One open archive a process: the list of its entries takes longer to read than a thousand pictures."""
    try:
        opened = zipfile.ZipFile(_handle(location, stamp))
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(f"--source: {without_password(location)!r} is not a zip, or a damaged one ({error})") from error
    entries: dict[str, zipfile.ZipInfo] = {}
    files = []
    for entry in opened.infolist():
        name = entry.filename.replace("\\", "/")  # as some Windows tools write it
        if not entry.is_dir() and not name.endswith("/") and not is_clutter(name):
            entries.setdefault(name, entry)
            files.append(File(name, entry.file_size, f"{entry.CRC:08x}", _place(entry)))
    files.sort(key=lambda file: file.name)
    folders: dict[str, list[File]] = {}
    for file in files:
        folders.setdefault(file.name.rpartition("/")[0], []).append(file)
    return _Archive(opened, entries, files, folders)


def forget() -> None:
    """Close what is open and drop the indexes of zips, which are large where zips are."""
    _archive.cache_clear()
    _handle.cache_clear()


@functools.lru_cache(maxsize=2)
def _handle(location: str, stamp: str) -> IO[bytes]:
    """The zip, open. Raises UserError if it is another one than the driver saw."""
    if _zip_stamp(location) != stamp:
        raise UserError(
            f"--source: the zip {without_password(location)!r} was replaced while it was read; expected one that stays as it "
            "is. Run the same command again once it is complete"
        )
    filesystem, path = filesystem_of(location)
    opened: IO[bytes] = filesystem.open(path, "rb", block_size=ZIP_BLOCK_BYTES)
    return opened


def _place(entry: zipfile.ZipInfo) -> str:
    """Where an entry lies; empty for what is not even tried."""
    if _refusal(entry) or entry.flag_bits & 1:
        return ""
    return f"@{entry.header_offset}+{entry.compress_size}+{entry.file_size}+{entry.compress_type}+{entry.CRC:08x}:"


def _read_at(
    opened: IO[bytes], offset: int, packed: int, size: int, method: int, crc: int, limit_bytes: int
) -> bytes | BadPicture:
    """An entry by its place (APPNOTE.TXT of the zip format, 4.3.7: a header of 30 bytes, name, extra field, content)."""
    if max(size, packed) > limit_bytes:
        return BadPicture("too_large", f"{max(size, packed)} bytes, at most {limit_bytes}")
    try:
        opened.seek(offset)
        header = opened.read(30)
        if header[:4] != b"PK\x03\x04" or len(header) < 30:
            return BadPicture("truncated", "in the zip: no entry where its index says")
        opened.seek(offset + 30 + sum(struct.unpack("<HH", header[26:])))
        content = opened.read(packed)
        if method == zipfile.ZIP_DEFLATED:
            content = zlib.decompressobj(-15).decompress(content, size + 1)  # no more than that, whatever the index promised
    except UNREADABLE as error:
        _raise_if_storage(error)
        return BadPicture("truncated", f"in the zip: {error}")
    if len(content) != size or zlib.crc32(content) != crc:
        return BadPicture("truncated", "in the zip: its bytes are not those that its index has the checksum of")
    return content


def _zip_stamp(location: str) -> str:
    filesystem, path = filesystem_of(location)
    found = filesystem.info(path)
    return f"{found.get('size')} {stamp_of(found)}"


def _read_entry(opened: zipfile.ZipFile, entry: zipfile.ZipInfo | None, limit_bytes: int) -> bytes | BadPicture:
    if entry is None:
        return BadPicture("not_an_image", "gone from the zip since it was listed")
    if entry.file_size > limit_bytes:
        return BadPicture("too_large", f"{entry.file_size} bytes, at most {limit_bytes}")
    refusal = _refusal(entry)
    if refusal:
        return BadPicture("not_an_image", refusal)
    try:
        with opened.open(entry) as stream:
            return stream.read(entry.file_size + 1)  # no more than that, whatever the header promised
    except UNREADABLE as error:
        _raise_if_storage(error)
        return BadPicture("truncated", f"in the zip: {error}")


def _refusal(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not even tried; empty if it is."""
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link inside a zip"
    if entry.compress_type not in METHODS:
        return f"compressed by method {entry.compress_type}, expected stored or deflated"
    return ""


def _raise_if_storage(error: BaseException) -> None:
    if isinstance(error, OSError) and error.errno is not None:
        raise error  # the storage failed, not the file
