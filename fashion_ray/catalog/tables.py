"""Parquet tables of pictures, Hugging Face's among them. In: a tree with .parquet files. Out: one row a row.

The pictures are the column `image`, bytes or a struct with `bytes`; the id is `product_id` or `id`, else the file's name
and the row's number; labels are columns by name, or `label`, which goes to the label column if that is not there. Rows
whose `withdrawn` is true leave. Reading goes row group by row group, and only the columns that are needed are read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fashion_ray.catalog import class_folders, feed_rows, schema, trees
from fashion_ray.catalog.pictures import MAX_BYTES, BadPicture
from fashion_ray.catalog.trees import File, Tree
from fashion_ray.errors import UserError
from fashion_ray.storage import check_plain

LAYOUT = "Parquet files with a column `image`"

ID_COLUMNS = ("product_id", "id")
BATCH_BYTES = 32 * 1024**2
"""Of pictures that are in memory at once, as far as their average size tells."""

MOST_BATCH_ROWS = 256
LONGEST_STEM = 112
"""Letters of a file's name in the ids of its rows, to leave room for their numbers."""


@dataclass(frozen=True)
class TableSource:
    """A feed in Parquet; a column `label` goes into `label_column`."""

    tree: Tree
    label_column: str = "articleType"

    in_order = True

    @property
    def name(self) -> str:
        return self.tree.name

    def fingerprint(self) -> str:
        return trees.fingerprint(_tables(self.tree), "tables", self.label_column)

    def row_files(self) -> list[str]:
        return list(dict.fromkeys(file.name for file in _tables(self.tree)))

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        """Rows without their pictures; a picture's locator is `<file>#<row group>#<row in group>`."""
        parts = [schema.FEED_ROWS.empty_table()]
        for name in row_files:
            with self._opened(name) as parquet:
                parts += self._rows_of(parquet, name)
        return pa.concat_tables(parts).combine_chunks()

    def pictures(self) -> pa.Table:
        return schema.PICTURES.empty_table()

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        """The pictures' bytes; cheap where the locators go forward."""
        for name, places in itertools.groupby(map(_place, locators), key=lambda place: place[0]):
            with self._opened(name) as parquet:  # once for all its groups: opening it in a zip reads it to its end
                for group, rows in _runs(places):
                    yield from _read_group(parquet, group, rows)

    def _rows_of(self, parquet: pq.ParquetFile, name: str) -> Iterator[pa.Table]:
        columns = self._columns(parquet.schema_arrow, name)
        classes = _class_names(parquet.schema_arrow)
        withdrawals = "withdrawn" in parquet.schema_arrow.names
        pictured = "image" in parquet.schema_arrow.names
        stem = class_folders.path_id(name.removeprefix("data/"), LONGEST_STEM)
        before = 0
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            read = parquet.read_row_group(group, columns=[*columns, *(["withdrawn"] if withdrawals else [])], use_threads=False)
            values = {columns[column]: _values(read[column], classes.get(column)) for column in columns}
            leaving = read["withdrawn"].to_pylist() if withdrawals else [False] * count
            size_bytes = _picture_bytes(parquet, group) if pictured else None
            rows = []
            for number in range(count):
                cells = {"product_id": f"{stem}-{before + number:07d}"} | {
                    key: column[number] for key, column in values.items()
                }
                locator = f"{name}#{group}#{number}" if pictured else None
                rows.append(_row(cells, leaving[number] is True, locator, size_bytes, before + number))
            before += count
            yield feed_rows.table(rows)

    def _columns(self, fields: pa.Schema, name: str) -> dict[str, str]:
        """The file's columns that are read for its rows, and what each is in FEED_ROWS. Raises UserError."""
        names = fields.names
        where = f"--source: {name} of {self.name!r}"
        twice = sorted({column for column in names if names.count(column) > 1})
        if twice:
            raise UserError(f"{where} has the columns {', '.join(twice)[:200]} twice, expected once; rename them")
        if "withdrawn" in names and not pa.types.is_boolean(fields.field("withdrawn").type):
            raise UserError(f"{where}: withdrawn is {fields.field('withdrawn').type}, expected bool")
        if "image" in names:
            _check_image(fields.field("image").type, where)
        elif "withdrawn" not in names:
            raise UserError(
                f"{where} has the columns {', '.join(names)[:200]!r}, expected `image`; rename that of the pictures"
            )
        id_column = next((column for column in ID_COLUMNS if column in names), None)
        found = {id_column: "product_id"} if id_column else {}
        if id_column and not _is_id(fields.field(id_column).type):
            raise UserError(f"{where}: {id_column} is {fields.field(id_column).type}, expected whole numbers or text")
        found |= {column: column for column in feed_rows.VALUE_COLUMNS if column in names and column != "product_id"}
        return found | ({"label": self.label_column} if "label" in names and self.label_column not in names else {})

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[pq.ParquetFile]:
        """A Parquet file, for as long as it is read. Raises UserError if it is damaged."""
        try:
            with self.tree.open(name) as opened, _parquet(opened, f"--source: {name} of {self.name!r}") as parquet:
                yield parquet
        except (pa.ArrowException, zlib.error, EOFError, OSError, zipfile.BadZipFile) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the storage failed, not the file
            raise UserError(f"--source: {name} of {self.name!r} is no Parquet file, or a damaged one ({error})") from error


def recognise(tree: Tree, label_column: str) -> TableSource | None:
    """The Parquet files of a tree; none if there are none."""
    return TableSource(tree, label_column) if _tables(tree) else None


