"""The last step of a model before it is sealed. In: held-out logits and labels. Out: a calibrated card, and evaluations."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from fashion_ray.models import decisions
from fashion_ray.models.bundle import Card
from fashion_ray.training import review
from fashion_ray.training.curves import evaluate_curves
from fashion_ray.training.deployed import HeldOut, TrainingSide
from fashion_ray.training.evaluation import OTHER, Review, TargetEvaluation, evaluate_review, evaluate_target
from fashion_ray.training.mistakes import worst_mistakes
from fashion_ray.training.reliability import calibration_bins
from fashion_ray.training.slices import CLASS_SIZE, LEAKED, evaluate_slices, size_names
from fashion_ray.training.vocabulary import Vocabulary, known_truth

log = logging.getLogger(__name__)

Decided = dict[str, decisions.Answer]


def calibrate(card: Card, held_out: HeldOut, vocabulary: Vocabulary, *, review_precision: float) -> Card:
    """The card with temperatures and review thresholds fitted on validation rows."""
    logits = {target: torch.from_numpy(values) for target, values in held_out.logits.items()}
    labels = {target: torch.from_numpy(vocabulary.encode(target, held_out.labels[target])) for target in logits}
    fitted = replace(card, temperatures=decisions.fit_temperatures(logits, labels, card.taxonomy))
    found = {}
    for target, answer in decide(fitted, held_out).items():
        labelled, right = judged(answer, target, held_out, vocabulary)
        found[target] = review.fit(
            answer.predicted[labelled], answer.probability[labelled], right[labelled],
            classes=len(card.classes[target]), precision=review_precision,
        )  # fmt: skip
    return replace(
        fitted,
        thresholds={target: one.default for target, one in found.items()},
        class_thresholds={target: one.classes for target, one in found.items()},
    )


def judged(answer: decisions.Answer, target: str, held_out: HeldOut, vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a label, and whose answer is right, bool (rows,); null is right for a label too rare to be known."""
    labels = held_out.labels[target]
    return np.array([label is not None for label in labels], dtype=bool), answer.predicted == vocabulary.encode(target, labels)


def decide(card: Card, held_out: HeldOut) -> Decided:
    """The model's answers for some rows."""
    return decisions.decide(held_out.logits, card.taxonomy, card.temperatures)


def probabilities(card: Card, held_out: HeldOut) -> dict[str, np.ndarray]:
    """The calibrated probability of every class, (rows, classes) a target, with the category levels decoded together."""
    logits = {target: torch.from_numpy(values) for target, values in held_out.logits.items()}
    with torch.inference_mode():
        found, _ = decisions.log_probabilities(logits, card.taxonomy, card.temperatures)
        return {target: values.exp().numpy() for target, values in found.items()}


def evaluate(
    card: Card, held_out: HeldOut, vocabulary: Vocabulary, training: TrainingSide | None = None
) -> dict[str, TargetEvaluation]:
    """An evaluation a target: of the rows whose label is not too rare, and the review flag's of all that have a label.

    With the training side also what depends on it: slices by the size of the class, and the share of rows whose
    near-duplicates were trained on. A target without any row to evaluate is left out, with a warning in the log.
    """
    answers, chances = decide(card, held_out), probabilities(card, held_out)
    before = decide(replace(card, temperatures=dict.fromkeys(card.temperatures, 1.0)), held_out)
    found = {}
    for target, answer in answers.items():
        truth = known_truth(vocabulary, target, held_out.labels[target])
        labelled = np.array([label is not None for label in truth], dtype=bool)
        if not labelled.any():
            log.warning("%s: none of %d rows has a label to compare with, so there are no figures of it", target, len(truth))
            continue
        names = card.classes[target]
        known = [name for name in names if name is not None]  # null comes last
        codes = vocabulary.encode(target, truth)[labelled]
        plain = before[target]
        seen = codes >= 0
        rows = _rows(held_out, truth, [names[index] for index in answer.predicted], answer.probability)
        one = evaluate_target(
            target, truth=truth, predicted=[names[index] for index in answer.predicted],
            probability=answer.probability.astype(float).tolist(),
            top3=[[names[index] for index in row] for row in answer.top_classes], groups=rows["group"].tolist(),
            review=_review(card, target, answer, held_out, vocabulary),
        )  # fmt: skip
        found[target] = replace(
            one,
            uncalibrated=calibration_bins(plain.probability[labelled], plain.predicted[labelled] == codes),
            curves=evaluate_curves(known, codes, chances[target][labelled, : len(known)]),
            slices=_slices(target, rows[labelled], held_out, training),
            mistakes=worst_mistakes(rows[labelled]),
            leaked_share=float(rows.loc[labelled, "group"].isin(training.groups).mean()) if training is not None else None,
            unseen_share=float(1 - seen.mean()),
            seen_accuracy=float((answer.predicted[labelled] == codes)[seen].mean()) if seen.any() else None,
        )
    return found


def _rows(held_out: HeldOut, truth: list[str | None], predicted: list[str | None], probability: np.ndarray) -> pd.DataFrame:
    """What is told of every row, with the columns that `worst_mistakes` and `_slices` read."""
    return pd.DataFrame(
        {
            "product_id": held_out.product_ids,
            "group": held_out.groups or held_out.product_ids,
            "truth": truth,
            "predicted": [OTHER if label is None else label for label in predicted],
            "probability": probability,
        }
    )


def _slices(target: str, rows: pd.DataFrame, held_out: HeldOut, training: TrainingSide | None) -> pd.DataFrame:
    """By the catalog's columns but the target itself, whose slices are its classes; and by what training had."""
    columns = {name: [values[row] for row in rows.index] for name, values in held_out.slicing.items() if name != target}
    if training is not None:
        columns[CLASS_SIZE] = size_names(rows["truth"].tolist(), training.rows[target])
        leaked = rows["group"].isin(training.groups)
        if leaked.any():
            columns[LEAKED] = leaked.map({True: "yes", False: "no"}).tolist()
    return evaluate_slices(rows["truth"].tolist(), rows["predicted"].tolist(), columns)


def _review(card: Card, target: str, answer: decisions.Answer, held_out: HeldOut, vocabulary: Vocabulary) -> Review:
    names, thresholds = card.classes[target], card.review_thresholds(target)
    labelled, right = judged(answer, target, held_out, vocabulary)
    flagged = decisions.needs_review(answer, thresholds)
    return evaluate_review(
        names, thresholds, predicted=answer.predicted[labelled], right=right[labelled], flagged=flagged[labelled]
    )
