"""Neighbours are those that a plain comparison of all pairs gives, whatever the filters, the ties and the blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fashion_ray.insight import approximate, neighbours
from fashion_ray.insight.neighbours import NONE, ArrayUnits, Found, Rules, diverse, nearest, queries_of, unit
from fashion_ray.insight.precision import by_chance, precision_at_k


def vectors(rows: int, seed: int = 0, dim: int = 16) -> np.ndarray:
    """A few clusters, so that near-ties are common."""
    rng = np.random.default_rng(seed)
    centres = rng.random((5, dim))
    return (centres[rng.integers(0, 5, rows)] + 0.05 * rng.random((rows, dim))).astype(np.float32)


def rules_for(rows: int, **changed: object) -> Rules:
    plain = Rules(usable=np.ones(rows, bool), order=np.arange(rows, dtype=np.int32), differ=(np.arange(rows, dtype=np.int32),))
    return replace(plain, **changed)  # type: ignore[arg-type]


def plainly(units: ArrayUnits, rules: Rules, k: int) -> list[list[int]]:
    """All pairs in float64, sorted in Python."""
    wide = units.vectors.astype(np.float64)
    cosine = np.einsum("ad,bd->ab", wide, wide).astype(np.float32)
    lists = []
    for query in range(units.rows):
        pairs = [
            (-cosine[query, other], rules.order[other], other)
            for other in range(units.rows)
            if rules.usable[query] and rules.usable[other] and cosine[query, other] <= rules.most
            and all(codes[query] != codes[other] for codes in rules.differ)
            and all(codes[query] == codes[other] for codes in rules.same)
        ]  # fmt: skip
        lists.append([other for *_, other in sorted(pairs)[:k]])
    return lists


def listed(found: Found) -> list[list[int]]:
    return [[row for row in rows if row != NONE] for rows in found.rows.tolist()]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles and chunks even of these few rows."""
    monkeypatch.setattr(neighbours, "TILE_ROWS", 37)
    monkeypatch.setattr(neighbours, "GATHERED_ROWS", 64)


CODES = np.random.default_rng(3).integers(0, 3, 120).astype(np.int32)
FILTERS = {
    "none but itself": {},
    "groups": {"differ": (np.arange(120, dtype=np.int32) // 3,)},
    "duplicates by cosine": {"most": 0.999},
    "the same label": {"same": (CODES,)},
    "another colour and the same label": {"differ": (np.arange(120, dtype=np.int32), CODES), "same": (CODES % 2,)},
    "some that have no vector": {"usable": np.arange(120) % 4 > 0},
    "nobody": {"usable": np.zeros(120, bool)},
    "one other at most": {"same": (np.arange(120, dtype=np.int32) // 2,)},
}


@pytest.mark.parametrize("name", FILTERS)
def test_neighbours_are_those_of_a_plain_comparison(name: str) -> None:
    units, rules = ArrayUnits(vectors=vectors(120)), rules_for(120, **FILTERS[name])
    found = nearest(units, queries_of(units, rules, np.arange(120)), rules, 5)
    assert listed(found) == plainly(units, rules, 5)
    assert (found.similarity[:, 1:] <= found.similarity[:, :-1]).all()
    assert np.isneginf(found.similarity[found.rows == NONE]).all()


def test_equal_cosines_are_ordered_by_product_id_also_where_they_are_more_than_the_candidates() -> None:
    units = ArrayUnits(vectors=np.repeat(vectors(4), 60, axis=0))
    rules = rules_for(240, order=np.random.default_rng(1).permutation(240).astype(np.int32))
    found = nearest(units, queries_of(units, rules, np.arange(240)), rules, 7)
    assert listed(found) == plainly(units, rules, 7)


def test_a_neighbourhood_does_not_depend_on_the_block_or_on_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    units, rules = ArrayUnits(vectors=vectors(150, dim=129)), rules_for(150)
    whole = nearest(units, queries_of(units, rules, np.arange(150)), rules, 9)
    monkeypatch.setattr(neighbours, "TILE_ROWS", 1000)
    for rows in (np.array([0]), np.array([149, 3, 77])):
        alone = nearest(units, queries_of(units, rules, rows), rules, 9)
        assert (alone.rows == whole.rows[rows]).all() and (alone.similarity == whole.similarity[rows]).all()


def test_what_cannot_be_compared_becomes_zeros_and_others_have_length_one() -> None:
    found = unit(np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 0], [1e-30, 0]], np.float32))
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [0, 0], [0, 0], [1, 0]]


