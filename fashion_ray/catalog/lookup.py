"""A few products' rows and pictures out of a table. In: a snapshot and ids. Out: their columns, or their bytes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store


def pictures(store: Store, catalog: Snapshot, product_ids: Sequence[str]) -> dict[str, bytes]:
    """The pictures of those of the products that are there; only the files that hold them are opened for it."""
    files = [str(entry["name"]) for entry in catalog.manifest["files"]]
    table = rows_of(store, catalog.folder, files, product_ids, ["product_id", "image"])
    return dict(zip(table["product_id"].to_pylist(), table["image"].to_pylist(), strict=True))


def rows_of(store: Store, folder: str, files: Sequence[str], product_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Columns of those of the products that are in these files of a folder, in the order of the files; each id once.

    Ids are compared with those in the files; the row groups that hold a product are all that is read besides.
    """
    wanted, found, left = pa.array(product_ids, type=pa.string()), [], len(set(product_ids))
    for file in files:
        if not left:
            break
        ids = store.read_table(folder, file, columns=["product_id"])["product_id"]
        rows = pc.indices_nonzero(pc.is_in(ids, wanted)).to_pylist()
        if rows:
            found.append(store.read_rows(folder, file, columns=list(columns), rows=rows))
            left -= len(rows)
    empty = pa.table({name: pa.array([], type=pa.string()) for name in columns})
    return pa.concat_tables(found) if found else empty
