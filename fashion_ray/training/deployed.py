"""Predictions through the path that serves. In: a bundle and sides of a catalog. Out: their logits and labels.

The engine is the one that will score, on actors as in scoring, so temperatures, thresholds and test figures are those of
what is deployed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.answering import answered
from fashion_ray.scoring.inference import Output
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training import feeding
from fashion_ray.training.sides import TRAIN, Scheme, assign
from fashion_ray.training.slices import SLICE_COLUMNS


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Some rows' labels as in the catalog, and the logits (rows, classes) that the engine gave."""

    product_ids: list[str]
    labels: dict[str, list[str | None]]
    logits: dict[str, np.ndarray]
    groups: list[str] = field(default_factory=list)
    """What each row is a near-duplicate of; empty if that is not known."""

    slicing: dict[str, list[Any]] = field(default_factory=dict)
    """The catalog's columns that results are given for."""


@dataclass(frozen=True, kw_only=True)
class TrainingSide:
    """What the products on the training side are, before any balancing."""

    rows: dict[str, dict[str, int]]
    """Target to label to the number of products that have it."""

    groups: frozenset[str]
    """What they are near-duplicates of."""


def predict(
    store: Store,
    catalog: Snapshot,
    scheme: Scheme,
    side: str,
    targets: list[str],
    *,
    files: dict[str, bytes],
    choice: EngineChoice,
    cache: str,
) -> HeldOut:
    """The labels and logits of the rows on one side, in the order of product_id, and what is told of them."""
    slicing = [name for name in SLICE_COLUMNS if has_column(catalog, name)]
    columns = list(dict.fromkeys([*targets, "group_id", *slicing]))
    rows = feeding.labelled(store, catalog, scheme, side, columns)
    tables = list(answered(rows, _logits, files=files, name="candidate", choice=choice, cache=cache, work=len(catalog.files)))
    whole = pa.concat_tables(tables).sort_by("product_id").combine_chunks()
    return HeldOut(
        product_ids=whole["product_id"].to_pylist(),
        labels={target: whole[target].to_pylist() for target in targets},
        logits={target: _matrix(whole[f"{target}_logits"].combine_chunks()) for target in targets},
        groups=whole["group_id"].to_pylist(),
        slicing={name: whole[name].to_pylist() for name in slicing},
    )


def training_side(store: Store, catalog: Snapshot, scheme: Scheme, targets: list[str]) -> TrainingSide:
    """What was there to be learned; read on the driver, without the pictures."""
    columns = list(dict.fromkeys(["group_id", *targets, *scheme.columns]))
    table = store.read_table(catalog.folder, columns=columns)
    table = table.filter(pa.array([side == TRAIN for side in assign(scheme, table)], type=pa.bool_()))
    return TrainingSide(
        rows={target: dict(Counter(table[target].drop_null().to_pylist())) for target in targets},
        groups=frozenset(table["group_id"].drop_null().to_pylist()),
    )


def has_column(catalog: Snapshot, name: str) -> bool:
    """Whether a catalog, which an earlier version may have written, has a column."""
    return any(line.startswith(f"{name}: ") for line in catalog.manifest["schema"])


def _logits(table: pa.Table, output: Output) -> pa.Table:
    """Logits in the place of pictures."""
    assert not output.bad, "feeding checks that pictures decode"
    for target, values in output.logits.items():
        flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel())
        table = table.append_column(f"{target}_logits", pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
    return table.drop_columns(["image"])


def _matrix(values: pa.FixedSizeListArray) -> np.ndarray:
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return np.array(flat).reshape(len(values), values.type.list_size)
