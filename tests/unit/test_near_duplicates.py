"""Near-duplicate pairs: what brute force finds, no more and no less, and no comparison of all with all."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.catalog import near_duplicates
from fashion_ray.catalog.near_duplicates import BITS, RADIUS, components, pairs


def hashes(seed: int, families: int = 40) -> np.ndarray:
    """Bits (rows, BITS) of random pictures, each with relatives at every distance up to twice the radius."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(families):
        first = rng.integers(0, 2, BITS, dtype=np.uint8)
        rows.append(first)
        for distance in rng.integers(0, 2 * RADIUS, 4):
            other = first.copy()
            other[rng.choice(BITS, distance, replace=False)] ^= 1
            rows.append(other)
    return np.array(rows)


def as_text(bits: np.ndarray) -> pa.Array:
    """Hexadecimal, as the catalog has them."""
    return pa.array([row.tobytes().hex() for row in np.packbits(bits, axis=1)])


def groups_of(size: int, joined: np.ndarray) -> set[frozenset[int]]:
    """The components as sets of rows."""
    number = components(size, joined)
    return {frozenset(np.flatnonzero(number == each).tolist()) for each in np.unique(number)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("radius", [0, 1, 7, RADIUS])
def test_the_groups_are_those_of_brute_force(seed: int, radius: int) -> None:
    bits = hashes(seed)
    close = [(a, b) for a, b in itertools.combinations(range(len(bits)), 2) if (bits[a] ^ bits[b]).sum() <= radius]
    wanted = groups_of(len(bits), np.array(close, dtype=np.int64).reshape(-1, 2))
    contents = pa.array([str(row) for row in range(len(bits))])
    found = pairs(contents, as_text(bits), np.ones(len(bits), dtype=bool), radius=radius)
    assert groups_of(len(bits), found) == wanted


@pytest.mark.parametrize("seed", range(3))
def test_only_pairs_with_a_fresh_row_are_given_and_none_of_them_is_missed(seed: int) -> None:
    bits = hashes(seed)
    fresh = np.random.default_rng(seed).random(len(bits)) < 0.1
    found = pairs(pa.array([str(row) for row in range(len(bits))]), as_text(bits), fresh)
    assert fresh[found].any(axis=1).all()
    number = components(len(bits), found)
    for a, b in itertools.combinations(range(len(bits)), 2):
        if fresh[a] != fresh[b] and (bits[a] ^ bits[b]).sum() <= RADIUS:
            assert number[a] == number[b]


def test_equal_content_joins_whatever_the_hashes_say() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (4, BITS), dtype=np.uint8)
    found = pairs(pa.array(["x", "y", "x", "x"]), as_text(bits), np.ones(4, dtype=bool))
    assert groups_of(4, found) == {frozenset({0, 2, 3}), frozenset({1})}


def test_many_equal_hashes_cost_no_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    original = near_duplicates._candidates
    monkeypatch.setattr(near_duplicates, "_candidates", lambda keys: [compared.append(len(c[0])) or c for c in original(keys)])
    bits = np.repeat(np.random.default_rng(0).integers(0, 2, (3, BITS), dtype=np.uint8), 2000, axis=0)
    found = pairs(pa.array([str(row) for row in range(6000)]), as_text(bits), np.ones(6000, dtype=bool))
    assert len(groups_of(6000, found)) == 3 and sum(compared) < 1000


def test_hashes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="64 bits, expected 256"):
        pairs(pa.array(["x"]), pa.array(["0" * 16]), np.ones(1, dtype=bool))


def test_nothing_has_no_pairs() -> None:
    empty = pa.array([], type=pa.string())
    assert pairs(empty, empty, np.ones(0, dtype=bool)).shape == (0, 2)
