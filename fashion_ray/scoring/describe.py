"""What a scoring run says at its end. In: its result. Out: lines for a job's log, figures and a page for MLflow."""

from __future__ import annotations

import sys

import pyarrow as pa

from fashion_ray import metrics, snapshots, tracking
from fashion_ray.config import without_password
from fashion_ray.errors import GateRefused
from fashion_ray.memory import Peak
from fashion_ray.models import engines
from fashion_ray.models.bundle import Card
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.options import ScoreOptions
from fashion_ray.scoring.publishing import listing
from fashion_ray.scoring.score import How, ScoreResult, score
from fashion_ray.scoring.single import describe_picture, read_picture, score_picture
from fashion_ray.scoring.timing import time_line
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

EXAMPLES = 3


def look(options: ScoreOptions, store: Store) -> str | None:
    """What --image, --list and --rollback say, without a cluster; null if none of them was asked for."""
    if options.image is not None:
        picture = read_picture(options.image)
        model = resolve(options.model, store, tracking.locate(store))
        choice = engines.choose(options.engine, options.precision, gpus=0, **engines.of_this_node())
        return describe_picture(options.image, score_picture(picture, model, choice, cache=options.cache))
    if options.rollback is not None:
        store.check_writable()
        snapshot = snapshots.roll_back(store, "scores", None if options.rollback == "previous" else options.rollback)
        return f"current is now {store.show(snapshot.folder)} (commit {snapshot.sequence})"
    return "\n".join(listing(store)) if options.list else None


def describe(result: ScoreResult, store: Store, card: Card, tracked: tracking.Tracking) -> str:
    """The books, where the time went, where everything lies, a few scored products, and how to open the MLflow UI."""
    books = result.books
    lines = [
        f"catalog {books['catalog']} = scored {books['scored']} + carried over {books['carried_over']} "
        f"+ quarantined {books['quarantined']}",
    ]
    if result.timing:
        lines.append(time_line(result.timing))
    lines += _examples(store.read_table(result.snapshot.files[0]).slice(0, EXAMPLES), card)
    report = ("reports", str(card.provenance.get("run_name", "")), "training.html")
    page = ("reports", f"scores-{result.snapshot.name}", "changes.html")
    lines += [
        f"scores  {store.show(result.snapshot.folder)}" + (" (unchanged)" if result.already_current else ""),
        f"changes {store.show(*page)}",
        f"report  {store.show(*report) if store.exists(*report) else 'none under this root: the model was trained elsewhere'}",
        f"MLflow  {without_password(tracked.uri)}",
    ]
    if tracked.artifacts is not None:
        lines.append(f"open the MLflow UI: {sys.executable} -m mlflow ui --host 127.0.0.1 --backend-store-uri {tracked.uri}")
    return "\n".join(lines)


def score_and_log(
    run: tracking.TrackedRun, store: Store, catalog: Snapshot, model: ResolvedModel, how: How, peak: Peak
) -> ScoreResult:
    """Score, and put the figures and the page into MLflow, also if a gate refuses."""
    try:
        with metrics.stage("score"):
            result = score(store, catalog, model, how)
    except GateRefused as refusal:
        run.file(store.read_bytes(refusal.page), "changes.html")
        run.tags({"refused_by_gates": str(refusal)})
        raise
    log_night(run, store, result, peak)
    return result


def log_night(run: tracking.TrackedRun, store: Store, result: ScoreResult, peak: Peak) -> None:
    """Metrics, tags and the page of a night, in MLflow."""
    peak.sample()
    figures: dict[str, float] = {**result.books, **result.timing, "peak_memory_gb": peak.size_bytes / 1e9}
    if result.comparison is not None:
        figures |= result.comparison.figures()
        run.file(store.read_bytes(f"reports/scores-{result.snapshot.name}", "changes.html"), "changes.html")
        run.tags({"refused_by_gates": "; ".join(result.comparison.refusals) or "none"})
    run.metrics({f"score/{name}": value for name, value in figures.items()})
    run.tags({"scores_snapshot": result.snapshot.name})


def _examples(rows: pa.Table, card: Card) -> list[str]:
    lines = []
    for row in rows.to_pylist():
        answers = (
            f"{target} {row[f'{target}_predicted'] or '(other)'} {row[f'{target}_probability']:.2f}" for target in card.targets
        )
        lines.append(f"product {row['product_id']}: " + ", ".join(answers) + f", embedding of {len(row['embedding'])} numbers")
    return lines
