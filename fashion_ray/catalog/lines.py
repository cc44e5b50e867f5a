"""CSV files from outside as lines. In: bytes in any of the usual encodings. Out: numbered lines, and their cells.

A line is a record: a stray quote cannot swallow its successors.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator


def records(content: bytes) -> Iterator[tuple[int, str]]:
    """Each line's number, counted from 1, and its text; blank lines are left out, and null characters.

    UTF-16 with a byte-order mark, UTF-8 with or without one, else a Windows code page.
    """
    for number, line in enumerate(io.StringIO(_text(content), newline=None), start=1):
        line = line.rstrip("\n").replace("\0", "")
        if line.strip():
            yield number, line


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of a line; none if a cell is longer than csv takes (131072 characters)."""
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return []


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
