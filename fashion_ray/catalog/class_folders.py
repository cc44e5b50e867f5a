"""Pictures in one folder a class. In: a tree with `<label>/<file>`, at any depth. Out: one row a picture.

The label is the name of the last folder, so `train/<label>/<file>` is read as well; a picture at the top has no label.
What is no picture by its suffix is ignored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fashion_ray.catalog import feed_rows, schema, trees
from fashion_ray.catalog.pictures import MAX_BYTES, BadPicture
from fashion_ray.catalog.trees import File, Tree
from fashion_ray.config import NAME_PATTERN

LAYOUT = "two or more class folders with pictures, <label>/<file>.jpg"

LONGEST_ID = 128


@dataclass(frozen=True)
class ClassFolderSource:
    """A feed in class folders; the labels go into `label_column`."""

    tree: Tree
    label_column: str = "articleType"

    in_order = False

    @property
    def name(self) -> str:
        return self.tree.name

    def fingerprint(self) -> str:
        return trees.fingerprint(_pictures(self.tree.files()), "class folders", self.label_column)

    def row_files(self) -> list[str]:
        """The folders that hold pictures; '' is the top."""
        return sorted({_folder(file.name) for file in _pictures(self.tree.files())})

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        return feed_rows.table(row for folder in row_files for row in self._rows_of(folder))

    def pictures(self) -> pa.Table:
        return schema.PICTURES.empty_table()

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        return self.tree.read(locators, limit_bytes=MAX_BYTES)

    def _rows_of(self, folder: str) -> Iterator[dict[str, object]]:
        label = folder.rpartition("/")[2] or None
        for number, file in enumerate(_pictures(self.tree.files_in(folder)), start=1):
            yield feed_rows.row(
                {"product_id": path_id(file.name), self.label_column: label},
                source_row=number,
                locator=file.locator,
                size_bytes=file.size_bytes,
            )


def recognise(tree: Tree, label_column: str) -> ClassFolderSource | None:
    """The class folders of a tree; none if its pictures lie in fewer than two: a feed that lacks its rows looks so too."""
    labels = {_folder(file.name).rpartition("/")[2] for file in _pictures(tree.files())}
    return ClassFolderSource(tree, label_column) if len(labels - {""}) > 1 else None


def path_id(name: str, longest: int = LONGEST_ID) -> str:
    """A product id from a file's path: without its suffix, `/` as `.`; the same in every run, another for every path.

    Where that is no id, or where a dot in the path leaves open which folder is meant, other letters become `_` and eight
    hex digits of the path's SHA-256 follow.
    """
    path = name.rpartition(".")[0]
    plain = path.replace("/", ".")
    if NAME_PATTERN.fullmatch(plain) and len(plain) <= longest and "." not in path:
        return plain
    tidy = re.sub(r"[^A-Za-z0-9._-]", "_", plain).lstrip("._-") or "picture"
    return f"{tidy[: longest - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _pictures(files: Sequence[File]) -> list[File]:
    return [file for file in files if trees.is_picture(file.name)]
