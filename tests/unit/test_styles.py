"""The published styles.csv with all its dirt: every line is a row or a quarantine row, and no row is another's."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.styles import ROWS, BadRow, check_id, parse
from fashion_ray.errors import UserError

HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"
SEEN_AT = "2026-01-02T03:04:05Z"


def line(product_id: str = "15970", year: str = "2011", name: str = "Turtle Check Men Navy Blue Shirt") -> str:
    """A line of the feed."""
    return f"{product_id},Men,Apparel,Topwear,Shirts,Navy Blue,Fall,{year},Casual,{name}"


def read(*lines: str | bytes, end: bytes = b"\n", start: bytes = b"") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows and the quarantine rows of some lines below the header; each line is in exactly one of the two."""
    body = [part if isinstance(part, bytes) else part.encode() for part in lines]
    table, bad = parse(start + end.join([HEADER.encode(), *body, b""]), name="styles.csv", seen_at=SEEN_AT)
    assert table.schema == ROWS
    numbers = [*table["source_row"].to_pylist(), *(row["source_row"] for row in bad)]
    written = [number for number, part in enumerate(body, start=2) if part.strip(b" \t\r\n\0")]
    assert sorted(numbers) == written
    pa.Table.from_pylist(bad, schema=schema.QUARANTINE)
    assert all(row["stage"] == "ingest" and row["seen_at"] == SEEN_AT and row["reason"] in schema.REASONS for row in bad)
    return table.to_pylist(), bad


def reasons(*lines: str | bytes) -> list[str]:
    """Why some lines, of which none is usable, went to quarantine."""
    rows, bad = read(*lines)
    assert rows == []
    return [row["reason"] for row in bad]


def test_a_plain_line_is_a_row() -> None:
    rows, bad = read(line())
    assert bad == []
    assert rows == [
        {
            "product_id": "15970", "source_row": 2, "gender": "Men", "masterCategory": "Apparel", "subCategory": "Topwear",
            "articleType": "Shirts", "baseColour": "Navy Blue", "season": "Fall", "usage": "Casual", "year": 2011,
            "productDisplayName": "Turtle Check Men Navy Blue Shirt",
        }
    ]  # fmt: skip


def test_no_lines_give_no_rows() -> None:
    assert read() == ([], [])


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ('"Shirt, blue, slim"', "Shirt, blue, slim"),
        ("Shirt, blue", "Shirt, blue"),
        ("Shirt, blue, slim", "Shirt, blue, slim"),
        ('"Say ""hi"", now"', 'Say "hi", now'),
        ("  Shirt  ", "Shirt"),
        ("Größe Ä 42 ½", "Größe Ä 42 ½"),
        ("", None),
        ("NA", None),
        ("NA shirt", "NA shirt"),
    ],
)
def test_the_last_column_takes_what_is_left(cell: str, name: str | None) -> None:
    rows, bad = read(line("1", name=cell), line("2"))
    assert bad == []
    assert [row["productDisplayName"] for row in rows] == [name, "Turtle Check Men Navy Blue Shirt"]


def test_a_quoted_comma_in_an_earlier_column_belongs_to_it() -> None:
    rows, _ = read('1,Men,Apparel,Topwear,"Shirts, Long",Blue,Fall,2011,Casual,Name')
    assert rows[0]["articleType"] == "Shirts, Long" and rows[0]["productDisplayName"] == "Name"


@pytest.mark.parametrize("short", ["15970", "15970,Men", line().rpartition(",")[0], "no comma at all", '"15970'])
def test_a_line_with_too_few_fields_is_set_aside_and_its_neighbours_are_not(short: str) -> None:
    rows, bad = read(line("1"), short, line("2"))
    assert [row["product_id"] for row in rows] == ["1", "2"]
    assert [(row["reason"], row["source_row"]) for row in bad] == [("bad_row", 3)]
    assert "expected 10" in str(bad[0]["detail"])


