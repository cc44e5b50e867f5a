"""Similar products of a whole catalog, from the driver's side. In: published embeddings. Out: a published table of neighbours.

After a quiet night only neighbourhoods that can have changed are computed again (quiet_night.py); the rest is carried over, and
the table is the same as one that was computed in full.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.errors import ConflictError
from fashion_ray.insight import neighbour_lists, quiet_night, spreading
from fashion_ray.insight.approximate import recall
from fashion_ray.insight.baselines import publish_features
from fashion_ray.insight.embeddings import catalog_for, scores_of
from fashion_ray.insight.neighbours import Found, Rules
from fashion_ray.insight.products import Filters, Products, keys, read_products, rules
from fashion_ray.insight.quiet_night import Before
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.insight.units import FileUnits, open_units
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

FORMAT = 1
FILE_ROWS = 65536
RECALL_ROWS = 1000
"""Queries, drawn by the seed, that an approximate run is measured on."""


@dataclass(frozen=True, kw_only=True)
class SimilarResult:
    """A published table and the books of how it came about."""

    snapshot: Snapshot
    products: Products
    books: dict[str, int]
    already_current: bool
    seconds: dict[str, float] = field(default_factory=dict)
    recall: float | None = None
    """Of an approximate run: the share of the true neighbours that it found."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What one run computes, settled."""

    products: Products
    rules: Rules
    keys: list[str]
    comparable: np.ndarray
    """bool: rows that have a vector."""

    work: spreading.Work


def table_of(options: SimilarOptions) -> str:
    """Where a run publishes: baselines have tables of their own."""
    return f"similar-{options.baseline}" if options.baseline else "similar"


def filters_of(options: SimilarOptions) -> Filters:
    """The options that say what a neighbour must be like."""
    return Filters(
        exclude_duplicates=options.exclude_duplicates, duplicate_similarity=options.duplicate_similarity, same=options.same,
        other_colour=options.other_colour,
    )  # fmt: skip


def similar_products(options: SimilarOptions, store: Store, *, run_id: str) -> SimilarResult:
    """Publish the similar products of the current scores, or of those that the options name, on a connected Ray.

    The same scores and options again change nothing. Raises UserError if there are no scores or they are of several trunks,
    ConflictError if another run is at work or published meanwhile, ReconciliationError if a product is missing or there twice.
    """
    source = publish_features(options, store, run_id) if options.baseline else scores_of(store, options.snapshot)
    catalog, table = catalog_for(store, source), table_of(options)
    settings = _settings(options)
    snapshots.repair_pointer(store, table)
    base = snapshots.current(store, table)
    again = base.sequence if options.full and base else ""
    name = snapshots.fingerprint(FORMAT, source.name, catalog.name, json.dumps(settings, sort_keys=True), again)
    with store.held(table, "locks", name) as free:
        if not free:
            raise ConflictError(f"{table}: another process is at work on the same embeddings; wait for it to end")
        products = read_products(store, source, catalog, filters_of(options).columns)
        intact = base if base is not None and snapshots.is_whole(store, base) else None
        if intact is not None and intact.name == name:
            return SimilarResult(
                snapshot=intact, products=products, books=intact.manifest["books"], already_current=True,
                recall=intact.manifest["recall"],
            )  # fmt: skip
        return _similar(options, store, products, name, settings=settings, base=base, intact=intact, run_id=run_id)


def _settings(options: SimilarOptions) -> dict[str, Any]:
    """The options that decide which neighbours are found."""
    names = ["k", "method", "exclude_duplicates", "other_colour", "diversity"]
    found = {name: getattr(options, name) for name in names} | {"same": sorted(options.same)}
    return found | ({"duplicate_similarity": options.duplicate_similarity} if options.exclude_duplicates else {})


def _similar(
    options: SimilarOptions, store: Store, products: Products, name: str, *, settings: dict[str, Any], base: Snapshot | None,
    intact: Snapshot | None, run_id: str,
) -> SimilarResult:  # fmt: skip
    started, table = time.perf_counter(), table_of(options)
    task, units = prepare(options, store, products)
    prepared = time.perf_counter()
    found, computed = _compute(task, units, _before(store, intact, task, settings, full=options.full))
    searched = time.perf_counter()
    shown = np.flatnonzero(task.comparable & products.table["in_catalog"].to_numpy())
    whole = neighbour_lists.to_table(found, products.table["product_id"].combine_chunks(), task.keys, shown)
    quarantine = _quarantine(task, run_id)
    books = _books(task, found, shown, computed, quarantine.num_rows)
    neighbour_lists.check(whole, books)
    hit = _recall(task, found, shown, options.seed) if options.method == "approximate" else None
    store.write_table(quarantine, "quarantine", f"{table}-{name}.parquet")
    folder, files = snapshots.staging(table, name), []
    for number, start in enumerate(range(0, max(1, whole.num_rows), FILE_ROWS)):
        part, file = whole.slice(start, FILE_ROWS), f"part-{number:05d}.parquet"
        files.append(snapshots.file_entry(file, part.num_rows, store.write_table(part, folder, file)))
    manifest = {
        "files": files, "rows": whole.num_rows, "books": books, "settings": settings, "format": FORMAT,
        "source": f"{products.source.table}/{products.source.name}", "catalog_snapshot": products.catalog.name,
        "trunk_version": products.trunk_version, "model_version": products.source.manifest.get("model_version"),
        "recall": hit, "run_id": run_id, "base": intact.name if intact else None,
        "quarantine": f"quarantine/{table}-{name}.parquet",
        "schema": [f"{field.name}: {field.type}" for field in schema.SIMILAR],
    }  # fmt: skip
    snapshot = snapshots.publish(store, table, name, manifest, base=base)
    seconds = {"prepare_s": prepared - started, "search_s": searched - prepared, "publish_s": time.perf_counter() - searched}
    return SimilarResult(snapshot=snapshot, products=products, books=books, already_current=False, seconds=seconds, recall=hit)


