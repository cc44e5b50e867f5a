"""A night of scoring, from the driver's side. In: a catalog, a model, last night's scores. Out: a snapshot, or a refusal.

The unit of work is a file of the catalog: what is new in it goes through the network, the rest is carried over, and the
file of the same name is written in the snapshot to be, with a receipt beside it. A file without a receipt is pending, so a
run that was killed goes on where it stopped; nobody reads the folder before the commit.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from fashion_ray import cluster, metrics, snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.catalog.reading import READER_CPUS
from fashion_ray.errors import ConflictError, GateRefused, ReconciliationError, UserError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring import night as nights
from fashion_ray.scoring import staging
from fashion_ray.scoring.actor import ScoringActor
from fashion_ray.scoring.careful import DECODER
from fashion_ray.scoring.compare import Comparison, compare, total_centroids
from fashion_ray.scoring.gates import Limits
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.night import Night, plan_night
from fashion_ray.scoring.pictures import Decoding, Places, read_pictures
from fashion_ray.scoring.plan import plan_engines
from fashion_ray.scoring.publishing import write_report
from fashion_ray.scoring.rows import score_key
from fashion_ray.scoring.staging import Receipts
from fashion_ray.scoring.timing import timing
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """A published snapshot and the books of how it came about."""

    snapshot: Snapshot
    books: dict[str, int]
    timing: dict[str, float]
    already_current: bool
    comparison: Comparison | None = None
    """With last night; null if nothing was published."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How a night is scored, beside what."""

    choice: EngineChoice
    cache: str
    run_id: str
    limits: Limits = field(default_factory=Limits)
    full: bool = False
    """Whether everything goes through the network, changed or not."""

    publish_anyway: bool = False
    """Whether a refusal of the gates is only noted."""

    decoder: str = DECODER


def catalog_of(store: Store) -> Snapshot:
    """The current catalog. Raises UserError if there is none."""
    catalog = snapshots.current(store, "catalog")
    if catalog is None:
        raise UserError(
            f"no catalog below {store.uri!r}; expected one that jobs/ingest.py published. "
            "Run python jobs/ingest.py --source FEED with the same --root first"
        )
    return catalog


def score(store: Store, catalog: Snapshot, model: ResolvedModel, how: How) -> ScoreResult:
    """Publish the scores of a catalog. The same catalog, model and engine again change nothing.

    Raises ReconciliationError if a product is missing or counted twice and GateRefused if a gate refuses; nothing is published
    then.
    """
    snapshots.repair_pointer(store, "scores")
    base = snapshots.current(store, "scores")
    name = snapshots.fingerprint(
        catalog.name, model.card.model_version, DECODER_VERSION, how.choice.name, how.choice.precision,
        base.sequence if how.full and base else "",
    )  # fmt: skip
    with store.held("scores", "locks", name) as free:
        if not free:
            raise ConflictError("scores: another process is scoring the same catalog with the same model; wait for it to end")
        intact = base if base is not None and snapshots.is_whole(store, base) else None
        if intact is not None and intact.name == name:
            return ScoreResult(snapshot=intact, books=intact.manifest["books"], timing={}, already_current=True)
        return _score(store, catalog, model, how, name, base=base, intact=intact)


