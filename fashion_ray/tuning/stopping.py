"""Whether a trial is worth another epoch. In: its values so far, and those of the other trials. Out: stop or not.

Values are of one epoch each, more being better; trials are compared after the same number of epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

RULES = ("none", "asha", "median")

GRACE = 1
"""Epochs that every trial has."""

REDUCTION = 3
"""Of ASHA: one trial in so many goes on past a rung."""

FEWEST = 3
"""Other trials that the median is taken of."""


def stops(rule: str, values: Sequence[float], others: Iterable[Sequence[float]]) -> bool:
    """Whether a trial with these values ends now."""
    if rule == "none" or len(values) < GRACE:
        return False
    reached = [other[: len(values)] for other in others if len(other) >= len(values)]
    return _asha(values, reached) if rule == "asha" else _median(values, reached)


def _asha(values: Sequence[float], reached: Sequence[Sequence[float]]) -> bool:
    """Asynchronous successive halving (Li et al. 2020): at 1, 3, 9, ... epochs the best third of those that came goes on.

    The first to come to a rung go on: nobody waits for anybody.
    """
    epochs = len(values)
    if epochs not in {GRACE * REDUCTION**rung for rung in range(16)} or len(reached) + 1 < REDUCTION:
        return False
    better = sum(max(other) > max(values) for other in reached)
    return better >= (len(reached) + 1) // REDUCTION


def _median(values: Sequence[float], reached: Sequence[Sequence[float]]) -> bool:
    """The median rule (Golovin et al. 2017): the best so far is below the median of the others' means up to this epoch."""
    if len(reached) < FEWEST:
        return False
    return max(values) < median(sum(other) / len(other) for other in reached)
