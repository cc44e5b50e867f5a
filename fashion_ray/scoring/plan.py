"""How engines are laid out on a cluster. In: what the cluster has, as numbers. Out: actors and threads, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

BATCHES_A_FILE = 64
"""About so many batches of an engine are in a file of the catalog."""


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """Actors that each hold one engine."""

    actors: int
    cpus: float
    """Processors that Ray reserves for an actor; readers need what is left over."""

    gpus: float
    threads: int
    """Threads of an actor's engine: all of its node's, since readers need little."""

    calls: int
    """Files that an actor has at hand at once: while one is written or has its last batches, others keep the engine at work."""


def plan_engines(*, device: str, cpus: float, gpus: float, nodes: int, cpus_per_node: float, work: int) -> EnginePlan:
    """One engine a GPU, or one a node with all of its threads; never more engines than pieces of work.

    One engine with a node's threads beats several with fewer each: they would share its caches and its memory bandwidth.
    """
    if device == "cuda":
        actors = max(1, min(int(gpus), work))
        return EnginePlan(actors=actors, cpus=1.0 if cpus >= 2 * gpus else 0.5, gpus=1.0, threads=1, calls=2)
    threads = max(1, int(cpus_per_node))
    return EnginePlan(
        actors=max(1, min(nodes, work)), cpus=max(0.5, min(cpus_per_node - 1, cpus - 1)), gpus=0.0, threads=threads,
        calls=max(2, -(-2 * threads // BATCHES_A_FILE)),
    )  # fmt: skip
