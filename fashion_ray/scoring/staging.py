"""Files of scores before they are published. In: the rows of a file. Out: the file, and a receipt beside it.

Object storage has no locks, so two runs may write one folder, and one of them may publish it while the other is still at
work. A file is therefore created once and then left alone: who comes second takes what is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fashion_ray import snapshots
from fashion_ray.storage import Store, to_json, to_parquet, written

ROW_GROUP_ROWS = 1024
READS = 8
"""Receipts that are asked for at once: on object storage each is a round trip."""

Receipts = dict[str, dict[str, Any]]
"""Receipts by the name of their file."""


def begin(store: Store, folder: str, run_id: str) -> None:
    """Note that a folder is at work again, so that it does not count as abandoned (see `snapshots.retain`)."""
    store.write_json({"run_id": run_id, "begun_at": snapshots.now()}, folder, "_begun.json")


def put_rows(store: Store, folder: str, part: str, rows: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
    """Write a file unless it is there with these products and keys; the rows that are there now, and their entry.

    A score_key decides the answers of a row, so what another run wrote under the same keys is as good.
    """
    content: bytes | pa.Buffer = to_parquet(rows, compression="none", row_group_rows=ROW_GROUP_ROWS)
    if not store.create_bytes(content, folder, part):
        there = store.read_bytes(folder, part)
        kept = _readable(there)
        if kept is not None and kept.schema.equals(rows.schema) and _keys(kept) == _keys(rows):
            content, rows = there, kept
        else:
            store.write_bytes(content, folder, part)  # damaged, or left by an attempt that could decode other pictures
    return rows, snapshots.file_entry(part, rows.num_rows, written(content))


def put_receipt(store: Store, folder: str, receipt: dict[str, Any]) -> None:
    """Write the receipt of a file, which says that it is whole."""
    store.write_bytes(to_json(receipt), folder, "_receipts", f"{receipt['part']}.json")


def receipts(store: Store, folder: str, parts: Iterable[str], *, base: str) -> Receipts:
    """The receipts of those of the files that are there as long as they were, and were made on top of the same night before.

    What cannot be read is no receipt.
    """
    wanted = {f"{part}.json" for part in parts}
    names = [name for name in store.names(folder, "_receipts") if name in wanted]
    if not names:
        return {}
    sizes = snapshots.sizes(store, folder)
    with ThreadPoolExecutor(READS) as pool:
        read = pool.map(lambda name: _receipt(store.read_bytes(folder, "_receipts", name)), names)
        found = [receipt for receipt in read if receipt is not None]
    return {
        receipt["part"]: receipt
        for receipt in found
        if receipt["base"] == base and sizes.get(receipt["file"]["name"]) == receipt["file"]["size_bytes"]
    }


def _receipt(content: bytes) -> dict[str, Any] | None:
    try:
        receipt = json.loads(content)
        whole = {"part", "file", "quarantined", "actions", "centroids", "seconds", "span", "base"} <= set(receipt)
    except (ValueError, TypeError):
        return None
    return receipt if whole else None


def _readable(content: bytes) -> pa.Table | None:
    try:
        return pq.read_table(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError):
        return None


def _keys(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table["product_id"].to_pylist(), table["score_key"].to_pylist(), strict=True))
