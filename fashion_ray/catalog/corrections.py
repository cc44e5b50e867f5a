"""Labels that people have corrected. In: CSV files with the columns product_id, target, label. Out: a corrected catalog.

Corrections live beside the feed and are applied over it at every ingest, so the feed itself stays as it was delivered.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog.feed_rows import MISSING, RESERVED_LABEL, BadRow, check_id
from fashion_ray.catalog.lines import cells_of, records
from fashion_ray.catalog.schema import LABEL_COLUMNS, quarantine_row
from fashion_ray.errors import UserError
from fashion_ray.spreadsheets import FORMULA_STARTS

CORRECTIONS = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("product_id", "target", "label")])
"""At most one row a product and target."""

APPLIED = CORRECTIONS.append(pa.field("was", pa.string()))
"""Corrections that were applied, with the label before; null where there was none."""

DELIMITERS = ",;\t|"


class CorrectionsFile(NamedTuple):
    """What a file holds: each of its lines below the header is in `table` or `bad`, or counted in one of the other two."""

    table: pa.Table
    """CORRECTIONS."""

    bad: list[dict[str, object]]
    """Quarantine rows of lines that cannot be used."""

    unfilled: int
    """Lines whose label is empty or NA: nobody has corrected anything."""

    superseded: int
    """Lines that a later one of the same product and target replaces: people append."""


def read_corrections(content: bytes, name: str, seen_at: str) -> CorrectionsFile:
    """The corrections in a CSV file, UTF-8 or a Windows code page. A line is a record; other columns are ignored.

    `name` says in messages which file it is. Raises UserError if the header lacks a column or has one twice.
    """
    lines = records(content)
    delimiter, places = _header(next(lines, (1, ""))[1], name)
    found: dict[tuple[str, str], str] = {}
    bad: list[dict[str, object]] = []
    unfilled = superseded = 0
    for number, line in lines:
        cells = [cell.strip() for cell in cells_of(line, delimiter)]
        try:
            product_id, target, label = _correction(cells, places)
        except BadRow as error:
            bad.append(
                quarantine_row(
                    reason=error.reason,
                    stage="corrections",
                    seen_at=seen_at,
                    product_id=_claimed_id(cells, places),
                    source_row=number,
                    detail=f"{name}: {error.detail}",
                )
            )
            continue
        if label is None:
            unfilled += 1
            continue
        superseded += (product_id, target) in found
        found[product_id, target] = label
    rows = [(*key, label) for key, label in sorted(found.items())]
    table = pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or [[], [], []], schema=CORRECTIONS)
    return CorrectionsFile(table=table, bad=bad, unfilled=unfilled, superseded=superseded)


def _header(line: str, name: str) -> tuple[str, tuple[int, ...]]:
    """The delimiter, and where the columns of CORRECTIONS stand."""
    for delimiter in DELIMITERS:
        header = [cell.strip() for cell in cells_of(line, delimiter)]
        if all(header.count(column) == 1 for column in CORRECTIONS.names):
            return delimiter, tuple(header.index(column) for column in CORRECTIONS.names)
    raise UserError(
        f"{name}: got the columns {line[:200]!r}, expected each of {','.join(CORRECTIONS.names)} once; "
        "name them so in the first line"
    )


def _correction(cells: Sequence[str], places: Sequence[int]) -> tuple[str, str, str | None]:
    """Product id, target and label of a line; a null label if it is not filled in. Raises BadRow."""
    if len(cells) <= max(places):
        raise BadRow("bad_correction", f"{len(cells)} fields, expected {max(places) + 1} or more")
    product_id, target, label = (_unguarded(cells[place]) for place in places)
    check_id(product_id)
    if target not in LABEL_COLUMNS:
        near = nearest(target, LABEL_COLUMNS)
        hint = f"; did you mean {near}?" if near else ""
        raise BadRow("bad_correction", f"target {target[:100]!r}, expected one of {', '.join(LABEL_COLUMNS)}{hint}")
    if label == RESERVED_LABEL:
        raise BadRow("bad_correction", f"the label {RESERVED_LABEL!r} stands for products that no label fits")
    return product_id, target, None if label in MISSING else label


def _claimed_id(cells: Sequence[str], places: Sequence[int]) -> str | None:
    """The product id of a line that cannot be used, if that much of it can be read."""
    try:
        return check_id(_unguarded(cells[places[0]]))
    except (BadRow, IndexError):
        return None


def _unguarded(cell: str) -> str:
    """A cell without the apostrophe that CSV exports put before what a spreadsheet would take for a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like this one, whatever the case; null if none is."""
    lowered = {other.lower(): other for other in sorted(known, reverse=True)}
    found = difflib.get_close_matches(word.lower(), sorted(lowered), n=1)
    return lowered[found[0]] if found else None


def merge_corrections(earlier: pa.Table, later: pa.Table) -> pa.Table:
    """All corrections of two CORRECTIONS tables, sorted; where both correct the same target of a product, the later counts."""
    both = pa.concat_tables([earlier, later]).to_pandas()
    kept = both.drop_duplicates(["product_id", "target"], keep="last").sort_values(["product_id", "target"])
    return pa.Table.from_pandas(kept, schema=CORRECTIONS, preserve_index=False).replace_schema_metadata(None)


def apply_corrections(facts: pa.Table, corrections: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The products with corrected labels, and what was done (APPLIED), also where the feed already had the label.

    `facts` has each product_id once. Corrections of products that are not among them change nothing: see `unknown_products`.
    """
    known = corrections.filter(_is_known(facts, corrections))
    applied = []
    for target in pc.unique(known["target"]).to_pylist():
        chosen = known.filter(pc.equal(known["target"], target))
        before = facts[target].take(pc.index_in(chosen["product_id"], value_set=facts["product_id"].combine_chunks()))
        applied.append(chosen.append_column("was", before))
        label = chosen["label"].take(pc.index_in(facts["product_id"], value_set=chosen["product_id"].combine_chunks()))
        place = facts.schema.get_field_index(target)
        facts = facts.set_column(place, facts.schema.field(place), pc.coalesce(label, facts[target]))
    done = pa.concat_tables([APPLIED.empty_table(), *(table.cast(APPLIED) for table in applied)])
    return facts, done.sort_by([("product_id", "ascending"), ("target", "ascending")])


