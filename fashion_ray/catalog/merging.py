"""A feed onto a catalog. In: what was found in the feed, and the catalog so far. Out: the coming catalog's facts, and counts.

A full feed is the catalog: what it does not have leaves. A delta has what is new, changed or withdrawn: the rest stays.
In a delta a row without a (usable) picture relabels its product, and a picture without a row replaces the old picture.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog import schema
from fashion_ray.catalog.assembling import PLACES
from fashion_ray.catalog.plan import DESCRIBED

MERGED = pa.schema([*schema.FACTS, *PLACES])
"""A product of the coming catalog and where its picture lies; labels as the feed has them."""

_WORDS = [name for name in DESCRIBED.names if name != "product_id"]
_COMPARED = ["image_sha256", *_WORDS]


def merge(found: pa.Table, base: pa.Table, relabelled: pa.Table, withdrawn: list[str], *, delta: bool) -> pa.Table:
    """MERGED from what was found in a feed (inspecting.FOUND) and the catalog so far (MERGED), in no particular order."""
    usable = found.filter(pc.is_null(found["reason"]))
    if not delta:
        return schema.cast(usable, MERGED)
    known = pc.index_in(usable["product_id"], base["product_id"])
    keeps_words = pc.and_(pc.invert(usable["has_row"]), pc.is_valid(known))
    usable = _replace(usable, _WORDS, base.take(known), keeps_words)
    unread = found.filter(pc.and_(pc.is_valid(found["reason"]), found["has_row"]))
    said = pa.concat_tables([table.select(DESCRIBED.names).cast(DESCRIBED) for table in (relabelled, unread)])
    gone = pc.or_(
        pc.is_in(base["product_id"], usable["product_id"]), pc.is_in(base["product_id"], pa.array(withdrawn, type=pa.string()))
    )
    staying = base.filter(pc.invert(gone))
    row = pc.index_in(staying["product_id"], said["product_id"])
    staying = _replace(staying, _WORDS, said.take(row), pc.is_valid(row))
    return pa.concat_tables([schema.cast(usable, MERGED), schema.cast(staying, MERGED)])


def summarize(base: pa.Table, coming: pa.Table) -> dict[str, int]:
    """How many products are added, changed (picture or label), removed and unchanged."""
    position = pc.index_in(coming["product_id"], base["product_id"])
    before = base.select(_COMPARED).take(position)
    same = np.asarray(pc.is_valid(position))
    both = int(same.sum())
    for name in _COMPARED:
        old, new = before[name], coming[name]
        equal = pc.or_(pc.fill_null(pc.equal(old, new), False), pc.and_(pc.is_null(old), pc.is_null(new)))
        same = same & np.asarray(equal)
    unchanged = int(same.sum())
    return {
        "added": coming.num_rows - both, "changed": both - unchanged, "removed": base.num_rows - both, "unchanged": unchanged,
    }  # fmt: skip


def _replace(table: pa.Table, names: list[str], source: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """The table with some columns taken from another of the same length where the mask says so."""
    for name in names:
        column = pc.if_else(mask, source[name], table[name])
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table
