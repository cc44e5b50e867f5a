"""The rows of a styles.csv, in any of the dialects that it comes in. In: its bytes. Out: a table of FEED_ROWS.

Cells are separated by comma, semicolon, tab or bar, whichever the header uses; the text is UTF-8, UTF-16 with its mark, or
else Windows-1252. Columns are found by name; those that nobody knows are ignored, and label columns may be absent. A
line is a record: a stray quote cannot swallow its successors. The published file has rows with an unquoted comma in
productDisplayName, its last column: what is left over after the other columns belongs to it.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from fashion_ray.catalog import feed_rows
from fashion_ray.catalog.feed_rows import VALUE_COLUMNS
from fashion_ray.catalog.feed_rows import BadRow as BadRow
from fashion_ray.catalog.feed_rows import check_id as check_id
from fashion_ray.catalog.lines import cells_of, records
from fashion_ray.catalog.schema import FEED_COLUMNS
from fashion_ray.errors import UserError

DELIMITERS = (",", ";", "\t", "|")
ID_COLUMNS = ("product_id", "id")
"""The first of these that a header has holds the ids."""


class Dialect(NamedTuple):
    """How a file writes its rows; `columns` has a name of VALUE_COLUMNS a cell, or none for a cell to ignore."""

    delimiter: str
    columns: tuple[str | None, ...]

    @property
    def known(self) -> int:
        """How many columns are understood."""
        return sum(column is not None for column in self.columns)


def parse(content: bytes, *, name: str) -> pa.Table:
    """Every line below the header as a row of FEED_ROWS; a line that cannot be used has its reason.

    Raises UserError if the header lacks the ids, or has nothing to say of them.
    """
    lines = records(content)
    header = next(lines, (1, ""))[1]
    dialect = _dialect(header, name)
    if "product_id" not in dialect.columns or dialect.known < 2:
        raise UserError(
            f"{name}: got the columns {header[:200]!r}, expected id and any of {','.join(FEED_COLUMNS)}; "
            "pass the catalog with a header line"
        )
    return feed_rows.table(_row(number, line, dialect) for number, line in lines)


def parse_withdrawn(content: bytes, *, name: str) -> pa.Table:
    """Every line below the header `id` as a row of FEED_ROWS that leaves. Raises UserError for another header."""
    lines = records(content)
    header = next(lines, (1, ""))[1]
    dialect = _dialect(header, name)
    if "product_id" not in dialect.columns:
        raise UserError(f"{name}: got the columns {header[:200]!r}, expected id; one id a line below it")
    position = dialect.columns.index("product_id")
    rows = []
    for number, line in lines:
        cells = cells_of(line, dialect.delimiter)
        values = {"product_id": cells[position] if position < len(cells) else None}
        rows.append(feed_rows.row(values, source_row=number, withdrawn=True))
    return feed_rows.table(rows)


def _dialect(header: str, name: str) -> Dialect:
    """The delimiter by which most columns of the header are known, and those columns."""
    best = Dialect(",", ())
    for delimiter in DELIMITERS:
        cells = [cell.strip() for cell in cells_of(header, delimiter)]
        id_column = next((column for column in ID_COLUMNS if column in cells), None)
        named = ["product_id" if cell == id_column else cell for cell in cells]
        known = [cell if cell in VALUE_COLUMNS and (cell != "product_id" or id_column) else None for cell in named]
        best = max(best, Dialect(delimiter, tuple(known)), key=lambda dialect: dialect.known)
    twice = sorted({column for column in best.columns if column and best.columns.count(column) > 1})
    if twice:
        raise UserError(f"{name}: the header has {', '.join(twice)} twice, expected once; rename the columns that do not count")
    return best


def _row(number: int, line: str, dialect: Dialect) -> dict[str, object]:
    columns = dialect.columns
    cells = cells_of(line, dialect.delimiter)
    if len(cells) > len(columns) and columns[-1] == "productDisplayName":
        cells = [*cells[: len(columns) - 1], dialect.delimiter.join(cells[len(columns) - 1 :])]
    if len(cells) != len(columns):
        position = columns.index("product_id")
        claimed = cells[position] if position < len(cells) else None
        return feed_rows.refused("bad_row", f"{len(cells)} fields, expected {len(columns)}", claimed, source_row=number)
    values = {column: cell for column, cell in zip(columns, cells, strict=True) if column}
    return feed_rows.row(values, source_row=number)
