"""Which points a search tries. In: a space, a seed, the trials so far. Out: the n-th point.

Each is a pure function of what it is given, so a search that was killed goes on with the points that it would have tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fashion_ray.tuning.space import Axis, Point, Space

if TYPE_CHECKING:
    import optuna

SEARCHES = ("grid", "random", "tpe")

FEW = 1000
"""Points up to which random search repeats none; among more a repetition is rare, and finding it would take long."""

STARTUP = 10
"""Points that TPE draws at random before it has learned enough to choose."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An earlier trial: its point, and its value if it has one, more being better."""

    point: Point
    value: float | None
    running: bool = False


def nth_point(search: str, space: Space, number: int, *, seed: int, earlier: Sequence[Tried]) -> Point | None:
    """The point of trial `number`, counted from 0; none if there is no other. `earlier` are the trials before, for tpe."""
    if search == "grid":
        points = space.points()
        return points[number] if number < len(points) else None
    return (
        random_point(space, number, seed=seed) if search == "random" else tpe_point(space, number, seed=seed, earlier=earlier)
    )


def random_point(space: Space, number: int, *, seed: int) -> Point | None:
    """A point drawn by the seed and the number alone; of a few points each comes once, and then there is none."""
    if math.prod(len(axis.choices) or math.inf for axis in space.axes) > FEW:
        return _draw(space, number, seed=seed)
    if number >= len(space.points()):
        return None
    found: dict[tuple[tuple[str, str], ...], Point] = {}
    for draw in itertools.count():
        point = _draw(space, draw, seed=seed)
        found.setdefault(tuple(point.items()), point)
        if len(found) > number:
            return point
    raise AssertionError("a count has no end")


def _draw(space: Space, number: int, *, seed: int) -> Point:
    random = np.random.default_rng([seed, number])
    point: dict[str, str] = {}
    for axis in space.axes:
        share = float(random.random())  # also for an axis that does not count, so that the others do not depend on it
        if axis.counts(point):
            point[axis.name] = _at(axis, share)
    return point


def _at(axis: Axis, share: float) -> str:
    """The value at a share of the way through an axis."""
    if axis.choices:
        return axis.choices[int(share * len(axis.choices))]
    if axis.log:
        return axis.text(math.exp(math.log(axis.low) + share * (math.log(axis.high) - math.log(axis.low))))
    if axis.whole:
        return axis.text(axis.low + math.floor(share * (axis.high - axis.low + 1)))
    return axis.text(axis.low + share * (axis.high - axis.low))


def tpe_point(space: Space, number: int, *, seed: int, earlier: Sequence[Tried]) -> Point:
    """A point of the tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna, from the trials so far.

    The sampler is made anew from the seed and the number, and told those trials, rather than kept.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]), n_startup_trials=STARTUP, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    axes = {axis.name: axis for axis in space.axes}
    distributions = {axis.name: _distribution(axis) for axis in space.axes}
    states = optuna.trial.TrialState
    for one in earlier:
        state = states.RUNNING if one.running else states.COMPLETE if one.value is not None else states.FAIL
        study.add_trial(
            optuna.trial.create_trial(
                params={name: _number(axes[name], text) for name, text in one.point.items()},
                distributions={name: distributions[name] for name in one.point},
                value=one.value if state == states.COMPLETE else None,
                state=state,
            )
        )
    asked = study.ask()
    point: dict[str, str] = {}
    for axis in space.axes:
        if axis.counts(point):
            point[axis.name] = _suggested(asked, axis)
    return point


def _suggested(asked: optuna.trial.Trial, axis: Axis) -> str:
    if axis.choices:
        return str(asked.suggest_categorical(axis.name, axis.choices))
    if axis.whole:
        return axis.text(asked.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log))
    return axis.text(asked.suggest_float(axis.name, axis.low, axis.high, log=axis.log))


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if axis.choices:
        return distributions.CategoricalDistribution(axis.choices)
    if axis.whole:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.log)


def _number(axis: Axis, text: str) -> str | float:
    return text if axis.choices else int(text) if axis.whole else float(text)
