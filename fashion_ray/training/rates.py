"""Learning rates over the steps of a stage, and the test that finds one. In: plain numbers. Out: the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fashion_ray.training.recipe import Recipe
from fashion_ray.training.schedule import learning_rate_factor

WARMUP_SHARES = {"cosine": 0.1, "constant": 0.1, "step": 0.1, "onecycle": 0.3}
"""Of a stage's steps, where no warm-up was asked for in epochs."""

FIRST, LAST = 1e-6, 10.0
"""The ends of the ramp of a learning-rate test."""

LEAST_FALL = 0.01
"""Of the smoothed loss over a learning-rate test, as a share of its first value; less is noise."""


def factor(recipe: Recipe, step: int, steps: int, epoch_steps: int) -> float:
    """What the learning rates are multiplied by in a step of a stage, counted from 0; 1 is the most.

    Every curve begins with a warm-up, linear but for one-cycle's cosine.
    """
    share = WARMUP_SHARES[recipe.curve]
    if recipe.warmup_epochs is not None:
        share = min(1.0, recipe.warmup_epochs * epoch_steps / max(1, steps))
    if recipe.curve == "cosine":
        return learning_rate_factor(step, steps, warmup=share)
    if recipe.curve == "onecycle":
        return one_cycle(step, steps, warmup=share)
    done = (step + 0.5) / max(1, steps)
    fallen = recipe.step_factor ** (step // max(1, epoch_steps) // recipe.step_epochs) if recipe.curve == "step" else 1.0
    return fallen * (done / share if done < share else 1.0)


def one_cycle(step: int, steps: int, *, warmup: float, start: float = 1 / 25, end: float = 1 / 25e4) -> float:
    """A cosine up from `start` and a cosine down to `end` (Smith and Topin 2019), as torch's OneCycleLR; momentum stays."""
    top, last = warmup * steps - 1, steps - 1
    if step <= top and top > 0:
        return _between(start, 1.0, step / top)
    top = max(0.0, top)
    return _between(1.0, end, min(1.0, (step - top) / max(1e-9, last - top)))


def ramp(steps: int, first: float = FIRST, last: float = LAST) -> list[float]:
    """Learning rates that grow by the same factor from step to step (Smith 2017)."""
    return [first * (last / first) ** (step / max(1, steps - 1)) for step in range(steps)]


def suggested(rates: Sequence[float], losses: Sequence[float], *, smoothing: float = 0.9) -> float | None:
    """The rate at which the loss fell fastest, before its least; none if it never fell. NaN ends the curve.

    Losses are smoothed by a moving average whose beginning is corrected; the slope is that over the logarithm of the rate.
    """
    smooth: list[float] = []
    average = 0.0
    for step, loss in enumerate(losses, 1):
        if not math.isfinite(loss):
            break
        average = smoothing * average + (1 - smoothing) * loss
        smooth.append(average / (1 - smoothing**step))
    least = min(range(len(smooth)), key=smooth.__getitem__, default=0)
    slopes = {
        step: (smooth[step + 1] - smooth[step - 1]) / math.log(rates[step + 1] / rates[step - 1]) for step in range(1, least)
    }
    steepest = min(slopes, key=slopes.__getitem__, default=None)
    if steepest is None or smooth[least] > (1 - LEAST_FALL) * smooth[0]:
        return None
    return rates[steepest]


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
