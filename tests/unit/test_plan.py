"""What an ingest will do: rows and pictures matched, dealt out to portions, and every one of them in the books."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.catalog import plan as planning
from fashion_ray.catalog import schema
from fashion_ray.catalog.plan import WORK, IngestPlan, id_hashes, plan_ingest, shard_bounds, shard_count
from fashion_ray.errors import UserError

SEEN_AT = "2026-01-02T03:04:05Z"
Row = dict[str, Any]


def row(product_id: str | None, number: int = 0, **values: object) -> Row:
    """A row of a feed."""
    return {"product_id": product_id, "source_row": number, "articleType": "Shirts", "withdrawn": False, **values}


def bad(product_id: str | None, reason: str = "bad_row") -> Row:
    """A row that its reader could not use."""
    return row(product_id, reason=reason, detail="9 fields, expected 10")


def beside(*locators: str, size_bytes: int = 10) -> pa.Table:
    """Pictures that lie beside the rows."""
    return pa.Table.from_pylist([{"locator": name, "size_bytes": size_bytes} for name in locators], schema=schema.PICTURES)


def pictures(*product_ids: str) -> pa.Table:
    """Their pictures."""
    return beside(*(f"images/{product_id}.jpg" for product_id in product_ids))


def plan_of(
    rows: list[Row], found: pa.Table, *, existing: tuple[str, ...] = (), delta: bool = False, in_order: bool = False
) -> IngestPlan:
    """A plan whose books balance."""
    table = pa.Table.from_pylist(rows, schema=schema.FEED_ROWS)
    ids = pa.array(existing, type=pa.string())
    plan = plan_ingest(table, found, existing=ids, delta=delta, in_order=in_order, seen_at=SEEN_AT)
    products = work(plan)
    labelled = sum(each["has_row"] for each in products)
    counts = plan.counts
    assert (
        plan.rows
        == len(rows)
        == labelled + plan.relabelled.num_rows + counts["missing"] + counts["unusable"] + counts["withdrawn"]
    )
    assert plan.pictures == len(products) + counts["unusable_pictures"]
    assert len(plan.quarantined) == counts["missing"] + counts["unusable"] + counts["unusable_pictures"]
    assert all(each["reason"] in schema.REASONS and each["seen_at"] == SEEN_AT for each in plan.quarantined)
    assert all(portion.schema.names == WORK.names and portion.num_rows for portion in plan.portions)
    return plan


def work(plan: IngestPlan) -> list[Row]:
    """Every product whose picture is to be read."""
    return [each for portion in plan.portions for each in portion.to_pylist()]


def reasons(plan: IngestPlan) -> list[tuple[str, str | None]]:
    """Why things are set aside."""
    return sorted((str(each["reason"]), each["product_id"]) for each in plan.quarantined)  # type: ignore[misc]


def test_a_product_is_its_row_and_its_picture() -> None:
    plan = plan_of([row("7", 2, year=2011), row("8", 3, articleType="Belts")], pictures("8", "7"))
    found = {each["product_id"]: each for each in work(plan)}
    assert {key: (each["locator"], each["articleType"], each["year"]) for key, each in found.items()} == {
        "7": ("images/7.jpg", "Shirts", 2011),
        "8": ("images/8.jpg", "Belts", None),
    }
    assert plan.quarantined == []


def test_a_row_may_say_itself_where_its_picture_lies() -> None:
    plan = plan_of([row("7", locator="a.parquet#0#0"), row("8", locator="a.parquet#0#1")], pictures())
    assert {each["product_id"]: each["locator"] for each in work(plan)} == {"7": "a.parquet#0#0", "8": "a.parquet#0#1"}
    assert plan.pictures == 2


def test_a_row_without_a_picture_is_set_aside() -> None:
    plan = plan_of([row("7", 2), row("8", 3), row("9", 4)], pictures("8"))
    assert [each["product_id"] for each in work(plan)] == ["8"]
    assert {(each["product_id"], each["source_row"], each["reason"]) for each in plan.quarantined} == {
        ("7", 2, "no_picture"),
        ("9", 4, "no_picture"),
    }


def test_a_picture_without_a_row_is_a_product_without_labels() -> None:
    plan = plan_of([row("7")], pictures("7", "99"))
    found = next(each for each in work(plan) if each["product_id"] == "99")
    assert {name: value for name, value in found.items() if value is not None} == {
        "product_id": "99", "locator": "images/99.jpg", "has_row": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a b", "", "x" * 200, ".hidden", "..", "é", "a;b", "-1", "a\nb"])
def test_a_picture_whose_name_is_no_id_is_set_aside(name: str) -> None:
    plan = plan_of([row("7")], beside(f"images/{name}.jpg", "images/7.jpg"))
    assert [each["product_id"] for each in work(plan)] == ["7"]
    assert reasons(plan) == [("bad_id", None)]
    assert len(str(plan.quarantined[0]["detail"])) <= 500


def test_of_two_pictures_of_a_product_the_first_counts() -> None:
    plan = plan_of([row("7")], beside("images/7.jpg", "images/7.png", "images/more/7.jpg"))
    assert [each["locator"] for each in work(plan)] == ["images/7.jpg"]
    assert reasons(plan) == [("duplicate_id", "7")] * 2
    assert ["images/7.png" in str(each["detail"]) for each in plan.quarantined] == [True, False]


def test_of_two_rows_of_a_product_the_first_that_can_be_used_counts() -> None:
    plan = plan_of([bad("7"), row("7", 3, articleType="Ties"), row("7", 4), bad(None), bad("../x")], pictures("7"))
    assert work(plan)[0]["articleType"] == "Ties"
    assert Counter(each["reason"] for each in plan.quarantined) == {"bad_row": 3, "duplicate_id": 1}
    assert {each["product_id"] for each in plan.quarantined} == {"7", None}


def test_the_picture_of_an_unreadable_row_is_a_product_without_labels() -> None:
    plan = plan_of([row("7"), bad("9")], pictures("7", "9"))
    assert {each["product_id"]: each["has_row"] for each in work(plan)} == {"7": True, "9": False}


@pytest.mark.parametrize(("rows", "found"), [([], pictures()), ([row("7")], pictures()), ([], beside("images/ .jpg"))])
def test_without_a_usable_picture_there_is_no_work(rows: list[Row], found: pa.Table) -> None:
    assert plan_of(rows, found).portions == []


def test_a_delta_may_relabel_what_is_there_without_its_picture() -> None:
    plan = plan_of([row("7", articleType="Ties"), row("8")], pictures(), existing=("7", "9"), delta=True)
    assert [(each["product_id"], each["articleType"]) for each in plan.relabelled.to_pylist()] == [("7", "Ties")]
    assert reasons(plan) == [("no_picture", "8")]


def test_in_a_full_feed_a_row_without_a_picture_is_missing_one_whatever_was_there() -> None:
    plan = plan_of([row("7")], pictures(), existing=("7",))
    assert plan.relabelled.num_rows == 0 and reasons(plan) == [("no_picture", "7")]


@pytest.mark.parametrize("delta", [True, False])
def test_withdrawals_are_known_contradicted_repeated_or_of_nobody(delta: bool) -> None:
    leaving = [row(each, withdrawn=True) for each in ("7", "8", "7", "nobody")]
    plan = plan_of([*leaving, row("8"), row("9")], pictures("7", "9"), existing=("7", "8", "9"), delta=delta)
    assert sorted(plan.withdrawn) == ["7", "8", "nobody"] and plan.counts["withdrawn"] == 2
    assert [each["product_id"] for each in work(plan)] == ["9"]
    assert reasons(plan) == [("bad_row", "7"), ("bad_row", "8"), ("duplicate_id", "7"), ("unknown_product", "nobody")]


def test_every_product_is_in_one_portion_in_the_order_of_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 10)
    names = [str(number) for number in range(1000)]
    plan = plan_of([row(name) for name in names[:600]], pictures(*names))
    found = [each["product_id"] for each in work(plan)]
    assert sorted(found) == sorted(names) and found == sorted(names, key=lambda name: int(id_hashes([name])[0]))
    assert 90 <= len(plan.portions) <= 100 and max(portion.num_rows for portion in plan.portions) < 30


def test_what_can_only_be_read_in_order_is_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 30)
    names = [f"{number:03d}" for number in range(100)]
    plan = plan_of([row(name, locator=name) for name in names], pictures(), in_order=True)
    assert [each["locator"] for each in work(plan)] == names
    assert [portion.num_rows for portion in plan.portions] == [30, 30, 30, 10]


@pytest.mark.parametrize("in_order", [True, False])
def test_large_pictures_make_small_portions(in_order: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_BYTES", 1000)
    names = [f"{number:03d}" for number in range(200)]
    plan = plan_of([row(name, locator=name, size_bytes=100) for name in names], pictures(), in_order=in_order)
    sizes = [portion.num_rows for portion in plan.portions]
    assert sum(sizes) == 200 and 18 <= len(sizes) <= 22 and max(sizes) < 25


def test_the_order_of_the_feed_changes_no_portion() -> None:
    names = [str(number) for number in range(150)]
    plan = plan_of([row(name) for name in names[:120]], pictures(*names))
    mixed = random.Random(3).sample(names, 150)
    other = plan_of([row(name) for name in mixed if int(name) < 120], pictures(*reversed(mixed)))
    assert [one.equals(two) for one, two in zip(plan.portions, other.portions, strict=True)] == [True]


@pytest.mark.parametrize(
    ("products", "size_bytes", "shards"),
    [
        (0, 0, 1),
        (1, 0, 1),
        (2048, 0, 1),
        (2049, 0, 2),
        (44_000, 66_000_000, 22),
        (44_000, 25 * 10**9, 373),
        (10_000_000, 0, 4883),
    ],
)
def test_the_number_of_shards(products: int, size_bytes: int, shards: int) -> None:
    assert shard_count(products, size_bytes) == shards


def test_shards_are_equal_ranges_of_the_hash_so_a_new_product_moves_no_other() -> None:
    hashes = np.sort(id_hashes([str(number) for number in range(10_000)]))
    bounds = shard_bounds(hashes, 8)
    assert bounds[0] == 0 and bounds[-1] == 10_000 and all(1100 < size < 1400 for size in np.diff(bounds))
    assert all(int(hashes[end - 1]) < (number << 61) <= int(hashes[end]) for number, end in enumerate(bounds[1:-1], start=1))
    assert shard_bounds(hashes, 1) == [0, 10_000] and shard_bounds(hashes[:0], 3) == [0, 0, 0, 0]


def test_the_hash_of_an_id_is_the_same_everywhere_and_always() -> None:
    assert id_hashes(["15970", "15970"]).tolist() == [8704557920348079225] * 2
    assert len(set(id_hashes([str(number) for number in range(10_000)]).tolist())) == 10_000
    assert id_hashes([]).shape == (0,)


def test_a_hundred_thousand_products_are_planned_in_a_moment() -> None:
    names = [str(number) for number in range(100_000)]
    plan = plan_of([row(name) for name in names], pictures(*names))
    assert len(work(plan)) == 100_000 and len(plan.portions) == 49


def test_a_file_of_which_millions_of_lines_cannot_be_used_is_no_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MOST_UNUSABLE", 4)
    rows = [row("7"), *(bad(None) for _ in range(3))]
    assert plan_of(rows, beside("images/7.jpg", "images/a b.jpg")).counts.total() == 4
    with pytest.raises(
        UserError, match=r"5 rows and pictures cannot be used .*, expected at most 4; pass the feed's own files"
    ):
        plan_of(rows, beside("images/7.jpg", "images/a b.jpg", "images/c d.jpg"))
