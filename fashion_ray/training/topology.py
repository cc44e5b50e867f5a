"""How many training workers, and what each gets. In: what the cluster has, as numbers. Out: a plan, as numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fashion_ray.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """Data-parallel workers."""

    workers: int
    least: int
    """With so many it goes on while nodes are missing; as many as `workers` if it is to wait for all."""

    cpus_per_worker: float
    gpus_per_worker: int
    threads: int
    """Of a worker's tensor library; workers of a node together never exceed its processors."""

    @property
    def number(self) -> int | tuple[int, int]:
        """As Ray Train takes it."""
        return self.workers if self.least == self.workers else (self.least, self.workers)

    @property
    def strategy(self) -> str:
        """How Ray places them: over all nodes, as `threads` supposes; those with GPUs together, where they exchange gradients
        fastest."""
        return "PACK" if self.gpus_per_worker else "SPREAD"

    def resources(self) -> dict[str, float]:
        """What Ray reserves for a worker."""
        return {"CPU": self.cpus_per_worker, **({"GPU": self.gpus_per_worker} if self.gpus_per_worker else {})}


def plan_workers(
    asked: int | None, *, cpus: float, gpus: float, nodes: int, cpus_per_node: float, least: int | None = None
) -> WorkerPlan:
    """One worker a GPU, or one a node without GPUs, unless asked otherwise; the streaming reader keeps a CPU to itself.

    Raises UserError if the cluster cannot hold so many.
    """
    workers = asked or (int(gpus) if gpus >= 1 else nodes)
    if gpus >= 1 and workers > gpus:
        raise UserError(f"--workers: got {workers}, but the cluster has {int(gpus)} GPUs; expected at most one a GPU")
    if workers > cpus:
        raise UserError(f"--workers: got {workers}, but the cluster has {cpus:g} CPUs; expected at most one a CPU")
    per_node = -(-workers // nodes)
    whole = int((cpus_per_node - 1) // per_node)
    if least is not None and least > workers:
        raise UserError(f"--min-workers: got {least}, expected at most as many as workers, {workers}")
    if least not in (None, workers) and whole < 1:
        raise UserError(
            f"--min-workers: got {least}, but {per_node} workers of a node would share {cpus_per_node:g} CPUs with its reader, "
            "and Ray moves whole CPUs alone; expected fewer --workers, or no --min-workers"
        )
    cpus_per_worker = float(whole) if whole >= 1 else math.floor(50 * max(1.0, 2 * (cpus_per_node - 1)) / per_node) / 100
    return WorkerPlan(
        workers=workers,
        least=workers if least is None else least,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=1 if gpus >= 1 else 0,
        threads=max(1, int(cpus_per_node) // per_node),
    )
