"""Which neighbourhoods can have changed since last night. In: what changed, and last night's. Out: rows to compute again.

A row's neighbours depend on its own vector and labels and on those of its neighbours, and on every other row that is nearer
than its k-th. So it is computed again if it changed itself, if one of its neighbours changed or left, or if a row that changed
or came is, or may by rounding be, as near as its k-th neighbour. Every other row keeps what it has, and the whole is what a
full computation gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fashion_ray.insight import neighbours
from fashion_ray.insight.neighbours import NONE, TILE_ROWS, TOLERANCE, Found, Rules, Units

MOST_CHANGED = 0.25
"""Where more than this share of the rows changed, all are computed again: it is hardly more work."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Before:
    """Last night, by tonight's rows."""

    same: np.ndarray
    """bool (rows,): the row was there, and nothing that decides its cosines or what it may be compared with has changed."""

    found: Found
    """Its neighbours then, as tonight's rows; GONE where one is no longer there. Without meaning where it is not the same."""


GONE = -2


def worth_it(before: Before) -> bool:
    """Whether so much is as it was that it saves work to look for what is not."""
    return bool(len(before.same)) and bool((~before.same).mean() <= MOST_CHANGED)


def touched(before: Before) -> np.ndarray:
    """bool (rows,): those that changed or have a neighbour that changed or left."""
    rows = before.found.rows
    lost = (rows == GONE) | ((rows >= 0) & ~before.same[np.maximum(rows, 0)])
    found: np.ndarray = ~before.same | lost.any(axis=1)
    return found


def reached(units: Units, rules: Rules, rows: np.ndarray, changed: np.ndarray, kth: np.ndarray) -> np.ndarray:
    """bool (rows,): those of the rows that one of the changed rows may have come nearer to than their k-th neighbour.

    `kth` is the cosine of each row's k-th neighbour, -inf for one that has fewer: any row that it may have comes near enough.
    """
    queries = neighbours.queries_of(units, rules, rows)
    vectors, limits = torch.from_numpy(queries.vectors), torch.tensor(kth)[:, None] - TOLERANCE
    found = torch.zeros(len(rows), dtype=torch.bool)
    for start in range(0, len(changed), TILE_ROWS):
        there = changed[start : start + TILE_ROWS]
        scores = torch.mm(vectors, torch.from_numpy(units.take(there)).T)
        may = neighbours.allowed(queries, rules, np.broadcast_to(there, scores.shape))
        found |= (torch.from_numpy(may) & (scores >= limits) & (scores <= rules.most + TOLERANCE)).any(dim=1)
    near: np.ndarray = found.numpy() & queries.usable
    return near


def kth_similarity(found: Found) -> np.ndarray:
    """The cosine of the last of k neighbours; -inf where there are fewer."""
    last: np.ndarray = np.where(found.rows[:, -1] == NONE, np.float32(-np.inf), found.similarity[:, -1])
    return last
