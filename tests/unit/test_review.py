"""Thresholds of the review flag: lowest that will do, a class at a time, honest with few rows; measured on other rows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fashion_ray.models.bundle import Card
from fashion_ray.models.taxonomy import Taxonomy
from fashion_ray.training import review
from fashion_ray.training.calibrate import calibrate, evaluate
from fashion_ray.training.deployed import HeldOut
from fashion_ray.training.evaluation import OTHER, evaluate_review
from fashion_ray.training.intervals import wilson_interval
from fashion_ray.training.review import ALWAYS, MIN_PREDICTIONS
from fashion_ray.training.vocabulary import Vocabulary


def falling(rows: int) -> np.ndarray:
    """Distinct probabilities, the highest first."""
    return np.linspace(0.99, 0.5, rows).astype(np.float32)


@pytest.mark.parametrize(
    ("right", "precision", "expected"),
    [
        ([1] * 14, 0.95, 13),  # 14 without a mistake are just enough for 95%
        ([1] * 13, 0.95, None),
        ([1] * 20 + [0] * 20, 0.95, 19),
        ([1] * 13 + [0] + [1] * 30, 0.95, None),  # one mistake in 44 is too many,
        ([1] * 13 + [0] + [1] * 31, 0.95, 44),  # in 45 it is not
        ([0] + [1] * 44, 0.95, 44),  # wherever it is
        ([1] * 3, 0.8, 2),
        ([0] * 50, 0.5, None),
        ([1] * 5000, 1.0, None),  # no number of rows shows that there are no mistakes
        ([], 0.95, None),
    ],
)
def test_the_threshold_is_the_lowest_whose_lower_bound_reaches_the_precision(
    right: list[int], precision: float, expected: int | None
) -> None:
    probability = falling(len(right))
    found = review.threshold(probability, np.array(right, dtype=bool), precision)
    assert found == (ALWAYS if expected is None else probability[expected])
    shuffled = np.random.default_rng(0).permutation(len(right))
    assert review.threshold(probability[shuffled], np.array(right, dtype=bool)[shuffled], precision) == found


def test_equal_probabilities_stand_or_fall_together() -> None:
    probability = np.array([0.9] * 20 + [0.8] * 2, dtype=np.float32)
    right = np.array([True] * 20 + [True, False])
    assert review.threshold(probability, right, 0.95) == np.float32(0.9)
    assert review.threshold(np.full(22, 0.9, dtype=np.float32), right, 0.95) == ALWAYS


def test_what_passes_reaches_the_precision_by_its_lower_bound() -> None:
    for seed in range(100):
        generator = np.random.default_rng(seed)
        probability = (generator.integers(0, 40, 200) / 40).astype(np.float32)
        right = generator.random(200) < probability
        passed = probability >= np.float32(review.threshold(probability, right, 0.8))
        assert not passed.any() or wilson_interval(right[passed].sum(), passed.sum(), level=0.6)[0] >= 0.8


def test_a_class_that_is_often_wrong_is_reviewed_where_another_is_not() -> None:
    predicted = np.repeat([0, 1], 100)
    probability = np.tile(falling(100), 2)
    right = np.concatenate([np.ones(100, dtype=bool), np.arange(100) % 2 == 0])
    found = review.fit(predicted, probability, right, classes=3, precision=0.95)
    assert found.classes == [probability[-1], ALWAYS, None]
    assert found.default == ALWAYS, "nothing is left to be pooled"


def test_classes_with_few_answers_share_a_threshold_that_commoner_ones_do_not_move() -> None:
    few = MIN_PREDICTIONS - 1
    predicted = np.repeat([0, 1, 2], [200, few, few])
    probability = np.concatenate([falling(200), falling(few), falling(few)])
    right = np.ones(len(predicted), dtype=bool)
    right[200:][probability[200:] < 0.7] = False
    found = review.fit(predicted, probability, right, classes=4, precision=0.95)
    assert found.classes == [0.5, None, None, None]
    assert 0.6 < found.default < 0.75
    enough = review.fit(
        np.append(predicted, 1), np.append(probability, 0.99), np.append(right, True), classes=4, precision=0.95
    )
    assert enough.classes[1] is not None and enough.classes[2] is None


def test_no_rows_mean_that_everything_is_reviewed() -> None:
    none = np.zeros(0)
    found = review.fit(none.astype(np.int64), none, none.astype(bool), classes=2, precision=0.95)
    assert (found.default, found.classes) == (ALWAYS, [None, None])


def test_a_threshold_that_nothing_reaches_survives_json_and_float32() -> None:
    again = json.loads(json.dumps(ALWAYS))
    assert again == ALWAYS > 1 and np.float32(again) > np.float32(1)


def test_coverage_and_precision_worked_out_by_hand() -> None:
    found = evaluate_review(
        ["a", "b", None],
        [0.5, 0.6, ALWAYS],
        predicted=np.array([0, 0, 0, 1, 2]),
        right=np.array([True, False, True, True, True]),
        flagged=np.array([False, False, True, False, True]),
    )
    assert (found.rows, found.passed, found.right) == (5, 3, 2)
    assert (found.coverage, found.precision) == (3 / 5, 2 / 3)
    assert found.interval == wilson_interval(2, 3)
    assert found.per_class["class"].tolist() == ["a", "b", OTHER]
    assert found.per_class["threshold"].tolist() == [0.5, 0.6, ALWAYS]
    assert found.per_class["answers"].tolist() == [3, 1, 1]
    assert found.per_class["passed"].tolist() == [2, 1, 0]
    assert found.per_class["passed_precision"].tolist() == pytest.approx([1 / 2, 1, math.nan], nan_ok=True)


def test_the_precision_of_nothing_is_no_number() -> None:
    every = evaluate_review(["a"], [ALWAYS], predicted=np.array([0]), right=np.array([True]), flagged=np.array([True]))
    assert every.coverage == 0 and math.isnan(every.precision)


CLASSES: dict[str, list[str | None]] = {"articleType": ["Belts", "Shirts", None]}
WORDS = Vocabulary(classes=CLASSES, paths=Taxonomy(levels=(), paths=()), rare=frozenset({"Capes"}))
CARD = Card(
    backbone="test_resnet", embedding_dim=4, mean=(0.5,), std=(0.5,), decoded_size=(4, 3), input_size=(4, 3), head="linear",
    dropout=0.0, classes=CLASSES, levels=(), paths=(), temperatures={"articleType": 1.0}, thresholds={"articleType": 0.5},
)  # fmt: skip


def held_out(*groups: tuple[str | None, int, int]) -> HeldOut:
    """Rows in groups of (label, index of the surest class, how many), some of them surer than others."""
    labels = [label for label, _, count in groups for _ in range(count)]
    answers = np.concatenate([np.full(count, answer) for _, answer, count in groups])
    logits = (1 + np.arange(len(labels)) % 7)[:, None] * np.eye(3)[answers]
    return HeldOut(
        product_ids=[str(row) for row in range(len(labels))],
        labels={"articleType": labels},
        logits={"articleType": logits.astype(np.float32)},
    )


def test_null_is_the_right_answer_for_a_rare_label_and_unlabelled_rows_count_nowhere() -> None:
    rows = held_out(("Belts", 0, 60), ("Capes", 2, 60), (None, 1, 60), ("Shirts", 0, 3))
    card = calibrate(CARD, rows, WORDS, review_precision=0.8)
    belts, shirts, other = card.class_thresholds["articleType"]
    assert belts is not None and other is not None and max(belts, other) < 1
    assert shirts is None, "only rows without a label were answered so"
    found = evaluate(card, rows, WORDS)["articleType"]
    assert found.rows == 63, "accuracy is that of labels that are not rare"
    assert found.review is not None and (found.review.rows, found.review.passed, found.review.right) == (123, 123, 120)


def test_a_label_that_training_never_saw_counts_as_a_mistake() -> None:
    rows = held_out(("Belts", 0, 60), ("Kites", 0, 60))
    assert calibrate(CARD, rows, WORDS, review_precision=0.95).class_thresholds["articleType"][0] == ALWAYS


def test_thresholds_are_measured_on_rows_that_did_not_choose_them() -> None:
    card = calibrate(CARD, held_out(("Belts", 0, 60), ("Shirts", 1, 60)), WORDS, review_precision=0.95)
    metrics = evaluate(card, held_out(("Belts", 0, 30), ("Shirts", 0, 10), ("Shirts", 2, 40)), WORDS)["articleType"].metrics(
        "test"
    )
    assert metrics["test/articleType/review_coverage"] == 0.5, "what validation never answered needs review"
    assert metrics["test/articleType/review_precision"] == 0.75


def test_the_precision_of_nothing_is_not_tracked() -> None:
    card = calibrate(CARD, held_out(("Belts", 1, 60)), WORDS, review_precision=0.95)
    metrics = evaluate(card, held_out(("Belts", 1, 9)), WORDS)["articleType"].metrics("test")
    assert metrics["test/articleType/review_coverage"] == 0
    assert "test/articleType/review_precision" not in metrics
