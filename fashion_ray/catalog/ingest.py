"""Raw feed to published catalog. In: a source, a store, the catalog so far. Out: the next catalog snapshot.

Two passes over the pictures, so that no more than a few portions are ever in memory. The first reads, checks and hashes
each and stages it; then, with all hashes known, the driver merges the feed with the catalog so far and settles groups, sides
and derived labels; the second writes the files. A portion that an interrupted run had staged is not read again.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import snapshots
from fashion_ray.catalog import corrections, earlier, feed_gates, labels, reassign, schema, splits, zips
from fashion_ray.catalog.assembling import READY, Piece, assemble, plan_runs
from fashion_ray.catalog.books import balance, quarantine_table, same_quarantine
from fashion_ray.catalog.earlier import Earlier
from fashion_ray.catalog.inspecting import FOUND, inspect_portion, staged_name, with_memory
from fashion_ray.catalog.merging import merge, summarize
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.catalog.plan import IngestPlan, plan_ingest
from fashion_ray.catalog.request import Request, origin_of
from fashion_ray.catalog.sources import Source
from fashion_ray.catalog.tasks import Each
from fashion_ray.errors import ConflictError, GateRefused, ReconciliationError, UserError
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

LAYOUT_VERSION = "2"
"""Goes into the snapshot's name: raise it when the same feed gives another catalog."""

SHOWN_LABELS = 20
"""Of labels that only corrections have, as many are named in the log."""

ROW_TASKS = 64
"""Into at most so many tasks are a feed's row files dealt out."""


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """A published catalog and the books of how it came about."""

    snapshot: snapshots.Snapshot
    books: dict[str, int]
    summary: dict[str, int]
    """How many products were added, changed, removed, unchanged and quarantined."""

    previews: dict[str, bytes]
    """Small pictures (PNG) of quarantined products that could be drawn at all."""

    already_current: bool


def ingest(request: Request, store: Store, *, run_id: str, each: Each) -> IngestResult:
    """Publish a feed as, or into, the current catalog. The same feed again changes nothing.

    Raises UserError for a feed that is no catalog, ReconciliationError if the books do not balance, GateRefused if the feed
    exceeds the request's limits; nothing is published then.
    """
    snapshots.repair_pointer(store, "catalog")
    base = snapshots.current(store, "catalog")
    if base is None and request.delta:
        raise UserError("--delta: there is no catalog yet; expected one that the feed adds to. Ingest a full feed first")
    key = snapshots.fingerprint(
        LAYOUT_VERSION, DECODER_VERSION, request.source.fingerprint(), request.delta, request.corrected, request.ratios
    )
    name = snapshots.fingerprint(key, base.name if base else "")
    if base is not None and base.manifest.get("request") == key and not request.fresh:
        store.remove("catalog", "staging", base.name)  # left by a run that died just after its commit
        return _unchanged(base, run_id)
    try:
        result = _build(request, store, base, name=name, key=key, run_id=run_id, each=each)
    except Exception:
        published = snapshots.current(store, "catalog")
        if published is None or published.name != name:
            raise
        log.info("another run published the same catalog first")  # both runs end right
        result = _unchanged(published, run_id)
    store.remove("catalog", "staging", name)
    return result


def _unchanged(base: snapshots.Snapshot, run_id: str) -> IngestResult:
    if base.manifest["run_id"] == run_id:  # published by this run, which died before it could say so
        summary = base.manifest["summary"]
        return IngestResult(snapshot=base, books=base.manifest["books"], summary=summary, previews={}, already_current=True)
    quiet = {"added": 0, "changed": 0, "removed": 0, "unchanged": base.manifest["rows"]}
    quiet["quarantined"] = base.manifest["summary"]["quarantined"]
    return IngestResult(snapshot=base, books=base.manifest["books"], summary=quiet, previews={}, already_current=True)


@dataclass(frozen=True, kw_only=True)
class _Coming:
    """The catalog to be, before groups and sides."""

    facts: pa.Table
    """MERGED, with people's labels."""

    corrections: pa.Table
    quarantine: pa.Table
    books: dict[str, int]
    summary: dict[str, int]
    previews: dict[str, bytes]
    pieces: list[Piece]


