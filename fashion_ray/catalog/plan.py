"""What an ingest will do, decided before a picture is read. In: rows and picture names. Out: shards of work.

A shard is a set of products chosen by the hash of their id: one file of the catalog, one unit of work, and of scoring.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa

from fashion_ray.catalog.schema import quarantine_row
from fashion_ray.catalog.sources import product_id_of
from fashion_ray.catalog.styles import ROWS, BadRow, check_id

SHARD_ROWS = 2048
"""Products a file: small enough to redo, large enough that opening it costs nothing."""


@dataclass(frozen=True, kw_only=True)
class IngestPlan:
    """The work, and what is already known to be unusable."""

    shards: list[pa.Table]
    """A table a shard: ROWS and `locator`, in the order of the hash of product_id; labels are null without a row."""

    quarantined: list[dict[str, object]]
    rows: int
    """Rows in the feed, readable or not."""

    pictures: int
    """Pictures in the feed, readable or not."""

    counts: Counter[str] = field(default_factory=Counter)
    """Of the rows: `missing` (no picture), `unusable`; of the pictures: `unlabelled`, `unusable_pictures`."""


def plan_ingest(
    rows: pa.Table,
    bad_rows: list[dict[str, object]],
    locators: list[str],
    *,
    seen_at: str,
    shard_rows: int = SHARD_ROWS,
) -> IngestPlan:
    """Match rows and pictures by product id and deal the products out to shards."""
    quarantined = list(bad_rows)
    counts: Counter[str] = Counter(unusable=len(bad_rows))
    located: dict[str, str] = {}
    for locator in locators:
        reason, detail, product_id = _usable(locator, located)
        if reason:
            quarantined.append(
                quarantine_row(reason=reason, stage="ingest", seen_at=seen_at, product_id=product_id, detail=detail)
            )
            counts["unusable_pictures"] += 1
        else:
            located[product_id or ""] = locator
    numbers = rows.column("source_row").to_pylist()
    row_of = {product_id: position for position, product_id in enumerate(rows.column("product_id").to_pylist())}
    for product_id, position in row_of.items():
        if product_id not in located:
            quarantined.append(
                quarantine_row(
                    reason="no_picture",
                    stage="ingest",
                    seen_at=seen_at,
                    product_id=product_id,
                    source_row=numbers[position],
                )
            )
            counts["missing"] += 1
    counts["unlabelled"] = sum(product_id not in row_of for product_id in located)
    shards = _deal(rows, row_of, located, shard_rows)
    return IngestPlan(
        shards=shards,
        quarantined=quarantined,
        rows=rows.num_rows + len(bad_rows),
        pictures=len(locators),
        counts=counts,
    )


def shard_count(products: int, shard_rows: int = SHARD_ROWS) -> int:
    """How many files a catalog of this size has."""
    return max(1, -(-products // shard_rows))


def id_hash(product_id: str) -> int:
    """A number in 64 bits that is the same everywhere and always."""
    return int.from_bytes(hashlib.sha256(product_id.encode()).digest()[:8], "big")


def _usable(locator: str, located: dict[str, str]) -> tuple[str, str, str | None]:
    product_id = product_id_of(locator)
    try:
        check_id(product_id)
    except BadRow as error:
        return error.reason, f"picture {locator[:200]!r}", None
    if product_id in located:
        return "duplicate_id", f"picture {locator[:200]!r}, after {located[product_id]!r}, which counts", product_id
    return "", "", product_id


def _deal(rows: pa.Table, row_of: dict[str, int], located: dict[str, str], shard_rows: int) -> list[pa.Table]:
    count = shard_count(len(located), shard_rows)
    ordered = sorted((id_hash(product_id), product_id) for product_id in located)
    members: list[list[str]] = [[] for _ in range(count)]
    for number, product_id in ordered:
        members[number % count].append(product_id)
    shards = []
    for ids in members:
        labelled = rows.take(pa.array([row_of.get(product_id) for product_id in ids], type=pa.int64()))
        table = labelled.set_column(0, ROWS.field("product_id"), pa.array(ids, type=pa.string()))
        shards.append(table.append_column("locator", pa.array([located[product_id] for product_id in ids], type=pa.string())))
    return [shard for shard in shards if shard.num_rows]
