"""Where the tasks of an ingest run: on a Ray cluster, or here. In: a function and tables. Out: a table for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pyarrow as pa
import ray.data
from ray.exceptions import RayError

from fashion_ray.errors import UserError

Task = Callable[[pa.Table], pa.Table]


class Each(Protocol):
    """Applies a function to every one of some tables, in any order."""

    def __call__(self, task: Task, tables: Sequence[pa.Table], *, cpus: float = 1.0) -> Iterator[pa.Table]:
        """The results; a task reserves so many processors."""


def on_cluster(task: Task, tables: Sequence[pa.Table], *, cpus: float = 1.0) -> Iterator[pa.Table]:
    """On Ray Data, a task a table."""
    if not tables:
        return
    work = ray.data.from_arrow(list(tables)).map_batches(task, batch_size=None, batch_format="pyarrow", num_cpus=cpus)
    try:
        yield from work.iter_batches(batch_size=None, batch_format="pyarrow")
    except RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise UserError(str(cause)) from error  # the user's mistake, found on a worker


def here(task: Task, tables: Sequence[pa.Table], *, cpus: float = 1.0) -> Iterator[pa.Table]:
    """In this process, one after the other."""
    yield from map(task, tables)
