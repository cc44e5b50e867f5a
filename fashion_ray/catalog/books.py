"""The books of an ingest. In: plan, findings, coming catalog. Out: where every row and picture went, and the quarantine."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog import schema
from fashion_ray.catalog.plan import IngestPlan
from fashion_ray.errors import ReconciliationError


def balance(plan: IngestPlan, found: pa.Table, coming: pa.Table) -> dict[str, int]:
    """Where every row and picture of the feed went. Raises ReconciliationError if one is unaccounted for.

    Rows = labelled + missing picture + quarantined + withdrawn; pictures = in the catalog + quarantined; products are there
    once.
    """
    usable = found.filter(pc.is_null(found["reason"]))
    unusable = found.filter(pc.is_valid(found["reason"]))
    absent = pc.equal(unusable["reason"], "no_picture")
    had_row = unusable["has_row"]
    stays = pc.is_in(unusable["product_id"], coming["product_id"])
    lost = pc.and_not(had_row, stays)
    books = {
        "rows": plan.rows,
        "rows_labelled": _true(usable["has_row"]) + plan.relabelled.num_rows + _true(pc.and_(had_row, stays)),
        "rows_missing_picture": plan.counts["missing"] + _true(pc.and_(lost, absent)),
        "rows_quarantined": plan.counts["unusable"] + _true(pc.and_not(lost, absent)),
        "rows_withdrawn": plan.counts["withdrawn"],
        "pictures": plan.pictures - _true(absent),
        "pictures_in_catalog": usable.num_rows,
        "pictures_without_row": usable.num_rows - _true(usable["has_row"]),
        "pictures_quarantined": plan.counts["unusable_pictures"] + unusable.num_rows - _true(absent),
    }
    accounted = sum(books[name] for name in ("rows_labelled", "rows_missing_picture", "rows_quarantined", "rows_withdrawn"))
    if (
        books["rows"] != accounted
        or books["pictures"] != books["pictures_in_catalog"] + books["pictures_quarantined"]
        or pc.count_distinct(coming["product_id"]).as_py() != coming.num_rows
    ):
        raise ReconciliationError(f"catalog: the books do not balance: {books}")
    return books


def quarantine_table(
    before: pa.Table,
    now: list[dict[str, object]],
    found: pa.Table,
    plan: IngestPlan,
    *,
    delta: bool,
    run_id: str,
    seen_at: str,
) -> pa.Table:
    """QUARANTINE of what cannot be used as of this catalog; `now` are the new rows but those of unusable pictures.

    A picture with the bytes that were quarantined before keeps its row; with other bytes it has one attempt more. After a
    delta, what was quarantined before stays unless the feed speaks of the product.
    """
    earlier_rows = before.filter(pc.is_valid(before["product_id"])).to_pylist()
    old = {row["product_id"]: row for row in sorted(earlier_rows, key=lambda row: row["image_sha256"] is not None)}
    rows = [{**row, "run_id": run_id} for row in now]
    unusable = found.filter(pc.is_valid(found["reason"]))
    for row in unusable.select(["product_id", "reason", "detail", "image_sha256", "again"]).to_pylist():
        earlier = old.get(row["product_id"])
        if earlier is not None and row["again"]:
            rows.append(earlier)
            continue
        attempts = int(earlier["attempts"]) + 1 if earlier is not None else 1
        fresh = schema.quarantine_row(
            reason=row["reason"], stage="ingest", seen_at=seen_at, product_id=row["product_id"], detail=row["detail"] or "",
            image_sha256=row["image_sha256"], attempts=attempts,
        )  # fmt: skip
        rows.append({**fresh, "run_id": run_id})
    if delta:
        spoken_of = {*found["product_id"].to_pylist(), *plan.relabelled["product_id"].to_pylist(), *plan.withdrawn}
        spoken_of |= {row["product_id"] for row in rows}
        rows += [row for row in earlier_rows if row["product_id"] not in spoken_of]
    return pa.Table.from_pylist(rows, schema=schema.QUARANTINE)


def same_quarantine(one: pa.Table, other: pa.Table) -> bool:
    """Whether two quarantine tables say the same, whenever and by whichever run it was seen."""
    names = ["product_id", "source_row", "stage", "reason", "detail", "image_sha256"]
    order = [(name, "ascending") for name in names]
    return bool(one.select(names).sort_by(order).equals(other.select(names).sort_by(order)))


def _true(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
