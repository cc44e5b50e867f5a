"""The published feed's styles.csv. In: its bytes. Out: a table of rows, and the rows that cannot be used.

The published file has rows with an unquoted comma in productDisplayName, its last column: what is left over after the
other columns belongs to it. Empty cells and `NA` mean not available and become null.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pyarrow as pa

from fashion_ray.catalog.schema import FEED_COLUMNS, LABEL_COLUMNS, quarantine_row
from fashion_ray.config import NAME_PATTERN
from fashion_ray.errors import UserError

ROWS = pa.schema(
    [
        pa.field("product_id", pa.string()),
        pa.field("source_row", pa.int64()),
        *(pa.field(name, pa.string()) for name in LABEL_COLUMNS),
        pa.field("year", pa.int32()),
        pa.field("productDisplayName", pa.string()),
    ]
)
"""A feed's rows; `source_row` counts lines of the file from 1, the header included."""

MISSING = ("", "NA")

RESERVED_LABEL = "(other)"
"""What reports call a null answer."""


class BadRow(ValueError):
    """A row that cannot be used; `reason` is one of schema.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def parse(content: bytes, *, name: str, seen_at: str) -> tuple[pa.Table, list[dict[str, object]]]:
    """Rows of a styles.csv, each id once, and quarantine rows for the others: every line of the feed is in one of the two.

    Raises UserError if the header is not the published one.
    """
    lines = _records(_text(content))
    header = next(lines, (1, [""]))[1]
    if [cell.strip() for cell in header] != list(FEED_COLUMNS):
        raise UserError(
            f"{name}: got the columns {','.join(header)[:200]!r}, expected {','.join(FEED_COLUMNS)}; "
            "pass the catalog in its published layout"
        )
    columns: dict[str, list[object]] = {field: [] for field in ROWS.names}
    bad: list[dict[str, object]] = []
    seen: set[str] = set()
    for number, cells in lines:
        try:
            row = _row(cells)
            if row["product_id"] in seen:
                raise BadRow("duplicate_id", f"id {row['product_id']} was on an earlier line, which counts")
        except BadRow as error:
            claimed = cells[0] if cells and NAME_PATTERN.fullmatch(cells[0]) else None
            bad.append(
                quarantine_row(
                    reason=error.reason,
                    stage="ingest",
                    seen_at=seen_at,
                    product_id=claimed,
                    source_row=number,
                    detail=error.detail,
                )
            )
            continue
        seen.add(str(row["product_id"]))
        for field, value in {**row, "source_row": number}.items():
            columns[field].append(value)
    return pa.table(columns, schema=ROWS), bad


def check_id(product_id: str) -> str:
    """The id, if it is one that can name files and nothing else. Raises BadRow."""
    if not NAME_PATTERN.fullmatch(product_id):
        raise BadRow("bad_id", f"id {product_id[:100]!r}")
    return product_id


def _row(cells: list[str]) -> dict[str, object]:
    if len(cells) < len(FEED_COLUMNS):
        raise BadRow("bad_row", f"{len(cells)} fields, expected {len(FEED_COLUMNS)}")
    last = len(FEED_COLUMNS) - 1
    cells = [*(cell.strip() for cell in cells[:last]), ",".join(cells[last:]).strip()]
    values: dict[str, object] = {
        field: None if cell in MISSING else cell for field, cell in zip(FEED_COLUMNS, cells, strict=True)
    }
    product_id = check_id(str(values.pop("id") or ""))
    if RESERVED_LABEL in values.values():
        raise BadRow("bad_row", f"the label {RESERVED_LABEL!r} stands for products that no label fits")
    return {**values, "product_id": product_id, "year": _year(values["year"])}


def _year(cell: object) -> int | None:
    if cell is None:
        return None
    text = str(cell).removesuffix(".0")
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise BadRow("bad_row", f"year {str(cell)[:50]!r}, expected a number")
    return int(text)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line's number and cells, blank lines left out. A line is a record: a stray quote cannot swallow its successors."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        line = line.rstrip("\n").replace("\0", "")
        if line.strip():
            yield number, _cells(line)


def _cells(line: str) -> list[str]:
    """The cells of a line; none if a cell is longer than csv takes (131072 characters)."""
    try:
        return next(csv.reader([line]))
    except csv.Error:
        return []