def _build(
    request: Request, store: Store, base: snapshots.Snapshot | None, *, name: str, key: str, run_id: str, each: Each
) -> IngestResult:
    before = earlier.load(store, None if request.fresh else base)
    if request.fresh and base is not None:
        log.warning("%s is another catalog than %s: nothing of that is remembered", request.source.name, origin_of(base))
    coming = _take_in(request, store, before, f"catalog/staging/{name}", run_id=run_id, each=each)
    if request.fresh and base is not None:
        coming.summary["removed"] = int(base.manifest["rows"])  # the products of another catalog, whatever their ids
    elif base is not None and _says_the_same(base, before, coming):
        return _unchanged(base, run_id)
    _judge(request, base, before, coming)
    strata = pa.array(labels.stratum(coming.facts), type=pa.string())
    settled = splits.settle(coming.facts.append_column("stratum", strata), before.known, ratios=request.ratios)
    for product_id in settled.bridges:
        log.warning("product %s is a near-duplicate of two sides: it is kept out of training", product_id)
    folder = snapshots.staging("catalog", name)
    files = _assemble_all(store, coming.facts, settled, coming.pieces, folder, each)
    store.write_table(settled.remembered, folder, earlier.REMEMBERED)
    store.write_table(coming.corrections, folder, earlier.CORRECTED)
    store.write_table(coming.quarantine, "quarantine", f"catalog-{name}.parquet")
    origin = origin_of(base) if base is not None and request.delta else request.source.name
    manifest = {
        "request": key, "files": files, "books": coming.books, "summary": coming.summary, "rows": coming.facts.num_rows,
        "source": request.source.name, "origin": origin, "delta": request.delta, "run_id": run_id,
        "base": base.name if base else None,
        "layout_version": LAYOUT_VERSION, "decoder_version": DECODER_VERSION, "split_ratios": list(request.ratios),
        "bridges": len(settled.bridges), "corrections": coming.corrections.num_rows,
        "quarantine": f"quarantine/catalog-{name}.parquet", "quarantine_reasons": _counts(coming.quarantine["reason"]),
        "schema": [f"{field.name}: {field.type}" for field in schema.CATALOG], "picture_sizes": _sizes(coming.facts),
    }  # fmt: skip
    if snapshots.current(store, "catalog") != base:
        raise ConflictError("catalog: another ingest published while this one was at work; run the same command again")
    snapshot = snapshots.publish(store, "catalog", name, manifest, base=base)
    return IngestResult(
        snapshot=snapshot, books=coming.books, summary=coming.summary, previews=coming.previews, already_current=False
    )


def _judge(request: Request, base: snapshots.Snapshot | None, before: Earlier, coming: _Coming) -> None:
    if request.limits is None:
        return
    products, lost = int(base.manifest["rows"]) if base else 0, feed_gates.lost_labels(before.facts, coming.facts)
    against = feed_gates.refusals(products, coming.summary, coming.books, lost, request.limits)
    if against:
        raise GateRefused(
            f"{request.source.name}: {'; '.join(against)}. The catalog stays as it is; look at the feed, and pass "
            "--publish-anyway if it is meant"
        )


def _take_in(request: Request, store: Store, before: Earlier, staging: str, *, run_id: str, each: Each) -> _Coming:
    """Read the feed, stage its pictures, and merge it with the catalog so far; what only that needs is let go of at the end."""
    source, seen_at = request.source, snapshots.now()
    plan = plan_ingest(
        _read_rows(source, each), source.pictures(), existing=before.facts["product_id"].combine_chunks(), delta=request.delta,
        in_order=source.in_order, seen_at=seen_at,
    )  # fmt: skip
    zips.forget()
    if not plan.portions and not request.delta:
        raise UserError(f"--source: {source.name} has no pictures ({plan.rows} rows); expected some beside or in its rows")
    log.info("%s: %d rows, %d pictures, in %d portions", source.name, plan.rows, plan.pictures, len(plan.portions))
    found = _inspect_all(source, store, plan, before, staging, each)
    merged = merge(found, before.facts, plan.relabelled, plan.withdrawn, delta=request.delta)
    if not merged.num_rows:
        raise UserError(
            f"--source: {source.name} leaves no product in the catalog: of {plan.pictures} pictures none can be used; "
            "expected JPEG or PNG"
        )
    facts, corrected, refused = _corrected(merged, before.corrections, request.corrected, seen_at)
    quarantine = quarantine_table(
        before.quarantine, [*plan.quarantined, *refused], found, plan, delta=request.delta, run_id=run_id, seen_at=seen_at
    )
    first = len(before.pieces)
    staged = [Piece(staging, staged_name(first + number)) for number in range(len(plan.portions))]
    return _Coming(
        facts=facts, corrections=corrected, quarantine=quarantine, books=balance(plan, found, facts),
        summary=summarize(before.facts, facts) | {"quarantined": quarantine.num_rows}, previews=_previews(found),
        pieces=[*before.pieces, *staged],
    )  # fmt: skip


def _corrected(
    coming: pa.Table, earlier_ones: pa.Table, content: bytes | None, seen_at: str
) -> tuple[pa.Table, pa.Table, list[dict[str, object]]]:
    """The products with people's labels, all corrections so far, and quarantine rows of those that cannot be applied."""
    every, refused = earlier_ones, []
    if content is not None:
        file = corrections.read_corrections(content, "--labels", seen_at)
        every, refused = corrections.merge_corrections(earlier_ones, file.table), file.bad
        log.info(
            "corrections: %d read, %d not filled in, %d superseded by a later line, %d unusable",
            file.table.num_rows, file.unfilled, file.superseded, len(file.bad),
        )  # fmt: skip
    strange = corrections.new_labels(coming, every)
    for new in strange[:SHOWN_LABELS]:
        hint = f"; did you mean {new.nearest!r}?" if new.nearest else ""
        log.warning(
            "corrections: %s %r is no label of the feed (%d corrections)%s", new.target, new.label, new.corrections, hint
        )
    if len(strange) > SHOWN_LABELS:
        log.warning("corrections: %d more labels that are none of the feed", len(strange) - SHOWN_LABELS)
    unknown = corrections.unknown_products(coming, every, seen_at)
    return corrections.apply_corrections(coming, every)[0], every, [*refused, *unknown]


