"""5x2 cross-validation: the two tests, and which runs feed them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fashion_ray.errors import UserError
from fashion_ray.promotion.five_by_two import five_by_two, paired_differences

DIFFERENCES = [[0.02, 0.03], [0.01, 0.03], [0.025, 0.02], [0.03, 0.01], [0.015, 0.025]]


def test_the_statistics_are_those_of_the_two_papers() -> None:
    variances = [(a - (a + b) / 2) ** 2 + (b - (a + b) / 2) ** 2 for a, b in DIFFERENCES]
    squares = sum(a * a + b * b for a, b in DIFFERENCES)
    found = five_by_two(DIFFERENCES)
    assert found.t == pytest.approx(0.02 / math.sqrt(sum(variances) / 5))
    assert found.f == pytest.approx(squares / (2 * sum(variances)))
    assert found.t_p_value == pytest.approx(2 * (1 - stats.t.cdf(found.t, 5)))
    assert found.f_p_value == pytest.approx(1 - stats.f.cdf(found.f, 10, 5))
    assert found.mean == pytest.approx(0.0215) and found.f_p_value < 0.05


def test_what_is_better_depends_on_the_order_of_the_recipes_only_by_its_sign() -> None:
    there, back = five_by_two(DIFFERENCES), five_by_two((-np.asarray(DIFFERENCES)).tolist())
    assert (back.mean, back.t, back.f) == pytest.approx((-there.mean, -there.t, there.f))
    assert back.t_p_value == pytest.approx(there.t_p_value)


def test_differences_that_are_all_the_same_are_certain() -> None:
    assert five_by_two([[0.0, 0.0]] * 5).f_p_value == 1.0
    assert five_by_two([[0.25, 0.25]] * 5).t == math.inf and five_by_two([[0.25, 0.25]] * 5).f_p_value == 0.0


def test_luck_is_called_a_difference_as_seldom_as_asked() -> None:
    draws = np.random.default_rng(0).normal(size=(500, 5, 2))
    assert np.mean([five_by_two(one.tolist()).f_p_value <= 0.05 for one in draws]) <= 0.06


@pytest.mark.parametrize("wrong", [[[0.1, 0.2]] * 4, [[0.1] * 5] * 2, [[math.nan, 0.0]] * 5])
def test_other_shapes_are_refused(wrong: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="5 halvings x 2 halves"):
        five_by_two(wrong)


def figures(shift: float, seeds: range = range(5)) -> dict[tuple[str, str], float]:
    return {(f"fold:{half}/2", str(seed)): 0.5 + shift * (seed + half) for seed in seeds for half in (1, 2)}


def test_runs_are_paired_by_half_and_seed_whatever_their_order() -> None:
    second = dict(reversed(figures(0.01).items()))
    assert paired_differences(figures(0), second) == [pytest.approx([0.01 * (s + 1), 0.01 * (s + 2)]) for s in range(5)]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (figures(0, range(4)), figures(0), "--runs-a: got runs of fold:1/2 with seed 0, .*expected 10 runs"),
        (figures(0), figures(0) | {("stored", "0"): 0.1}, "--runs-b: .*stored with seed 0"),
        (figures(0), figures(0, range(1, 6)), "--runs-b: got other values of --split-seed"),
        ({}, figures(0), "--runs-a: got runs of none"),
    ],
)
def test_runs_that_are_not_five_by_two_are_the_users_error(
    first: dict[tuple[str, str], float], second: dict[tuple[str, str], float], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        paired_differences(first, second)
