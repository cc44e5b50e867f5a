"""The last step of a model before it is sealed. In: held-out logits and labels. Out: a calibrated card, and evaluations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fashion_ray.models import taxonomy
from fashion_ray.models.bundle import Card
from fashion_ray.training.deployed import HeldOut
from fashion_ray.training.evaluation import TargetEvaluation, evaluate_target
from fashion_ray.training.vocabulary import Vocabulary, known_truth

Decided = dict[str, taxonomy.Answer]


def calibrate(card: Card, held_out: HeldOut, vocabulary: Vocabulary, *, review_precision: float) -> Card:
    """The card with temperatures and review thresholds fitted on validation rows."""
    logits = {target: torch.from_numpy(values) for target, values in held_out.logits.items()}
    labels = {target: torch.from_numpy(vocabulary.encode(target, held_out.labels[target])) for target in logits}
    fitted = replace(card, temperatures=taxonomy.fit_temperatures(logits, labels, card.taxonomy))
    thresholds = {}
    for target, answer in decide(fitted, held_out).items():
        known = labels[target].numpy() >= 0
        correct = answer.predicted[known] == labels[target].numpy()[known]
        thresholds[target] = taxonomy.review_threshold(answer.probability[known], correct.astype(np.float64), review_precision)
    return replace(fitted, thresholds=thresholds)


def decide(card: Card, held_out: HeldOut) -> Decided:
    """The model's answers for some rows."""
    return taxonomy.decide(held_out.logits, card.taxonomy, card.temperatures)


def evaluate(card: Card, held_out: HeldOut, vocabulary: Vocabulary) -> dict[str, TargetEvaluation]:
    """An evaluation a target, of the rows whose label is a class that is not too rare."""
    found = {}
    for target, answer in decide(card, held_out).items():
        names = card.classes[target]
        found[target] = evaluate_target(
            target,
            truth=known_truth(vocabulary, target, held_out.labels[target]),
            predicted=[names[index] for index in answer.predicted],
            probability=answer.probability.astype(float).tolist(),
            top3=[[names[index] for index in row] for row in answer.top_classes],
        )
    return found