def _read_rows(source: Source, each: Each) -> pa.Table:
    """Every row of the feed, in its order."""
    files = source.row_files()
    count = min(len(files), ROW_TASKS)
    if count < 2:
        return source.read_rows(files)
    bounds = [len(files) * number // count for number in range(count + 1)]
    chunks = [
        pa.table({"number": pa.array([number] * (end - start), type=pa.int32()), "file": files[start:end]})
        for number, (start, end) in enumerate(pairwise(bounds))
    ]
    read = list(each(functools.partial(read_chunk, source=source), chunks))  # Ray Data leaves tables without rows out
    if not read:
        return schema.FEED_ROWS.empty_table()
    return pa.concat_tables(read).sort_by([("number", "ascending"), ("place", "ascending")]).select(schema.FEED_ROWS.names)


def read_chunk(chunk: pa.Table, *, source: Source) -> pa.Table:
    """The rows of some row files (on a worker), with the chunk's number and their place in it."""
    rows = source.read_rows(chunk["file"].to_pylist())
    number = pa.array([chunk["number"][0].as_py()] * rows.num_rows, type=pa.int32())
    return rows.append_column("number", number).append_column("place", pa.array(range(rows.num_rows), type=pa.int64()))


def _inspect_all(source: Source, store: Store, plan: IngestPlan, before: Earlier, staging: str, each: Each) -> pa.Table:
    portions = with_memory(
        plan.portions,
        before.facts if before.decoded_alike else before.facts.slice(0, 0),
        before.quarantine if before.decoded_alike else before.quarantine.slice(0, 0),
        first_piece=len(before.pieces),
    )
    task = functools.partial(inspect_portion, source=source, store=store, staging=staging)
    total = sum(portion.num_rows for portion in plan.portions)
    return pa.concat_tables([FOUND.empty_table(), *_progress(each(task, portions), total)])


def _progress(tables: Iterator[pa.Table], total: int) -> Iterator[pa.Table]:
    done = 0
    for table in tables:
        done += table.num_rows
        log.info("inspected %d of %d pictures", done, total)
        yield table


def _ready(coming: pa.Table, settled: splits.Settled) -> pa.Table:
    """READY of the coming catalog: with groups, sides and derived labels."""
    table = coming
    for name in ("group_id", "split"):
        table = table.append_column(name, settled.groups[name])
    table = table.append_column("joined_category", pa.array(labels.joined_categories(coming), type=pa.string()))
    reassigned = reassign.reassign(coming)
    for name in reassigned.column_names:
        table = table.append_column(name, reassigned[name])
    return schema.cast(table, READY)


def _assemble_all(
    store: Store, facts: pa.Table, settled: splits.Settled, pieces: Sequence[Piece], folder: str, each: Each
) -> list[dict[str, Any]]:
    size = sum(store.size_bytes(piece.folder, piece.file) or 0 for piece in pieces)
    rows = facts.num_rows
    runs = plan_runs(_ready(facts, settled), row_bytes=size / max(1, rows))
    task = functools.partial(assemble, store=store, pieces=list(pieces), folder=folder)
    entries = [entry for table in each(task, runs) for entry in table.to_pylist()]
    written = sum(entry["rows"] for entry in entries)
    if written != rows:
        raise ReconciliationError(f"catalog: {rows} products were to be written, {written} were")
    return sorted(entries, key=lambda entry: str(entry["name"]))


def _says_the_same(base: snapshots.Snapshot, before: Earlier, coming: _Coming) -> bool:
    """Whether a snapshot would be the same as the one before it."""
    quiet = coming.summary["unchanged"] == base.manifest["rows"] and not coming.summary["added"]
    alike = base.manifest.get("layout_version") == LAYOUT_VERSION and before.decoded_alike
    kept = coming.corrections.equals(before.corrections) and same_quarantine(coming.quarantine, before.quarantine)
    return quiet and alike and kept


def _previews(found: pa.Table) -> dict[str, bytes]:
    shown = found.filter(pc.is_valid(found["preview"])).slice(0, 100)
    return dict(zip(shown["product_id"].to_pylist(), shown["preview"].to_pylist(), strict=True))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(Counter(column.to_pylist()))


def _sizes(facts: pa.Table) -> dict[str, int]:
    """Counts of the commonest picture sizes, as `height x width`."""
    counts = facts.group_by(["height", "width"]).aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
    return {f"{row['height']}x{row['width']}": row["count_all"] for row in counts.slice(0, 20).to_pylist()}
