"""Neighbours on Ray. In: rows, cut into blocks of queries, and what a worker needs to know. Out: their neighbours, in order."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
import torch

from fashion_ray import cluster
from fashion_ray.insight import approximate, neighbours, quiet_night
from fashion_ray.insight.neighbours import Found, Rules
from fashion_ray.insight.units import FileUnits, open_units
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

BLOCK_ROWS = 2048
"""Queries of one task, whose memory is for them, a tile of vectors and their cosines, however many products there are."""

PROGRESS_S = 5.0
POOL = 10
"""Candidates for each product that --diversity chooses."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What a task needs beside its rows."""

    store: Store
    source: Snapshot
    cache: str
    rules: Rules
    k: int
    method: str = "exact"
    diversity: float = 0.0


def exactly(work: Work) -> Work:
    """The same, compared pair by pair."""
    return replace(work, method="exact")


def answer(rows: np.ndarray, work: Work) -> Found:
    """The neighbours of some rows (on a worker)."""
    torch.set_num_threads(1)
    units = open_units(work.store, work.source, work.cache)
    queries = neighbours.queries_of(units, work.rules, rows)
    wanted = POOL * work.k if work.diversity else work.k
    if work.method == "approximate":
        index = approximate.load(open_index(units))
        found = approximate.nearest_approximate(index, units, queries, work.rules, wanted)
    else:
        found = neighbours.nearest(units, queries, work.rules, wanted)
    return neighbours.diverse(units, found, work.k, work.diversity) if work.diversity else found


def reach(rows: np.ndarray, work: Work, changed: np.ndarray, kth: np.ndarray) -> np.ndarray:
    """Those of some rows that a changed row may have come near enough to (on a worker)."""
    torch.set_num_threads(1)
    units = open_units(work.store, work.source, work.cache)
    near: np.ndarray = rows[quiet_night.reached(units, work.rules, rows, changed, kth[rows])]
    return near


def open_index(units: FileUnits) -> str:
    """The index of a node's vectors, made first where there is none."""
    target = Path(f"{units.path}.1.ivf")
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            approximate.build(units, str(target))
    return str(target)


def find(rows: np.ndarray, work: Work) -> Found:
    """The neighbours of some rows, in their order."""
    parts = _spread(answer, rows, work, what="products")
    if not parts:
        return neighbours.empty(0, work.k)
    return Found(
        rows=np.concatenate([part.rows for part in parts]), similarity=np.concatenate([part.similarity for part in parts])
    )


def find_reached(rows: np.ndarray, work: Work, changed: np.ndarray, kth: np.ndarray) -> np.ndarray:
    """Those of some rows that a changed row may have come near enough to."""
    parts = _spread(reach, rows, work, ray.put(changed), ray.put(kth), what="products looked at for newcomers")
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _spread(function: Callable[..., Result], rows: np.ndarray, work: Work, *others: Any, what: str) -> list[Result]:
    """The results of a function for each block of rows; only a few more blocks are handed out than there are processors."""
    blocks = [rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS)]
    task, shared = ray.remote(num_cpus=1)(function), ray.put(work)
    most = 2 * max(1, int(cluster.resources().cpus))
    found: dict[int, Result] = {}
    waiting: dict[Any, int] = {}
    said, done = time.monotonic(), 0
    for number, block in enumerate(blocks):
        waiting[task.remote(block, shared, *others)] = number
        while len(waiting) >= most or (number == len(blocks) - 1 and waiting):
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            finished = waiting.pop(ready)
            found[finished] = ray.get(ready)
            done += len(blocks[finished])
            if time.monotonic() - said >= PROGRESS_S or done == len(rows):
                log.info("%d of %d %s", done, len(rows), what)
                said = time.monotonic()
    return [found[number] for number in range(len(blocks))]