def test_the_first_line_of_an_id_counts() -> None:
    rows, bad = read(line("7", name="first"), line("8"), line("7", name="second"), line(" 7 ", name="third"))
    assert [(row["product_id"], row["source_row"]) for row in rows] == [("7", 2), ("8", 3)]
    assert rows[0]["productDisplayName"] == "first"
    assert [(row["product_id"], row["reason"], row["source_row"]) for row in bad[:1]] == [("7", "duplicate_id", 4)]
    assert [row["reason"] for row in bad] == ["duplicate_id"] * 2


def test_an_unusable_line_does_not_use_its_id_up() -> None:
    rows, bad = read(line("7", year="soon"), line("7"))
    assert [row["source_row"] for row in rows] == [3] and [row["reason"] for row in bad] == ["bad_row"]


@pytest.mark.parametrize(
    "product_id",
    ["../../etc/passwd", "", "x" * 200, "a/b", "a\\b", ".hidden", "..", "a b", "é", "NA", '"a,b"', "-1", "=1+1", "<b>"],
)
def test_an_id_that_cannot_name_a_file_is_set_aside(product_id: str) -> None:
    rows, bad = read(line(product_id), line("1"))
    assert [row["product_id"] for row in rows] == ["1"]
    assert [row["reason"] for row in bad] == ["bad_id"]
    claimed = bad[0]["product_id"]
    assert claimed is None or check_id(claimed) == claimed


@pytest.mark.parametrize("product_id", ["1", "15970", "SKU-0001.a_b", "x" * 128, "0001"])
def test_an_id_is_text_and_kept_as_it_is(product_id: str) -> None:
    rows, _ = read(line(product_id))
    assert rows[0]["product_id"] == product_id == check_id(product_id)


@pytest.mark.parametrize("cell", ["", "NA", "  ", " NA "])
@pytest.mark.parametrize("column", schema.LABEL_COLUMNS)
def test_a_label_that_is_not_available_is_null(column: str, cell: str) -> None:
    cells = line().split(",")
    cells[schema.FEED_COLUMNS.index(column)] = cell
    rows, bad = read(",".join(cells))
    assert bad == [] and rows[0][column] is None
    assert all(rows[0][other] for other in schema.LABEL_COLUMNS if other != column)


@pytest.mark.parametrize(("cell", "year"), [("2012", 2012), ("2012.0", 2012), ("", None), ("NA", None), (" 2012 ", 2012)])
def test_a_year_is_a_number_or_null(cell: str, year: int | None) -> None:
    rows, bad = read(line(year=cell))
    assert bad == [] and rows[0]["year"] == year


@pytest.mark.parametrize("cell", ["abc", "2012.5", "-2012", "99999999999", "20 12", "٢٠١٢", "1e3", "0x7d", "inf", "nan", ".0"])
def test_a_line_whose_year_is_no_number_is_set_aside(cell: str) -> None:
    assert reasons(line(year=cell)) == ["bad_row"]


def test_a_byte_order_mark_is_not_part_of_the_header() -> None:
    rows, bad = read(line(), start=b"\xef\xbb\xbf")
    assert len(rows) == 1 and bad == []


