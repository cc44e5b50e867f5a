"""The tasks of an ingest on a Ray cluster. In: a function and tables. Out: a table for each."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import pyarrow as pa
import ray.data

from fashion_ray.catalog.tasks import Task
from fashion_ray.errors import UserError

USER_ERROR = "user_error"


def on_cluster(task: Task, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """On Ray Data, a task a table; a `tasks.Each`. Raises the UserError of a task as such."""
    references = [ray.put(table) for table in tables]  # one at a time: the driver need not hold all of them as well
    if not references:
        return
    told = functools.partial(attempt, task=task)
    work = ray.data.from_arrow_refs(references).map_batches(told, batch_size=None, batch_format="pyarrow")
    del references
    for table in work.iter_batches(batch_size=None, batch_format="pyarrow"):
        if table.column_names == [USER_ERROR]:
            raise UserError(table[USER_ERROR][0].as_py())
        yield table


def attempt(table: pa.Table, *, task: Task) -> pa.Table:
    """The task's result (on a worker), or its UserError as a table: what Ray Data raises has lost the error's causes."""
    try:
        return task(table)
    except UserError as error:
        return pa.table({USER_ERROR: [str(error)]})
