"""The published styles.csv with all its dirt: every line is one row, usable or with its reason, and no row is another's."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.feed_rows import BadRow, check_id, row
from fashion_ray.catalog.styles import parse, parse_withdrawn
from fashion_ray.errors import UserError

HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"


def line(product_id: str = "15970", year: str = "2011", name: str = "Turtle Check Men Navy Blue Shirt") -> str:
    """A line of the feed."""
    return f"{product_id},Men,Apparel,Topwear,Shirts,Navy Blue,Fall,{year},Casual,{name}"


def read(*lines: str | bytes, end: bytes = b"\n", start: bytes = b"") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The usable rows and the others of some lines below the header; each line is in exactly one of the two."""
    body = [part if isinstance(part, bytes) else part.encode() for part in lines]
    table = parse(start + end.join([HEADER.encode(), *body, b""]), name="styles.csv")
    written = [number for number, part in enumerate(body, start=2) if part.strip(b" \t\r\n\0")]
    assert table["source_row"].to_pylist() == written
    return split(table)


def split(table: pa.Table) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The usable rows, without the columns that are empty in all of them, and the others."""
    assert table.schema == schema.FEED_ROWS
    rows = [found for found in table.to_pylist() if found["reason"] is None]
    bad = [found for found in table.to_pylist() if found["reason"] is not None]
    assert all(found["detail"] is None and found["product_id"] for found in rows)
    assert all(found["reason"] in schema.REASONS and found["detail"] for found in bad)
    assert all(found["locator"] is None and found["size_bytes"] is None for found in rows)
    assert all(found[column] is None for found in bad for column in schema.LABEL_COLUMNS)
    return rows, bad


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
            "productDisplayName": "Turtle Check Men Navy Blue Shirt", "locator": None, "size_bytes": None, "withdrawn": False,
            "reason": None, "detail": None,
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


def test_an_id_that_comes_twice_is_left_to_those_who_see_all_files() -> None:
    rows, bad = read(line("7", year="soon"), line("7", name="first"), line(" 7 ", name="second"))
    assert [(found["product_id"], found["source_row"]) for found in rows] == [("7", 3), ("7", 4)]
    assert [(found["product_id"], found["reason"]) for found in bad] == [("7", "bad_row")]


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
    table = parse(f"{HEADER}\n{line('1')}\n{line('2')}".encode(), name="styles.csv")
    assert table["product_id"].to_pylist() == ["1", "2"] and table["reason"].null_count == 2


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
        b"id\n1\n",
        HEADER.replace("id,", "number,").encode(),
        b"\xff\xd8\xff\xe0 a picture",
        b"<!DOCTYPE html>\n<html>Not found</html>",
        line().encode(),
    ],
)
def test_a_header_without_ids_or_without_anything_to_say_is_the_users_mistake(content: bytes) -> None:
    with pytest.raises(UserError) as caught:
        parse(content, name="feed.zip:styles.csv")
    assert "feed.zip:styles.csv" in str(caught.value) and HEADER in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_spaces_around_the_names_of_columns_are_no_other_header() -> None:
    table = parse(f"{HEADER.replace(',', ', ')}\n{line()}\n".encode(), name="styles.csv")
    assert table.num_rows == 1 and table["usage"].to_pylist() == ["Casual"]


# Dialects.

PLAIN = parse(f"{HEADER}\n{line('1')}\n{line('2', name='Größe 42')}\n".encode(), name="styles.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_dialect_gives_the_same_rows(delimiter: str, end: str, encoding: str) -> None:
    text = end.join([HEADER, line("1"), line("2", name="Größe 42"), ""]).replace(",", delimiter)
    assert parse(text.encode(encoding), name="styles.csv").equals(PLAIN)


def test_columns_are_found_by_name_and_unknown_ones_ignored() -> None:
    table = parse(b"usage;link;id;colour;gender\nCasual;http://x/1;7;red;Men\n", name="styles.csv")
    (found,) = split(table)[0]
    assert (found["product_id"], found["usage"], found["gender"], found["year"]) == ("7", "Casual", "Men", None)
    assert all(found[column] is None for column in schema.LABEL_COLUMNS if column not in ("usage", "gender"))


def test_product_id_counts_before_id() -> None:
    table = parse(b"id,product_id,gender\n1,A-1,Men\n2,A-2,Women\n", name="styles.csv")
    assert table["product_id"].to_pylist() == ["A-1", "A-2"]


def test_a_semicolon_in_a_quoted_header_cell_does_not_change_the_delimiter() -> None:
    table = parse(b'id,"a;b;c;d",gender\n1,x,Men\n', name="styles.csv")
    assert table["gender"].to_pylist() == ["Men"]


def test_surplus_cells_are_refused_where_the_name_is_not_the_last_column() -> None:
    rows, bad = split(parse(b"id,productDisplayName,gender\n1,Shirt, blue,Men\n2,Shirt,Men\n", name="styles.csv"))
    assert [found["product_id"] for found in rows] == ["2"]
    assert [(found["product_id"], found["reason"]) for found in bad] == [("1", "bad_row")]
    assert "4 fields, expected 3" in bad[0]["detail"]


def test_the_surplus_of_the_name_keeps_its_delimiter() -> None:
    rows, _ = split(parse(b"id;productDisplayName\n1;Shirt; blue, slim\n", name="styles.csv"))
    assert rows[0]["productDisplayName"] == "Shirt; blue, slim"


def test_a_column_that_is_there_twice_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="gender twice"):
        parse(b"id,gender,gender\n1,Men,Women\n", name="styles.csv")


def test_the_label_that_reports_use_for_null_is_refused() -> None:
    _, bad = read(line().replace("Shirts", "(other)"), line("2", name="(other)"))
    assert [(found["product_id"], found["reason"]) for found in bad] == [("15970", "bad_row")]
    assert "articleType" in bad[0]["detail"]


# Withdrawals.


@pytest.mark.parametrize("header", ["id", "\ufeffid", '"id"', "product_id", "why;id"])
def test_withdrawals_are_ids_below_a_header(header: str) -> None:
    first = "gone;7" if ";" in header else "7"
    table = parse_withdrawn(f"{header}\r\n{first}\r\n\r\n../8\r\n".encode(), name="withdrawn.csv")
    assert table.schema == schema.FEED_ROWS
    assert table["withdrawn"].to_pylist() == [True, True]
    assert table["source_row"].to_pylist() == [2, 4]
    assert table["reason"].to_pylist() == [None, "bad_id"] and table["product_id"].to_pylist() == ["7", None]


@pytest.mark.parametrize("content", [b"", b"7\n8\n", b"sku\n7\n"])
def test_withdrawals_without_a_header_are_the_users_mistake(content: bytes) -> None:
    with pytest.raises(UserError, match=r"withdrawn\.csv.*expected id"):
        parse_withdrawn(content, name="withdrawn.csv")


# Values from elsewhere than text.


@pytest.mark.parametrize("value", [["Shirts"], {"a": 1}, b"Shirts", True, 1.5, "\ud800", (3, "of", 2), object()])
def test_a_value_that_a_label_column_cannot_hold_is_a_bad_row(value: object) -> None:
    found = row({"product_id": "1", "articleType": value}, source_row=3)
    assert (found["product_id"], found["source_row"], found["reason"]) == ("1", 3, "bad_row")
    assert "articleType" in str(found["detail"]) and "articleType" not in found


@pytest.mark.parametrize(("value", "label"), [(7, "7"), (None, None), (float("nan"), None), (" x ", "x"), ("NA", None)])
def test_numbers_become_text_and_nothing_becomes_null(value: object, label: str | None) -> None:
    found = row({"product_id": 15970, "articleType": value, "year": 2011.0}, source_row=1)
    assert (found["product_id"], found["articleType"], found["year"]) == ("15970", label, 2011)


def test_the_quarantine_keeps_details_short() -> None:
    _, bad = read(line("x" * 5000), line(year="y" * 5000))
    assert len(bad) == 2 and all(len(str(row["detail"])) <= 500 for row in bad)


def test_a_bad_row_travels_between_processes() -> None:
    back = pickle.loads(pickle.dumps(BadRow("bad_id", "id ''")))
    assert isinstance(back, BadRow) and (back.reason, back.detail) == ("bad_id", "id ''")
