"""Heads in closed form: they learn what can be learned, and no row is answered by a head that saw it or its near-duplicate."""

from __future__ import annotations

import numpy as np
import pytest

from fashion_ray.insight import heads, titles
from fashion_ray.insight.folds import grouped_folds, groups_of


def clouds(rows: int = 300, classes: int = 3, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes that lie apart in six dimensions."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    features = generator.normal(size=(rows, 6)) + 4 * np.eye(classes, 6)[labels]
    return features.astype(np.float32), labels


def test_classes_that_lie_apart_are_told_apart() -> None:
    features, labels = clouds()
    found = heads.out_of_sample(features, labels, np.arange(300) // 3 % 5, 3)
    assert (found.argmax(axis=1) == labels).mean() > 0.95
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_fold_is_answered_by_the_head_of_the_others() -> None:
    features, labels = clouds()
    folds = np.arange(300) // 3 % 4
    scores = heads.out_of_sample_scores(features, labels, folds, 3)
    rest = folds != 2
    alone = heads.fit(heads.moments(features[rest], labels[rest], 3)).scores(features[~rest])
    assert scores[~rest] == pytest.approx(alone, abs=1e-3)
    changed = labels.copy()
    changed[~rest] = 0
    assert heads.out_of_sample_scores(features, changed, folds, 3)[~rest] == pytest.approx(scores[~rest], abs=1e-3)


def test_a_class_that_no_row_had_is_never_answered() -> None:
    features, labels = clouds()
    scores = heads.fit(heads.moments(features, labels, 5)).scores(features)
    assert set(scores.argmax(axis=1)) == {0, 1, 2}


def test_a_dimension_that_never_varies_does_no_harm() -> None:
    features, labels = clouds()
    features[:, 5] = 7.0
    values = heads.standardised(features)
    assert np.isfinite(values).all() and values[:, 5].tolist() == [0.0] * 300
    assert np.isfinite(heads.out_of_sample(values, labels, np.arange(300) // 3 % 2, 3)).all()


def test_the_temperature_takes_back_what_scores_exaggerate() -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(4000, 2)).astype(np.float32)
    labels = (generator.random(4000) < heads.softmax(scores)[:, 1]).astype(np.int64)
    assert heads.temperature(5 * scores, labels) == pytest.approx(5, rel=0.2)


def test_groups_stay_whole_and_classes_are_spread_over_folds() -> None:
    labels = np.repeat([0, 1, 2], [40, 10, 5])
    groups = np.arange(55)
    groups[:4] = 0
    folds = grouped_folds(labels, groups, 5, seed=3)
    assert len(set(folds[:4])) == 1
    assert set(folds[50:]) == set(range(5)), "five groups of the rarest class, a fold each"
    assert (grouped_folds(labels, groups, 5, seed=3) == folds).all() and (
        grouped_folds(labels, groups, 5, seed=4) != folds
    ).any()
    assert groups_of(labels, groups, 3).tolist() == [37, 10, 5]


def test_titles_name_the_class_and_an_unknown_word_names_none() -> None:
    known = ["blue shirt", "red shirt", "blue shoe", "red shoe"] * 10
    labels = np.array([0, 0, 1, 1] * 10)
    folds = np.arange(40) // 4 % 2
    found = titles.out_of_sample([*known[:-1], "zzz"], labels, folds, 2)
    assert (found[:-1].argmax(axis=1) == labels[:-1]).all()
    assert found[-1].tolist() == [0.5, 0.5]
    other = titles.answers(known, labels, 2, ["green shoe", None, "qqq"])
    assert other[0].argmax() == 1 and other[0].max() > 0.9
    assert other[1:].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_titles_without_a_word_in_common_say_nothing() -> None:
    assert titles.out_of_sample(["a1", None, "b2", "c3"], np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), 2) == pytest.approx(
        0.5
    )
