"""The tasks of an ingest on a Ray cluster. In: a function and tables. Out: a table for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray.data
from ray.exceptions import RayError

from fashion_ray.catalog.tasks import Task
from fashion_ray.errors import UserError


def on_cluster(task: Task, tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """On Ray Data, a task a table; a `tasks.Each`. Raises the UserError of a task as such."""
    if not tables:
        return
    work = ray.data.from_arrow(list(tables)).map_batches(task, batch_size=None, batch_format="pyarrow")
    try:
        yield from work.iter_batches(batch_size=None, batch_format="pyarrow")
    except RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise UserError(str(cause)) from error
