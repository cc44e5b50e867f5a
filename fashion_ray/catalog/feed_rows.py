"""One row of a feed. In: the values that a layout found. Out: a row of schema.FEED_ROWS, usable or with the reason why not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

import pyarrow as pa

from fashion_ray.catalog.schema import FEED_ROWS, LABEL_COLUMNS, REASONS
from fashion_ray.config import NAME_PATTERN

VALUE_COLUMNS = ("product_id", *LABEL_COLUMNS, "year", "productDisplayName")
"""What a row says of a product, whatever the layout."""

MISSING = ("", "NA")

ROWS_AT_ONCE = 65_536
"""As Python objects a row has a kilobyte, in a table a tenth of that."""

RESERVED_LABEL = "(other)"
"""What reports call a null answer."""


class BadRow(ValueError):
    """A row that cannot be used; `reason` is one of schema.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def check_id(product_id: str) -> str:
    """The id, if it is one that can name files and nothing else. Raises BadRow."""
    if not NAME_PATTERN.fullmatch(product_id):
        raise BadRow("bad_id", f"id {product_id[:100]!r}")
    return product_id


def row(
    values: Mapping[str, object],
    *,
    source_row: int,
    locator: str | None = None,
    size_bytes: int | None = None,
    withdrawn: bool = False,
) -> dict[str, object]:
    """A row from values by column (of VALUE_COLUMNS; absent ones are null); with `reason` and `detail` if it is unusable.

    Empty cells and `NA` mean not available and become null; whole numbers become text.
    """
    place = {"source_row": source_row, "locator": locator, "size_bytes": size_bytes, "withdrawn": withdrawn}
    try:
        return {**_checked(values), **place}
    except BadRow as error:
        return {**refused(error.reason, error.detail, values.get("product_id")), **place}


def refused(reason: str, detail: str, claimed_id: object = None, *, source_row: int | None = None) -> dict[str, object]:
    """A row that cannot be used; the id that it claims is kept if it is one."""
    assert reason in REASONS, reason
    claimed = str(claimed_id).strip() if isinstance(claimed_id, (str, int)) else ""
    product_id = claimed if NAME_PATTERN.fullmatch(claimed) else None
    return {
        "product_id": product_id, "source_row": source_row, "withdrawn": False, "reason": reason, "detail": detail[:500],
    }  # fmt: skip


def table(rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Rows as a table of FEED_ROWS."""
    waiting = iter(rows)
    parts = [FEED_ROWS.empty_table()]
    while kept := list(itertools.islice(waiting, ROWS_AT_ONCE)):
        parts.append(pa.table({name: [found.get(name) for found in kept] for name in FEED_ROWS.names}, schema=FEED_ROWS))
    return pa.concat_tables(parts).combine_chunks()


def _checked(values: Mapping[str, object]) -> dict[str, object]:
    product_id = check_id(_cell("product_id", values.get("product_id")) or "")
    found: dict[str, object] = {column: _cell(column, value) for column, value in values.items()}
    for column in LABEL_COLUMNS:
        if found.get(column) == RESERVED_LABEL:
            raise BadRow("bad_row", f"{column}: the label {RESERVED_LABEL!r} stands for products that no label fits")
    return {**found, "product_id": product_id, "year": _year(found.get("year"))}


def _cell(column: str, value: object) -> str | None:
    """A value as text, null if it is not available. Raises BadRow for what its column cannot hold."""
    if isinstance(value, str):
        text = value.strip()
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise BadRow("bad_row", f"{column}: {text[:50]!r} is no Unicode text")
        return None if text in MISSING else text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and column == "year"):
        return str(value)
    raise BadRow("bad_row", f"{column}: got {type(value).__name__} {str(value)[:50]!r}, expected text")


def _year(text: object) -> int | None:
    if text is None:
        return None
    digits = str(text).removesuffix(".0")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 4):
        raise BadRow("bad_row", f"year {str(text)[:50]!r}, expected a number")
    return int(digits)
