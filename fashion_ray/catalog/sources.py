"""Where a catalog comes from. In: a path or URI. Out: its rows, its pictures' names, and their bytes, on any worker.

A new source is one class with the four members of `Source`; `open_source` chooses it.
"""

from __future__ import annotations

import functools
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import fsspec
import pyarrow as pa

from fashion_ray.catalog import styles
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.catalog.pictures import MAX_BYTES, BadPicture
from fashion_ray.config import absolute, without_password
from fashion_ray.errors import UserError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError)
"""What a damaged entry of a zip raises, by its method of compression; bzip2 raises OSError."""

MAX_ROWS_BYTES = 1024**3
"""Of styles.csv, which the driver reads whole."""

LAYOUT = "a zip or a folder with styles.csv and images/<id>.jpg"


class Source(Protocol):
    """A feed of products. It is sent to workers, so it holds names only and opens files when it reads."""

    @property
    def name(self) -> str:
        """What people call it: goes into logs and manifests, so it holds no secrets."""

    def fingerprint(self) -> str:
        """A hash that changes when the feed does, found without reading its pictures."""

    def rows(self, seen_at: str) -> tuple[pa.Table, list[dict[str, object]]]:
        """Its rows (styles.ROWS) and the quarantine rows for those that cannot be used. Raises UserError."""

    def pictures(self) -> list[str]:
        """Locators of its pictures, in a fixed order; the file name without its suffix is the product id."""

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        """The pictures' bytes, in the order asked for, or why there are none."""


def open_source(location: str, *, seed: int = 0, products: int = 2000) -> Source:
    """The source at a location; `demo` is the one that the project draws itself. Raises UserError."""
    if location == "demo":
        return DemoSource(seed=seed, products=products)
    location = absolute(location, option="--source")
    try:
        filesystem, path = fsspec.core.url_to_fs(location)
        info = filesystem.info(path)
    except FileNotFoundError:
        raise UserError(f"--source: nothing at {location!r}; expected {LAYOUT}, or `demo`") from None
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"--source: {location!r} cannot be opened ({error}); expected {LAYOUT}, or `demo`") from error
    if info["type"] == "directory":
        if not filesystem.isfile(f"{path.rstrip('/')}/styles.csv"):
            raise UserError(f"--source: the folder {location!r} has no styles.csv; expected {LAYOUT}")
        return FolderSource(location)
    if "styles.csv" not in _zip(location).namelist():
        raise UserError(f"--source: the zip {location!r} has no styles.csv; expected {LAYOUT}")
    return ZipSource(location)


@dataclass(frozen=True)
class ZipSource:
    """The published layout in a zip, read in place."""

    location: str

    @property
    def name(self) -> str:
        return without_password(self.location)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for entry in _zip(self.location).infolist():
            digest.update(f"{entry.filename}\0{entry.CRC}\0{entry.file_size}\n".encode())
        return digest.hexdigest()

    def rows(self, seen_at: str) -> tuple[pa.Table, list[dict[str, object]]]:
        archive = _zip(self.location)
        _check_rows_size(archive.getinfo("styles.csv").file_size, self.name)
        try:
            content = archive.read("styles.csv")
        except UNREADABLE as error:
            raise UserError(
                f"--source: styles.csv in the zip {self.name!r} cannot be read ({error}); expected {LAYOUT}"
            ) from error
        return styles.parse(content, name=f"{self.name}:styles.csv", seen_at=seen_at)

    def pictures(self) -> list[str]:
        return sorted(name for name in _zip(self.location).namelist() if _is_picture(name))

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        archive = _zip(self.location)
        for locator in locators:
            size = archive.getinfo(locator).file_size
            if size > MAX_BYTES:
                yield BadPicture("too_large", f"{size} bytes, at most {MAX_BYTES}")
                continue
            try:
                yield archive.read(locator)
            except UNREADABLE as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the storage failed, not the picture
                yield BadPicture("truncated", f"in the zip: {error}")