def prepare(options: SimilarOptions, store: Store, products: Products) -> tuple[Task, FileUnits]:
    """Rules and keys of the products, and their vectors on this node."""
    units, filters = open_units(store, products.source, options.cache), filters_of(options)
    digests = units.digests()
    comparable = digests != b""
    decided = rules(products, comparable, filters)
    work = spreading.Work(
        store=store, source=products.source, cache=options.cache, rules=decided, k=options.k, method=options.method,
        diversity=options.diversity,
    )  # fmt: skip
    return Task(
        products=products, rules=decided, keys=keys(products, digests, filters), comparable=comparable, work=work
    ), units


def _before(
    store: Store, intact: Snapshot | None, task: Task, settings: dict[str, Any], *, full: bool
) -> Before | None:  # fmt: skip
    """Last night by tonight's rows; null where its neighbours are no help."""
    if intact is None or full or settings["method"] != "exact" or settings["diversity"]:
        return None
    was, now = intact.manifest, {"settings": settings, "format": FORMAT, "trunk_version": task.products.trunk_version}
    if any(was.get(key) != value for key, value in now.items()):
        log.info("all neighbours are computed: the last ones were found with other options or another trunk")
        return None
    table = pa.concat_tables(
        snapshots.read_files(store, intact.folder, [file["name"] for file in was["files"]], schema.SIMILAR.names)
    )
    ids = task.products.table["product_id"].combine_chunks()
    before = neighbour_lists.to_before(table, ids, task.keys, settings["k"])
    return before if quiet_night.worth_it(before) else None


def _compute(task: Task, units: FileUnits, before: Before | None) -> tuple[Found, np.ndarray]:
    """The neighbours of every row, and which rows were computed."""
    rows = np.arange(units.rows)
    if before is None:
        log.info("%d products to compare with each other, %s", units.rows, task.work.method)
        return spreading.find(rows, task.work), rows
    changed = np.flatnonzero(~before.same)
    again = quiet_night.touched(before)
    kth = quiet_night.kth_similarity(before.found)
    if len(changed):
        again[spreading.find_reached(np.flatnonzero(~again), task.work, changed, kth)] = True
    rows = np.flatnonzero(again)
    log.info("%d of %d products are computed again: %d changed", len(rows), units.rows, len(changed))
    fresh, found = spreading.find(rows, task.work), before.found
    found.rows[rows], found.similarity[rows] = fresh.rows, fresh.similarity
    return found, rows


def _recall(task: Task, found: Found, shown: np.ndarray, seed: int) -> float:
    """Against the exact neighbours of a sample."""
    drawn = np.sort(np.random.default_rng(seed).permutation(shown)[:RECALL_ROWS])
    exact = spreading.find(drawn, spreading.exactly(task.work))
    hit = recall(Found(rows=found.rows[drawn], similarity=found.similarity[drawn]), exact)
    log.info("recall at %d against the exact neighbours of %d products: %.4f", task.work.k, len(drawn), hit)
    return hit


def _quarantine(task: Task, run_id: str) -> pa.Table:
    """The catalog's products without a vector."""
    ids, present = task.products.ids, task.products.table["in_catalog"].to_numpy()
    unusable = [ids[row] for row in np.flatnonzero(~task.comparable & present)]
    reasons = dict.fromkeys(task.products.without, "it was not scored") | dict.fromkeys(unusable, "zero or not finite")
    rows = [
        schema.quarantine_row(reason="no_embedding", stage="similar", seen_at=snapshots.now(), product_id=one, detail=detail)
        | {"run_id": run_id}
        for one, detail in sorted(reasons.items())
    ]
    return pa.Table.from_pylist(rows, schema=schema.QUARANTINE)


def _books(task: Task, found: Found, shown: np.ndarray, computed: np.ndarray, quarantined: int) -> dict[str, int]:
    present, counts = task.products.table["in_catalog"].to_numpy(), found.counts[shown]
    fresh = int(np.isin(shown, computed).sum())
    return {
        "catalog": int(present.sum()) + len(task.products.without),
        "computed": fresh,
        "carried_over": len(shown) - fresh,
        "quarantined": quarantined,
        "fewer_than_k": int((counts < task.work.k).sum()),
        "without_any": int((counts == 0).sum()),
        "pairs": int(counts.sum()),
        "no_longer_in_catalog": int((~present).sum()),
    }
