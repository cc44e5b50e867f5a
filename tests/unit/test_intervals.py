"""Intervals against published values, against the plain way of drawing, and by how often they hold what they should."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fashion_ray.training.intervals import f1_intervals, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [
        (8, 10, (0.490, 0.943)),
        (81, 263, (0.2553, 0.3662)),  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (0, 20, (0.0, 0.1611)),  # the same
        (1, 29, (0.0061, 0.1718)),  # the same
        (10, 10, (0.7225, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_interval_has_the_published_values(successes: int, trials: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(successes, trials) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(("rows", "share"), [(20, 0.5), (50, 0.9), (400, 0.99)])
def test_the_wilson_interval_holds_the_true_share_95_times_in_100(rows: int, share: float) -> None:
    drawn = np.random.default_rng(0).binomial(rows, share, 4000)
    held = {hits: wilson_interval(hits, rows) for hits in set(drawn.tolist())}
    covered = np.mean([held[hits][0] <= share <= held[hits][1] for hits in drawn.tolist()])
    assert 0.93 <= covered <= 0.98


def answers(rows: int, classes: int, seed: int, right: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Codes of true and given labels, right four times in five."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=rows)
    return truth, np.where(rng.random(rows) < right, truth, rng.integers(classes, size=rows))


def test_the_bootstrap_is_scikit_learns_f1_on_drawn_groups() -> None:
    truth, given = answers(60, 4, 0)
    given[:3] = 9  # an answer that is no class of the truth
    groups = np.repeat(np.arange(20), 3)
    found = f1_intervals(truth, given, groups, draws=50, seed=3)
    chosen = np.random.default_rng(3).integers(20, size=(20, 50))
    drawn = {"macro": [], "weighted": []}  # type: dict[str, list[float]]
    for draw in range(50):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in chosen[:, draw]])
        for average, values in drawn.items():
            values.append(f1_score(truth[rows], given[rows], labels=np.unique(truth[rows]), average=average, zero_division=0.0))
    assert found is not None
    assert found.macro == pytest.approx(np.quantile(drawn["macro"], [0.025, 0.975]))
    assert found.weighted == pytest.approx(np.quantile(drawn["weighted"], [0.025, 0.975]))


def test_the_interval_of_f1_holds_the_true_value_about_95_times_in_100() -> None:
    truth, given = answers(60_000, 2, 1)
    value = f1_score(truth, given, average="macro")
    held = 0
    for trial in range(200):
        truth, given = answers(300, 2, trial + 10)
        found = f1_intervals(truth, given, np.arange(300), draws=200, seed=trial)
        held += found is not None and found.macro[0] <= value <= found.macro[1]
    assert 0.90 <= held / 200 <= 0.99


def test_copies_of_a_row_make_nothing_surer_if_they_are_one_group() -> None:
    truth, given = answers(200, 3, 2)
    alone = f1_intervals(truth, given, np.arange(200), seed=1)
    copies, groups = [np.repeat(values, 5) for values in (truth, given)], np.repeat(np.arange(200), 5)
    together, apart = f1_intervals(*copies, groups, seed=1), f1_intervals(*copies, np.arange(1000), seed=1)
    assert together == alone
    assert alone is not None and apart is not None
    assert np.ptp(apart.macro) < 0.6 * np.ptp(alone.macro)


def test_the_interval_depends_on_the_seed_alone_and_not_on_names_or_order() -> None:
    truth, given = answers(100, 3, 4)
    found = f1_intervals(truth, given, np.arange(100), draws=100)
    assert f1_intervals(truth, given, np.arange(100), draws=100) == found
    assert f1_intervals(truth * 7, given * 7, np.arange(100) * 3 + 5, draws=100) == found
    assert f1_intervals(truth, given, np.arange(100), draws=100, seed=1) != found


def test_one_group_has_no_interval_and_perfect_answers_a_point() -> None:
    assert f1_intervals(np.array([0, 1]), np.array([0, 1]), np.array([5, 5])) is None
    found = f1_intervals(np.array([0, 1, 1]), np.array([0, 1, 1]), np.array([0, 1, 2]))
    assert found is not None and (found.macro, found.weighted) == ((1.0, 1.0), (1.0, 1.0))


def test_four_thousand_rows_of_67_classes_take_a_moment() -> None:
    truth, given = answers(4000, 67, 5)
    start = time.process_time()
    found = f1_intervals(truth, given, np.arange(4000))
    assert time.process_time() - start < 5
    assert found is not None and found.macro[0] < f1_score(truth, given, average="macro") < found.macro[1]