def unknown_products(facts: pa.Table, corrections: pa.Table, seen_at: str) -> list[dict[str, object]]:
    """Quarantine rows of corrections whose product is not in the catalog. Keep the corrections: it may come back."""
    unknown = corrections.filter(pc.invert(_is_known(facts, corrections)))
    return [
        quarantine_row(
            reason="unknown_product",
            stage="corrections",
            seen_at=seen_at,
            product_id=row["product_id"],
            detail=f"{row['target']} corrected to {row['label']!r}; the correction is kept",
        )
        for row in unknown.to_pylist()
    ]


def _is_known(facts: pa.Table, corrections: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(corrections["product_id"], value_set=facts["product_id"].combine_chunks())


class NewLabel(NamedTuple):
    """A label that only corrections have."""

    target: str
    label: str
    corrections: int
    nearest: str | None
    """The feed's label that is most like it: perhaps what was meant."""


def new_labels(facts: pa.Table, corrections: pa.Table) -> list[NewLabel]:
    """The labels of corrections that no product of the feed has, sorted: a new class, or a slip of the pen.

    `facts` are the products before `apply_corrections`.
    """
    counted = corrections.group_by(["target", "label"]).aggregate([([], "count_all")])
    found = []
    for target in sorted(pc.unique(counted["target"]).to_pylist()):
        known = set(pc.unique(facts[target]).to_pylist()) - {None}
        for row in counted.filter(pc.equal(counted["target"], target)).sort_by("label").to_pylist():
            if row["label"] not in known:
                near = nearest(row["label"], sorted(known))
                found.append(NewLabel(target=target, label=row["label"], corrections=row["count_all"], nearest=near))
    return found
