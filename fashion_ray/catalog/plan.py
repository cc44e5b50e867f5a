"""What an ingest will do, decided before a picture is read. In: rows and picture names. Out: portions of work.

A portion is what one task reads: products in the order of the hash of their ids, or, from a source that can only be read
in order, consecutive ones. A shard is one file of the catalog: the products in one range of that hash.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog.schema import FEED_ROWS, LABEL_COLUMNS, quarantine_row
from fashion_ray.catalog.trees import shown
from fashion_ray.config import NAME_PATTERN
from fashion_ray.errors import UserError

SHARD_ROWS = 2048
"""Products a file: small enough to redo, large enough that opening it costs nothing."""

SHARD_BYTES = 64 * 1024**2
"""Of pictures a file or a portion: what bounds the memory of a task when pictures are large."""

MOST_UNUSABLE = 2_000_000
"""Rows and pictures that are quarantined at most, at a kilobyte each on the driver: with more it is another kind of file."""

WORK = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        pa.field("has_row", pa.bool_(), nullable=False),
        *(FEED_ROWS.field(name) for name in (*LABEL_COLUMNS, "year", "productDisplayName")),
    ]
)
"""A product whose picture is to be read."""

DESCRIBED = pa.schema(
    [WORK.field("product_id"), *(WORK.field(name) for name in (*LABEL_COLUMNS, "year", "productDisplayName"))]
)
"""What a row says of a product."""


@dataclass(frozen=True, kw_only=True)
class IngestPlan:
    """The work, and what is already known to be unusable."""

    portions: list[pa.Table]
    """WORK, a table a task."""

    relabelled: pa.Table
    """DESCRIBED of rows without a picture whose products are in the catalog already."""

    withdrawn: list[str]
    quarantined: list[dict[str, object]]
    rows: int
    """Rows in the feed, readable or not."""

    pictures: int
    """Pictures in the feed, readable or not."""

    counts: Counter[str] = field(default_factory=Counter)
    """Of the rows: `missing` (no picture), `unusable`, `withdrawn`; of the pictures: `unusable_pictures`."""


class _Ledger:
    """Quarantine rows and what they count as."""

    def __init__(self, seen_at: str) -> None:
        self.rows: list[dict[str, object]] = []
        self.counts: Counter[str] = Counter()
        self._seen_at = seen_at

    def add(self, table: pa.Table, count: str, reason: str | None = None, detail: str = "") -> None:
        """Quarantine the rows of a table that has some of product_id, source_row, reason, detail and locator.

        Raises UserError if they are too many for a feed.
        """
        unusable = len(self.rows) + table.num_rows
        if unusable > MOST_UNUSABLE:
            example = table.slice(0, 1).to_pylist()[0]
            raise UserError(
                f"--source: {unusable} rows and pictures cannot be used (one: {example.get('detail') or detail or reason}), "
                f"expected at most {MOST_UNUSABLE}; pass the feed's own files"
            )
        for row in table.to_pylist():
            picture = f"picture {shown(row['locator'])[:200]!r}" if row.get("locator") else ""
            claimed = row["product_id"]
            self.rows.append(
                quarantine_row(
                    reason=reason or row["reason"], stage="ingest", seen_at=self._seen_at,
                    product_id=claimed if claimed and NAME_PATTERN.fullmatch(claimed) else None,
                    source_row=row.get("source_row"),
                    detail=" ".join(filter(None, (picture, detail or row.get("detail") or ""))),
                )
            )  # fmt: skip
        self.counts[count] += table.num_rows


def plan_ingest(
    rows: pa.Table, pictures: pa.Table, *, existing: pa.Array, delta: bool, in_order: bool, seen_at: str
) -> IngestPlan:
    """Match rows (FEED_ROWS) and pictures (PICTURES) by product id and deal the products out to portions.

    `existing` are the ids of the catalog so far. In a delta their pictures stay when the feed has none for them.
    Raises UserError if more than MOST_UNUSABLE rows and pictures cannot be used.
    """
    ledger = _Ledger(seen_at)
    kept = existing if delta else existing.slice(0, 0)
    usable, leaving = _usable_rows(rows, ledger, existing)
    located, listed = _located(usable, pictures, leaving, ledger)
    without = usable.filter(pc.invert(pc.is_in(usable["product_id"], located["product_id"])))
    relabelled = pc.is_in(without["product_id"], kept)
    ledger.add(without.filter(pc.invert(relabelled)).drop_columns(["detail"]), "missing", "no_picture")
    row = pc.index_in(located["product_id"], usable["product_id"])
    work = usable.take(row).set_column(0, WORK.field("product_id"), located["product_id"])
    work = work.append_column("has_row", pc.is_valid(row))
    work = work.set_column(work.column_names.index("locator"), "locator", located["locator"]).select(WORK.names)
    return IngestPlan(
        portions=_portions(work, located["size_bytes"], in_order),
        relabelled=without.filter(relabelled).select(DESCRIBED.names),
        withdrawn=leaving.to_pylist(),
        quarantined=ledger.rows,
        rows=rows.num_rows,
        pictures=listed,
        counts=ledger.counts,
    )


def id_hashes(product_ids: Sequence[str]) -> np.ndarray:
    """A number of 64 bits for each id, uint64 (rows,), that is the same everywhere and always."""
    digests = b"".join(hashlib.sha256(product_id.encode()).digest()[:8] for product_id in product_ids)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def shard_count(products: int, size_bytes: int = 0) -> int:
    """How many files a catalog of this size has."""
    return max(1, -(-products // SHARD_ROWS), -(-size_bytes // SHARD_BYTES))


def shard_bounds(ordered_hashes: np.ndarray, count: int) -> list[int]:
    """Where each of `count` equal ranges of the hash begins among sorted hashes, and where the last one ends."""
    edges = np.array([(number << 64) // count for number in range(1, count)], dtype=np.uint64)
    return [0, *np.searchsorted(ordered_hashes, edges).tolist(), len(ordered_hashes)]


def _usable_rows(rows: pa.Table, ledger: _Ledger, existing: pa.Array) -> tuple[pa.Table, pa.Array]:
    """The rows that describe a product, each product once, and the ids of those that leave."""
    ledger.add(rows.filter(pc.is_valid(rows["reason"])), "unusable")
    usable = rows.filter(pc.is_null(rows["reason"]))
    withdrawals = usable.filter(pc.fill_null(usable["withdrawn"], False))
    usable = usable.filter(pc.invert(pc.fill_null(usable["withdrawn"], False)))
    withdrawals, repeated = _first(withdrawals)
    ledger.add(repeated.drop_columns(["locator"]), "unusable", "duplicate_id", "withdrawn by an earlier row, which counts")
    leaving = withdrawals["product_id"]
    unknown = pc.invert(pc.is_in(leaving, existing))
    ledger.add(withdrawals.filter(unknown).drop_columns(["locator"]), "unusable", "unknown_product", "withdrawn, and not there")
    ledger.counts["withdrawn"] = withdrawals.num_rows - (pc.sum(unknown).as_py() or 0)
    contradicted = pc.is_in(usable["product_id"], leaving)
    ledger.add(
        usable.filter(contradicted).drop_columns(["locator"]), "unusable", "bad_row", "another row of the feed withdraws it"
    )
    usable, repeated = _first(usable.filter(pc.invert(contradicted)))
    ledger.add(repeated.drop_columns(["locator"]), "unusable", "duplicate_id", "its id was on an earlier row, which counts")
    return usable, leaving


def _located(usable: pa.Table, pictures: pa.Table, leaving: pa.Array, ledger: _Ledger) -> tuple[pa.Table, int]:
    """product_id, locator and size_bytes of every product with a picture, in the feed's order; how many pictures it has."""
    named = usable.filter(pc.is_valid(usable["locator"])).select(["product_id", "locator", "size_bytes"])
    ids = pc.replace_substring_regex(pictures["locator"], r"^(?:.*/)?([^/]*?)(?:\.[^./]*)?$", r"\1")
    beside = pictures.append_column("product_id", ids)
    good = pc.match_substring_regex(ids, f"^(?:{NAME_PATTERN.pattern})$")
    ledger.add(beside.filter(pc.invert(good)), "unusable_pictures", "bad_id")
    beside = beside.filter(good)
    gone = pc.is_in(beside["product_id"], leaving)
    ledger.add(beside.filter(gone), "unusable_pictures", "bad_row", "of a product that the feed withdraws")
    beside = beside.filter(pc.invert(gone)).select(named.column_names)
    located, repeated = _first(pa.concat_tables([named, beside.cast(named.schema)]))
    ledger.add(repeated, "unusable_pictures", "duplicate_id", "an earlier picture counts")
    return located, named.num_rows + pictures.num_rows


def _first(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The first row of each product_id, and the others."""
    first = pc.equal(pc.index_in(table["product_id"], table["product_id"]), pa.array(np.arange(table.num_rows, dtype=np.int32)))
    return table.filter(first), table.filter(pc.invert(first))


def _portions(work: pa.Table, size_bytes: pa.Array, in_order: bool) -> list[pa.Table]:
    if not work.num_rows:
        return []
    sizes = np.asarray(pc.fill_null(size_bytes, 0), dtype=np.int64)
    if in_order:
        full = np.maximum(np.cumsum(sizes) / SHARD_BYTES, np.arange(work.num_rows) / SHARD_ROWS)
        starts = [0, *(np.flatnonzero(np.diff(np.floor(full))) + 1).tolist(), work.num_rows]
    else:
        hashes = id_hashes(work["product_id"].to_pylist())
        order = np.argsort(hashes, kind="stable")
        work = work.take(pa.array(order))
        starts = shard_bounds(hashes[order], shard_count(work.num_rows, int(sizes.sum())))
    return [work.slice(start, end - start) for start, end in pairwise(starts) if end > start]
