"""Where the files of a feed lie. In: a location. Out: names, sizes and bytes of the files below it, zip or folder alike.

Names are relative, with `/`; a name from a zip is looked up in its index and never becomes a path. What macOS adds
(`__MACOSX/`, `._name`) is left out everywhere.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.config import without_password
from fashion_ray.errors import UserError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

REMOTE = {"use_listings_cache": False, "max_concurrency": 1}
"""How object storage is opened: feeds are replaced by other processes, so no listing is kept, and a whole object is one
request, which sees one version (ranges of an open file are asked for by its ETag)."""

REMOTE_READERS = 32
"""Objects that are fetched at once from object storage, where each takes tens of milliseconds, mostly of waiting."""


ZIP_BLOCK_BYTES, FILE_BLOCK_BYTES = 256 * 1024, 8 * 1024**2
"""What is fetched ahead from object storage: pictures of a zip are read here and there, other files from front to back.
s3fs would fetch 50 MiB for each."""


PLACE = re.compile(r"@(\d+)\+(\d+)\+(\d+)\+(\d+)\+([0-9a-f]{8}):")
"""Where an entry of a zip lies: offset, packed size, size, method, CRC-32. With it a worker needs no index of the zip."""


class File(NamedTuple):
    """A file of a feed; `stamp` changes with its content."""

    name: str
    size_bytes: int
    stamp: str
    place: str = ""

    @property
    def locator(self) -> str:
        """What `Tree.read` finds it by, at once; the name alone does too, in a zip by way of its index."""
        return self.place + self.name


def shown(locator: str) -> str:
    """The name in a locator."""
    return PLACE.sub("", locator, count=1) if locator.startswith("@") else locator


class Tree(Protocol):
    """Files below one location. It is sent to workers, so it holds names only and opens files when it reads."""

    @property
    def name(self) -> str:
        """What people call it; without passwords."""

    def files(self) -> list[File]:
        """All files, by name; a name that a zip holds twice is listed twice. Raises UserError."""

    def files_in(self, folder: str) -> list[File]:
        """The files that lie directly in a folder ('' is the top), by name."""

    def read(self, names: Sequence[str], *, limit_bytes: int) -> Iterator[bytes | BadPicture]:
        """Contents in the order asked for; what is larger than the limit is refused before it is read.

        A failure of the storage raises OSError; a damaged, vanished or odd file is a BadPicture.
        """

    def open(self, name: str) -> IO[bytes]:
        """A file to seek in, read from where it lies. Raises UserError if it is damaged."""


def is_picture(name: str) -> bool:
    """Whether a file's name is a picture's."""
    return name.lower().endswith(PICTURE_SUFFIXES)


def fingerprint(files: Iterable[File], *more: bytes | str) -> str:
    """A hash of files' names, sizes and stamps, and of whatever else decides what a feed means."""
    digest = hashlib.sha256()
    for part in more:
        digest.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    for file in files:
        digest.update(f"{file.name}\0{file.size_bytes}\0{file.stamp}\n".encode())
    return digest.hexdigest()


def read_whole(tree: Tree, name: str, *, limit_bytes: int) -> bytes:
    """The content of a file without which the feed cannot be read. Raises UserError."""
    (content,) = tree.read([name], limit_bytes=limit_bytes)
    if isinstance(content, BadPicture):
        raise UserError(f"--source: {name} of {tree.name!r} cannot be read ({content.detail}); expected a whole, smaller file")
    return content


