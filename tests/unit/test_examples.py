"""What a data page shows is the same whatever the order of the rows, and begins with what tells most."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from fashion_ray.catalog import schema
from fashion_ray.pages.examples import MOST_GROUPS, MOST_MEMBERS, MOST_PICTURES, Examples, examples, sheets

NOTHING = schema.QUARANTINE.empty_table()


def catalog(*rows: dict[str, object]) -> pa.Table:
    names = ["product_id", "group_id", *schema.LABEL_COLUMNS]
    usual = [{"product_id": f"p{n}", "group_id": f"p{n}"} for n in range(len(rows))]
    wanted = pa.schema([schema.CATALOG.field(name) for name in names])
    return pa.Table.from_pylist([one | row for one, row in zip(usual, rows, strict=True)], schema=wanted)


def quarantine(*reasons: str) -> pa.Table:
    rows = [
        schema.quarantine_row(
            reason=reason, stage="ingest", seen_at="now", product_id=f"q{n}", source_row=n, detail=f"detail {n}"
        )
        for n, reason in enumerate(reasons)
    ]
    return pa.Table.from_pylist(rows, schema=schema.QUARANTINE)


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 40), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def of_groups(found: Examples) -> list[list[str]]:
    return [[one.product_id for one in group.members] for group in found.groups]


def test_the_choice_does_not_depend_on_the_order_of_rows_but_on_the_seed() -> None:
    rng = np.random.default_rng(1)
    table = catalog(*[{"articleType": "Shirts", "group_id": f"g{n // 3}"} for n in range(90)])
    bad = quarantine(*["truncated", "bad_row"] * 30)
    found = examples(table, bad, seed=5)
    assert found == examples(table.take(rng.permutation(90)), bad.take(rng.permutation(60)), seed=5)
    assert found.random != examples(table, bad, seed=6).random
    assert (len(found.random), len(found.quarantined), len(found.groups)) == (MOST_PICTURES, MOST_PICTURES, MOST_GROUPS)
    assert len({one.product_id for one in found.random}) == MOST_PICTURES


def test_a_caption_is_the_finest_label_and_the_id() -> None:
    rows = [{"articleType": "Shirts", "masterCategory": "Apparel"}, {"masterCategory": "Apparel", "gender": "Men"}, {}]
    captions = {one.product_id: one.caption for one in examples(catalog(*rows), NOTHING).random}
    assert captions == {"p0": "Shirts\np0", "p1": "Apparel\np1", "p2": "(no label)\np2"}


def test_groups_that_disagree_on_a_category_come_first_and_singles_never() -> None:
    rows = [
        {"group_id": "same", "gender": "Men"}, {"group_id": "same", "gender": "Men"}, {"group_id": "same", "gender": "Men"},
        {"group_id": "label", "gender": "Men", "season": "Fall"}, {"group_id": "label", "gender": "Women", "season": "Summer"},
        {"group_id": "category", "articleType": "Shirts"}, {"group_id": "category", "articleType": "Tops"},
        {"articleType": "Shirts"},
    ]  # fmt: skip
    found = examples(catalog(*rows), NOTHING)
    assert of_groups(found) == [["p5", "p6"], ["p3", "p4"], ["p0", "p1", "p2"]]
    assert [group.title for group in found.groups] == ["articleType differs", "gender, season differ", "same labels"]
    assert [one.caption for one in found.groups[0].members] == ["Shirts\np5", "Tops\np6"]
    assert [one.caption for one in found.groups[1].members] == ["Men\nFall\np3", "Women\nSummer\np4"]
    assert set(found.product_ids) == {f"p{n}" for n in range(8)}


def test_of_a_large_group_one_of_each_label_is_shown_first() -> None:
    rows = [{"group_id": "g", "articleType": "Shirts"}] * 20 + [{"group_id": "g", "articleType": "Tops"}, {"group_id": "g"}]
    group = examples(catalog(*rows), NOTHING).groups[0]
    assert len(group.members) == MOST_MEMBERS
    assert [one.caption.split("\n")[0] for one in group.members[:4]] == ["Shirts", "Tops", "(no label)", "Shirts"]
    assert group.title == "articleType differs (8 of 22 shown)"


def test_a_missing_label_is_no_disagreement_and_a_missing_group_no_group() -> None:
    rows = [{"group_id": "g", "gender": "Men"}, {"group_id": "g"}, {"group_id": None}, {"group_id": None}]
    found = examples(catalog(*rows), NOTHING)
    assert [(group.title, len(group.members)) for group in found.groups] == [("same labels", 2)]


def test_every_reason_of_the_quarantine_is_shown() -> None:
    found = examples(catalog(), quarantine(*["no_picture"] * 500, "truncated", "bad_row")).quarantined
    assert [one.reason for one in found] == ["bad_row", *["no_picture"] * 22, "truncated"]
    assert (found[0].product_id, found[0].source_row, found[0].detail) == ("q501", 501, "detail 501")


def test_quarantined_rows_without_an_id_or_a_row_are_shown() -> None:
    rows = [schema.quarantine_row(reason="bad_id", stage="ingest", seen_at="now", source_row=3, detail="<b>")]
    rows += [schema.quarantine_row(reason="truncated", stage="ingest", seen_at="now", product_id="p")]
    one, other = examples(catalog(), pa.Table.from_pylist(rows, schema=schema.QUARANTINE)).quarantined
    assert (one.product_id, one.source_row) == (None, 3)
    assert (other.product_id, other.source_row) == ("p", None)


def test_nothing_gives_nothing() -> None:
    found = examples(catalog(), NOTHING)
    assert found == Examples(random=[], quarantined=[], groups=[])
    assert sheets(found, {}) == {}


def test_sheets_are_made_of_what_there_is() -> None:
    table = catalog({"group_id": "g"}, {"group_id": "g"}, {})
    found = examples(table, quarantine("truncated", "no_picture"))
    assert found.quarantined_ids == ["q0"], "there is nothing to see of a missing picture"
    pictures = {name: picture("red") for name in found.product_ids}
    assert list(sheets(found, pictures)) == ["random", "duplicates"]
    made = sheets(found, pictures, {"q0": b"damaged"})
    assert list(made) == ["random", "quarantined", "duplicates"]
    assert made["random"] != sheets(found, {})["random"], "a picture that was not fetched is a grey cell"
