"""Raw feed to published catalog. In: a source and a store. Out: a catalog snapshot and its quarantine table.

Two passes over shards on Ray Data, so that no more than a few shards are ever in memory. The first reads, checks and
hashes every picture and stages it; then, with all hashes known, near-duplicate groups and splits are settled on the
driver; the second writes the final files. A shard that an interrupted run had staged is not read again.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from fashion_ray import snapshots
from fashion_ray.catalog import schema, splits
from fashion_ray.catalog.pictures import DECODER_VERSION, BadPicture, PictureFacts, inspect
from fashion_ray.catalog.plan import IngestPlan, plan_ingest
from fashion_ray.catalog.sources import Source
from fashion_ray.errors import ConflictError, ReconciliationError, UserError
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

LAYOUT_VERSION = "1"
"""Goes into the snapshot's name: raise it when the same feed gives another catalog."""

FOUND = pa.schema([*schema.FACTS, pa.field("reason", pa.string()), pa.field("detail", pa.string())])
"""What the first pass tells the driver of each picture; `reason` is null if it is usable."""


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """A published catalog and the books of how it came about."""

    snapshot: snapshots.Snapshot
    books: dict[str, int]
    already_current: bool


def ingest(
    source: Source, store: Store, *, run_id: str, ratios: tuple[float, float, float] = splits.DEFAULT_RATIOS
) -> IngestResult:
    """Publish a source as the current catalog. The same feed again changes nothing.

    Raises UserError for a feed that is no catalog, ReconciliationError if the books do not balance.
    """
    seen_at = snapshots.now()
    name = snapshots.fingerprint(LAYOUT_VERSION, DECODER_VERSION, source.fingerprint(), ratios)
    base = snapshots.current(store, "catalog")
    snapshots.repair_pointer(store, "catalog")
    if base is not None and base.name == name:
        store.remove("catalog", "staging", name)  # left by a run that died just after its commit
        return IngestResult(snapshot=base, books=base.manifest["books"], already_current=True)
    plan = plan_ingest(*source.rows(seen_at), source.pictures(), seen_at=seen_at)
    if not plan.shards:
        raise UserError(
            f"--source: {source.name} has no pictures ({plan.rows} rows); expected images/<id>.jpg beside styles.csv"
        )
    log.info("%s: %d rows, %d pictures, in %d shards", source.name, plan.rows, plan.pictures, len(plan.shards))
    try:
        snapshot = _build(source, store, plan, name=name, run_id=run_id, ratios=ratios, seen_at=seen_at, base=base)
    except Exception:
        published = snapshots.current(store, "catalog")
        if published is None or published.name != name:
            raise
        log.info("another run published the same catalog first")  # both runs end right
        snapshot = published
    store.remove("catalog", "staging", name)
    return IngestResult(snapshot=snapshot, books=snapshot.manifest["books"], already_current=False)


