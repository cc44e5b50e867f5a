"""What people see of a training run. In: its result. Out: artifacts in MLflow, a report page, a registered bundle."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashion_ray import spreadsheets, tracking
from fashion_ray.catalog.lookup import pictures
from fashion_ray.pages import plots
from fashion_ray.pages.training_report import training_report
from fashion_ray.serving.package import package
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training import artifacts
from fashion_ray.training.run import TrainResult

log = logging.getLogger(__name__)


def publish(
    result: TrainResult, store: Store, catalog: Snapshot, run: tracking.TrackedRun, name: str, *, study: str = ""
) -> str:
    """Log plots, tables, the report and the bundle, and register it; what became of it, in words.

    A control experiment, or what belongs to a study, is not registered: it must never become the champion.
    """
    for target in collapsed(result):
        log.warning("the head of %s has collapsed: it answers one class for nearly everything; do not use it", target)
    evaluations = {"test": result.evaluations["test"], "validation": result.evaluations["validation"]}
    drawn = artifacts.drawings(evaluations)
    products = pictures(store, catalog, artifacts.mistaken(evaluations))
    files: dict[str, bytes | str] = {
        "plots/learning_curves.png": plots.learning_curves(result.history),
        "tables/history.csv": spreadsheets.to_csv(result.history),
        "catalog/manifest.json": json.dumps(catalog.manifest, indent=2),
        **artifacts.tables(evaluations),
        **artifacts.mistake_sheets(evaluations, products),
        **{f"plots/{target}_{kind}.png": png for target, ones in drawn.items() for kind, png in ones.items()},
    }
    note = artifacts.split_note(result.card.provenance["split"], evaluations["test"])
    page = training_report(
        title=f"Training run {name}",
        facts=_facts(result, catalog, run, name),
        evaluations={split: list(ones.values()) for split, ones in evaluations.items()},
        history=result.history,
        split_note=note,
        drawings=drawn,
        products=products,
        next_steps=[
            "`python jobs/score.py` scores the whole catalog with the champion, `--model challenger` with the newest model",
            "`python jobs/promote.py` compares the newest model with the champion on the same rows and promotes the better",
        ],
    )
    files["training.html"] = page
    with tempfile.TemporaryDirectory() as temporary:
        for path, content in files.items():
            target_file = Path(temporary) / path
            target_file.parent.mkdir(parents=True, exist_ok=True)
            target_file.write_bytes(content.encode() if isinstance(content, str) else content)
        package(Path(temporary) / "bundle", result.files)
        run.folder(temporary, "")
    store.write_bytes(page.encode(), "reports", name, "training.html")
    run.metrics(artifacts.metrics_of_slices({"test": evaluations["test"]}))
    run.tags(
        {"model_version": result.card.model_version, "collapsed": ", ".join(collapsed(result)) or "no", "figures_of": note}
    )
    model = f"model {result.card.model_version}"
    if result.card.provenance["shuffle_labels"]:
        return f"{model} not registered: its labels were drawn at random"
    if study:
        return f"{model} not registered: it belongs to the study {study}"
    version, alias = tracking.register(run, "bundle", result.card.model_version)
    return f"{model} registered as version {version}" + (f" ({alias})" if alias else "")


def collapsed(result: TrainResult) -> list[str]:
    """The targets whose head answers one class for nearly everything."""
    return [target for target, evaluation in result.evaluations["test"].items() if evaluation.collapsed]


def summary(result: TrainResult) -> str:
    """The figures of the test split, a line a target."""
    lines = [f"test split of {result.card.provenance['split']}:"]
    for target, one in result.evaluations["test"].items():
        lines.append(
            f"  {target:<16} accuracy {one.accuracy:.4f} [{one.accuracy_low:.4f}, {one.accuracy_high:.4f}], "
            f"top-3 {one.top3_accuracy:.4f}, weighted F1 {one.weighted_f1:.4f}, macro F1 {one.macro_f1:.4f}, "
            f"calibration error {one.expected_calibration_error:.4f}, {one.rows} rows, "
            f"always the commonest {one.majority_share:.4f}"
        )
        if one.unseen_share:
            others = f"; of the others {one.seen_accuracy:.4f} are right" if one.seen_accuracy is not None else ""
            lines.append(f"  {'':<16} {one.unseen_share:.4f} of the rows have labels that no training row had{others}")
        if (review := one.review) is not None:
            right = f"{review.precision:.4f} of them right" if review.passed else "every row does"
            lines.append(f"  {'':<16} needs no review {review.coverage:.4f} of {review.rows} rows, {right}")
    lines += [f"warning: the head of {target} answers one class for nearly everything" for target in collapsed(result)]
    return "\n".join(lines)


def _facts(result: TrainResult, catalog: Snapshot, run: tracking.TrackedRun, name: str) -> dict[str, str]:
    card = result.card
    decoded, scaled = (" x ".join(str(side) for side in size) for size in (card.decoded_size, card.input_size))
    return {
        "run": name,
        "MLflow run": run.run_id,
        "model version": card.model_version,
        "trunk": f"{card.backbone}, {card.embedding_dim} dimensions, weights {card.provenance['weights']}",
        "pictures": f"decoded to {decoded}, scaled to {scaled} (height x width)",
        "schedule": f"{card.provenance['schedule']}; best epoch {card.provenance['best_epoch']} of {len(result.history)}",
        "engine": f"{card.provenance['engine']} {card.provenance['precision']}",
        "sides": _sides(card.provenance),
        "training rows": _balance(card.provenance),
        "catalog snapshot": f"{catalog.name} ({catalog.manifest['rows']} products, {catalog.manifest['source']})",
        "labels": "drawn at random (control experiment)" if card.provenance["shuffle_labels"] else "the catalog's",
    }


def _sides(facts: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{count} {side}" for side, count in facts["side_rows"].items())
    seed = "" if facts["split"] == "stored" else f" with seed {facts['split_seed']}"
    return " ".join([f"{facts['split']}{seed}", *facts["only"]]) + f": {rows}"


def _balance(facts: Mapping[str, Any]) -> str:
    parts = [f"{facts['train_rows']} an epoch"]
    if facts["max_per_class"]:
        parts.append(f"at most {facts['max_per_class']} a class of {facts['balance_target']}")
    if facts["oversample_to"]:
        parts.append(f"rarer classes of {facts['balance_target']} repeated up to {facts['oversample_to']}")
    if facts["class_rows"]:
        parts.append(f"{', '.join(facts['class_rows'])} of {facts['balance_target']}")
    if facts["class_weights"] != "none":
        parts.append(f"class weights {facts['class_weights']}")
    return ", ".join(parts)
