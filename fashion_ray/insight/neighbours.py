"""Nearest neighbours by cosine, exactly. In: unit vectors, and who may be compared with whom. Out: the k nearest.

A block of queries passes over all vectors in tiles. A float32 matrix product finds candidates, a few more than are wanted; the
candidates alone are compared in float64, and it is checked that rounding can have hidden no other. So an answer depends on the
vectors alone, not on the blocks, the threads or the rest of the run, and one that is computed again is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

TILE_ROWS = 8192
"""Vectors in one matrix product with a block of queries."""

SLACK = 11
"""Candidates beyond those wanted: enough that nearly no query has to be looked at twice."""

TOLERANCE = 2e-5
"""Between a cosine in float32 and the true one: 20 times what was seen for 1,280 numbers."""

MOST_CANDIDATES = 4096
"""Beyond so many equal cosines it is the matrix product that decides among them."""

GATHERED_ROWS = 4096
"""Vectors that are compared in float64 at once."""

NONE = -1


class Units(Protocol):
    """Vectors of length 1, by row; one of zeros stands for what cannot be compared."""

    @property
    def rows(self) -> int: ...

    def tile(self, start: int, stop: int) -> np.ndarray:
        """float32 (stop - start, dim)."""
        ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32 (rows, dim)."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Rules:
    """Who may be a neighbour of whom, as numbers by row; they are the same for both sides."""

    usable: np.ndarray
    """bool: rows that may be anyone's neighbour, and have neighbours."""

    order: np.ndarray
    """int32: the place of each row by product_id, which decides between equal cosines."""

    differ: tuple[np.ndarray, ...] = ()
    """int32 codes that must differ; one of them tells every row from itself."""

    same: tuple[np.ndarray, ...] = ()
    """int32 codes that must agree."""

    most: float = float("inf")
    """Cosines above this are of duplicates and do not count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """Some vectors and their codes, in the order of Rules."""

    vectors: np.ndarray
    usable: np.ndarray
    differ: tuple[np.ndarray, ...]
    same: tuple[np.ndarray, ...]

    def take(self, rows: np.ndarray) -> Queries:
        """Some of them."""
        return Queries(
            vectors=self.vectors[rows],
            usable=self.usable[rows],
            differ=tuple(codes[rows] for codes in self.differ),
            same=tuple(codes[rows] for codes in self.same),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The neighbours of some queries, nearest first: (queries, k), NONE and -inf where there are no more."""

    rows: np.ndarray
    similarity: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """How many each query has."""
        found: np.ndarray = (self.rows != NONE).sum(axis=1)
        return found


@dataclass(kw_only=True)
class ArrayUnits:
    """Units in memory."""

    vectors: np.ndarray
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.vectors = unit(self.vectors)
        self.rows = len(self.vectors)

    def tile(self, start: int, stop: int) -> np.ndarray:
        """Some of them, not copied."""
        return self.vectors[start:stop]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Any of them."""
        found: np.ndarray = self.vectors[rows]
        return found


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 vectors (rows, dim) scaled to length 1, each by itself; zeros for one that is zero or not finite."""
    wide = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0.0).astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    scaled: np.ndarray = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0).astype(np.float32)
    return scaled


def queries_of(units: Units, rules: Rules, rows: np.ndarray) -> Queries:
    """Rows of the table itself as queries."""
    return Queries(
        vectors=units.take(rows),
        usable=rules.usable[rows],
        differ=tuple(codes[rows] for codes in rules.differ),
        same=tuple(codes[rows] for codes in rules.same),
    )


def nearest(units: Units, queries: Queries, rules: Rules, k: int) -> Found:
    """The k nearest rows that each query may have, in the order of (cosine, product_id); all there are if they are fewer."""
    found = empty(len(queries.vectors), k)
    pending, wanted = np.flatnonzero(queries.usable), k + SLACK
    while len(pending):
        asked = queries.take(pending)
        rows, rough = candidates(units, asked, rules, wanted)
        ranked = rank(units, asked, rules, rows)
        found.rows[pending], found.similarity[pending] = ranked.rows[:, :k], ranked.similarity[:, :k]
        # Whatever is no candidate is at most as near as the last of them looked.
        certain = np.isneginf(rough[:, -1]) | (ranked.similarity[:, k - 1] > rough[:, -1] + TOLERANCE)
        pending = pending[~certain] if wanted < MOST_CANDIDATES else pending[:0]
        wanted = min(8 * wanted, MOST_CANDIDATES)
    return found


def empty(queries: int, k: int) -> Found:
    """No neighbours yet."""
    return Found(rows=np.full((queries, k), NONE, np.int32), similarity=np.full((queries, k), -np.inf, np.float32))