def _build(
    source: Source,
    store: Store,
    plan: IngestPlan,
    *,
    name: str,
    run_id: str,
    ratios: tuple[float, float, float],
    seen_at: str,
    base: snapshots.Snapshot | None,
) -> snapshots.Snapshot:
    found = _inspect_all(source, store, plan, f"catalog/staging/{name}")
    unusable = found.filter(pc.is_valid(found["reason"]))
    facts = schema.cast(found.filter(pc.is_null(found["reason"])), schema.FACTS)
    if not facts.num_rows:
        raise UserError(f"--source: none of the {plan.pictures} pictures of {source.name} can be decoded; expected JPEG or PNG")
    quarantined = plan.quarantined + [
        schema.quarantine_row(
            reason=row["reason"], stage="ingest", seen_at=seen_at, product_id=row["product_id"], detail=row["detail"]
        )
        for row in unusable.select(["product_id", "reason", "detail"]).to_pylist()
    ]
    books = balance(plan, facts, unusable)
    sides = settle_sides(facts, ratios)
    files = _finish_all(store, sides, len(plan.shards), name)
    written = sum(file["rows"] for file in files)
    if written != facts.num_rows:
        raise ReconciliationError(f"catalog: {facts.num_rows} products inspected, {written} written")
    table = pa.Table.from_pylist([{**row, "run_id": run_id} for row in quarantined], schema=schema.QUARANTINE)
    store.write_table(table, "quarantine", f"catalog-{name}.parquet")
    manifest = {
        "files": files,
        "books": books,
        "rows": facts.num_rows,
        "source": source.name,
        "run_id": run_id,
        "split_ratios": list(ratios),
        "quarantine": f"quarantine/catalog-{name}.parquet",
        "quarantine_reasons": dict(Counter(str(row["reason"]) for row in quarantined)),
        "schema": [f"{field.name}: {field.type}" for field in schema.CATALOG],
        "picture_sizes": _sizes(facts),
    }
    if base is not None and snapshots.current(store, "catalog") != base:
        raise ConflictError("catalog: another ingest published while this one was at work; run the same command again")
    return snapshots.publish(store, "catalog", name, manifest, base=base)


def balance(plan: IngestPlan, facts: pa.Table, unusable: pa.Table) -> dict[str, int]:
    """The books: where every row and every picture of the feed went. Raises ReconciliationError if one is unaccounted for."""
    labelled_ids = {product_id for shard in plan.shards for product_id in _labelled(shard)}
    labelled = sum(product_id in labelled_ids for product_id in facts["product_id"].to_pylist())
    lost_with_picture = sum(product_id in labelled_ids for product_id in unusable["product_id"].to_pylist())
    books = {
        "rows": plan.rows,
        "rows_labelled": labelled,
        "rows_missing_picture": plan.counts["missing"],
        "rows_quarantined": plan.counts["unusable"] + lost_with_picture,
        "pictures": plan.pictures,
        "pictures_in_catalog": facts.num_rows,
        "pictures_without_row": facts.num_rows - labelled,
        "pictures_quarantined": plan.counts["unusable_pictures"] + unusable.num_rows,
    }
    ids = facts["product_id"].to_pylist()
    if (
        books["rows"] != books["rows_labelled"] + books["rows_missing_picture"] + books["rows_quarantined"]
        or books["pictures"] != books["pictures_in_catalog"] + books["pictures_quarantined"]
        or len(set(ids)) != len(ids)
    ):
        raise ReconciliationError(f"catalog: the books do not balance: {books}")
    return books


def settle_sides(facts: pa.Table, ratios: tuple[float, float, float]) -> pa.Table:
    """product_id, group_id and split of every product, from the facts of the whole catalog."""
    ordered = facts.sort_by("product_id")
    ids = ordered["product_id"].to_pylist()
    groups = splits.join_groups(ids, ordered["image_sha256"].to_pylist(), ordered["perceptual_hash"].to_pylist())
    classes = ordered["articleType"].to_pylist()
    sides = splits.assign(groups, classes, ratios)
    return pa.table({"product_id": ids, "group_id": groups, "split": pa.array(sides, type=pa.string())})


def _inspect_all(source: Source, store: Store, plan: IngestPlan, staging: str) -> pa.Table:
    numbered = [
        shard.append_column("shard", pa.array([number] * shard.num_rows, type=pa.int32()))
        for number, shard in enumerate(plan.shards)
    ]
    work = ray.data.from_arrow(numbered).map_batches(
        inspect_shard,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"source": source, "store": store, "staging": staging},
    )
    return pa.concat_tables(_progress(work.iter_batches(batch_size=None, batch_format="pyarrow"), "inspected", plan.pictures))


def _progress(tables: Iterator[pa.Table], verb: str, total: int) -> Iterator[pa.Table]:
    done = 0
    for table in tables:
        done += table.num_rows
        log.info("%s %d of %d pictures", verb, done, total)
        yield table


