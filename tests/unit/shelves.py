"""Published scores for tests of the catalog page. In: products as short lines. Out: a root with a catalog and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from tests.unit.nights import jpeg

TARGETS = ("subCategory", "articleType")
HOSTILE = "</script><img src=x onerror=alert(1)>"


def put_catalog(store: Store, titles: Mapping[str, str], *, pictures: Mapping[str, bytes] | None = None) -> Snapshot:
    """A catalog of these products, by id; each is a Tshirts of Topwear."""
    rows = [
        {
            "product_id": product_id, "image": (pictures or {}).get(product_id) or jpeg(product_id), "image_sha256": "0" * 64,
            "perceptual_hash": "0", "width": 24, "height": 32, "masterCategory": "Apparel", "subCategory": "Topwear",
            "articleType": "Tshirts", "productDisplayName": title, "split": "train", "group_id": product_id,
        }
        for product_id, title in titles.items()
    ]  # fmt: skip
    return _publish(store, "catalog", pa.Table.from_pylist(rows, schema=schema.CATALOG), {})


def put_scores(
    store: Store,
    answers: Mapping[str, tuple[str | None, float]],
    *,
    catalog: str = "",
    embeddings: Mapping[str, Sequence[float]] | None = None,
    trunks: Mapping[str, str] | None = None,
    targets: Sequence[str] = TARGETS,
) -> Snapshot:
    """A night of scores: the articleType and its probability of each product, in two files; under 0.5 it needs review."""
    rows = []
    for number, (product_id, (label, chance)) in enumerate(answers.items()):
        row: dict[str, object] = {
            "product_id": product_id, "embedding": list((embeddings or {}).get(product_id, (1.0, float(number)))),
            "image_sha256": "0" * 64, "score_key": "k", "model_version": f"m{chance}", "run_id": "r",
            "trunk_version": (trunks or {}).get(product_id, "t"), "scored_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        for target in targets:
            said = label if target == "articleType" else "Topwear"
            row |= {
                f"{target}_predicted": said, f"{target}_probability": chance, f"{target}_needs_review": chance < 0.5,
                f"{target}_top3": [{"label": said, "probability": chance}, {"label": "Socks", "probability": 1 - chance}],
            }  # fmt: skip
        rows.append(row)
    table = pa.Table.from_pylist(rows, schema=schema.scores(targets, 2))
    return _publish(store, "scores", table, {"targets": list(targets), "model_version": "m", "catalog_snapshot": catalog})


def _publish(store: Store, kind: str, table: pa.Table, facts: Mapping[str, object]) -> Snapshot:
    base = snapshots.current(store, kind)
    name = f"{kind}-{base.sequence + 1 if base else 1}"
    half = -(-table.num_rows // 2)
    files = []
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        file = f"part-{number:05d}.parquet"
        entry = store.write_table(part, snapshots.staging(kind, name), file, row_group_rows=2)
        files.append(snapshots.file_entry(file, part.num_rows, entry))
    return snapshots.publish(store, kind, name, {**facts, "files": files, "rows": table.num_rows}, base=base)


def unit(angle: float) -> tuple[float, float]:
    """An embedding in this direction, in radians."""
    return float(np.cos(angle)), float(np.sin(angle))
