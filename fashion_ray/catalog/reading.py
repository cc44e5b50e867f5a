"""The published catalog on Ray Data. In: a snapshot. Out: a dataset with one block a file, read by tasks as it streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import ray.data

from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

READER_CPUS = 0.5
"""What a reading task reserves: on two processors one must fit beside an actor that has the other."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows to keep, decided where they are read."""

    columns: tuple[str, ...]
    """The columns that decide, which need not be among those that are read."""

    mask: Callable[[pa.Table], pa.Array]
    """Whether to keep each row of a table with these columns; it travels to workers."""


def read(
    store: Store, snapshot: Snapshot, columns: Sequence[str], *, parts: Sequence[str] | None = None, only: Rows | None = None
) -> ray.data.Dataset:
    """Columns of a snapshot's files (of all, or of the named ones) and `part`, the file's name; of some rows if asked.

    Ray Data's own reader would pack small files into one block, and a file is the unit of work here.
    """
    names = list(parts) if parts is not None else [entry["name"] for entry in snapshot.manifest["files"]]
    work = ray.data.from_items([{"part": name} for name in names], override_num_blocks=len(names))
    return work.map_batches(
        read_part,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"store": store, "folder": snapshot.folder, "columns": list(columns), "only": only},
        num_cpus=READER_CPUS,
    )


def read_part(names: pa.Table, *, store: Store, folder: str, columns: list[str], only: Rows | None) -> pa.Table:
    """One file as one table (on a worker)."""
    (part,) = names["part"].to_pylist()
    needed = list(dict.fromkeys([*columns, *(only.columns if only is not None else ())]))
    table = store.read_table(folder, part, columns=needed)
    if only is not None:
        table = table.filter(only.mask(table)).select(columns)
    return table.append_column("part", pa.array([part] * table.num_rows, type=pa.string())).combine_chunks()
