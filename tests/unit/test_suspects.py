"""Evidence against labels, worked out by hand, and planted errors that it must find."""

from __future__ import annotations

import numpy as np
import pytest

from fashion_ray.insight import heads, suspects
from fashion_ray.insight.folds import grouped_folds
from tests.unit.test_heads import clouds


def test_the_rule_worked_out_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    found = suspects.findings(probabilities, np.array([0, 1, 1]), np.array([7, 7, 8]), np.zeros(3))
    nats = suspects.DUPLICATE_NATS
    assert found.evidence == pytest.approx([nats - np.log(0.9), nats - np.log(0.1), -np.log(0.8)])
    assert found.suggested.tolist() == [0, 0, 1]
    assert found.probability == pytest.approx([0.9, 0.9, 0.8]) and found.given_probability == pytest.approx([0.9, 0.1, 0.8])
    assert found.reasons["near_duplicates_disagree"].tolist() == [True, True, False]


def test_near_duplicates_count_by_how_many_of_them_disagree() -> None:
    labels, groups = np.array([0, 0, 0, 1, 2, 2]), np.array([5, 5, 5, 5, 6, 7])
    assert suspects.duplicates_disagreement(labels, groups) == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 1, 0, 0])


def test_two_witnesses_are_surer_than_one_and_silence_changes_nothing() -> None:
    picture = np.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2]])
    title = np.array([[0.8, 0.2], [0.5, 0.5], [0.2, 0.8]])
    assert suspects.joined(picture, title)[:, 0] == pytest.approx([16 / 17, 0.8, 0.5])
    assert suspects.joined(picture, None) is picture


def test_planted_errors_come_to_the_top_and_confident_learning_names_them() -> None:
    features, truth = clouds(600)
    labels, wrong = truth.copy(), np.arange(0, 600, 50)
    labels[wrong] = (labels[wrong] + 1) % 3
    groups = np.arange(600)
    probabilities = heads.out_of_sample(features, labels, grouped_folds(labels, groups, 5, seed=0), 3)
    found = suspects.findings(probabilities, labels, groups, suspects.class_distances(features, labels, groups))
    top = np.argsort(-found.evidence)[:24]
    assert np.isin(wrong, top).mean() >= 0.9
    assert (found.suggested[wrong] == truth[wrong]).mean() >= 0.9
    assert found.reasons["confident_learning"][wrong].mean() >= 0.7
    assert found.reasons["confident_learning"].mean() < 0.1
    assert found.reasons["far_from_class"][wrong].mean() > found.reasons["far_from_class"].mean()


def test_distance_leaves_out_a_row_and_its_near_duplicates() -> None:
    features = np.array([[1.0, 0], [1, 0], [0, 1], [0, 2]])
    found = suspects.class_distances(features, np.zeros(4, dtype=np.int64), np.array([0, 1, 2, 2]))
    assert found[2:] == pytest.approx([1, 1]), "far from the others; the twin does not count"
    assert suspects.class_distances(features[:2], np.array([0, 1]), np.array([0, 1])).tolist() == [0, 0], (
        "nobody to be far from"
    )


def test_a_single_class_has_no_label_errors() -> None:
    assert not suspects.confident_learning(np.ones((4, 1)), np.zeros(4, dtype=np.int64)).any()
