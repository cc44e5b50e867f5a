"""From which probability on an answer needs no review. In: held-out answers and whether they are right. Out: thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fashion_ray.training.intervals import wilson_interval

CONFIDENCE = 0.8
"""Of the one-sided lower bound of the precision. At 95% a class needs 14 answers without a mistake, or 45 with one.

On a real catalog at 95%, taking the plain share instead (0.5) left 2 to 9 of 37 articleTypes surely below the precision on
other rows, this bound 0 to 4 of 34, for a tenth of the rows more to review; 0.9 took another tenth and gained one class.
"""

MIN_PREDICTIONS = 30
"""Answers that a class needs for a threshold of its own; with fewer, one wrong answer more or less moves it too far."""

ALWAYS = float(np.nextafter(np.float32(1), np.float32(2)))
"""A threshold that no probability reaches: every answer is reviewed."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The probabilities below which answers of one target need review."""

    default: float
    """For classes without their own."""

    classes: list[float | None]
    """Of each predicted class, in the order of the card's classes; null stands for the default."""


def fit(predicted: np.ndarray, probability: np.ndarray, correct: np.ndarray, *, classes: int, precision: float) -> Thresholds:
    """Thresholds from which a class's answers are right at least as often as `precision`, as far as held-out rows show.

    `predicted` has indices of classes, `probability` is that of the prediction, `correct` whether it is right; (rows,) each.
    A class with `MIN_PREDICTIONS` answers gets its own threshold, and always needs review if no probability will do. The
    answers of all the others are pooled, with one another and not with the commoner classes, whose answers are right more
    often; their threshold is the default.
    """
    own = np.bincount(predicted, minlength=classes) >= MIN_PREDICTIONS
    pooled = ~own[predicted]
    return Thresholds(
        default=threshold(probability[pooled], correct[pooled], precision),
        classes=[
            threshold(probability[predicted == number], correct[predicted == number], precision) if own[number] else None
            for number in range(classes)
        ],
    )


def threshold(probability: np.ndarray, correct: np.ndarray, precision: float) -> float:
    """The lowest probability from which the lower bound of the share of right answers is at least `precision`, or ALWAYS.

    The bound is Wilson's (see `wilson_interval`), one-sided at `CONFIDENCE`: few rows must be right more often than many. It
    holds for one threshold; the lowest of many that pass is favoured by luck, so what is reached is measured on other rows.
    No number of rows shows a precision of 1. Equal probabilities stand or fall together.
    """
    order = np.argsort(-probability, kind="stable")
    ordered, right = probability[order], np.cumsum(correct[order])
    for rows in range(len(ordered), 0, -1):
        tied = rows < len(ordered) and ordered[rows] == ordered[rows - 1]
        if not tied and wilson_interval(int(right[rows - 1]), rows, level=2 * CONFIDENCE - 1)[0] >= precision:
            return float(ordered[rows - 1])
    return ALWAYS
