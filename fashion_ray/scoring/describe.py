"""What a scoring run says at its end. In: its result. Out: lines for a job's log."""

from __future__ import annotations

import sys

import pyarrow as pa

from fashion_ray.config import without_password
from fashion_ray.models.bundle import Card
from fashion_ray.scoring.score import ScoreResult
from fashion_ray.storage import Store
from fashion_ray.tracking import Tracking

EXAMPLES = 3


def describe(result: ScoreResult, store: Store, card: Card, tracked: Tracking) -> str:
    """The books, where everything lies, a few scored products, and how to open the MLflow UI."""
    books, timing = result.books, result.timing
    lines = [
        f"catalog {books['catalog']} = scored {books['scored']} + carried over {books['carried_over']} "
        f"+ quarantined {books['quarantined']}",
    ]
    if timing:
        lines.append(", ".join(f"{name} {value:.1f}" for name, value in timing.items()))
    lines += _examples(store.read_table(result.snapshot.files[0]).slice(0, EXAMPLES), card)
    report = ("reports", str(card.provenance.get("run_name", "")), "training.html")
    lines += [
        f"scores  {store.show(result.snapshot.folder)}" + (" (unchanged)" if result.already_current else ""),
        f"report  {store.show(*report) if store.exists(*report) else 'none under this root: the model was trained elsewhere'}",
        f"MLflow  {without_password(tracked.uri)}",
    ]
    if tracked.artifacts is not None:
        lines.append(f"open the MLflow UI: {sys.executable} -m mlflow ui --host 127.0.0.1 --backend-store-uri {tracked.uri}")
    return "\n".join(lines)


def _examples(rows: pa.Table, card: Card) -> list[str]:
    lines = []
    for row in rows.to_pylist():
        answers = (
            f"{target} {row[f'{target}_predicted'] or '(other)'} {row[f'{target}_probability']:.2f}" for target in card.targets
        )
        lines.append(f"product {row['product_id']}: " + ", ".join(answers) + f", embedding of {len(row['embedding'])} numbers")
    return lines
