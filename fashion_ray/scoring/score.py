"""The whole catalog through a bundle into a published snapshot. In: a catalog and a model. Out: scores, and balanced books.

The unit of work is a file of the catalog: read by tasks, scored by actors that each hold an engine, written as the file
of the same name in the snapshot to be, with a receipt beside it. A file without a receipt is pending, so a run that was
killed goes on where it stopped; nobody reads the folder before the commit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray.data

from fashion_ray import cluster, snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.catalog.reading import read
from fashion_ray.errors import ConflictError, ReconciliationError, UserError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.inference import Inference, ResolvedModel
from fashion_ray.scoring.plan import plan_engines
from fashion_ray.scoring.rows import quarantined, score_rows
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store, to_json

log = logging.getLogger(__name__)

COLUMNS = ["product_id", "image", "image_sha256"]


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """A published snapshot and the books of how it came about."""

    snapshot: Snapshot
    books: dict[str, int]
    timing: dict[str, float]
    already_current: bool


def catalog_of(store: Store) -> Snapshot:
    """The current catalog. Raises UserError if there is none."""
    catalog = snapshots.current(store, "catalog")
    if catalog is None:
        raise UserError(
            f"no catalog below {store.uri!r}; expected one that jobs/ingest.py published. "
            "Run python jobs/ingest.py --source FEED with the same --root first"
        )
    return catalog


def score(
    store: Store, catalog: Snapshot, model: ResolvedModel, choice: EngineChoice, *, cache: str, run_id: str
) -> ScoreResult:
    """Publish the scores of a catalog. The same catalog, model and engine again change nothing.

    Raises ReconciliationError if a product is missing or counted twice; nothing is published then.
    """
    name = snapshots.fingerprint(catalog.name, model.card.model_version, DECODER_VERSION, choice.name, choice.precision)
    with store.held("scores", "locks", name) as free:
        if not free:
            raise ConflictError("scores: another process is scoring the same catalog with the same model; wait for it to end")
        return _score(store, catalog, model, choice, name=name, cache=cache, run_id=run_id)


def _score(
    store: Store, catalog: Snapshot, model: ResolvedModel, choice: EngineChoice, *, name: str, cache: str, run_id: str
) -> ScoreResult:
    snapshots.repair_pointer(store, "scores")
    base = snapshots.current(store, "scores")
    if base is not None and base.name == name and all(store.exists(file) for file in base.files):
        return ScoreResult(snapshot=base, books=base.manifest["books"], timing={}, already_current=True)
    folder = snapshots.staging("scores", name)
    started = time.perf_counter()
    receipts = _receipts(store, folder)
    parts = {entry["name"]: entry["rows"] for entry in catalog.manifest["files"]}
    pending = [part for part in parts if part not in receipts]
    log.info(
        "scoring %d products in %d files (%d done before) with %s %s", catalog.manifest["rows"], len(parts), len(receipts),
        choice.name, choice.precision,
    )  # fmt: skip
    fresh = _run(store, catalog, pending, model, choice, folder=folder, cache=cache, run_id=run_id)
    receipts |= fresh
    wall_s = time.perf_counter() - started
    books = balance(parts, receipts)
    bad = [row for receipt in receipts.values() for row in receipt["quarantined"]]
    quarantine = f"scores-{name}.parquet"
    store.write_table(pa.Table.from_pylist(bad, schema=schema.QUARANTINE), "quarantine", quarantine)
    manifest = {
        "files": [receipts[part]["file"] for part in sorted(parts)],
        "rows": books["scored"],
        "books": books,
        "catalog_snapshot": catalog.name,
        "model_version": model.card.model_version,
        "trunk_version": model.card.trunk_version,
        "targets": model.card.targets,
        "engine": choice.name,
        "precision": choice.precision,
        "run_id": run_id,
        "quarantine": f"quarantine/{quarantine}",
        "schema": [f"{field.name}: {field.type}" for field in schema.scores(model.card.targets, model.card.embedding_dim)],
    }
    try:
        snapshot = snapshots.publish(store, "scores", name, manifest, base=base)
    except ConflictError:
        published = snapshots.current(store, "scores")
        if published is None or published.name != name:
            raise
        snapshot = published  # another run published the same scores first: both end right
    return ScoreResult(snapshot=snapshot, books=books, timing=_timing(fresh, wall_s), already_current=False)


def balance(parts: dict[str, int], receipts: dict[str, dict[str, Any]]) -> dict[str, int]:
    """The books: catalog = scored + carried over + quarantined. Raises ReconciliationError with the files that do not fit."""
    wrong = [
        part
        for part, rows in parts.items()
        if part not in receipts or receipts[part]["file"]["rows"] + len(receipts[part]["quarantined"]) != rows
    ]
    books = {
        "catalog": sum(parts.values()),
        "scored": sum(receipts[part]["file"]["rows"] for part in parts if part in receipts),
        "carried_over": 0,
        "quarantined": sum(len(receipts[part]["quarantined"]) for part in parts if part in receipts),
    }
    if wrong or books["catalog"] != books["scored"] + books["carried_over"] + books["quarantined"]:
        raise ReconciliationError(f"scores: the books do not balance: {books}; files that do not fit: {wrong[:10]}")
    return books


class ScoringActor:
    """Scores a file of the catalog at a time and writes the file of the same name."""

    def __init__(
        self, *, store: Store, folder: str, files: Any, choice: EngineChoice, threads: int, cache: str, run_id: str
    ) -> None:
        self._store, self._folder, self._choice, self._run_id = store, folder, choice, run_id
        self._inference = Inference(ray.get(files), name=folder, choice=choice, threads=threads, cache=cache)

    def __call__(self, table: pa.Table) -> pa.Table:
        part = table["part"][0].as_py()
        catalog = table.select(COLUMNS)
        output = self._inference(catalog["image"].to_pylist())
        started, now = time.perf_counter(), snapshots.now()
        rows = score_rows(catalog, output, self._inference.card, self._choice, run_id=self._run_id, scored_at=now)
        bad = quarantined(catalog, output, run_id=self._run_id, seen_at=now)
        ids = [*rows["product_id"].to_pylist(), *(row["product_id"] for row in bad)]
        if sorted(ids) != sorted(catalog["product_id"].to_pylist()) or len(set(ids)) != len(ids):
            raise ReconciliationError(f"scores: the rows of {part} are not those of the catalog")
        size = self._store.write_table(rows, self._folder, part, compression="none")
        digest = hashlib.sha256(self._store.read_bytes(self._folder, part)).hexdigest()
        receipt = {
            "part": part,
            "file": snapshots.file_entry(part, digest, rows.num_rows, size),
            "quarantined": bad,
            "seconds": output.seconds | {"write": time.perf_counter() - started},
        }
        self._store.write_bytes(to_json(receipt), self._folder, "_receipts", f"{part}.json")
        return pa.table({"receipt": [json.dumps(receipt)]})


def _run(
    store: Store, catalog: Snapshot, pending: list[str], model: ResolvedModel, choice: EngineChoice, **places: str
) -> dict[str, dict[str, Any]]:
    """Score the pending files on the cluster; their receipts."""
    if not pending:
        return {}
    has = cluster.resources()
    plan = plan_engines(
        device=choice.device, cpus=has.cpus, gpus=has.gpus, nodes=has.nodes, cpus_per_node=has.cpus_per_node, work=len(pending)
    )
    tables = read(store, catalog, COLUMNS, parts=pending)
    receipts = tables.map_batches(
        ScoringActor,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_kwargs={
            "store": store, "folder": places["folder"], "files": ray.put(model.files), "choice": choice,
            "threads": plan.threads, "cache": places["cache"], "run_id": places["run_id"],
        },
        compute=ray.data.ActorPoolStrategy(size=plan.actors),
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    rows = 0
    for row in receipts.iter_rows():
        receipt = json.loads(row["receipt"])
        found[receipt["part"]] = receipt
        rows += receipt["file"]["rows"]
        log.info("scored %d products, %d of %d files", rows, len(found), len(pending))
    return found


def _receipts(store: Store, folder: str) -> dict[str, dict[str, Any]]:
    names = [name for name in store.names(folder, "_receipts") if name.endswith(".json") and not name.startswith(".")]
    receipts = (store.read_json(folder, "_receipts", name) for name in names)
    return {receipt["part"]: receipt for receipt in receipts if _whole(store, folder, receipt["file"])}


def _whole(store: Store, folder: str, file: dict[str, Any]) -> bool:
    """Whether the file that a receipt speaks of is there, as long as it was."""
    return bool(store.size_bytes(folder, file["name"]) == file["size_bytes"])


def _timing(receipts: dict[str, dict[str, Any]], wall_s: float) -> dict[str, float]:
    """Where the time went, summed over actors, and rows a second of wall time."""
    total: Counter[str] = Counter()
    for receipt in receipts.values():
        total.update(receipt["seconds"])
    rows = sum(receipt["file"]["rows"] for receipt in receipts.values())
    return {
        "wall_s": wall_s,
        "rows_per_second": rows / wall_s if wall_s else 0.0,
        **{f"{key}_s": value for key, value in total.items()},
    }