def test_no_rows_and_fewer_rows_than_asked_for() -> None:
    for count in (0, 1, 3):
        units, rules = ArrayUnits(vectors=vectors(count)), rules_for(count)
        found = nearest(units, queries_of(units, rules, np.arange(count)), rules, 5)
        assert found.rows.shape == (count, 5)
        assert found.counts.tolist() == [max(0, count - 1)] * count


def test_diversity_chooses_by_maximal_marginal_relevance() -> None:
    flat = np.array([[1, 0, 0], [0.99, 0.1, 0], [0.985, 0.12, 0], [0.9, 0, 0.43], [0, 1, 0]], np.float32)
    units, rules = ArrayUnits(vectors=flat), rules_for(5)
    pool = nearest(units, queries_of(units, rules, np.array([0])), rules, 4)
    assert pool.rows.tolist() == [[1, 2, 3, 4]]
    assert diverse(units, pool, 2, 0.0).rows.tolist() == [[1, 2]]
    chosen = diverse(units, pool, 2, 0.5)
    assert chosen.rows.tolist() == [[1, 3]], "the second is unlike the first"
    assert chosen.similarity[0, 1] == pool.similarity[0, 2]


def test_diversity_of_a_pool_that_is_too_small_repeats_nothing() -> None:
    units, rules = ArrayUnits(vectors=vectors(3)), rules_for(3)
    pool = nearest(units, queries_of(units, rules, np.arange(3)), rules, 10)
    found = diverse(units, pool, 4, 0.3)
    assert [sorted(rows) for rows in listed(found)] == [[1, 2], [0, 2], [0, 1]]


def test_an_index_finds_most_neighbours_with_their_true_cosines(tmp_path: object) -> None:
    units, rules = ArrayUnits(vectors=vectors(600)), rules_for(600, same=(np.arange(600, dtype=np.int32) % 2,))
    path = f"{tmp_path}/index"
    approximate.build(units, path)
    queries = queries_of(units, rules, np.arange(600))
    index = approximate.load(path)
    exact, near = nearest(units, queries, rules, 5), approximate.nearest_approximate(index, units, queries, rules, 5)
    assert near.counts.tolist() == [5] * 600
    assert (near.rows % 2 == np.arange(600)[:, None] % 2).all() and not (near.rows == np.arange(600)[:, None]).any()
    same = near.rows[:, 0] == exact.rows[:, 0]
    assert (near.similarity[same, 0] == exact.similarity[same, 0]).all()
    index.nprobe = index.nlist
    everything = approximate.nearest_approximate(index, units, queries, rules, 5)
    assert approximate.recall(everything, exact) > 0.95 >= approximate.recall(replace(near, rows=near.rows - 1), exact)
    assert approximate.recall(exact, exact) == 1.0


def test_an_index_of_one_product_has_no_neighbours(tmp_path: object) -> None:
    units, rules = ArrayUnits(vectors=vectors(1)), rules_for(1)
    approximate.build(units, f"{tmp_path}/index")
    index = approximate.load(f"{tmp_path}/index")
    found = approximate.nearest_approximate(index, units, queries_of(units, rules, np.array([0])), rules, 5)
    assert found.rows.tolist() == [[NONE] * 5] and approximate.recall(found, found) == 1.0


def test_precision_counts_the_neighbours_that_share_the_label() -> None:
    labels = ["a", "a", "b", None, "b"]
    found = Found(rows=np.array([[1, 2], [0, 3], [4, NONE], [0, 1]], np.int32), similarity=np.zeros((4, 2), np.float32))
    value, counted = precision_at_k(labels, np.array([0, 1, 2, 3]), found)
    assert (value, counted) == (pytest.approx((0.5 + 0.5 + 1.0) / 3), 3)
    assert by_chance(labels, np.array([0, 2]), np.ones(5, bool)) == pytest.approx(0.4)
    assert np.isnan(precision_at_k([None], np.array([0]), Found(rows=np.array([[0]]), similarity=np.ones((1, 1))))[0])
