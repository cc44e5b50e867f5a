"""How often neighbours share a label. In: labels and neighbours by row. Out: precision at k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fashion_ray.insight.neighbours import NONE, Found


def precision_at_k(labels: Sequence[str | None], queries: np.ndarray, found: Found) -> tuple[float, int]:
    """The mean share of a query's neighbours that have its label, and over how many queries.

    Queries without a label or without a neighbour do not count; a neighbour without a label is wrong. nan where none counts.
    """
    names = np.array([label or "" for label in labels], dtype=object)
    own, there = names[queries], found.rows != NONE
    counted = (own != "") & there.any(axis=1)
    if not counted.any():
        return float("nan"), 0
    right = (names[found.rows] == own[:, None]) & there
    shares = right[counted].sum(axis=1) / there[counted].sum(axis=1)
    return float(shares.mean()), int(counted.sum())


def by_chance(labels: Sequence[str | None], queries: np.ndarray, usable: np.ndarray) -> float:
    """The precision of neighbours that are drawn at random from the usable rows."""
    names = np.array([label or "" for label in labels], dtype=object)
    values, counts = np.unique(names[usable].astype(str), return_counts=True)
    share = dict(zip(values.tolist(), (counts / max(1, usable.sum())).tolist(), strict=True))
    own = [name for name in names[queries].tolist() if name]
    return float(np.mean([share.get(name, 0.0) for name in own])) if own else float("nan")