def candidates(units: Units, queries: Queries, rules: Rules, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (queries, count) that look nearest in float32, and their cosines; NONE and -inf where none are left."""
    vectors = torch.from_numpy(np.ascontiguousarray(queries.vectors))
    best = torch.full((len(vectors), count), -torch.inf)
    rows = torch.full((len(vectors), count), NONE, dtype=torch.int64)
    for start in range(0, units.rows, TILE_ROWS):
        stop = min(start + TILE_ROWS, units.rows)
        scores = torch.mm(vectors, torch.from_numpy(units.tile(start, stop)).T)
        scores.masked_fill_(_forbidden(queries, rules, start, stop), -torch.inf)
        if rules.most < 1:
            scores.masked_fill_(scores > rules.most + TOLERANCE, -torch.inf)
        values, places = torch.topk(scores, min(count, stop - start), sorted=False)
        both, both_rows = torch.cat([best, values], 1), torch.cat([rows, places + start], 1)
        best, chosen = torch.topk(both, count)
        rows = torch.gather(both_rows, 1, chosen)
    rows[torch.isneginf(best)] = NONE
    return rows.numpy(), best.numpy()


def _forbidden(queries: Queries, rules: Rules, start: int, stop: int) -> torch.Tensor:
    """bool (queries, stop - start): pairs that may not be."""
    mask = torch.tensor(~rules.usable[start:stop])[None, :].expand(len(queries.vectors), -1).clone()
    for asked, codes in zip(queries.differ, rules.differ, strict=True):
        mask |= torch.tensor(asked)[:, None] == torch.tensor(codes[start:stop])[None, :]
    for asked, codes in zip(queries.same, rules.same, strict=True):
        mask |= torch.tensor(asked)[:, None] != torch.tensor(codes[start:stop])[None, :]
    return mask


def allowed(queries: Queries, rules: Rules, rows: np.ndarray) -> np.ndarray:
    """bool (queries, candidates): whether each candidate row may be; NONE may not."""
    good = (rows != NONE) & rules.usable[rows]
    for asked, codes in zip(queries.differ, rules.differ, strict=True):
        good &= asked[:, None] != codes[rows]
    for asked, codes in zip(queries.same, rules.same, strict=True):
        good &= asked[:, None] == codes[rows]
    found: np.ndarray = good
    return found


def rank(units: Units, queries: Queries, rules: Rules, rows: np.ndarray) -> Found:
    """Candidate rows (queries, candidates) in their true order, those above the limit left out."""
    similarity = np.full(rows.shape, -np.inf, np.float32)
    step = max(1, GATHERED_ROWS // rows.shape[1])
    for start in range(0, len(rows), step):
        here, column = np.nonzero(rows[start : start + step] != NONE)
        similarity[start + here, column] = cosines(queries.vectors[start + here], units.take(rows[start + here, column]))
    gone = (similarity > rules.most) | (rows == NONE)
    similarity[gone] = -np.inf
    place = np.where(gone, np.iinfo(np.int32).max, rules.order[rows])
    order = np.lexsort((place, -similarity), axis=1)
    sorted_rows = np.take_along_axis(np.where(gone, NONE, rows), order, axis=1)
    return Found(rows=sorted_rows.astype(np.int32), similarity=np.take_along_axis(similarity, order, axis=1))


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float32 (pairs,) of unit vectors (pairs, dim), each summed by itself in float64."""
    found: np.ndarray = np.einsum("nd,nd->n", one.astype(np.float64), other.astype(np.float64)).clip(-1, 1).astype(np.float32)
    return found


def diverse(units: Units, pool: Found, k: int, weight: float) -> Found:
    """k out of each query's pool by maximal marginal relevance (Carbonell and Goldstein 1998).

    Next is whatever has the largest (1 - weight) * cosine to the query - weight * largest cosine to those chosen; the order of
    choice is kept.
    """
    found = empty(len(pool.rows), k)
    step = max(1, GATHERED_ROWS // pool.rows.shape[1])
    for start in range(0, len(pool.rows), step):
        rows, near = pool.rows[start : start + step], pool.similarity[start : start + step].astype(np.float64)
        vectors = units.take(np.maximum(rows, 0).ravel()).reshape(*rows.shape, -1)
        alike = np.matmul(vectors, vectors.transpose(0, 2, 1))
        chosen = _choose(near, alike, k, weight)
        here, turn = np.nonzero(chosen != NONE)
        found.rows[start + here, turn] = rows[here, chosen[here, turn]]
        found.similarity[start + here, turn] = pool.similarity[start + here, chosen[here, turn]]
    return found


def _choose(near: np.ndarray, alike: np.ndarray, k: int, weight: float) -> np.ndarray:
    """The places (queries, k) chosen from near (queries, pool), where -inf is no candidate, and alike (queries, pool, pool);
    NONE where no candidate is left."""
    each = np.arange(len(near))
    left, redundant = near.copy(), np.zeros_like(near)
    chosen = np.zeros((len(near), k), np.int64)
    for turn in range(k):
        pick = np.argmax((1 - weight) * left - weight * redundant, axis=1)
        chosen[:, turn] = np.where(np.isneginf(left[each, pick]), NONE, pick)
        redundant = np.maximum(redundant, alike[each, :, pick]) if turn else alike[each, :, pick].astype(np.float64)
        left[each, pick] = -np.inf
    return chosen


def codes_of(values: Sequence[object]) -> np.ndarray:
    """int32: equal values have equal codes, and a null is like nothing else, not even another null."""
    known: dict[object, int] = {}
    return np.array(
        [-2 - row if value is None else known.setdefault(value, len(known)) for row, value in enumerate(values)], np.int32
    )
