"""The second pass, on workers. In: settled rows of some shards and where their pictures lie. Out: the catalog's files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.plan import SHARD_BYTES, id_hashes, shard_bounds, shard_count
from fashion_ray.errors import ReconciliationError
from fashion_ray.storage import Store

PLACES = pa.schema([pa.field("piece", pa.int32(), nullable=False), pa.field("position", pa.int32(), nullable=False)])

READY = pa.schema([*(field for field in schema.CATALOG if field.name != "image"), *PLACES])
"""A product of the coming catalog: all but its picture, which is row `position` of piece `piece`."""

PICTURE = pa.schema([schema.CATALOG.field(name) for name in ("product_id", "image")])

TASKS = 64
"""At most so many, if that does not make them too large: a task opens every piece that it needs a row of."""


@dataclass(frozen=True)
class Piece:
    """A file that has pictures: a staged portion, or a part of the catalog so far."""

    folder: str
    file: str


def plan_runs(ready: pa.Table, *, row_bytes: float) -> Iterator[pa.Table]:
    """READY and `shard` by the hash of the ids, in runs of whole shards, one a task, each made as it is asked for."""
    hashes = id_hashes(ready["product_id"].to_pylist())
    order = np.argsort(hashes, kind="stable")
    count = shard_count(ready.num_rows, int(row_bytes * ready.num_rows))
    bounds = shard_bounds(hashes[order], count)
    shards = np.repeat(np.arange(count, dtype=np.int32), np.diff(bounds))
    bytes_a_shard = row_bytes * ready.num_rows / count
    together = max(1, min(-(-count // TASKS), int(SHARD_BYTES // max(1.0, bytes_a_shard))))
    cuts = [*bounds[:-1:together], bounds[-1]]
    for start, end in pairwise(cuts):
        if end > start:
            yield ready.take(pa.array(order[start:end])).append_column("shard", pa.array(shards[start:end]))


def assemble(run: pa.Table, *, store: Store, pieces: list[Piece], folder: str) -> pa.Table:
    """Write the files of a run's shards; their manifest entries.

    Raises ReconciliationError if a picture is not its product's.
    """
    table = run.append_column("image", _pictures(run, store, pieces))
    entries = []
    shards = np.asarray(run["shard"])
    for number in np.unique(shards).tolist():
        rows = np.flatnonzero(shards == number)
        part = f"part-{number:05d}.parquet"
        final = schema.cast(table.slice(int(rows[0]), len(rows)), schema.CATALOG)
        written = store.write_table(final, folder, part, compression="none", row_group_rows=512)
        entries.append(snapshots.file_entry(part, final.num_rows, written))
    return pa.Table.from_pylist(entries)


def _pictures(run: pa.Table, store: Store, pieces: list[Piece]) -> pa.ChunkedArray:
    """The pictures of a run's rows, in their order."""
    files = [(piece.folder, piece.file) for piece in pieces]
    table = store.gather(files, np.asarray(run["piece"]), np.asarray(run["position"]), PICTURE)
    if table["product_id"].to_pylist() != run["product_id"].to_pylist():
        raise ReconciliationError(
            "catalog: the staged pictures are not those of the rows; remove catalog/staging and run again"
        )
    return table["image"]
