"""A few products' pictures out of a catalog. In: a snapshot and ids. Out: their bytes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store


def pictures(store: Store, catalog: Snapshot, product_ids: Sequence[str]) -> dict[str, bytes]:
    """The pictures of those of the products that are there; only the files that hold them are opened for it."""
    wanted = pa.array(product_ids, type=pa.string())
    found: dict[str, bytes] = {}
    for entry in catalog.manifest["files"]:
        if len(found) == len(wanted):
            break
        ids = store.read_table(catalog.folder, entry["name"], columns=["product_id"])["product_id"]
        rows = pc.indices_nonzero(pc.is_in(ids, wanted)).to_pylist()
        if rows:
            table = store.read_rows(catalog.folder, entry["name"], columns=["product_id", "image"], rows=rows)
            found |= dict(zip(table["product_id"].to_pylist(), table["image"].to_pylist(), strict=True))
    return found
