"""How many trials run side by side, and what each has. In: a cluster's size as plain numbers. Out: slots that fit it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Trials side by side."""

    count: int
    cpus: float
    """Of each, as Ray counts them."""

    gpus: float
    threads: int
    """Of each trial's training."""

    node_threads: int
    """Of the engine that fills the cache, while other trials wait for it."""


def plan_slots(parallel: int | None, *, cpus: float, gpus: float, cpus_per_node: float) -> Slots:
    """Slots for so many trials; none is one a GPU, or one a processor. All of them fit at once, so none waits for another."""
    count = parallel or max(1, int(gpus or cpus))
    share = cpus / count
    if share >= 1:
        share = float(int(min(share, cpus_per_node)))
    return Slots(
        count=count, cpus=share, gpus=gpus / count if gpus < count else float(int(gpus / count)), threads=max(1, int(share)),
        node_threads=max(1, int(cpus_per_node)),
    )  # fmt: skip
