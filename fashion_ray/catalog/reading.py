"""The published catalog on Ray Data. In: a snapshot. Out: a dataset with one block a file, read by tasks as it streams."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

READER_CPUS = 0.5
"""What a reading task reserves: on two processors one must fit beside an actor that has the other."""


def read(
    store: Store, snapshot: Snapshot, columns: Sequence[str], *, parts: Sequence[str] | None = None, split: str | None = None
) -> ray.data.Dataset:
    """Columns of a snapshot's files (of all, or of the named ones) and `part`, the file's name; of one split if asked.

    Ray Data's own reader would pack small files into one block, and a file is the unit of work here.
    """
    names = list(parts) if parts is not None else [entry["name"] for entry in snapshot.manifest["files"]]
    work = ray.data.from_items([{"part": name} for name in names], override_num_blocks=len(names))
    return work.map_batches(
        read_part,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"store": store, "folder": snapshot.folder, "columns": list(columns), "split": split},
        num_cpus=READER_CPUS,
    )


def read_part(names: pa.Table, *, store: Store, folder: str, columns: list[str], split: str | None) -> pa.Table:
    """One file as one table (on a worker)."""
    (part,) = names["part"].to_pylist()
    table = store.read_table(folder, part, columns=[*columns, *(["split"] if split else [])])
    if split is not None:
        table = table.filter(pc.equal(table["split"], split)).drop_columns(["split"])
    return table.append_column("part", pa.array([part] * table.num_rows, type=pa.string())).combine_chunks()