@dataclass(frozen=True)
class FolderSource:
    """The published layout in a folder or below a prefix of object storage."""

    location: str

    @property
    def name(self) -> str:
        return without_password(self.location)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for locator, size, stamp in self._listing():
            digest.update(f"{locator}\0{size}\0{stamp}\n".encode())
        digest.update(hashlib.sha256(self._styles()).digest())
        return digest.hexdigest()

    def rows(self, seen_at: str) -> tuple[pa.Table, list[dict[str, object]]]:
        return styles.parse(self._styles(), name=f"{self.name}/styles.csv", seen_at=seen_at)

    def pictures(self) -> list[str]:
        return [locator for locator, _, _ in self._listing()]

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        filesystem, path = _filesystem(self.location)
        for locator in locators:
            target = f"{path}/{locator}"
            if not filesystem.isfile(target):
                yield BadPicture("not_an_image", "neither a file nor a link to one")
                continue
            size = filesystem.size(target)
            if size is not None and size > MAX_BYTES:
                yield BadPicture("too_large", f"{size} bytes, at most {MAX_BYTES}")
                continue
            yield filesystem.cat_file(target)

    def _styles(self) -> bytes:
        filesystem, path = _filesystem(self.location)
        _check_rows_size(filesystem.size(f"{path}/styles.csv") or 0, self.name)
        return bytes(filesystem.cat_file(f"{path}/styles.csv"))

    def _listing(self) -> list[tuple[str, int, str]]:
        filesystem, path = _filesystem(self.location)
        try:
            listed = filesystem.ls(f"{path}/images", detail=True)
        except FileNotFoundError:
            listed = []
        # Links too, to whatever: a picture that is none is quarantined when it is read.
        names = [(f"images/{entry['name'].rsplit('/', 1)[-1]}", entry) for entry in listed if entry["type"] != "directory"]
        stamps = ((name, entry.get("size") or 0, _stamp(entry)) for name, entry in names if _is_picture(name))
        return sorted(stamps)


@dataclass(frozen=True, kw_only=True)
class DemoSource:
    """The demo catalog: drawn where it is read."""

    seed: int = 0
    products: int = 2000

    @property
    def name(self) -> str:
        return f"demo (seed {self.seed}, {self.products} products)"

    def fingerprint(self) -> str:
        return hashlib.sha256(b"demo\0" + _demo(self.seed, self.products).styles_csv()).hexdigest()

    def rows(self, seen_at: str) -> tuple[pa.Table, list[dict[str, object]]]:
        return styles.parse(_demo(self.seed, self.products).styles_csv(), name="demo styles.csv", seen_at=seen_at)

    def pictures(self) -> list[str]:
        return [f"images/{product_id}.jpg" for product_id in _demo(self.seed, self.products).picture_ids()]

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        feed = _demo(self.seed, self.products)
        for locator in locators:
            yield feed.picture(product_id_of(locator))


def _check_rows_size(size: int, name: str) -> None:
    """Refuse a styles.csv that is too large to be one, before it is unpacked."""
    if size > MAX_ROWS_BYTES:
        raise UserError(f"--source: styles.csv of {name!r} has {size} bytes, expected at most {MAX_ROWS_BYTES}")


def product_id_of(locator: str) -> str:
    """The product that a picture's file name claims to show; not checked."""
    return locator.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _is_picture(name: str) -> bool:
    return name.startswith("images/") and name.lower().endswith(PICTURE_SUFFIXES)


def _stamp(entry: dict[str, Any]) -> str:
    """Whatever a file system has that changes with a file's content."""
    return str(entry.get("ETag") or entry.get("etag") or entry.get("md5Hash") or entry.get("mtime") or "")


def _filesystem(location: str) -> tuple[fsspec.AbstractFileSystem, str]:
    filesystem, path = fsspec.core.url_to_fs(location)
    return filesystem, path.rstrip("/")


@functools.lru_cache(maxsize=2)
def _demo(seed: int, products: int) -> DemoFeed:
    return DemoFeed(seed=seed, products=products)


@functools.lru_cache(maxsize=2)
def _zip(location: str) -> zipfile.ZipFile:
    """One open archive a process: the list of its entries takes longer to read than a thousand pictures."""
    try:
        filesystem, path = _filesystem(location)
        return zipfile.ZipFile(filesystem.open(path, "rb"))
    except zipfile.BadZipFile as error:
        raise UserError(f"--source: {location!r} is not a zip ({error}); expected {LAYOUT}, or `demo`") from error
