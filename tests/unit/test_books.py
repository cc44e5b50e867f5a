"""The quarantine from ingest to ingest."""

from __future__ import annotations

import pyarrow as pa

from fashion_ray.catalog import schema
from fashion_ray.catalog.books import quarantine_table
from fashion_ray.catalog.inspecting import FOUND
from fashion_ray.catalog.plan import DESCRIBED, IngestPlan


def quarantined(product_id: str | None, reason: str, image_sha256: str | None = None, attempts: int = 1) -> dict[str, object]:
    """A row of the quarantine."""
    return schema.quarantine_row(
        reason=reason, stage="ingest", seen_at="before", product_id=product_id, image_sha256=image_sha256, attempts=attempts
    )  # fmt: skip


def unusable(product_id: str, image_sha256: str, *, again: bool) -> dict[str, object]:
    """A picture that cannot be used."""
    return {
        "product_id": product_id, "image_sha256": image_sha256, "has_row": True, "reason": "truncated", "detail": "",
        "again": again, "piece": 0, "position": -1,
    }  # fmt: skip


def after(before: list[dict[str, object]], found: list[dict[str, object]], *, delta: bool) -> list[dict[str, object]]:
    """The quarantine after an ingest that finds these pictures."""
    plan = IngestPlan(portions=[], relabelled=DESCRIBED.empty_table(), withdrawn=[], quarantined=[], rows=0, pictures=0)
    table = quarantine_table(
        pa.Table.from_pylist(before, schema=schema.QUARANTINE), [], pa.Table.from_pylist(found, schema=FOUND), plan,
        delta=delta, run_id="r", seen_at="now",
    )  # fmt: skip
    return list(table.to_pylist())


def test_after_a_delta_every_row_of_a_product_that_it_is_silent_about_stays() -> None:
    before = [quarantined("a", "duplicate_id"), quarantined("a", "duplicate_id"), quarantined("a", "truncated", "hash")]
    assert after(before, [unusable("b", "other", again=False)], delta=True)[1:] == before
    assert [row["product_id"] for row in after(before, [unusable("b", "other", again=False)], delta=False)] == ["b"]


def test_a_delta_that_speaks_of_a_product_replaces_all_that_was_said_of_it() -> None:
    before = [quarantined("a", "duplicate_id"), quarantined("a", "truncated", "hash", attempts=2)]
    (row,) = after(before, [unusable("a", "other", again=False)], delta=True)
    assert (row["image_sha256"], row["attempts"], row["seen_at"]) == ("other", 3, "now")


def test_a_picture_with_the_same_bytes_keeps_its_own_row_wherever_it_stands() -> None:
    picture = quarantined("a", "truncated", "hash", attempts=2)
    for before in ([picture, quarantined("a", "duplicate_id")], [quarantined("a", "duplicate_id"), picture]):
        assert after(before, [unusable("a", "hash", again=True)], delta=False) == [picture]
