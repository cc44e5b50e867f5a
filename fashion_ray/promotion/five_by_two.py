"""Is one recipe better than another? In: the differences of ten pairs of trainings on halves. Out: two tests.

A test set compares two models; trainings differ by luck too, and recipes are compared over several. In 5x2 cross-validation
the rows are halved five times, and each recipe is trained on either half and tested on the other: `--split fold:1/2` and
`fold:2/2` with five `--split-seed`s, for each of the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fashion_ray.errors import UserError

REPEATS, FOLDS = 5, 2


@dataclass(frozen=True, kw_only=True)
class FiveByTwo:
    """What ten differences say of two recipes."""

    mean: float
    """Of the differences: positive if the second recipe is better."""

    t: float
    t_p_value: float
    f: float
    f_p_value: float
    """The one to go by: it does not hang on which half came first, and finds real differences more often."""


def five_by_two(differences: Sequence[Sequence[float]]) -> FiveByTwo:
    """The 5x2cv paired t test, two-sided, and the combined 5x2cv F test of differences (5 halvings, 2 halves).

    The t test takes the first difference over the root of the mean of the five variances, 5 degrees of freedom: T. G.
    Dietterich, "Approximate statistical tests for comparing supervised classification learning algorithms", Neural Computation
    10 (1998), 1895-1923. The F test takes the sum of all squares over twice the sum of the variances, 10 and 5 degrees of
    freedom: E. Alpaydin, "Combined 5x2 cv F test for comparing supervised classification learning algorithms", Neural
    Computation 11 (1999), 1885-1892. Differences that are all the same are certain, 0 or not. Raises ValueError for other
    shapes and for what is no number.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.shape != (REPEATS, FOLDS) or not np.isfinite(values).all():
        raise ValueError(f"got differences of shape {values.shape}, expected {REPEATS} halvings x {FOLDS} halves of numbers")
    spread = float(((values - values.mean(axis=1, keepdims=True)) ** 2).sum())
    t = _ratio(float(values[0, 0]), math.sqrt(spread / REPEATS))
    f = _ratio(float((values**2).sum()), 2 * spread)
    return FiveByTwo(
        mean=float(values.mean()),
        t=t,
        t_p_value=float(2 * stats.t.sf(abs(t), REPEATS)),
        f=f,
        f_p_value=float(stats.f.sf(f, REPEATS * FOLDS, REPEATS)),
    )


def _ratio(above: float, below: float) -> float:
    if below > 0:
        return above / below
    return math.copysign(math.inf, above) if above else 0.0


def paired_differences(first: Mapping[tuple[str, str], float], second: Mapping[tuple[str, str], float]) -> list[list[float]]:
    """Second minus first, a row a seed and a column a half, of figures by (split, split_seed). Raises UserError if they are
    not those of 5x2 cross-validation.
    """
    for option, found in (("--runs-a", first), ("--runs-b", second)):
        seeds = {seed for _, seed in found}
        wanted = {(f"fold:{half}/{FOLDS}", seed) for half in range(1, FOLDS + 1) for seed in seeds}
        if set(found) != wanted or len(seeds) != REPEATS:
            shown = ", ".join(f"{split} with seed {seed}" for split, seed in sorted(found)) or "none"
            raise UserError(
                f"{option}: got runs of {shown}; expected {REPEATS * FOLDS} runs of jobs/train.py, with --split fold:1/2 and "
                f"--split fold:2/2 for each of {REPEATS} --split-seed"
            )
    if set(first) != set(second):
        raise UserError("--runs-b: got other values of --split-seed than those of --runs-a, expected the same five")
    seeds_in_order = sorted({seed for _, seed in first}, key=int)
    return [
        [second[f"fold:{half}/{FOLDS}", seed] - first[f"fold:{half}/{FOLDS}", seed] for half in range(1, FOLDS + 1)]
        for seed in seeds_in_order
    ]
