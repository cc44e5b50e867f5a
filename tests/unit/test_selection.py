"""What to label next: every strategy asks for what it says, and never twice for one picture."""

from __future__ import annotations

import numpy as np
import pytest

from fashion_ray.insight.selection import STRATEGIES, select, uncertainty
from fashion_ray.insight.simulation import Point, labels_needed, mean_curve, reduced, simulate
from fashion_ray.pages.selection_curves import selection_curves
from tests.unit.test_heads import clouds


def candidates(rows: int = 200) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    first = generator.random(rows)
    features = generator.normal(size=(rows, 4)).astype(np.float32)
    return {"probabilities": np.stack([first, 1 - first], axis=1), "features": features, "groups": np.arange(rows) // 2}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_batch_has_so_many_different_groups(strategy: str) -> None:
    material = candidates()
    chosen = select(strategy, 40, **material, seed=1)
    assert len(chosen) == 40 == len(set(material["groups"][chosen]))
    assert chosen.tolist() == select(strategy, 40, **material, seed=1).tolist(), "the same for a seed"
    assert len(select(strategy, 500, **material, seed=1)) == 100, "no more than there are groups"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_and_a_single_candidate(strategy: str) -> None:
    one = {name: values[:1] for name, values in candidates().items()}
    none = {name: values[:0] for name, values in candidates().items()}
    assert select(strategy, 5, **one, seed=0).tolist() == [0]
    assert select(strategy, 5, **none, seed=0).tolist() == []


def test_the_baselines_take_the_most_uncertain_first() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]])
    material = {"probabilities": probabilities, "features": np.eye(3), "groups": np.arange(3)}
    assert uncertainty(probabilities) == pytest.approx([0.2, 1.0, 0.9])
    assert select("margin", 3, **material, seed=0).tolist() == [1, 2, 0]
    assert select("entropy", 3, **material, seed=0).tolist() == [2, 1, 0]


@pytest.mark.parametrize("strategy", ["kmeans++", "k-center"])
def test_of_rows_that_are_alike_one_is_enough(strategy: str) -> None:
    features = np.array([[0.0, 0]] * 10 + [[9.0, 0]] * 10 + [[0, 9.0]] * 10)
    even = np.full((30, 2), 0.5)
    chosen = select(strategy, 3, probabilities=even, features=features, groups=np.arange(30), seed=5)
    assert {row // 10 for row in chosen} == {0, 1, 2}


def test_k_center_keeps_away_from_what_is_labelled() -> None:
    features = np.array([[0.0, 0], [5.0, 0]])
    even, groups = np.full((2, 2), 0.5), np.arange(2)
    labelled = np.array([[5.1, 0]])
    assert select("k-center", 1, probabilities=even, features=features, groups=groups, seed=0, labelled=labelled).tolist() == [
        0
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_simulation_buys_what_it_says_and_learns(strategy: str) -> None:
    features, labels = clouds(400)
    groups = np.arange(400) // 2
    points = list(simulate(strategy, features, labels, groups, classes=3, start=10, batch=30, most=100, seed=0))
    assert [point.labels for point in points] == [10, 40, 70, 100]
    assert points[-1].accuracy > 0.9


def test_a_simulation_ends_when_there_is_nothing_left_to_buy() -> None:
    features, labels = clouds(100)
    points = list(simulate("margin", features, labels, np.arange(100), classes=3, start=10, batch=50, most=10**6, seed=0))
    assert points[-1].labels == 80, "a fifth is held out"


def test_labels_needed_are_read_off_the_mean_curve() -> None:
    points = [
        Point(strategy="a", seed=seed, labels=labels, accuracy=accuracy + shift)
        for seed, shift in ((0, 0.0), (1, 0.1))
        for labels, accuracy in ((100, 0.5), (200, 0.7))
    ]
    assert mean_curve(points, "a") == [(100, pytest.approx(0.55)), (200, pytest.approx(0.75))]
    assert labels_needed(points, "a", 0.65) == pytest.approx(150)
    assert labels_needed(points, "a", 0.2) == 100 and labels_needed(points, "a", 0.9) is None
    assert selection_curves({"a": mean_curve(points, "a")})[:4] == b"\x89PNG"


def test_reduction_keeps_what_varies() -> None:
    generator = np.random.default_rng(0)
    one = generator.normal(size=(200, 1))
    features = np.concatenate([one, one, generator.normal(size=(200, 1))], axis=1).astype(np.float32)
    found = reduced(features, 1)
    assert abs(np.corrcoef(found[:, 0], one[:, 0])[0, 1]) > 0.95
