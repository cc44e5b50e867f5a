"""Nearest neighbours from an index. In: unit vectors. Out: a file of faiss, candidates of it, and the share it finds.

The index is an inverted file of 8-bit vectors (IVF, SQ8: Jégou et al. 2011). Its candidates are compared exactly like those of
neighbours.py, so what it returns has true cosines in true order; what it can do is miss some.
"""

from __future__ import annotations

import math
import os
import uuid
from typing import Any

import numpy as np

from fashion_ray.insight.neighbours import NONE, TILE_ROWS, Found, Queries, Rules, Units, allowed, empty, rank

SEED = 7
TRAINING_ROWS = 64
"""Vectors a list that the lists' centres are fitted to."""

SHARE_PROBED, FEWEST_PROBED = 0.02, 4
"""Of the lists, for each query: on the real catalog this finds 99.9% of the neighbours, and half as many 98.5%."""

POOL, MOST_POOL = 8, 1024
"""Candidates for each that is wanted; more where the filters leave too few, up to so many."""


def build(units: Units, path: str) -> None:
    """Write an index of all vectors; the same vectors give the same index."""
    import faiss  # only this method needs it

    lists = max(1, min(int(4 * math.sqrt(units.rows)), units.rows // 40))
    drawn = np.random.default_rng(SEED).permutation(units.rows)[: TRAINING_ROWS * lists]
    sample = units.take(np.sort(drawn))
    index = faiss.index_factory(sample.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    for start in range(0, units.rows, TILE_ROWS):
        index.add(units.tile(start, min(start + TILE_ROWS, units.rows)))
    growing = f"{path}.{uuid.uuid4().hex}.tmp"
    faiss.write_index(index, growing)
    os.replace(growing, path)


def load(path: str) -> Any:
    """The index in a file, its lists left on disk until they are read."""
    import faiss

    faiss.omp_set_num_threads(1)
    index: Any = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    index.nprobe = max(FEWEST_PROBED, math.ceil(SHARE_PROBED * index.nlist))
    return index


def nearest_approximate(index: Any, units: Units, queries: Queries, rules: Rules, k: int) -> Found:
    """As neighbours.nearest, out of the index's candidates; more of them for queries that the filters leave too few."""
    found = empty(len(queries.vectors), k)
    pending, pool = np.flatnonzero(queries.usable), POOL * k
    while len(pending):
        asked = queries.take(pending)
        _, rows = index.search(np.ascontiguousarray(asked.vectors), min(pool, units.rows))
        rows = np.where(allowed(asked, rules, rows), rows, NONE)
        rows = np.pad(rows, ((0, 0), (0, max(0, k - rows.shape[1]))), constant_values=NONE)
        ranked = rank(units, asked, rules, rows)
        found.rows[pending], found.similarity[pending] = ranked.rows[:, :k], ranked.similarity[:, :k]
        short = ranked.rows[:, k - 1] == NONE
        pending = pending[short] if pool < min(MOST_POOL, units.rows) else pending[:0]
        pool = min(4 * pool, MOST_POOL)
    return found


def recall(approximate: Found, exact: Found) -> float:
    """The share of the true neighbours that were found; 1 where there are none."""
    true = exact.rows != NONE
    hit = (exact.rows[:, :, None] == approximate.rows[:, None, :]).any(axis=2) & true
    return float(hit.sum() / true.sum()) if true.any() else 1.0
