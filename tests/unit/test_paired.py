"""Paired statistics: what they give is what other ways to compute it give, and chance is not called a difference."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fashion_ray.promotion import paired
from fashion_ray.promotion.comparison import claims_of


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (2, 10), (10, 2), (5, 5), (0, 7)])
def test_mcnemar_is_the_sum_over_all_outcomes_that_are_no_likelier(lost: int, won: int) -> None:
    chances = [math.comb(lost + won, k) / 2 ** (lost + won) for k in range(lost + won + 1)]
    assert paired.mcnemar(lost, won) == pytest.approx(sum(one for one in chances if one <= chances[won] * (1 + 1e-9)))


def test_rows_that_both_have_right_or_wrong_say_nothing() -> None:
    assert paired.mcnemar(0, 0) == 1.0
    assert paired.fell(0, 0) == 1.0
    assert paired.fell(7, 0) == pytest.approx(1 / 128) and paired.fell(0, 7) == 1.0


def test_the_interval_of_a_difference_is_walds_with_half_a_row_in_each_cell() -> None:
    found = paired.share_difference(lost=4, won=12, rows=100)
    lost, won, rows = 4.5, 12.5, 102.0
    spread = 1.959964 * math.sqrt((won + lost) - (won - lost) ** 2 / rows) / rows
    assert found.value == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx(((won - lost) / rows - spread, (won - lost) / rows + spread))
    assert math.isnan(paired.share_difference(0, 0, 0).value)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    cells = rng.multinomial(60, [0.08, 0.14, 0.78], size=1000)
    found = [paired.share_difference(int(lost), int(won), 60) for lost, won, _ in cells]
    covered = np.mean([one.low <= 0.06 <= one.high for one in found])
    assert 0.925 <= covered <= 0.98


def test_a_fall_of_f1_is_weighed_against_every_way_to_swap_the_answers() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        true, old, new = (rng.integers(0, 3, 8) for _ in range(3))
        every = [
            f1_of(true, np.where(swap, old, new)) - f1_of(true, np.where(swap, new, old))
            for swap in itertools.product([False, True], repeat=8)
        ]
        expected = np.mean([one <= every[0] + 1e-12 for one in every])
        assert paired.f1_fell(claims_of(0, true, old, new)) == pytest.approx(expected)


def f1_of(true: np.ndarray, answers: np.ndarray) -> float:
    """F1 of class 0."""
    hits, named = ((true == 0) & (answers == 0)).sum(), (true == 0).sum() + (answers == 0).sum()
    return float(2 * hits / named) if named else 0.0


def test_many_outcomes_are_drawn_and_give_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = paired.Claims(support=300, both_right=150, both_wrong=10, lost=40, won=28, champion_wrong=12, challenger_wrong=15)
    exact = paired.f1_fell(claims)
    monkeypatch.setattr(paired, "MOST_OUTCOMES", 100)
    assert 0.01 < exact < 0.2
    assert paired.f1_fell(claims) == pytest.approx(exact, abs=0.004)


def test_holm_corrects_as_in_the_paper() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert paired.holm([]) == []


def test_holm_lets_chance_through_no_more_often_than_asked() -> None:
    rng = np.random.default_rng(1)
    alarms = [min(paired.holm(list(rng.random(40)))) <= 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(alarms) < 0.07


def test_macro_f1_is_scikit_learns_over_the_classes_that_occur() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 200)  # class 4 never occurs
    champion, challenger = (np.where(rng.random(200) < share, truth, rng.integers(-1, 5, 200)) for share in (0.5, 0.8))
    old, new, interval = paired.macro_f1_difference(truth, champion, challenger, classes=5)
    for found, answers in ((old, champion), (new, challenger)):
        assert found == pytest.approx(f1_score(truth, answers, labels=[0, 1, 2, 3], average="macro", zero_division=0.0))
    assert interval.value == pytest.approx(new - old)
    assert 0 < interval.low < interval.value < interval.high
    assert paired.macro_f1_difference(truth, champion, champion, classes=5)[2] == paired.Interval(value=0.0, low=0.0, high=0.0)
