"""What annotators get. In: ranked tables. Out: CSV that spreadsheets open safely and jobs/ingest.py --labels reads back.

The columns product_id, target and label are those of corrections (catalog.corrections). `label` is empty until somebody fills
it in, so a file that comes back untouched changes nothing.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from fashion_ray import spreadsheets

AUDIT_COLUMNS = ("current_label", "suggested", "reasons", "picture_label", "title_label", "productDisplayName", "evidence")
SELECTION_COLUMNS = ("current_label", "suggested", "why", "productDisplayName")


def audit_csv(rows: pa.Table, *, prefill: bool) -> bytes:
    """AUDIT rows for annotators; with `prefill` the suggestion stands in `label` already."""
    lines = [
        {
            **_correction(row, prefill),
            "reasons": reasons(row),
            "picture_label": row["picture_label"],
            "title_label": row["title_label"],
            "evidence": "" if row["evidence"] is None else f"{max(0.0, row['evidence']):.2f}",
        }
        for row in rows.to_pylist()
    ]
    return _csv(AUDIT_COLUMNS, lines)


def selection_csv(rows: pa.Table, *, prefill: bool) -> bytes:
    """SELECTION rows for annotators; with `prefill` the suggestion stands in `label` already."""
    return _csv(SELECTION_COLUMNS, [{**_correction(row, prefill), "why": row["why"]} for row in rows.to_pylist()])


def reasons(row: dict[str, object]) -> str:
    """What speaks against a label, in words."""
    found = [
        name.replace("_", " ") for name in ("confident_learning", "near_duplicates_disagree", "far_from_class") if row[name]
    ]
    return ", ".join(found) or ("catch-all class" if row["kind"] == "catch_all" else "")


def _correction(row: dict[str, object], prefill: bool) -> dict[str, object]:
    return {
        "product_id": row["product_id"], "target": row["target"], "label": row["suggested"] if prefill else "",
        "current_label": row["label"], "suggested": row["suggested"], "productDisplayName": row["productDisplayName"],
    }  # fmt: skip


def _csv(columns: tuple[str, ...], lines: list[dict[str, object]]) -> bytes:
    """Cells on one line each; ingest takes the apostrophe off again that guards what would be a formula."""
    names = ["product_id", "target", "label", *columns]
    cells = [[" ".join(("" if line[name] is None else str(line[name])).splitlines()) for name in names] for line in lines]
    return spreadsheets.to_csv(pd.DataFrame(cells, columns=names, dtype=object)).encode()
