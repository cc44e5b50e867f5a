"""Where a catalog comes from. In: a path or URI. Out: its rows, and its pictures' bytes, on any worker.

A layout is one class with the members of `Source` and a function that recognises it, asked by `open_source`; docs/sources.md.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import fsspec
import pyarrow as pa

from fashion_ray.catalog import class_folders, idx, published, schema, styles, tables
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.trees import PICTURE_SUFFIXES as PICTURE_SUFFIXES
from fashion_ray.catalog.trees import FolderTree, Tree
from fashion_ray.catalog.zips import ZipTree
from fashion_ray.config import absolute, without_password
from fashion_ray.errors import UserError
from fashion_ray.storage import opening_errors

UNDERSTOOD = (
    "a zip or a folder with one of: "
    + "; ".join([published.LAYOUT, idx.LAYOUT, tables.LAYOUT, class_folders.LAYOUT])
    + "; or one .parquet file; or `demo`"
)


class Source(Protocol):
    """A feed of products. It is sent to workers, so it holds names only and opens files when it reads."""

    @property
    def name(self) -> str:
        """What people call it: goes into logs and manifests, so it holds no secrets."""

    @property
    def in_order(self) -> bool:
        """Whether its pictures are cheap to read only in the order of its rows, as in Parquet and gzip."""

    def fingerprint(self) -> str:
        """A hash that changes when the feed does, found without reading its pictures."""

    def row_files(self) -> list[str]:
        """What holds rows, in a fixed order. Raises UserError."""

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        """The rows (schema.FEED_ROWS) of some of these, in order: each once, with its reason if it cannot be used.

        Ids that come twice are not looked for. Raises UserError for a file that is no table of rows at all.
        """

    def pictures(self) -> pa.Table:
        """The pictures (schema.PICTURES) that lie beside the rows, in a fixed order; none where rows name their own."""

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        """The pictures' bytes, in the order asked for, or why there are none. Raises OSError if the storage fails."""


def open_source(location: str, *, seed: int = 0, products: int = 2000, label_column: str = "articleType") -> Source:
    """The source at a location, by what lies there; `demo` is the one that the project draws itself. Raises UserError.

    `label_column` is the column that labels go to where a layout has one label and no name for it.
    """
    if label_column not in schema.LABEL_COLUMNS:
        raise UserError(f"--label-column: got {label_column!r}, expected one of {', '.join(schema.LABEL_COLUMNS)}")
    if location == "demo":
        return DemoSource(seed=seed, products=products)
    tree = _tree(absolute(location, option="--source"))
    source: Source | None = (
        published.recognise(tree)
        or idx.recognise(tree, label_column)
        or tables.recognise(tree, label_column)
        or class_folders.recognise(tree, label_column)
    )
    if source is None:
        some = ", ".join(file.name for file in tree.files()[:3])[:200] or "nothing"
        raise UserError(f"--source: {tree.name!r} holds {some}; expected {UNDERSTOOD}")
    return source


def _tree(location: str) -> Tree:
    """The files at a location. Raises UserError if there is nothing that can be opened."""
    shown = without_password(location)
    try:
        filesystem, path = fsspec.core.url_to_fs(location)
        if filesystem.info(path)["type"] == "directory":
            tree: Tree = FolderTree(location)
        elif location.lower().endswith(".parquet"):
            folder, _, last = location.rpartition("/")
            tree = FolderTree(folder, only=last)
        else:
            tree = ZipTree(location)
        tree.files()
    except FileNotFoundError:
        raise UserError(f"--source: nothing at {shown!r}; expected {UNDERSTOOD}") from None
    except UserError as error:
        raise UserError(f"{error}; expected {UNDERSTOOD}") from error
    except opening_errors() as error:
        raise UserError(f"--source: {shown!r} cannot be opened ({error}); expected {UNDERSTOOD}") from error
    return tree


def product_id_of(locator: str) -> str:
    """The product that a picture's file name claims to show; not checked."""
    return locator.rsplit("/", 1)[-1].rsplit(".", 1)[0]


@dataclass(frozen=True)
class NoFeed:
    """Nothing new: for an ingest that brings corrections alone."""

    name: str = "no feed"
    in_order: bool = False

    def fingerprint(self) -> str:
        return "no feed"

    def row_files(self) -> list[str]:
        return []

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        return schema.FEED_ROWS.empty_table()

    def pictures(self) -> pa.Table:
        return schema.PICTURES.empty_table()

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        return iter(())


@dataclass(frozen=True, kw_only=True)
class DemoSource:
    """The demo catalog: drawn where it is read."""

    seed: int = 0
    products: int = 2000

    in_order = False

    @property
    def name(self) -> str:
        return f"demo (seed {self.seed}, {self.products} products)"

    def fingerprint(self) -> str:
        return hashlib.sha256(b"demo\0" + _demo(self.seed, self.products).styles_csv()).hexdigest()

    def row_files(self) -> list[str]:
        return ["styles.csv"]

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        rows = styles.parse(_demo(self.seed, self.products).styles_csv(), name="demo styles.csv")
        return pa.concat_tables([schema.FEED_ROWS.empty_table(), *(rows for _ in row_files)]).combine_chunks()

    def pictures(self) -> pa.Table:
        found = [f"images/{product_id}.jpg" for product_id in _demo(self.seed, self.products).picture_ids()]
        return pa.table({"locator": found, "size_bytes": [None] * len(found)}, schema=schema.PICTURES)

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        feed = _demo(self.seed, self.products)
        for locator in locators:
            yield feed.picture(product_id_of(locator))


@functools.lru_cache(maxsize=2)
def _demo(seed: int, products: int) -> DemoFeed:
    return DemoFeed(seed=seed, products=products)
