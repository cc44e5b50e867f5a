"""Features of the baselines, computed by the scoring engine. In: a catalog. Out: tables features-raw and features-classic.

One pass of the pretrained network over the pictures gives both: its pooled activations, and its ImageNet class probabilities.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from fashion_ray import cluster, snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.reading import read
from fashion_ray.insight import imagenet
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.models import bundle, engines
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import Geometry
from fashion_ray.scoring.answering import answered
from fashion_ray.scoring.inference import Output, card_of, read_bundle
from fashion_ray.scoring.score import catalog_of
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

KINDS = ("raw", "classic")


def publish_features(options: SimilarOptions, store: Store, run_id: str) -> Snapshot:
    """The features of a baseline for the current catalog: those that are there, else computed and published, both kinds."""
    catalog = catalog_of(store)
    files = imagenet.files(_geometry(store))
    version = bundle.read_card(files[bundle.CARD], name="imagenet").trunk_version
    choice = engines.choose(options.engine, options.precision, gpus=cluster.resources().gpus, **engines.of_this_node())
    name = snapshots.fingerprint(catalog.name, version, choice.name, choice.precision)
    current = {kind: snapshots.current(store, f"features-{kind}") for kind in KINDS}
    missing = [kind for kind, found in current.items() if found is None or found.name != name]
    if missing:
        folders = {kind: snapshots.staging(f"features-{kind}", name) for kind in missing}
        entries = _compute(store, catalog, folders, files, version, choice, options.cache)
        for kind in missing:
            listed = sorted((entry[kind] for entry in entries), key=lambda file: str(file["name"]))
            manifest = {
                "files": listed, "rows": sum(file["rows"] for file in listed), "catalog_snapshot": catalog.name,
                "trunk_version": version, "engine": choice.name, "precision": choice.precision, "run_id": run_id,
            }  # fmt: skip
            current[kind] = snapshots.publish(store, f"features-{kind}", name, manifest, base=current[kind])
            snapshots.retain(store, f"features-{kind}", 1)
    found = current[options.baseline or "raw"]
    assert found is not None
    return found


def _geometry(store: Store) -> Geometry:
    """The sizes that the current scores' model sees pictures in, so that features differ by the network alone."""
    scores = snapshots.current(store, "scores")
    if scores is None:
        return imagenet.DEFAULT_GEOMETRY
    version = str(scores.manifest["model_version"])
    try:
        return card_of(read_bundle(store, f"models/{version}"), version).geometry
    except FileNotFoundError:  # a bundle that lies elsewhere
        return imagenet.DEFAULT_GEOMETRY


def _compute(
    store: Store,
    catalog: Snapshot,
    folders: Mapping[str, str],
    files: dict[str, bytes],
    version: str,
    choice: EngineChoice,
    cache: str,
) -> list[dict[str, dict[str, Any]]]:
    """A manifest entry of each kind for each file of the catalog."""
    parts, found = len(catalog.files), []
    rows = read(store, catalog, ["product_id", "image"])
    make = partial(_written, store=store, folders=folders, version=version)
    for table in answered(rows, make, files=files, name="imagenet", choice=choice, cache=cache, work=parts):
        found += [json.loads(entries) for entries in table["entries"].to_pylist()]
        log.info("features of %d of %d files", len(found), parts)
    return found


def _written(table: pa.Table, output: Output, *, store: Store, folders: Mapping[str, str], version: str) -> pa.Table:
    """Write both tables' file for a file of the catalog; their entries."""
    if not table.num_rows:
        return pa.table({"entries": pa.array([], pa.string())})
    good = np.array([row for row in range(table.num_rows) if row not in output.bad], np.int64)
    ids, part = table["product_id"].take(pa.array(good)), table["part"][0].as_py()
    versions = pa.array([version] * len(good), pa.string())
    found = {"raw": output.embeddings, "classic": imagenet.class_scores(output.logits[imagenet.TARGET])}
    entries = {}
    for kind, folder in folders.items():
        values = np.ascontiguousarray(found[kind][good], dtype=np.float32)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        rows = schema.cast(
            pa.table([ids, lists, versions], names=["product_id", "embedding", "trunk_version"]),
            schema.features(values.shape[1]),
        )
        entries[kind] = snapshots.file_entry(part, rows.num_rows, store.write_table(rows, folder, part))
    return pa.table({"entries": [json.dumps(entries)]})
