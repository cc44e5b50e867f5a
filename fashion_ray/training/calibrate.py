"""The last step of a model before it is sealed. In: held-out logits and labels. Out: a calibrated card, and evaluations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fashion_ray.models import taxonomy
from fashion_ray.models.bundle import Card
from fashion_ray.training import review
from fashion_ray.training.deployed import HeldOut
from fashion_ray.training.evaluation import TargetEvaluation, evaluate_review, evaluate_target
from fashion_ray.training.vocabulary import Vocabulary, known_truth

Decided = dict[str, taxonomy.Answer]


def calibrate(card: Card, held_out: HeldOut, vocabulary: Vocabulary, *, review_precision: float) -> Card:
    """The card with temperatures and review thresholds fitted on validation rows."""
    logits = {target: torch.from_numpy(values) for target, values in held_out.logits.items()}
    labels = {target: torch.from_numpy(vocabulary.encode(target, held_out.labels[target])) for target in logits}
    fitted = replace(card, temperatures=taxonomy.fit_temperatures(logits, labels, card.taxonomy))
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


def judged(answer: taxonomy.Answer, target: str, held_out: HeldOut, vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a label, and whose answer is right, bool (rows,); null is right for a label too rare to be known."""
    labels = held_out.labels[target]
    return np.array([label is not None for label in labels], dtype=bool), answer.predicted == vocabulary.encode(target, labels)


def decide(card: Card, held_out: HeldOut) -> Decided:
    """The model's answers for some rows."""
    return taxonomy.decide(held_out.logits, card.taxonomy, card.temperatures)


def evaluate(card: Card, held_out: HeldOut, vocabulary: Vocabulary) -> dict[str, TargetEvaluation]:
    """An evaluation a target: of the rows whose label is not too rare, and the review flag's of all that have a label."""
    found = {}
    for target, answer in decide(card, held_out).items():
        names, thresholds = card.classes[target], card.review_thresholds(target)
        labelled, right = judged(answer, target, held_out, vocabulary)
        flagged = taxonomy.needs_review(answer, thresholds)
        found[target] = evaluate_target(
            target,
            truth=known_truth(vocabulary, target, held_out.labels[target]),
            predicted=[names[index] for index in answer.predicted],
            probability=answer.probability.astype(float).tolist(),
            top3=[[names[index] for index in row] for row in answer.top_classes],
            review=evaluate_review(
                names, thresholds, predicted=answer.predicted[labelled], right=right[labelled], flagged=flagged[labelled]
            ),
        )
    return found