def test_bytes_of_a_windows_code_page_are_read_as_such() -> None:
    rows, bad = read(line("1", name="Caf").encode() + b"\xe9 \x93x\x94 \x80", line("2").encode() + b"\x81", line("3"))
    assert bad == [] and [row["product_id"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["productDisplayName"] == "Café \u201cx\u201d €"


@pytest.mark.parametrize("garbage", [b"\0", b"\0\0\0", b"\x00\xff\x00\xfe"])
def test_nul_bytes_stop_nothing(garbage: bytes) -> None:
    rows, bad = read(line("1").encode() + garbage, garbage * 9, line("2"))
    assert [row["product_id"] for row in rows] == ["1", "2"]
    assert rows[1]["productDisplayName"] == "Turtle Check Men Navy Blue Shirt"
    assert all(row["reason"] == "bad_row" for row in bad)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_end_of_line_is_one(end: bytes) -> None:
    rows, bad = read(line("1"), line("2"), line("3"), end=end)
    assert bad == []
    assert [(row["product_id"], row["source_row"]) for row in rows] == [("1", 2), ("2", 3), ("3", 4)]
    assert {row["productDisplayName"] for row in rows} == {"Turtle Check Men Navy Blue Shirt"}


def test_the_last_line_needs_no_end() -> None:
    table, bad = parse(f"{HEADER}\n{line('1')}\n{line('2')}".encode(), name="styles.csv", seen_at=SEEN_AT)
    assert table["product_id"].to_pylist() == ["1", "2"] and bad == []


@pytest.mark.parametrize("stray", ['"Shirt', 'Shirt"', '5" heels', '"Shirt" red', '"""', '"'])
def test_a_stray_quote_swallows_no_other_line(stray: str) -> None:
    rows, bad = read(line("1", name=stray), line("2"), line("3", name=stray), line("4"))
    assert [row["product_id"] for row in rows] == ["1", "2", "3", "4"] and bad == []
    assert rows[1]["productDisplayName"] == rows[3]["productDisplayName"] == "Turtle Check Men Navy Blue Shirt"


def test_a_stray_quote_in_an_earlier_column_costs_its_own_line_only() -> None:
    rows, bad = read(line("1"), line("2").replace("Men", '"Men', 1), line("3"))
    assert [row["product_id"] for row in rows] == ["1", "3"]
    assert [(row["reason"], row["source_row"], row["product_id"]) for row in bad] == [("bad_row", 3, "2")]


def test_blank_lines_are_no_rows_but_are_counted_as_lines() -> None:
    rows, bad = read("", line("1"), "   ", "", line("2"), "", "\t")
    assert [(row["product_id"], row["source_row"]) for row in rows] == [("1", 3), ("2", 6)] and bad == []


@pytest.mark.parametrize("name", ["n" * 131_000, "n" * 140_000, '"' + "n, " * 100_000 + '"'])
def test_a_very_long_line_does_not_stop_the_others(name: str) -> None:
    rows, _ = read(line("1"), line("2", name=name), line("3"))
    assert {"1", "3"} <= {row["product_id"] for row in rows}


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_ends_of_lines_end_lines(separator: str) -> None:
    rows, bad = read(line("1", name=f"one{separator}two"), line("2"))
    assert [row["product_id"] for row in rows] == ["1", "2"] and bad == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"id,image\n1,x\n",
        HEADER.replace("usage", "use").encode(),
        HEADER.rpartition(",")[0].encode(),
        (HEADER + ",link").encode(),
        HEADER.replace(",", ";").encode(),
        (HEADER + "\n" + line()).encode("utf-16"),
        b"\xff\xd8\xff\xe0 a picture",
        b"<!DOCTYPE html>\n<html>Not found</html>",
        line().encode(),
    ],
)
def test_another_header_is_the_users_mistake(content: bytes) -> None:
    with pytest.raises(UserError) as caught:
        parse(content, name="feed.zip:styles.csv", seen_at=SEEN_AT)
    assert "feed.zip:styles.csv" in str(caught.value) and HEADER in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_spaces_around_the_names_of_columns_are_no_other_header() -> None:
    table, _ = parse(f"{HEADER.replace(',', ', ')}\n{line()}\n".encode(), name="styles.csv", seen_at=SEEN_AT)
    assert table.num_rows == 1


def test_the_quarantine_keeps_details_short() -> None:
    _, bad = read(line("x" * 5000), line(year="y" * 5000))
    assert len(bad) == 2 and all(len(str(row["detail"])) <= 500 for row in bad)


def test_a_bad_row_travels_between_processes() -> None:
    back = pickle.loads(pickle.dumps(BadRow("bad_id", "id ''")))
    assert isinstance(back, BadRow) and (back.reason, back.detail) == ("bad_id", "id ''")
