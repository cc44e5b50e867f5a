"""After a quiet night what is computed again and what is carried over make the table of a full computation, to the bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fashion_ray.catalog import schema
from fashion_ray.errors import ReconciliationError
from fashion_ray.insight import neighbour_lists, quiet_night
from fashion_ray.insight.neighbours import ArrayUnits, Found, Rules, nearest, queries_of
from fashion_ray.insight.quiet_night import Before, kth_similarity, reached, touched, worth_it

K = 3
Product = tuple[int, int, int]
"""A place on a coarse grid, so that ties are common, and a label."""

CATALOGS = st.dictionaries(
    st.integers(0, 30), st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=24
)


class Night:
    """A catalog, in any order, and what it takes to compare it."""

    def __init__(self, products: dict[int, Product], *, most: float = float("inf"), same: bool = False) -> None:
        names = sorted(products, key=lambda number: (number * 7919) % 31)
        self.ids = pa.array([f"p{number}" for number in names], pa.string())
        flat = np.array([products[name][:2] for name in names], np.float32)
        self.units, labels = ArrayUnits(vectors=flat), np.array([products[name][2] for name in names], np.int32)
        self.keys = [str(products[name]) for name in names]
        order = np.argsort(np.argsort(np.array(self.ids.to_pylist()))).astype(np.int32)
        count = len(names)
        self.rules = Rules(
            usable=np.ones(count, bool), order=order, differ=(np.arange(count, dtype=np.int32),),
            same=(labels,) if same else (), most=most,
        )  # fmt: skip

    def find(self, rows: np.ndarray) -> Found:
        return nearest(self.units, queries_of(self.units, self.rules, rows), self.rules, K)

    def table(self, found: Found) -> pa.Table:
        return neighbour_lists.to_table(found, self.ids, self.keys, np.arange(len(self.ids)))

    def full(self) -> pa.Table:
        return self.table(self.find(np.arange(len(self.ids))))

    def after(self, table: pa.Table) -> tuple[pa.Table, int]:
        """From the table of the night before, and how many rows were computed."""
        before = neighbour_lists.to_before(table, self.ids, self.keys, K)
        changed, again, kth = np.flatnonzero(~before.same), touched(before), kth_similarity(before.found)
        rest = np.flatnonzero(~again)
        again[rest[reached(self.units, self.rules, rest, changed, kth[rest])]] = True
        rows = np.flatnonzero(again)
        fresh = self.find(rows)
        before.found.rows[rows], before.found.similarity[rows] = fresh.rows, fresh.similarity
        return self.table(before.found), len(rows)


@settings(max_examples=150, deadline=None)
@example(one={0: (1, 0, 0), 1: (1, 0, 0)}, other={}, most=float("inf"), same=False)
@given(CATALOGS, CATALOGS, st.sampled_from([float("inf"), 0.999, 0.98]), st.booleans())
def test_a_quiet_night_gives_the_table_of_a_full_computation(
    one: dict[int, Product], other: dict[int, Product], most: float, same: bool
) -> None:
    # Half of tonight's products are last night's, others changed, came or left.
    tonight = {name: value for name, value in one.items() if name % 3} | {n: v for n, v in other.items() if not n % 2}
    if not tonight:
        return
    last, now = Night(one, most=most, same=same), Night(tonight, most=most, same=same)
    quiet, _ = now.after(last.full())
    assert quiet.equals(now.full())


def test_a_night_without_a_change_computes_nothing_and_a_newcomer_far_away_only_itself() -> None:
    products = {number: (number + 1, 0 if number < 8 else 4 * number, 0) for number in range(16)}
    night = Night(products)
    table, computed = night.after(night.full())
    assert computed == 0 and table.equals(night.full())
    _, computed = Night(products | {30: (1, 200, 0)}).after(night.full())
    assert 1 <= computed < 17


def test_where_much_has_changed_everything_is_computed() -> None:
    found = Found(rows=np.zeros((8, K), np.int32), similarity=np.zeros((8, K), np.float32))
    assert worth_it(Before(same=np.arange(8) > 1, found=found))
    assert not worth_it(Before(same=np.arange(8) > 2, found=found))
    assert quiet_night.MOST_CHANGED == 0.25


def test_neighbours_survive_the_way_through_the_table() -> None:
    night = Night({number: (number + 1, number % 3, 0) for number in range(9)})
    table = night.full()
    assert table.schema.equals(schema.SIMILAR)
    back = neighbour_lists.to_before(table, night.ids, night.keys, K)
    found = night.find(np.arange(9))
    assert back.same.all() and (back.found.rows == found.rows).all() and (back.found.similarity == found.similarity).all()


BOOKS = {"catalog": 3, "computed": 2, "carried_over": 0, "quarantined": 1}


def lists(*rows: tuple[str, list[str]]) -> pa.Table:
    content = [
        {"product_id": one, "similar": [{"product_id": each, "similarity": 0.5} for each in others], "key": "k"}
        for one, others in rows
    ]
    return pa.Table.from_pylist(content, schema=schema.SIMILAR)


def test_books_that_balance_pass() -> None:
    neighbour_lists.check(lists(("a", ["b"]), ("b", [])), BOOKS)


@pytest.mark.parametrize(
    ("table", "books", "why"),
    [
        (lists(("a", ["b"]), ("b", [])), BOOKS | {"catalog": 4}, "catalog is not"),
        (lists(("a", []), ("a", [])), BOOKS, "1 of them different"),
        (lists(("a", ["a"]), ("b", [])), BOOKS, "similar to itself"),
        (lists(("a", ["z"]), ("b", [])), BOOKS, "not in the table"),
        (lists(("a", [])), BOOKS, "1 rows"),
    ],
)
def test_books_that_do_not_balance_are_refused(table: pa.Table, books: dict[str, int], why: str) -> None:
    with pytest.raises(ReconciliationError, match=why):
        neighbour_lists.check(table, books)