def _score(
    store: Store,
    catalog: Snapshot,
    model: ResolvedModel,
    how: How,
    name: str,
    *,
    base: Snapshot | None,
    intact: Snapshot | None,
) -> ScoreResult:
    bad_before = _bad_before(store, intact)
    night = _plan(store, catalog, model, how, intact, bad_before)
    if intact is not None and night.quiet and intact.manifest["model_version"] == model.card.model_version:
        log.info("nothing to score: %d products as last night", night.work.num_rows)
        return ScoreResult(snapshot=intact, books=intact.manifest["books"], timing={}, already_current=True)
    folder = snapshots.staging("scores", name)
    places = Places(
        store=store,
        catalog=catalog.folder,
        before=intact.folder if intact else "",
        folder=folder,
        cache=how.cache,
        run_id=how.run_id,
    )
    started = time.perf_counter()
    staging.begin(store, folder, how.run_id)
    receipts = staging.receipts(store, folder, _parts(catalog), base=places.before)
    counts = night.counts
    log.info(
        "%d products in %d files (%d files done before): %d carried over, %d answered again from their embeddings, %d for the "
        "network, %d quarantined before; %s %s", catalog.manifest["rows"], len(catalog.manifest["files"]), len(receipts),
        counts[nights.CARRY], counts[nights.REUSE], counts[nights.SCORE], counts[nights.BAD], how.choice.name,
        how.choice.precision,
    )  # fmt: skip
    fresh = _run(night, [part for part in _parts(catalog) if part not in receipts], model, how, places)
    receipts |= fresh
    spent = timing(fresh.values(), time.perf_counter() - started) if fresh else {}
    books = balance(_parts(catalog), receipts)
    bad = [row for receipt in receipts.values() for row in receipt["quarantined"]]
    bad += [row for row in bad_before.to_pylist() if row["product_id"] in _still_bad(night)]
    quarantine = pa.Table.from_pylist(bad, schema=schema.QUARANTINE)
    store.write_table(quarantine, "quarantine", f"scores-{name}.parquet")
    manifest = {
        "files": [receipts[part]["file"] for part in sorted(_parts(catalog))], "rows": books["scored"] + books["carried_over"],
        "books": books, "catalog_snapshot": catalog.name, "model_version": model.card.model_version,
        "trunk_version": model.card.trunk_version, "targets": model.card.targets, "engine": how.choice.name,
        "precision": how.choice.precision, "decoder_version": DECODER_VERSION, "run_id": how.run_id,
        "base": intact.name if intact else None, "quarantine": f"quarantine/scores-{name}.parquet",
        "centroids": total_centroids(receipts.values()),
        "schema": [f"{field.name}: {field.type}" for field in schema.scores(model.card.targets, model.card.embedding_dim)],
    }  # fmt: skip
    comparison = compare(store, catalog, model, intact, folder, manifest, quarantine, limits=how.limits)
    manifest |= {"refused_by_gates": comparison.refusals, "figures": comparison.figures()}
    publishes = not comparison.refusals or how.publish_anyway
    written = write_report(store, catalog, name, comparison, _facts(manifest), books, published=publishes)
    _judge(comparison, publishes, store, written["page"])
    snapshot = _publish(store, name, manifest, base=base)
    metrics.put("fashion_ray_products", books)
    return ScoreResult(snapshot=snapshot, books=books, timing=spent, already_current=False, comparison=comparison)


def _publish(store: Store, name: str, manifest: dict[str, Any], *, base: Snapshot | None) -> Snapshot:
    try:
        return snapshots.publish(store, "scores", name, manifest, base=base)
    except ConflictError:
        published = snapshots.current(store, "scores")
        if published is None or published.name != name:
            raise
        return published  # another run published the same scores first: both end right


def _facts(manifest: dict[str, Any]) -> dict[str, str]:
    shown = ("catalog_snapshot", "base", "model_version", "trunk_version", "engine", "precision", "run_id")
    return {name.replace("_", " "): str(manifest[name] or "none") for name in shown}


def _judge(comparison: Comparison, publishes: bool, store: Store, page: str) -> None:
    for sentence in comparison.refusals:
        log.warning("gate: %s", sentence)
    if not publishes:
        raise GateRefused(
            "; ".join(comparison.refusals)
            + f". The scores were not published; look at {store.show(page)}, and pass --publish-anyway if "
            "they are meant, which scores nothing again",
            page,
        )


def _plan(
    store: Store, catalog: Snapshot, model: ResolvedModel, how: How, base: Snapshot | None, bad_before: pa.Table
) -> Night:
    """What is to be done for every product."""
    products = _columns(store, catalog, ["product_id", "image_sha256"], ("part", "position"))
    keys = [score_key(sha, model.card, how.choice) for sha in products["image_sha256"].to_pylist()]
    products = products.append_column("score_key", pa.array(keys, type=pa.string())).select(nights.CATALOG.names)
    before, comparable = nights.BEFORE.empty_table(), False
    if base is not None:
        names = ["product_id", "image_sha256", "score_key", "trunk_version"]
        before = _columns(store, base, names, ("old_part", "old_position")).cast(nights.BEFORE)
        now = (how.choice.name, how.choice.precision, DECODER_VERSION)
        comparable = now == tuple(base.manifest.get(key) for key in ("engine", "precision", "decoder_version"))
    return plan_night(
        products.cast(nights.CATALOG), before, bad_before, trunk_version=model.card.trunk_version, comparable=comparable,
        full=how.full,
    )  # fmt: skip


def _columns(store: Store, snapshot: Snapshot, names: list[str], place: tuple[str, str]) -> pa.Table:
    """Some columns of a snapshot, and the file and row that each row is, under the names `place`."""
    table = snapshots.placed_rows(store, snapshot, names)
    parts = pa.array(list(_parts(snapshot)), type=pa.string()).take(table["part"].combine_chunks())
    table = table.set_column(table.column_names.index("part"), "part", parts)
    return table.rename_columns([*names, *place])


