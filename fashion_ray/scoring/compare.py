"""Tonight against last night. In: two tables of scores. Out: what changed, drift, what the gates say, and a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fashion_ray import snapshots
from fashion_ray.errors import UserError
from fashion_ray.models import bundle
from fashion_ray.scoring import changes as changed
from fashion_ray.scoring import gates
from fashion_ray.scoring.drift import Centroid, Drift, drift, plain
from fashion_ray.scoring.gates import Accuracy, Facts, Limits, Verdict
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is different tonight."""

    changes: pa.Table
    """changes.changes_schema(targets)."""

    targets: list[str]
    classes: dict[str, pd.DataFrame]
    drift: Drift | None
    verdicts: list[Verdict]
    accuracy_pairs: Mapping[str, tuple[Accuracy, Accuracy]] = field(default_factory=dict)
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)

    @property
    def refusals(self) -> list[str]:
        """Sentences of the gates that refuse to publish."""
        return [verdict.sentence for verdict in self.verdicts if verdict.refused]

    def figures(self) -> dict[str, float]:
        """What is worth following from night to night."""
        found = {f"cause/{name}": float(count) for name, count in changed.cause_counts(self.changes).items()}
        found |= {f"accuracy/{target}": one.share for target, one in self.accuracy.items() if one.rows}
        return found | plain(self.drift)


def compare(
    store: Store,
    catalog: Snapshot,
    model: ResolvedModel,
    base: Snapshot | None,
    folder: str,
    manifest: Mapping[str, Any],
    quarantine: pa.Table,
    *,
    limits: Limits,
) -> Comparison:
    """Compare a finished folder of scores, and its manifest to be, with last night's snapshot if there was one."""
    card = model.card
    after = _columns(store, folder, _files(manifest), changed.columns(card.targets))
    before = None
    if base is not None:
        before = _columns(store, base.folder, _files(base.manifest), changed.columns(_targets(base)))
    targets = list(dict.fromkeys([*card.targets, *(_targets(base) if base else [])]))
    failed = quarantine["product_id"].to_pylist()
    table = changed.changes(before, after, targets=targets, quarantined=failed)
    means = (_centroid(base.manifest if base else {}, card.trunk_version), _centroid(manifest, card.trunk_version))
    drifted = drift(before, after, targets=card.targets, means=means) if before is not None else None
    labels = _columns(store, catalog.folder, _files(catalog.manifest), ["product_id", *card.targets])
    pairs: Mapping[str, tuple[Accuracy, Accuracy]] = {}
    if before is not None and base is not None:
        pairs = gates.accuracy_pairs(before, after, labels, classes=(_classes_of(store, base, model), card.classes))
    right = gates.accuracy(after, labels, classes=card.classes)
    books = manifest["books"]
    causes = changed.cause_counts(table)
    gone = causes.get("withdrawn", 0) + causes.get("quarantined", 0)
    facts = Facts(
        catalog=books["catalog"], scored=books["scored"], carried_over=books["carried_over"], quarantined=books["quarantined"],
        before=before.num_rows if before is not None else None, withdrawn=gone, drift=drifted, accuracy=right,
        accuracy_pairs=pairs,
    )  # fmt: skip
    return Comparison(
        changes=table, targets=targets, drift=drifted, verdicts=gates.verdicts(facts, limits), accuracy_pairs=pairs,
        accuracy=right, classes={target: changed.class_counts(before, after, target) for target in card.targets},
    )  # fmt: skip


def total_centroids(receipts: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The centroid of each trunk over the files of a table, as a manifest keeps it: [sums, rows]."""
    total: dict[str, Centroid] = {}
    for receipt in receipts:
        for trunk, (sums, count) in receipt["centroids"].items():
            one = Centroid(trunk_version=trunk, sum=np.array(sums), count=count)
            total[trunk] = total[trunk] + one if trunk in total else one
    return {trunk: [[round(value, 6) for value in one.sum.tolist()], one.count] for trunk, one in total.items()}


def _centroid(manifest: Mapping[str, Any], trunk_version: str) -> Centroid | None:
    kept = manifest.get("centroids", {}).get(trunk_version)
    return Centroid(trunk_version=trunk_version, sum=np.array(kept[0]), count=kept[1]) if kept else None


def _columns(store: Store, folder: str, files: list[str], names: list[str]) -> pa.Table:
    """Some columns of a table; embeddings and pictures stay where they are."""
    return pa.concat_tables(snapshots.read_files(store, folder, files, names)).combine_chunks()


def _files(manifest: Mapping[str, Any]) -> list[str]:
    return [entry["name"] for entry in manifest["files"]]


def _targets(snapshot: Snapshot) -> list[str]:
    return list(snapshot.manifest["targets"])


def _classes_of(store: Store, base: Snapshot, model: ResolvedModel) -> Mapping[str, list[str | None]]:
    """The classes that last night's model knew; those of tonight's where its bundle is not below the root."""
    version = str(base.manifest["model_version"])
    if version != model.card.model_version:
        try:
            return bundle.read_card(store.read_bytes("models", version, bundle.CARD), name=version).classes
        except (FileNotFoundError, UserError):
            pass
    return {target: names for target, names in model.card.classes.items() if target in _targets(base)}
