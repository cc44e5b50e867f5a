"""Neighbours as a table and as rows. In: one of the two. Out: the other, and the books of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog import schema
from fashion_ray.errors import ReconciliationError
from fashion_ray.insight.neighbours import NONE, Found, empty
from fashion_ray.insight.quiet_night import GONE, Before


def to_table(found: Found, ids: pa.Array, keys: Sequence[str], rows: np.ndarray) -> pa.Table:
    """The neighbours of some rows as schema.SIMILAR, in the order of the rows."""
    wanted = found.rows[rows]
    there = wanted != NONE
    offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    pairs = pa.StructArray.from_arrays(
        [ids.take(pa.array(wanted[there])), pa.array(found.similarity[rows][there])], names=["product_id", "similarity"]
    )
    lists = pa.ListArray.from_arrays(pa.array(offsets), pairs)
    columns = [ids.take(pa.array(rows)), lists, pa.array(keys, type=pa.string()).take(pa.array(rows))]
    return schema.cast(pa.table(columns, names=schema.SIMILAR.names), schema.SIMILAR)


def to_before(table: pa.Table, ids: pa.Array, keys: Sequence[str], k: int) -> Before:
    """Last night's table (schema.SIMILAR) by tonight's rows."""
    table = table.combine_chunks()
    place = pc.index_in(ids, table["product_id"])
    old = table.take(place)
    same = pc.fill_null(pc.equal(old["key"], pa.array(keys, type=pa.string())), False).to_numpy()
    found = empty(len(ids), k)
    lists = old["similar"].combine_chunks()
    owner = pc.list_parent_indices(lists).to_numpy()
    pairs = pc.list_flatten(lists)
    turn = np.arange(len(owner)) - np.searchsorted(owner, owner)
    rows = pc.fill_null(pc.index_in(pc.struct_field(pairs, "product_id"), ids), GONE).to_numpy()
    found.rows[owner, turn] = rows
    found.similarity[owner, turn] = pc.struct_field(pairs, "similarity").to_numpy()
    return Before(same=same, found=found)


def check(table: pa.Table, books: dict[str, int]) -> None:
    """Raise ReconciliationError unless every product is answered once or quarantined, and none is similar to itself."""
    ids = table["product_id"]
    lists = table["similar"].combine_chunks()
    pairs = pc.list_flatten(lists)
    owners, others = ids.take(pc.list_parent_indices(lists)), pc.struct_field(pairs, "product_id")
    wrong = []
    if books["catalog"] != books["computed"] + books["carried_over"] + books["quarantined"]:
        wrong.append("catalog is not computed + carried over + quarantined")
    if table.num_rows != books["computed"] + books["carried_over"] or pc.count_distinct(ids).as_py() != table.num_rows:
        wrong.append(f"{table.num_rows} rows, {pc.count_distinct(ids).as_py()} of them different products")
    if pc.any(pc.equal(owners, others)).as_py():
        wrong.append("a product is similar to itself")
    if not pc.all(pc.is_in(others, ids)).as_py() and len(others):
        wrong.append("a neighbour is not in the table")
    if wrong:
        raise ReconciliationError(f"similar: the books do not balance: {'; '.join(wrong)}; {books}")
