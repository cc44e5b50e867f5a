"""Corrections: every line of a file is accounted for, the later one counts, and only what was corrected changes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.corrections import (
    APPLIED,
    CORRECTIONS,
    CorrectionsFile,
    NewLabel,
    apply_corrections,
    merge_corrections,
    new_labels,
    read_corrections,
    unknown_products,
)
from fashion_ray.errors import UserError

SEEN_AT = "2026-01-02T03:04:05Z"
HEADER = "product_id,target,label"
Triple = tuple[str, str, str]


def read(*lines: str | bytes, header: str = HEADER, end: bytes = b"\n", start: bytes = b"") -> CorrectionsFile:
    """What is in these lines below a header; each of them is in exactly one place."""
    body = [line if isinstance(line, bytes) else line.encode() for line in lines]
    found = read_corrections(start + end.join([header.encode(), *body, b""]), "mine.csv", SEEN_AT)
    assert found.table.schema == CORRECTIONS
    assert found.table.num_rows + len(found.bad) + found.unfilled + found.superseded == sum(bool(line.strip()) for line in body)
    pa.Table.from_pylist(found.bad, schema=schema.QUARANTINE)
    assert all(
        row["stage"] == "corrections" and row["seen_at"] == SEEN_AT and "mine.csv" in str(row["detail"]) for row in found.bad
    )
    return found


def triples(table: pa.Table) -> list[Triple]:
    """The rows of a table of corrections."""
    return [(row["product_id"], row["target"], row["label"]) for row in table.to_pylist()]


def corrections(*rows: Triple) -> pa.Table:
    """A table of corrections."""
    return pa.Table.from_pylist([dict(zip(CORRECTIONS.names, row, strict=True)) for row in rows], schema=CORRECTIONS)


def facts(**articles: str | None) -> pa.Table:
    """Products a, b, ... with these articleTypes, and no other label than a masterCategory."""
    columns: dict[str, list[str | None]] = {name: [None] * len(articles) for name in schema.LABEL_COLUMNS}
    columns |= {"articleType": list(articles.values()), "masterCategory": ["Apparel"] * len(articles)}
    table = pa.table({"product_id": pa.array(list(articles), pa.string())})
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return table


def test_a_line_is_a_correction() -> None:
    found = read("15970,articleType,Shirts", "2,baseColour, Navy Blue ")
    assert triples(found.table) == [("15970", "articleType", "Shirts"), ("2", "baseColour", "Navy Blue")]
    assert found.bad == [] and found.unfilled == found.superseded == 0


def test_a_file_without_lines_has_no_corrections() -> None:
    assert read().table.num_rows == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_are_found_by_name_and_others_are_ignored(delimiter: str) -> None:
    lines = [
        "worse,Shirts,15970,articleType,0.3,",
        'a "note,Tops,2,articleType',
        "x,Tops,3,articleType,0.1,more,than,the,header",
    ]
    found = read(
        *(line.replace(",", delimiter) for line in lines),
        header=delimiter.join([" note", "label ", "product_id", "target", "probability", "note"]),
    )
    assert triples(found.table) == [
        ("15970", "articleType", "Shirts"),
        ("2", "articleType", "Tops"),
        ("3", "articleType", "Tops"),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_ends_of_lines_byte_order_marks_and_code_pages_are_taken(end: bytes) -> None:
    found = read("1,usage,Café", "", "2,usage,Home", end=end, start=b"\xef\xbb\xbf")
    assert triples(found.table) == [("1", "usage", "Café"), ("2", "usage", "Home")]
    assert triples(read(b"1,usage,Caf\xe9", end=end).table) == [("1", "usage", "Café")]


@pytest.mark.parametrize("label", ["=SUM", "+1", "-", "@home"])
def test_the_apostrophe_of_our_exports_is_taken_off(label: str) -> None:
    assert triples(read(f"1,usage,'{label}").table) == [("1", "usage", label)]


@pytest.mark.parametrize("label", ["'Tis", "Men's", "O'=x"])
def test_other_apostrophes_stay(label: str) -> None:
    assert triples(read(f"1,usage,{label}").table) == [("1", "usage", label)]


@pytest.mark.parametrize("cell", ["", " ", "NA", '""'])
def test_an_empty_label_corrects_nothing_and_replaces_nothing(cell: str) -> None:
    found = read("1,usage,Home", f"1,usage,{cell}", f"2,usage,{cell}")
    assert triples(found.table) == [("1", "usage", "Home")] and found.unfilled == 2 and found.bad == []


def test_the_last_line_of_a_product_and_target_counts() -> None:
    found = read("1,usage,Home", "1,season,Fall", "1,usage,Sports", "1,usage,Sports", "2,usage,Home")
    assert triples(found.table) == [("1", "season", "Fall"), ("1", "usage", "Sports"), ("2", "usage", "Home")]
    assert found.superseded == 2


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("1,articletype,Shirts", "bad_correction", "did you mean articleType?"),
        ("1,colour,Shirts", "bad_correction", "baseColour"),
        ("1,productDisplayName,Shirts", "bad_correction", "expected one of"),
        ("1,joined_category,Shirts", "bad_correction", "expected one of"),
        ("1,,Shirts", "bad_correction", "expected one of"),
        ("1,usage,(other)", "bad_correction", "(other)"),
        ("1,usage", "bad_correction", "expected 3"),
        ('"1,usage,Home', "bad_correction", "expected 3"),
        ("../x,usage,Home", "bad_id", "../x"),
        (",usage,Home", "bad_id", "''"),
    ],
)
def test_a_line_that_cannot_be_used_is_set_aside_with_the_reason(line: str, reason: str, detail: str) -> None:
    found = read("7,usage,Home", line, "8,usage,Home")
    assert [row[0] for row in triples(found.table)] == ["7", "8"]
    assert [(row["reason"], row["source_row"]) for row in found.bad] == [(reason, 3)]
    assert detail in str(found.bad[0]["detail"])
    assert found.bad[0]["product_id"] == ("1" if line.startswith("1") else None)


def test_a_note_over_several_lines_costs_only_its_own_lines() -> None:
    found = read('1,usage,Home,"first', 'second"', "2,usage,Home", header=HEADER + ",note")
    assert [row[0] for row in triples(found.table)] == ["1", "2"] and len(found.bad) == 1


def test_nul_bytes_and_very_long_cells_stop_nothing() -> None:
    found = read(b"1,usage,Ho\0me", "2,usage," + "x" * 200_000, "3,usage,Home")
    assert [row[0] for row in triples(found.table)] == ["1", "3"] and len(found.bad) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"product_id,target\n", b"id,target,label\n", b"1,usage,Home\n", b"product_id,target,label,label\n"]
)
def test_another_header_is_the_users_mistake(content: bytes) -> None:
    with pytest.raises(UserError, match=r"mine\.csv: got .*expected each of product_id,target,label once; name them"):
        read_corrections(content, "mine.csv", SEEN_AT)


def test_of_two_files_the_later_counts() -> None:
    earlier = corrections(("2", "usage", "Home"), ("1", "usage", "Home"), ("1", "season", "Fall"))
    later = corrections(("3", "usage", "Home"), ("1", "usage", "Sports"))
    merged = merge_corrections(earlier, later)
    assert merged.schema == CORRECTIONS
    assert triples(merged) == [
        ("1", "season", "Fall"),
        ("1", "usage", "Sports"),
        ("2", "usage", "Home"),
        ("3", "usage", "Home"),
    ]
    assert merge_corrections(merged, later) == merged == merge_corrections(merged, corrections())
    assert merge_corrections(corrections(), corrections()).num_rows == 0


def test_corrections_change_what_they_name_and_nothing_else() -> None:
    before = facts(a="Shirts", b="Tops", c=None, d="Tops")
    after, applied = apply_corrections(
        before, corrections(("c", "articleType", "Hats"), ("b", "articleType", "Shirts"), ("a", "season", "Fall"))
    )
    assert after.schema == before.schema and applied.schema == APPLIED
    assert after["articleType"].to_pylist() == ["Shirts", "Shirts", "Hats", "Tops"]
    assert after["season"].to_pylist() == ["Fall", None, None, None]
    assert after.drop(["articleType", "season"]) == before.drop(["articleType", "season"])
    assert [tuple(row.values()) for row in applied.to_pylist()] == [
        ("a", "season", "Fall", None), ("b", "articleType", "Shirts", "Tops"), ("c", "articleType", "Hats", None),
    ]  # fmt: skip


def test_a_correction_that_the_feed_has_caught_up_with_is_applied_all_the_same() -> None:
    after, applied = apply_corrections(facts(a="Shirts"), corrections(("a", "articleType", "Shirts")))
    assert after == facts(a="Shirts") and applied.to_pylist()[0]["was"] == "Shirts"


def test_products_are_found_in_a_catalog_of_many_pieces() -> None:
    before = pa.concat_tables([facts(a="Shirts"), facts(b="Tops", c="Tops"), facts(d="Tops")])
    later = pa.concat_tables([corrections(("d", "articleType", "Hats")), corrections(("a", "articleType", "Caps"))])
    after, applied = apply_corrections(before, later)
    assert after["articleType"].to_pylist() == ["Caps", "Tops", "Tops", "Hats"]
    assert applied["was"].to_pylist() == ["Shirts", "Tops"]


def test_a_product_that_is_not_there_is_reported_and_changes_nothing() -> None:
    found = corrections(("a", "articleType", "Hats"), ("gone", "articleType", "Hats"))
    after, applied = apply_corrections(facts(a="Tops"), found)
    assert applied["product_id"].to_pylist() == ["a"] and after.num_rows == 1
    unknown = unknown_products(facts(a="Tops"), found, SEEN_AT)
    assert [(row["product_id"], row["reason"], row["stage"]) for row in unknown] == [("gone", "unknown_product", "corrections")]
    assert "articleType" in str(unknown[0]["detail"]) and "Hats" in str(unknown[0]["detail"])
    assert applied.num_rows + len(unknown) == found.num_rows


@pytest.mark.parametrize("products", [{}, {"a": "Tops"}])
def test_without_corrections_nothing_happens(products: dict[str, str]) -> None:
    after, applied = apply_corrections(facts(**products), corrections())
    assert after == facts(**products) and applied == APPLIED.empty_table()
    assert unknown_products(after, corrections(), SEEN_AT) == new_labels(after, corrections()) == []


def test_an_empty_catalog_knows_no_product() -> None:
    after, applied = apply_corrections(facts(), corrections(("a", "usage", "Home")))
    assert after.num_rows == applied.num_rows == 0
    assert len(unknown_products(facts(), corrections(("a", "usage", "Home")), SEEN_AT)) == 1


def test_labels_that_only_corrections_have_are_named_with_what_was_perhaps_meant() -> None:
    found = corrections(
        ("a", "articleType", "tshirts"), ("b", "articleType", "tshirts"), ("c", "articleType", "Hats"),
        ("d", "articleType", "Zeppelin"), ("a", "season", "Fall"),
    )  # fmt: skip
    assert new_labels(facts(a="Tshirts", b="Hats", c=None), found) == [
        NewLabel(target="articleType", label="Zeppelin", corrections=1, nearest=None),
        NewLabel(target="articleType", label="tshirts", corrections=2, nearest="Tshirts"),
        NewLabel(target="season", label="Fall", corrections=1, nearest=None),
    ]
