"""The products whose embeddings are nearest, by brute force. In: embeddings, a block at a time. Out: places and cosines.

For a page's own few thousand products, or for one product at a time; whole catalogs have jobs of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

ROWS = 512
"""Queries that are compared at once: so many times the number of products is what is in memory."""


def nearest(embeddings: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of float32 (rows, dim) the places of the `count` most similar others, best first, and their cosines.

    Equal cosines come in the order of the rows. With too few rows there are fewer columns.
    """
    units = _units(embeddings)
    kept = max(0, min(count, len(units) - 1))
    places = np.empty((len(units), kept), dtype=np.int64)
    cosines = np.empty((len(units), kept), dtype=np.float32)
    for start in range(0, len(units) if kept else 0, ROWS):
        found = units[start : start + ROWS] @ units.T
        rows = np.arange(len(found))
        found[rows, rows + start] = -np.inf  # never itself
        order = np.argsort(-found, axis=1, kind="stable")[:, :kept]
        places[start : start + ROWS], cosines[start : start + ROWS] = order, np.take_along_axis(found, order, axis=1)
    return places, np.clip(cosines, -1.0, 1.0)


def nearest_to(query: np.ndarray, blocks: Iterable[np.ndarray], count: int) -> list[tuple[int, float]]:
    """The (place, cosine) of the `count` rows most similar to one embedding, best first; places count over all blocks."""
    (unit,) = _units(query[None])
    best: list[tuple[int, float]] = []
    start = 0
    for block in blocks:
        found = _units(block) @ unit
        top = np.argsort(-found, kind="stable")[:count]
        best += [(start + place, min(1.0, float(found[place]))) for place in top.tolist()]
        best = sorted(best, key=lambda one: (-one[1], one[0]))[:count]
        start += len(block)
    return best


def _units(embeddings: np.ndarray) -> np.ndarray:
    """The rows scaled to length 1; a row of zeros stays one and is similar to nothing."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    scaled: np.ndarray = embeddings / np.where(lengths > 0, lengths, 1)
    return scaled
