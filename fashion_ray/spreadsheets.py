"""Tables for people, who open them in a spreadsheet. In: a frame. Out: CSV in which no cell is a formula.

A text that a spreadsheet would compute, such as =HYPERLINK(...) as a product's label, gets an apostrophe in front (OWASP, "CSV
Injection"); catalog.corrections takes it off again.
"""

from __future__ import annotations

import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Also the full-width forms, which some spreadsheets read as the others."""


def guarded(value: object) -> object:
    """A cell with an apostrophe before what would be a formula; numbers are none. A carriage return, which ends a row for some
    readers and is quoted by few writers, becomes a space."""
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA_STARTS) else "") + value.replace("\r", " ")


def to_csv(frame: pd.DataFrame, *, index: bool = False) -> str:
    """The frame as CSV, its column names and, if asked for, its index guarded like its cells."""
    safe = frame.map(guarded).rename(columns=guarded, index=guarded if index else None)
    return str(safe.to_csv(index=index))
