"""The page of a training run. In: evaluations, the history of epochs, facts. Out: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fashion_ray.pages import plots
from fashion_ray.pages.evaluation_pictures import gallery
from fashion_ray.pages.rendering import environment, picture
from fashion_ray.training.evaluation import Review, TargetEvaluation

MOST_CONFUSIONS = 8


def training_report(
    *,
    title: str,
    facts: Mapping[str, str],
    evaluations: Mapping[str, Sequence[TargetEvaluation]],
    history: pd.DataFrame,
    split_note: str = "",
    drawings: Mapping[str, Mapping[str, bytes]] | None = None,
    products: Mapping[str, bytes] | None = None,
    warnings: Sequence[str] = (),
    next_steps: Sequence[str] = (),
) -> str:
    """The figures of every split, what needs no review, the learning curves, and each target's classes on its first split.

    `evaluations` goes from a split's name to its targets, the most telling split first; `split_note` says how products were
    put on the sides. `history` is as in `plots.learning_curves`. `drawings` has what `evaluation_pictures` draws of a target on
    its first split, `products` the pictures of the products among its worst mistakes. Warnings about heads that learned
    nothing are added from the evaluations. Everything from outside is escaped, except that `backticks` in warnings and next
    steps set code; the page fetches nothing. Raises ValueError if there is no evaluation or a drawing belongs to no target.
    """
    drawn = dict(drawings or {})
    chosen: dict[str, tuple[str, TargetEvaluation]] = {}
    for split, ones in evaluations.items():
        for one in ones:
            chosen.setdefault(one.target, (split, one))
    if not chosen:
        raise ValueError(
            f"got the splits {list(evaluations)} without an evaluation, expected one at least. Evaluate a split that has labels"
        )
    if unknown := sorted(set(drawn) - set(chosen)):
        raise ValueError(f"got drawings of {unknown}, expected only evaluated targets: {list(chosen)}. Name them by target")
    found = [warning for split, ones in evaluations.items() for one in ones for warning in warnings_about(split, one)]
    return (
        environment()
        .get_template("training_report.html.j2")
        .render(
            title=title,
            facts=facts,
            warnings=[*warnings, *found],
            next_steps=next_steps,
            evaluations=evaluations,
            split_note=split_note,
            anchors={target: f"target-{number}" for number, target in enumerate(chosen, start=1)},
            curves=picture(plots.learning_curves(history)),
            epochs=_epochs(history),
            review_splits=list(evaluations),
            reviews=_reviews(evaluations),
            sections=[_section(split, one, drawn.get(target, {}), products or {}) for target, (split, one) in chosen.items()],
        )
    )


def warnings_about(split: str, evaluation: TargetEvaluation) -> list[str]:
    """What a reader must know before trusting the head of this target: it collapsed, or does not beat a constant."""
    table = evaluation.per_class
    favourite = table.iloc[int(table["predicted"].to_numpy().argmax())]
    if evaluation.collapsed:
        return [
            f"{evaluation.target}: the head has collapsed. {favourite['predicted'] / evaluation.rows:.0%} of its answers "
            f"on the {split} split are “{favourite['class']}”, which is right for {favourite['support'] / evaluation.rows:.0%} "
            "of the rows. Do not use it; look at the learning curves, then train longer or with a lower learning rate."
        ]
    if (table["support"] > 0).sum() >= 2 and evaluation.accuracy <= evaluation.majority_share:
        return [
            f"{evaluation.target}: no better than a constant. Always answering “{table['class'].iloc[0]}” would be right on "
            f"{evaluation.majority_share:.1%} of the {split} split, the model is on {evaluation.accuracy:.1%}."
        ]
    return []


def _section(
    split: str, evaluation: TargetEvaluation, drawings: Mapping[str, bytes], products: Mapping[str, bytes]
) -> dict[str, Any]:
    occurring = evaluation.per_class[evaluation.per_class["support"] > 0]
    return {
        "split": split,
        "evaluation": evaluation,
        "commonest": occurring["class"].iloc[0],
        "class_count": len(occurring),
        "never_right": occurring.loc[occurring["recall"] == 0, "class"].tolist(),
        "drawings": {name: picture(png) for name, png in drawings.items()},
        "confusions": _confusions(evaluation),
        "slices": _slices(evaluation),
        "mistakes": gallery(evaluation.mistakes, products) if evaluation.mistakes is not None else [],
        "per_class": _classes(evaluation).to_dict("records"),
    }


def _slices(evaluation: TargetEvaluation) -> dict[str, list[dict[Any, Any]]]:
    """The slices by column, each as in the order of the table."""
    if evaluation.slices is None:
        return {}
    return {str(by): rows.to_dict("records") for by, rows in evaluation.slices.groupby("by", sort=False)}


def _classes(evaluation: TargetEvaluation) -> pd.DataFrame:
    """The classes with their areas and review thresholds, n/a for those that the model does not know."""
    table = evaluation.per_class
    if evaluation.curves is not None:
        table = table.merge(evaluation.curves.areas.drop(columns="support"), on="class", how="left")
    if evaluation.review is not None:
        table = table.merge(evaluation.review.per_class.drop(columns="answers"), on="class", how="left")
    return table


def _reviews(evaluations: Mapping[str, Sequence[TargetEvaluation]]) -> dict[str, list[Review | None]]:
    """What the review flag of each target is worth on every split, if it is known on any."""
    known = {split: {one.target: one.review for one in ones if one.review} for split, ones in evaluations.items()}
    targets = dict.fromkeys(target for ones in known.values() for target in ones)
    return {target: [ones.get(target) for ones in known.values()] for target in targets}


def _confusions(evaluation: TargetEvaluation) -> list[dict[str, Any]]:
    """The most frequent mistakes, by count and then in the order of the classes."""
    wrong = evaluation.confusion.copy()
    np.fill_diagonal(wrong, 0)
    support = wrong.sum(axis=1) + np.diag(evaluation.confusion)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(evaluation.classes)) for place in order]
    return [
        {
            "truth": evaluation.classes[row],
            "answer": evaluation.classes[column],
            "rows": int(wrong[row, column]),
            "share": wrong[row, column] / support[row],
        }
        for row, column in pairs
        if wrong[row, column]
    ]


def _epochs(history: pd.DataFrame) -> dict[str, Any]:
    accuracies = [str(name) for name in history.columns if str(name).startswith("validation_accuracy/")]
    speed = history["images_per_second"] if "images_per_second" in history.columns else pd.Series(dtype=float)
    return {
        "rows": history.sort_values("epoch").to_dict("records"),
        "accuracies": accuracies,
        "targets": [name.partition("/")[2] for name in accuracies],
        "stages": history["stage"].nunique(),
        "median_images_per_second": float(speed.median()) if speed.notna().any() else None,
    }