def _parts(snapshot: Snapshot) -> dict[str, int]:
    """The files of a snapshot and their rows."""
    return {entry["name"]: entry["rows"] for entry in snapshot.manifest["files"]}


def _bad_before(store: Store, base: Snapshot | None) -> pa.Table:
    """Last night's quarantine, as far as it knows the bytes; empty before the first night."""
    if base is None:
        return schema.QUARANTINE.empty_table()
    table = store.read_table(str(base.manifest["quarantine"]))
    if "image_sha256" not in table.column_names:
        return schema.QUARANTINE.empty_table()
    return table.filter(pc.and_(pc.is_valid(table["image_sha256"]), pc.is_valid(table["product_id"]))).cast(schema.QUARANTINE)


def _still_bad(night: Night) -> set[str]:
    return set(night.work.filter(pc.equal(night.work["action"], nights.BAD))["product_id"].to_pylist())


def balance(parts: dict[str, int], receipts: Receipts) -> dict[str, int]:
    """The books: catalog = scored + carried over + quarantined. Raises ReconciliationError with the files that do not fit."""
    here = {part: receipts[part] for part in parts if part in receipts}
    done = {
        part: receipt["file"]["rows"] + len(receipt["quarantined"]) + receipt["actions"][nights.BAD]
        for part, receipt in here.items()
    }
    actions = {action: sum(receipt["actions"][action] for receipt in here.values()) for action in nights.ACTIONS}
    failed = sum(len(receipt["quarantined"]) for receipt in here.values())
    books = {
        "catalog": sum(parts.values()),
        "scored": actions[nights.SCORE] + actions[nights.REUSE] - failed,
        "carried_over": actions[nights.CARRY],
        "quarantined": failed + actions[nights.BAD],
        "from_embeddings": actions[nights.REUSE],
    }
    wrong = [part for part, rows in parts.items() if done.get(part) != rows]
    if wrong or books["catalog"] != books["scored"] + books["carried_over"] + books["quarantined"]:
        raise ReconciliationError(f"scores: the books do not balance: {books}; files that do not fit: {wrong[:10]}")
    return books


def outcomes(receipt: Mapping[str, Any]) -> dict[str, int]:
    """How the products of a file were settled, for the metrics."""
    actions, failed = receipt["actions"], len(receipt["quarantined"])
    return {
        "scored": actions[nights.SCORE] + actions[nights.REUSE] - failed, "carried_over": actions[nights.CARRY],
        "quarantined": failed + actions[nights.BAD],
    }  # fmt: skip


def _run(night: Night, pending: list[str], model: ResolvedModel, how: How, places: Places) -> Receipts:
    """Do the work of the pending files on the cluster; their receipts."""
    if not pending:
        return {}
    has = cluster.resources()
    plan = plan_engines(
        device=how.choice.device, cpus=has.cpus, gpus=has.gpus, nodes=has.nodes, cpus_per_node=has.cpus_per_node,
        work=len(pending),
    )  # fmt: skip
    # PyTorch takes pixels from tasks, which leaves a GPU's actor nothing to decode; OpenVINO has the processors itself.
    decoding = Decoding(size=model.card.decoded_size, decoder=how.decoder) if how.choice.name == "torch" else None
    receipts = (
        ray.data.from_arrow(nights.by_part(night.work, pending))
        .map_batches(
            functools.partial(read_pictures, places=places, decoding=decoding), batch_size=None, batch_format="pyarrow",
            num_cpus=READER_CPUS,
        )
        .map_batches(
            ScoringActor,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs={
                "places": places, "files": ray.put(model.files), "choice": how.choice, "threads": plan.threads,
                "decoder": how.decoder,
            },
            compute=ray.data.ActorPoolStrategy(
                size=plan.actors, max_tasks_in_flight_per_actor=2 * plan.calls, max_concurrent_calls_per_actor=plan.calls,
                enable_true_multi_threading=True,
            ),
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
        )
    )  # fmt: skip
    found: Receipts = {}
    rows = 0
    for row in receipts.iter_rows():
        receipt = json.loads(row["receipt"])
        found[receipt["part"]] = receipt
        rows += receipt["file"]["rows"]
        metrics.add("fashion_ray_rows", outcomes(receipt))
        log.info("%d products, %d of %d files", rows, len(found), len(pending))
    return found
