"""A bundle over rows of a catalog, on actors laid out as for scoring. In: rows with pictures. Out: what is made of its answers.

Evaluation after training, features of an audit and those of the baselines come through here; a night of scoring has more to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import ray
import ray.data

from fashion_ray import cluster
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.inference import Inference, Output
from fashion_ray.scoring.plan import plan_engines

Make = Callable[[pa.Table, Output], pa.Table]
"""From a table whose column `image` was answered, and the answers; it runs on the actors, so it must be importable there."""


class EngineActor:
    """Holds an engine, and makes a table of each table."""

    def __init__(self, *, files: Any, name: str, choice: EngineChoice, threads: int, cache: str, make: Make) -> None:
        self._inference = Inference(ray.get(files), name=name, choice=choice, threads=threads, cache=cache)
        self._make = make

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._make(table, self._inference(table["image"].to_pylist()))


def answered(
    rows: ray.data.Dataset, make: Make, *, files: dict[str, bytes], name: str, choice: EngineChoice, cache: str, work: int
) -> Iterator[pa.Table]:
    """Run a bundle over rows; the tables made of its answers, without empty ones, in any order.

    `name` is the bundle's in errors; there are never more actors than pieces of `work`.
    """
    has = cluster.resources()
    plan = plan_engines(
        device=choice.device, cpus=has.cpus, gpus=has.gpus, nodes=has.nodes, cpus_per_node=has.cpus_per_node, work=work
    )
    made = rows.map_batches(
        EngineActor,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_kwargs={
            "files": ray.put(files), "name": name, "choice": choice, "threads": plan.threads, "cache": cache, "make": make,
        },
        compute=ray.data.ActorPoolStrategy(size=plan.actors),
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
    )  # fmt: skip
    for table in made.iter_batches(batch_size=None, batch_format="pyarrow"):
        if table.num_rows:
            yield table
