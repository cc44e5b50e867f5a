"""How sure a figure of few rows is. In: counts, or the codes of true and given labels. Out: intervals that hold the figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import scipy.sparse

DRAWS = 1000

_CHUNK = 4_000_000
"""Cells of the table of draws that are in memory at a time: 32 MB."""


@dataclass(frozen=True, kw_only=True)
class F1Intervals:
    """Lower and upper ends, each in 0 to 1."""

    macro: tuple[float, float]
    weighted: tuple[float, float]


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share, which stays inside 0 to 1 and holds for small counts; (0, 1) without trials.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def f1_intervals(
    truth: np.ndarray[Any, Any],
    answers: np.ndarray[Any, Any],
    groups: np.ndarray[Any, Any],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> F1Intervals | None:
    """Percentile intervals of macro and weighted F1 over draws of whole groups, with replacement; none for a single group.

    `truth` and `answers` are codes of labels, `groups` codes of what belongs together: near-duplicates are right or wrong
    together, so drawing rows would find intervals that are too narrow. (rows,) each, int, not negative. As in the figure
    itself, macro F1 averages over the classes that a draw has in its truth. The same seed gives the same interval.

    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; resampling groups as in C. A. Field and
    A. H. Welsh, "Bootstrapping clustered data", JRSS B 69 (2007), 369-390.
    """
    group_count = len(np.unique(groups))
    if group_count < 2:
        return None
    counts = _counts_of_groups(truth, answers, groups, group_count)
    generator = np.random.default_rng(seed)
    at_once = max(1, min(draws, _CHUNK // group_count))
    macro, weighted = [], []
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        chosen = generator.integers(group_count, size=(group_count, size))
        places = chosen * size + np.arange(size)
        times = np.bincount(places.ravel(), minlength=group_count * size).reshape(group_count, size)
        hits, answered, true = np.split(counts @ times.astype(np.float64), 3)
        f1 = 2 * hits / np.maximum(answered + true, 1)
        macro.append((f1 * (true > 0)).sum(axis=0) / (true > 0).sum(axis=0))
        weighted.append((f1 * true).sum(axis=0) / true.sum(axis=0))
    return F1Intervals(macro=_middle(macro, level), weighted=_middle(weighted, level))


def _counts_of_groups(
    truth: np.ndarray[Any, Any], answers: np.ndarray[Any, Any], groups: np.ndarray[Any, Any], group_count: int
) -> Any:
    """Hits, answers and true rows of every class that occurs in the truth: sparse, (3 x classes, groups)."""
    classes, true_codes = np.unique(truth, return_inverse=True)
    _, group_codes = np.unique(groups, return_inverse=True)
    right = truth == answers
    known = np.isin(answers, classes)
    answer_codes = np.searchsorted(classes, answers[known])
    rows = np.concatenate([true_codes[right], len(classes) + answer_codes, 2 * len(classes) + true_codes])
    columns = np.concatenate([group_codes[right], group_codes[known], group_codes])
    ones = np.ones(len(rows), dtype=np.float64)
    return scipy.sparse.coo_array((ones, (rows, columns)), shape=(3 * len(classes), group_count)).tocsr()


def _middle(drawn: list[np.ndarray[Any, Any]], level: float) -> tuple[float, float]:
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
