"""Statistics of two models that answered the same rows. In: who was right where. Out: p values and intervals.

All tests take rows to be independent. Near-duplicates within a side are not quite, so p values are a little too small where a
catalog has many of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import stats

DRAWS = 2000
"""Bootstrap samples: enough for the 2.5% points of an interval to hold still to a tenth of its width."""

MOST_OUTCOMES, MONTE_CARLO = 1_000_000, 100_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference, challenger minus champion, and its 95% interval."""

    value: float
    low: float
    high: float


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p value that two models are right equally often, from the rows that only one of them has right.

    `lost` rows only the champion has right, `won` rows only the challenger. Rows on which both are right or both are wrong say
    nothing. Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), 153-157; in its exact form, the sign test, as recommended for two classifiers on one test set by
    T. G. Dietterich, "Approximate statistical tests for comparing supervised classification learning algorithms", Neural
    Computation 10 (1998), 1895-1923.
    """
    if lost + won == 0:
        return 1.0
    return float(stats.binomtest(min(lost, won), lost + won, 0.5).pvalue)


def share_difference(lost: int, won: int, rows: int, *, level: float = 0.95) -> Interval:
    """How much more often the challenger is right, with Wald's interval after half a row is added to each of the four cells.

    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24
    (2005), 729-740. NaN without rows.
    """
    if rows == 0:
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    z, total = NormalDist().inv_cdf((1 + level) / 2), rows + 2
    centre = (won - lost) / total
    spread = z * math.sqrt(won + lost + 1 - (won - lost) ** 2 / total) / total
    return Interval(value=(won - lost) / rows, low=max(-1.0, centre - spread), high=min(1.0, centre + spread))


@dataclass(frozen=True, kw_only=True)
class Claims:
    """The rows that get one class's name, counted by who gives it and whether it is right."""

    support: int
    """Rows whose label it is."""

    both_right: int
    both_wrong: int
    lost: int
    """Rows of the class that only the champion names so."""

    won: int
    champion_wrong: int
    """Rows of other classes that only the champion names so."""

    challenger_wrong: int


def f1_fell(claims: Claims) -> float:
    """One-sided exact p value that a class's F1 fell by no more than chance: which model gave which answer is exchangeable.

    The answers of the two are swapped row by row with probability one half; only rows to which one of them gives the name
    matter, so the number of true and of false ones that fall to the challenger are two binomials, and every outcome is
    weighed. A. Yeh, "More accurate tests for the statistical significance of result differences", COLING 2000, 947-953, whose
    randomization this carries out in full, or by 100,000 draws where there are more than a million outcomes.
    """
    true, false = claims.lost + claims.won, claims.champion_wrong + claims.challenger_wrong
    if true + false == 0:
        return 1.0
    seen = _f1(claims, claims.won, claims.challenger_wrong) - _f1(claims, claims.lost, claims.champion_wrong)
    drawn = (true + 1) * (false + 1) > MOST_OUTCOMES
    won, wrong = np.arange(true + 1)[:, None], np.arange(false + 1)[None, :]
    if drawn:
        rng = np.random.default_rng(0)
        won, wrong = rng.binomial(true, 0.5, MONTE_CARLO), rng.binomial(false, 0.5, MONTE_CARLO)
    falls = _f1(claims, won, wrong) - _f1(claims, true - won, false - wrong) <= seen + 1e-12
    if drawn:
        return float((1 + falls.sum()) / (1 + MONTE_CARLO))
    chance = stats.binom.pmf(won, true, 0.5) * stats.binom.pmf(wrong, false, 0.5)
    return min(1.0, float(chance[falls].sum()))


def _f1(claims: Claims, right: np.ndarray | int, wrong: np.ndarray | int) -> np.ndarray:
    """F1 of a model to which so many of the disputed rows fall, 0 for one that never gives the name to a class without rows."""
    hits = np.asarray(claims.both_right + right, dtype=np.float64)
    named = claims.support + hits + claims.both_wrong + wrong
    return np.asarray(2 * hits / np.maximum(named, 1))


def fell(lost: int, won: int) -> float:
    """One-sided exact p value of McNemar's test that the challenger is right no less often."""
    return float(stats.binomtest(won, lost + won, 0.5, alternative="less").pvalue) if lost + won else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for being the smallest of many, in the same order: reject those up to alpha, and the chance that any
    rejection is an error is at most alpha, whatever the tests have to do with one another.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def macro_f1_difference(
    truth: np.ndarray, champion: np.ndarray, challenger: np.ndarray, *, classes: int, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, Interval]:
    """Macro F1 of both models over the classes that occur, and their difference with its 95% percentile interval.

    Codes of classes (rows,), those of answers outside 0 to `classes` - 1 for names that no row has. Rows are drawn with their
    answers from both models, so what they have in common cancels. B. Efron and R. Tibshirani, "An introduction to the
    bootstrap" (1993), chapter 13. A draw averages over the classes that occur in it.
    """
    cells, counts = np.unique(np.stack([truth, champion, challenger]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(truth), counts / counts.sum(), size=draws)
    found = [_macro_f1(cells[0], cells[side], np.vstack([counts, drawn]), classes) for side in (1, 2)]
    differences = found[1] - found[0]
    low, high = np.quantile(differences[1:], [0.025, 0.975])
    interval = Interval(value=float(differences[0]), low=float(low), high=float(high))
    return float(found[0][0]), float(found[1][0]), interval


def _macro_f1(truth: np.ndarray, answers: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Of each row of weights (draws, cells)."""
    names = np.arange(classes)
    true, named = (truth[:, None] == names).astype(np.float64), (answers[:, None] == names).astype(np.float64)
    support, hits = weights @ true, weights @ (true * named)
    f1 = 2 * hits / np.maximum(support + weights @ named, 1)
    return np.asarray((f1 * (support > 0)).sum(axis=1) / (support > 0).sum(axis=1))
