"""Which points a search tries: pure functions, so that a killed search goes on as if nothing had been."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from fashion_ray.training.options import TrainOptions
from fashion_ray.tuning import space, trials
from fashion_ray.tuning.space import Point, Space, options_of
from fashion_ray.tuning.stopping import stops
from fashion_ray.tuning.trials import Tried, nth_point, random_point

BASE = TrainOptions(schedule="heads:3")
SPACE = space.parse(
    ["learning_rate=1e-4..1e-2:log", "shift=0..4", "dropout=0..0.5", "head=linear mlp", "head_widths=64 50,20 if head=mlp"],
    BASE,
)
PLAIN = space.parse(["learning_rate=1e-4..1e-2:log", "dropout=0..0.5"], BASE)
GRID = space.parse(["optimizer=adamw sgd", "head=linear mlp", "head_widths=64 50,20 if head=mlp"], BASE)


def value_of(point: Point) -> float:
    """What a trial of this point comes to: best at a rate of 1e-3 without dropout."""
    return 1 - abs(math.log10(float(point["learning_rate"])) + 3) / 4 - float(point["dropout"]) / 4


def searched(search: str, which: Space, count: int, seed: int = 5) -> list[Point]:
    """The points of a search with one trial at a time."""
    tried: list[Tried] = []
    for number in range(count):
        point = nth_point(search, which, number, seed=seed, earlier=tried)
        if point is None:
            break
        tried.append(Tried(point=point, value=value_of(point) if "dropout" in point else 0.0))
    return [one.point for one in tried]


def test_a_grid_ends_after_its_last_point() -> None:
    assert searched("grid", GRID, 100) == GRID.points()
    assert len(GRID.points()) == 6


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_points_are_valid_different_and_the_same_for_the_same_seed(search: str) -> None:
    found = searched(search, SPACE, 15)
    assert found == searched(search, SPACE, 15) and found[:2] != searched(search, SPACE, 2, seed=6)
    assert len({json.dumps(point) for point in found}) == 15
    assert all(("head_widths" in point) == (point["head"] == "mlp") for point in found)
    assert all(options_of(BASE, point) for point in found)


def test_random_points_cover_the_space_evenly() -> None:
    points = searched("random", SPACE, 2000, seed=0)
    assert 0.45 < sum(float(point["learning_rate"]) < 1e-3 for point in points) / 2000 < 0.55
    assert set(Counter(point["shift"] for point in points)) == set("01234")
    assert min(Counter(point["shift"] for point in points).values()) > 330
    assert 0.45 < sum(point["head"] == "mlp" for point in points) / 2000 < 0.55


def test_the_nth_random_point_does_not_depend_on_the_others() -> None:
    assert random_point(SPACE, 7, seed=5) == searched("random", SPACE, 8)[7]
    assert random_point(GRID, 4, seed=5) == searched("random", GRID, 5)[4]


@pytest.mark.parametrize("seed", range(5))
def test_of_a_few_points_random_search_tries_each_once(seed: int) -> None:
    found = searched("random", GRID, 100, seed)
    assert sorted(found, key=str) == sorted(GRID.points(), key=str) and len(found) == 6


def test_tpe_learns_where_random_does_not() -> None:
    start, count = trials.STARTUP, 30
    chosen = [value_of(point) for point in searched("tpe", PLAIN, count)[start:]]
    drawn = [value_of(point) for seed in range(9) for point in searched("random", PLAIN, count, seed)[start:]]
    assert sum(chosen) / len(chosen) > sum(drawn) / len(drawn) + 0.05


def test_tpe_can_be_told_of_failures_and_of_trials_at_work() -> None:
    points = searched("tpe", SPACE, 12)
    tried = [Tried(point=point, value=None, running=number > 5) for number, point in enumerate(points)]
    assert nth_point("tpe", SPACE, 12, seed=5, earlier=tried) is not None


def test_no_rule_stops_nothing() -> None:
    assert not stops("none", [0.1], [[0.9]] * 9)


@pytest.mark.parametrize(
    ("values", "others", "stopped"),
    [
        ([0.5], [[0.6]], False),  # too few came to the rung
        ([0.5], [[0.6], [0.4]], True),  # not the best of three
        ([0.7], [[0.6], [0.4]], False),
        ([0.5], [[0.6], [0.4], [0.3], [0.2], [0.1]], False),  # the second of six
        ([0.5, 0.5], [[0.6, 0.6]] * 5, False),  # two epochs are no rung
        ([0.5, 0.5, 0.5], [[0.6, 0.6, 0.6]] * 2, True),
        ([0.5, 0.5, 0.5], [[0.9], [0.9], [0.9]], False),  # these never came to it
        ([0.7, 0.5, 0.5], [[0.6, 0.6, 0.6]] * 2, False),  # its best epoch counts
    ],
)
def test_asha_lets_a_third_go_on(values: list[float], others: list[list[float]], stopped: bool) -> None:
    assert stops("asha", values, others) is stopped


@pytest.mark.parametrize(
    ("values", "others", "stopped"),
    [
        ([0.1], [[0.9], [0.9]], False),  # too few others
        ([0.1], [[0.9], [0.9], [0.05]], True),
        ([0.5], [[0.9], [0.4], [0.05]], False),
        ([0.1, 0.6], [[0.2, 0.8], [0.2, 0.8], [0.2, 0.8]], False),  # its best is above their means
        ([0.1, 0.4], [[0.2, 0.8], [0.2, 0.8], [0.2, 0.8]], True),
        ([0.1, 0.4], [[0.9], [0.9], [0.9]], False),  # of other lengths
    ],
)
def test_the_median_rule_compares_with_the_means_so_far(values: list[float], others: list[list[float]], stopped: bool) -> None:
    assert stops("median", values, others) is stopped
