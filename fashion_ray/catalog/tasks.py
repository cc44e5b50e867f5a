"""How an ingest runs a function over tables, and the plain way: in this process. In: a function, tables. Out: tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import pyarrow as pa

Task = Callable[[pa.Table], pa.Table]


class Each(Protocol):
    """Applies a function to every one of some tables, in any order."""

    def __call__(self, task: Task, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The results, as they come."""


def here(task: Task, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """In this process, one after the other: for tests, and for feeds that are not worth a cluster."""
    yield from map(task, tables)
