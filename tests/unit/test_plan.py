"""What an ingest will do: rows and pictures matched, dealt out to shards, and every one of them in the books."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.plan import IngestPlan, id_hash, plan_ingest, shard_count
from fashion_ray.catalog.styles import ROWS, parse

SEEN_AT = "2026-01-02T03:04:05Z"


def rows_of(*product_ids: str, extra: tuple[str, ...] = ()) -> tuple[pa.Table, list[dict[str, object]]]:
    """Rows of a feed with these ids, and the quarantine rows of what else is in it."""
    lines = [f"{product_id},Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,Shirt {product_id}" for product_id in product_ids]
    return parse("\n".join([",".join(schema.FEED_COLUMNS), *lines, *extra]).encode(), name="styles.csv", seen_at=SEEN_AT)


def plan_of(rows: list[str], locators: list[str], *, extra: tuple[str, ...] = (), shard_rows: int = 2048) -> IngestPlan:
    """A plan whose books balance."""
    plan = plan_ingest(*rows_of(*rows, extra=extra), locators, seen_at=SEEN_AT, shard_rows=shard_rows)
    products = [row for shard in plan.shards for row in shard.to_pylist()]
    labelled = sum(row["source_row"] is not None for row in products)
    assert plan.rows == labelled + plan.counts["missing"] + plan.counts["unusable"]
    assert plan.pictures == len(products) + plan.counts["unusable_pictures"]
    assert plan.counts["unlabelled"] == len(products) - labelled
    assert len(plan.quarantined) == plan.counts["missing"] + plan.counts["unusable"] + plan.counts["unusable_pictures"]
    assert all(row["reason"] in schema.REASONS and row["seen_at"] == SEEN_AT for row in plan.quarantined)
    return plan


def pictures(*product_ids: str) -> list[str]:
    """Locators."""
    return [f"images/{product_id}.jpg" for product_id in product_ids]


def ids(plan: IngestPlan) -> list[list[str]]:
    """The products of each shard."""
    return [shard["product_id"].to_pylist() for shard in plan.shards]


def test_a_product_is_its_row_and_its_picture() -> None:
    plan = plan_of(["7", "8"], pictures("8", "7"))
    (shard,) = plan.shards
    assert shard.schema.names == [*ROWS.names, "locator"]
    found = {row["product_id"]: row for row in shard.to_pylist()}
    assert found.keys() == {"7", "8"}
    for product_id, row in found.items():
        assert row["locator"] == f"images/{product_id}.jpg"
        assert row["productDisplayName"] == f"Shirt {product_id}"
        assert row["articleType"] == "Shirts" and row["year"] == 2011
    assert found["7"]["source_row"] == 2 and found["8"]["source_row"] == 3
    assert plan.quarantined == []


def test_a_row_without_a_picture_is_set_aside() -> None:
    plan = plan_of(["7", "8", "9"], pictures("8"))
    assert ids(plan) == [["8"]]
    assert {(row["product_id"], row["source_row"], row["reason"]) for row in plan.quarantined} == {
        ("7", 2, "no_picture"),
        ("9", 4, "no_picture"),
    }
    assert plan.counts["missing"] == 2


def test_a_picture_without_a_row_is_a_product_without_labels() -> None:
    plan = plan_of(["7"], pictures("7", "99"))
    row = next(row for row in plan.shards[0].to_pylist() if row["product_id"] == "99")
    assert row["locator"] == "images/99.jpg"
    assert {value for name, value in row.items() if name not in ("product_id", "locator")} == {None}
    assert plan.counts["unlabelled"] == 1 and plan.quarantined == []


@pytest.mark.parametrize("name", ["a b", "", "x" * 200, ".hidden", "..", "é", "a;b", "-1"])
def test_a_picture_whose_name_is_no_id_is_set_aside(name: str) -> None:
    plan = plan_of(["7"], [f"images/{name}.jpg", *pictures("7")])
    assert ids(plan) == [["7"]]
    assert [(row["reason"], row["product_id"]) for row in plan.quarantined] == [("bad_id", None)]
    assert len(str(plan.quarantined[0]["detail"])) <= 500


def test_of_two_pictures_of_a_product_the_first_counts() -> None:
    plan = plan_of(["7"], ["images/7.jpg", "images/7.png", "images/more/7.jpg"])
    assert plan.shards[0]["locator"].to_pylist() == ["images/7.jpg"]
    assert [(row["reason"], row["product_id"]) for row in plan.quarantined] == [("duplicate_id", "7")] * 2
    assert ["images/7.png" in str(row["detail"]) for row in plan.quarantined] == [True, False]
    assert plan.counts["unusable_pictures"] == 2


def test_rows_that_could_not_be_read_are_in_the_books() -> None:
    plan = plan_of(["7", "8", "7"], pictures("7", "8"), extra=("9,Men",))
    assert plan.rows == 4 and plan.counts["unusable"] == 2
    assert Counter(row["reason"] for row in plan.quarantined) == {"duplicate_id": 1, "bad_row": 1}


def test_the_picture_of_an_unreadable_row_is_a_product_without_labels() -> None:
    plan = plan_of(["7"], pictures("7", "9"), extra=("9,Men",))
    assert sorted(ids(plan)[0]) == ["7", "9"] and plan.counts["unlabelled"] == 1


@pytest.mark.parametrize(("rows", "locators"), [([], []), (["7"], []), ([], ["images/ .jpg"])])
def test_without_a_usable_picture_there_is_no_work(rows: list[str], locators: list[str]) -> None:
    assert plan_of(rows, locators).shards == []


@pytest.mark.parametrize("shard_rows", [1, 7, 10, 99, 100, 101, 1000])
def test_every_product_is_dealt_once(shard_rows: int) -> None:
    names = [str(number) for number in range(100)]
    shards = ids(plan_of(names[:60], pictures(*names), shard_rows=shard_rows))
    assert sorted(name for shard in shards for name in shard) == sorted(names)
    assert 1 <= len(shards) <= shard_count(100, shard_rows) and all(shards)


def test_shards_are_of_about_the_size_asked_for() -> None:
    names = [str(number) for number in range(10_000)]
    sizes = [len(shard) for shard in ids(plan_of([], pictures(*names), shard_rows=1000))]
    assert len(sizes) == 10 and max(sizes) < 1150 and min(sizes) > 850


def test_a_new_product_moves_no_other_while_the_number_of_shards_holds() -> None:
    names = [str(number) for number in range(95)]
    before = ids(plan_of(names, pictures(*names), shard_rows=20))
    after = ids(plan_of(names, pictures(*names, "new", "newer"), shard_rows=20))
    assert [[name for name in shard if not name.startswith("new")] for shard in after] == before


def test_a_shard_is_in_the_order_of_the_hash_of_its_ids() -> None:
    names = [str(number) for number in range(200)]
    for shard in ids(plan_of(names, pictures(*names), shard_rows=50)):
        assert shard == sorted(shard, key=id_hash)


def test_a_shard_has_products_of_the_whole_feed() -> None:
    names = [f"{number:04d}" for number in range(1000)]
    for shard in ids(plan_of(names, pictures(*names), shard_rows=100)):
        assert sum(name < "0500" for name in shard) in range(25, 76)


def test_the_order_of_the_feed_changes_no_shard() -> None:
    names = [str(number) for number in range(150)]
    plan = plan_of(names[:120], pictures(*names), shard_rows=40)
    mixed = list(names)
    random.Random(3).shuffle(mixed)
    other = plan_of([name for name in mixed if int(name) < 120], pictures(*reversed(mixed)), shard_rows=40)
    assert ids(other) == ids(plan)
    for one, two in zip(plan.shards, other.shards, strict=True):
        assert one.drop_columns(["source_row"]).equals(two.drop_columns(["source_row"]))


@pytest.mark.parametrize(("products", "shards"), [(0, 1), (1, 1), (2048, 1), (2049, 2), (44_000, 22), (10_000_000, 4883)])
def test_the_number_of_shards(products: int, shards: int) -> None:
    assert shard_count(products) == shards


def test_the_hash_of_an_id_is_the_same_everywhere_and_always() -> None:
    assert id_hash("15970") == 8704557920348079225
    assert len({id_hash(str(number)) for number in range(10_000)}) == 10_000
    assert all(0 <= id_hash(str(number)) < 2**64 for number in range(100))


def test_twenty_thousand_products_are_planned_in_a_moment() -> None:
    names = [str(number) for number in range(20_000)]
    table = pa.table(
        {field.name: pa.array(names if field.name == "product_id" else [None] * len(names), type=field.type) for field in ROWS}
    )
    plan = plan_ingest(table, [], pictures(*names), seen_at=SEEN_AT)
    assert sum(shard.num_rows for shard in plan.shards) == 20_000 and len(plan.shards) == 10