@dataclass(frozen=True)
class FolderTree:
    """A folder or a prefix of object storage; with `only`, the one file of that name.

    It is listed once: what it says of itself does not change while it is used.
    """

    location: str
    only: str = ""

    @property
    def name(self) -> str:
        return without_password(f"{self.location}/{self.only}" if self.only else self.location)

    def files(self) -> list[File]:
        return self._files

    def files_in(self, folder: str) -> list[File]:
        filesystem, path = filesystem_of(self.location)
        target = f"{path}/{folder}".rstrip("/")
        if isinstance(filesystem, LocalFileSystem):
            return sorted(_local_files(target, f"{folder}/" if folder else "", deep=False))
        return _remote_files(filesystem.ls(target, detail=True), path)

    def read(self, names: Sequence[str], *, limit_bytes: int) -> Iterator[bytes | BadPicture]:
        filesystem, path = filesystem_of(self.location)
        read_one = functools.partial(_read_file, filesystem, limit_bytes=limit_bytes)
        paths = [f"{path}/{name}" for name in names]
        if isinstance(filesystem, LocalFileSystem) or len(paths) == 1:
            yield from map(read_one, paths)
            return
        with ThreadPoolExecutor(REMOTE_READERS) as pool:
            for start in range(0, len(paths), REMOTE_READERS):  # so no more than these are ever in memory
                yield from pool.map(read_one, paths[start : start + REMOTE_READERS])

    def open(self, name: str) -> IO[bytes]:
        filesystem, path = filesystem_of(self.location)
        opened: IO[bytes] = filesystem.open(f"{path}/{name}", "rb", block_size=FILE_BLOCK_BYTES)
        return opened

    @functools.cached_property
    def _files(self) -> list[File]:
        filesystem, path = filesystem_of(self.location)
        if self.only:
            return _remote_files([filesystem.info(f"{path}/{self.only}")], path)
        if isinstance(filesystem, LocalFileSystem):
            return sorted(_local_files(path, "", deep=True))
        return _remote_files(filesystem.find(path, detail=True).values(), path)

    def __reduce__(self) -> tuple[type[FolderTree], tuple[str, str]]:
        """Workers get the place without the list of its files."""
        return FolderTree, (self.location, self.only)


def filesystem_of(location: str) -> tuple[fsspec.AbstractFileSystem, str]:
    filesystem, path = fsspec.core.url_to_fs(location, **REMOTE)
    return filesystem, path.rstrip("/")


def _local_files(folder: str, prefix: str, *, deep: bool, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[File]:
    """Files of a local folder, through links to folders too, but never around in a circle."""
    if deep:
        own = os.stat(folder)
        if (own.st_dev, own.st_ino) in above:
            return
        above |= {(own.st_dev, own.st_ino)}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{_as_text(entry.name)}"
            if entry.is_dir():
                if deep and not is_clutter(f"{name}/"):
                    yield from _local_files(entry.path, f"{name}/", deep=True, above=above)
            elif not is_clutter(name):
                # A link to nothing is listed too: what names no picture is quarantined when it is read.
                found = entry.stat(follow_symlinks=os.path.exists(entry.path) if entry.is_symlink() else True)
                yield File(name, found.st_size, str(found.st_mtime))


def _remote_files(entries: Iterable[dict[str, Any]], path: str) -> list[File]:
    found = []
    for entry in entries:
        name = _as_text(str(entry["name"])[len(path) :].lstrip("/"))
        if entry["type"] != "directory" and name and not is_clutter(name):
            found.append(File(name, entry.get("size") or 0, stamp_of(entry)))
    return sorted(found)


def _read_file(filesystem: fsspec.AbstractFileSystem, path: str, *, limit_bytes: int) -> bytes | BadPicture:
    """A file's content; the sizes are asked for here, since a link or a changed file has another one than was listed."""
    try:
        if isinstance(filesystem, LocalFileSystem) and not os.path.isfile(path):
            return BadPicture("not_an_image", "neither a file nor a link to one; or gone since it was listed")
        size_bytes = filesystem.size(path)
        if size_bytes is not None and size_bytes > limit_bytes:
            return BadPicture("too_large", f"{size_bytes} bytes, at most {limit_bytes}")
        return bytes(filesystem.cat_file(path))
    except (FileNotFoundError, IsADirectoryError):
        return BadPicture("not_an_image", "gone since it was listed")


def stamp_of(entry: dict[str, Any]) -> str:
    """Whatever a file system has that changes with a file's content."""
    keys = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
    return next((str(entry[key]) for key in keys if entry.get(key)), "")


def _as_text(name: str) -> str:
    """A name that tables can hold: bytes that are no UTF-8 are spelled out, and such a file is then not found when read."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def is_clutter(name: str) -> bool:
    return "__MACOSX/" in name or name.startswith("._") or "/._" in name