def inspect_shard(shard: pa.Table, *, source: Source, store: Store, staging: str) -> pa.Table:
    """Read, check and stage one shard's pictures (on a worker); what was found (FOUND), also if it was staged before."""
    number = shard["shard"][0].as_py()
    facts_name, part_name = f"shard-{number:05d}.facts.parquet", f"shard-{number:05d}.parquet"
    if store.exists(staging, facts_name):
        return store.read_table(staging, facts_name)
    rows: list[dict[str, object]] = []
    images: list[bytes] = []
    labels = shard.select([*schema.LABEL_COLUMNS, "year", "productDisplayName", "product_id"]).to_pylist()
    for row, content in zip(labels, source.read(shard["locator"].to_pylist()), strict=True):
        facts, bad = _inspect(content)
        if facts is not None:
            assert isinstance(content, bytes)
            images.append(content)
            row |= {
                "image_sha256": facts.sha256, "perceptual_hash": facts.perceptual_hash,
                "width": facts.width, "height": facts.height,
            }  # fmt: skip
        rows.append(row | {"reason": bad.reason if bad else None, "detail": bad.detail if bad else None})
    found = pa.Table.from_pylist(rows, schema=pa.schema([field.with_nullable(True) for field in FOUND]))
    usable = found.filter(pc.is_null(found["reason"])).select(schema.FACTS.names)
    staged = usable.append_column("image", pa.array(images, type=pa.binary()))
    store.write_table(staged, staging, part_name, compression="none")
    store.write_table(found, staging, facts_name)
    return found


def _inspect(content: bytes | BadPicture) -> tuple[PictureFacts | None, BadPicture | None]:
    if isinstance(content, BadPicture):
        return None, content
    try:
        return inspect(content), None
    except BadPicture as error:
        return None, error


def _finish_all(store: Store, sides: pa.Table, shards: int, name: str) -> list[dict[str, Any]]:
    work = ray.data.range(shards, override_num_blocks=shards).map_batches(
        finish_shard,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"store": store, "name": name, "sides": ray.put(sides)},
    )
    return sorted((row for row in work.iter_rows()), key=lambda row: str(row["name"]))


def finish_shard(numbers: pa.Table, *, store: Store, name: str, sides: ray.ObjectRef) -> pa.Table:
    """Write the final files of some staged shards (on a worker), with group and split; their manifest entries."""
    settled = ray.get(sides)
    entries = []
    for number in numbers["id"].to_pylist():
        staged = store.read_table(f"catalog/staging/{name}", f"shard-{number:05d}.parquet")
        position = pc.index_in(staged["product_id"], settled["product_id"])
        for column in ("group_id", "split"):
            staged = staged.append_column(column, settled[column].take(position))
        for column in (*schema.DERIVED_COLUMNS, "reassigned_similarity"):
            staged = staged.append_column(column, pa.nulls(staged.num_rows, schema.CATALOG.field(column).type))
        part = f"part-{number:05d}.parquet"
        final = schema.cast(staged, schema.CATALOG)
        size = store.write_table(final, snapshots.staging("catalog", name), part, compression="none", row_group_rows=512)
        digest = hashlib.sha256(store.read_bytes(snapshots.staging("catalog", name), part)).hexdigest()
        entries.append(snapshots.file_entry(part, digest, staged.num_rows, size))
    return pa.Table.from_pylist(entries)


def _labelled(shard: pa.Table) -> list[str]:
    return list(shard.filter(pc.is_valid(shard["source_row"]))["product_id"].to_pylist())


def _sizes(facts: pa.Table) -> dict[str, int]:
    """Counts of the commonest picture sizes, as `height x width`."""
    counts = Counter(zip(facts["height"].to_pylist(), facts["width"].to_pylist(), strict=True))
    return {f"{height}x{width}": count for (height, width), count in counts.most_common(20)}