def _parquet(opened: IO[bytes], where: str) -> pq.ParquetFile:
    """An open file whose columns are plain. Raises UserError for others, and pa.ArrowException for what is no Parquet."""
    try:
        parquet = pq.ParquetFile(opened, pre_buffer=False, buffer_size=1 << 20)
    except pa.ArrowException:
        raise
    except ValueError as error:  # from who registered an extension type, such as Ray, where it does not like its metadata
        raise UserError(f"{where} has a schema that cannot be read ({error}); expected plain Parquet") from error
    check_plain(parquet.schema_arrow, where)
    return parquet


def _tables(tree: Tree) -> list[File]:
    return [file for file in tree.files() if file.name.lower().endswith(".parquet")]


def _row(cells: dict[str, object], leaves: bool, locator: str | None, size_bytes: int | None, number: int) -> dict[str, object]:
    if leaves:
        return feed_rows.row({"product_id": cells["product_id"]}, source_row=number + 1, withdrawn=True)
    if locator is None:
        detail = "a table without the column `image`, and the row is no withdrawal"
        return feed_rows.refused("no_picture", detail, cells["product_id"], source_row=number + 1)
    return feed_rows.row(cells, source_row=number + 1, locator=locator, size_bytes=size_bytes)


def _place(locator: str) -> tuple[str, int, int]:
    name, group, row = locator.rsplit("#", 2)
    return name, int(group), int(row)


def _runs(places: Iterable[tuple[str, int, int]]) -> Iterator[tuple[int, list[int]]]:
    """Places in one file as row groups with ascending rows; a step back begins a new run."""
    at, rows = -1, [-1]
    for _, group, row in places:
        if group == at and row > rows[-1]:
            rows.append(row)
            continue
        if at >= 0:
            yield at, rows
        at, rows = group, [row]
    yield at, rows


def _read_group(parquet: pq.ParquetFile, group: int, rows: Sequence[int]) -> Iterator[bytes | BadPicture]:
    """The pictures of some rows of one row group, in ascending order."""
    column = _picture_column(parquet)
    together = max(1, min(MOST_BATCH_ROWS, BATCH_BYTES // max(1, _picture_bytes(parquet, group))))
    waiting = iter([*rows, -1])
    row, start = next(waiting), 0
    for batch in parquet.iter_batches(together, row_groups=[group], columns=[column], use_threads=False):
        image = batch.column(0)
        contents = pc.struct_field(image, "bytes") if pa.types.is_struct(image.type) else image
        while start <= row < start + batch.num_rows:
            yield _content(contents[row - start])
            row = next(waiting)
        start += batch.num_rows
        if row < start:
            return


def _content(value: pa.Scalar) -> bytes | BadPicture:
    if not value.is_valid:
        return BadPicture("no_picture", "null")
    size_bytes = value.as_buffer().size
    if size_bytes > MAX_BYTES:
        return BadPicture("too_large", f"{size_bytes} bytes, at most {MAX_BYTES}")
    return bytes(value.as_py())


def _picture_column(parquet: pq.ParquetFile) -> str:
    return "image.bytes" if pa.types.is_struct(parquet.schema_arrow.field("image").type) else "image"


def _picture_bytes(parquet: pq.ParquetFile, group: int) -> int:
    """The average size of a group's pictures: theirs is all that is known without reading them."""
    found, column = parquet.metadata.row_group(group), _picture_column(parquet)
    chunks = (found.column(number) for number in range(found.num_columns))
    size_bytes: int = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)
    rows: int = found.num_rows
    return size_bytes // max(1, rows)


def _check_image(found: pa.DataType, where: str) -> None:
    inner = found
    if pa.types.is_struct(found):
        inner = found.field("bytes").type if found.get_field_index("bytes") >= 0 else found
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise UserError(f"{where}: image is {str(found)[:200]}, expected binary or a struct with binary `bytes`")


def _is_id(found: pa.DataType) -> bool:
    inner = found.value_type if pa.types.is_dictionary(found) else found
    return any(is_kind(inner) for is_kind in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string))


def _values(column: pa.ChunkedArray, classes: Sequence[str] | None) -> list[object]:
    """A column's values as text and numbers; what is neither stays an object that no column can hold."""
    found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(found) or pa.types.is_large_string(found):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            return [_text(value) for value in column.cast(found).cast(pa.large_binary()).to_pylist()]
    if pa.types.is_null(found) or pa.types.is_floating(found):
        return list(column.to_pylist())
    if not pa.types.is_integer(found):
        return [column.type if valid else None for valid in pc.is_valid(column).to_pylist()]
    return [_class_name(value, classes) if classes else value for value in column.to_pylist()]


def _class_name(value: int | None, classes: Sequence[str]) -> object:
    """The name of a class number; -1 is Hugging Face's for not available."""
    if value is None or value == -1:
        return None
    return classes[value] if 0 <= value < len(classes) else (value, "of", len(classes))


def _text(value: bytes | None) -> object:
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return value


def _class_names(fields: pa.Schema) -> dict[str, list[str]]:
    """The names of the ClassLabel columns, from the metadata that Hugging Face's `datasets` writes into a schema."""
    try:
        features = json.loads((fields.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"].items()
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}
    named = {column: feature["names"] for column, feature in features if isinstance(feature, dict) and "names" in feature}
    return {
        column: names for column, names in named.items() if isinstance(names, list) and all(isinstance(n, str) for n in names)
    }
