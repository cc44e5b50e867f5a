"""Evaluation against numbers worked out by hand, and against scikit-learn on labels it is not given in that form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix

from fashion_ray.training.evaluation import OTHER, TargetEvaluation, evaluate_target
from fashion_ray.training.reliability import calibration_bins, calibration_error


def evaluated(
    truth: Sequence[str | None],
    predicted: Sequence[str | None],
    *,
    probability: Sequence[float] | None = None,
    top3: Sequence[Sequence[str | None]] | None = None,
) -> TargetEvaluation:
    return evaluate_target(
        "articleType",
        truth=truth,
        predicted=predicted,
        probability=[0.5] * len(truth) if probability is None else probability,
        top3=[[label] for label in predicted] if top3 is None else top3,
    )


def test_a_small_example_worked_out_by_hand() -> None:
    one = evaluated(
        ["a", "a", "a", "b", "b", "c", None],
        ["a", "a", "b", "b", "c", "a", "c"],
    )
    assert one.rows == 6
    assert one.classes == ["a", "b", "c"]
    assert one.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert one.accuracy == pytest.approx(3 / 6)
    assert one.majority_share == pytest.approx(3 / 6)
    assert one.macro_precision == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert one.macro_recall == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert one.weighted_recall == pytest.approx(3 / 6)
    assert one.weighted_f1 == pytest.approx((3 * 2 / 3 + 2 * 1 / 2 + 1 * 0) / 6)
    assert one.per_class["class"].tolist() == ["a", "b", "c"]
    assert one.per_class["support"].tolist() == [3, 2, 1]
    assert one.per_class["predicted"].tolist() == [3, 2, 1]
    assert one.per_class["f1"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])


def test_the_classes_are_sorted_by_support_and_then_by_name() -> None:
    one = evaluated(["z", "y", "x", "y", "x", "w"], ["z"] * 6)
    assert one.per_class["class"].tolist() == ["x", "y", "w", "z"]


def test_it_agrees_with_scikit_learn_on_random_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(["Tshirts", "Shirts", "Watches", "Belts"], 500, p=[0.5, 0.3, 0.15, 0.05]).tolist()
    predicted = [label if rng.random() < 0.7 else str(rng.choice(["Tshirts", "Shirts", "Watches"])) for label in truth]
    one = evaluated(truth, predicted)
    report = classification_report(truth, predicted, output_dict=True, zero_division=0)
    assert one.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert one.confusion.tolist() == confusion_matrix(truth, predicted).tolist()
    for average in ("macro", "weighted"):
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert getattr(one, f"{average}_{ours}") == pytest.approx(report[f"{average} avg"][theirs])
    for row in one.per_class.to_dict("records"):
        assert row["recall"] == pytest.approx(report[row["class"]]["recall"])
        assert row["support"] == report[row["class"]]["support"]


def test_one_class_is_enough_and_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    one = evaluated(["a", "a"], ["a", "a"])
    assert (one.accuracy, one.majority_share, one.collapsed, one.confusion.tolist()) == (1.0, 1.0, False, [[2]])
    assert not recwarn.list


def test_a_null_prediction_is_the_wrong_answer_other_in_the_last_column() -> None:
    one = evaluated(["a", "a", "b", "zebra"], ["a", None, None, "zebra"])
    assert one.classes == ["a", "b", "zebra", OTHER]
    assert one.confusion.tolist() == [[1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert one.accuracy == 0.5
    assert one.macro_recall == pytest.approx((0.5 + 0 + 1) / 3), "OTHER is no class of the truth"
    other = one.per_class.set_index("class").loc[OTHER]
    assert (other["support"], other["predicted"]) == (0, 2)


def test_other_is_no_class_where_only_an_unlabelled_row_was_answered_null() -> None:
    assert evaluated(["a", None], ["a", None]).classes == ["a"]


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA])
def test_missing_values_of_pandas_are_null(missing: None) -> None:
    one = evaluated(["a", "b", missing], ["a", missing, "a"])
    assert (one.rows, one.accuracy, one.classes) == (2, 0.5, ["a", "b", OTHER])


def test_a_class_that_is_only_predicted_counts_in_no_average() -> None:
    one = evaluated(["a", "a", "b", "b"], ["a", "new", "b", "b"])
    assert one.classes == ["a", "b", "new"]
    assert one.macro_recall == pytest.approx((1 / 2 + 1) / 2)
    assert one.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert one.per_class["class"].tolist() == ["a", "b", "new"]
    assert math.isnan(one.per_class["recall"].iloc[2])


def test_top3_counts_the_truth_anywhere_in_the_three() -> None:
    one = evaluated(
        ["a", "b", "c", "d"],
        ["a", "a", "a", "a"],
        top3=[["a", "b", "c"], ["a", "b", None], ["a", "b"], [None, "b", "d"]],
    )
    assert one.top3_accuracy == 0.75


def test_the_interval_of_the_accuracy_is_wilsons() -> None:
    one = evaluated(["a"] * 8 + ["b"] * 2, ["a"] * 10)
    assert (one.accuracy_low, one.accuracy_high) == pytest.approx((0.490, 0.943), abs=5e-4)


def test_calibration_error_worked_out_by_hand() -> None:
    # Bins of 1/15: 0.9 and 0.92 share (0.8667, 0.9333], with confidence 0.91 and accuracy 0.5; 0.3 stands alone.
    probability, correct = [0.9, 0.92, 0.3], [True, False, True]
    assert calibration_error(calibration_bins(probability, correct)) == pytest.approx((2 * abs(0.5 - 0.91) + abs(1 - 0.3)) / 3)


def test_calibration_error_leaves_out_unlabelled_rows() -> None:
    one = evaluated([None, "a"], ["b", "a"], probability=[0.99, 0.75])
    assert one.expected_calibration_error == pytest.approx(0.25)


def test_calibration_bins_are_closed_above_and_hold_every_row() -> None:
    table = calibration_bins([0.0, 0.5, 0.500001, 1.0], [True, True, False, True], bins=2)
    assert table["rows"].tolist() == [2, 2]
    assert table["confidence"].tolist() == pytest.approx([0.25, 0.7500005])
    assert table["accuracy"].tolist() == [1.0, 0.5]
    assert math.isnan(calibration_bins([0.9], [True], bins=2)["accuracy"].iloc[0])


def test_a_probability_a_rounding_error_above_one_is_one() -> None:
    one = evaluated(["a"], ["a"], probability=[float(np.float32(1.0) + np.float32(2e-7))])
    assert one.expected_calibration_error == 0.0


@pytest.mark.parametrize(
    ("truth", "predicted", "collapsed"),
    [
        (["a"] * 4 + ["b"] * 6, ["a"] * 9 + ["b"], True),
        (["a"] * 4 + ["b"] * 6, ["a"] * 8 + ["b"] * 2, False),  # 80% of the answers are not nearly everything
        (["a"] * 5 + ["b"] * 5, ["a"] * 10, False),  # half of the truth is "a" indeed
        (["b"] * 10, ["a"] * 10, False),  # one true class cannot be told from nothing
        (["a"] * 5 + ["b"] * 5, [None] * 10, True),
        (["a"] * 70 + ["b"] * 10, ["a"] * 79 + ["b"], True),  # the truth is mostly "a", but "b" is hardly ever seen
        (["a"] * 70 + ["b"] * 10, ["a"] * 78 + ["b"] * 2, False),
        (["a"] * 70 + ["b"] * 9, ["a"] * 79, False),  # too few others to tell
    ],
)
def test_collapsed_means_one_answer_for_nearly_everything(
    truth: list[str | None], predicted: list[str | None], collapsed: bool
) -> None:
    assert evaluated(truth, predicted).collapsed is collapsed


def test_the_names_of_the_metrics_are_the_same_in_every_run() -> None:
    good = evaluated(["a", "b"], ["a", "b"]).metrics("test")
    bad = evaluated(["c"] * 4 + ["d"] * 6, [None] * 10).metrics("test")
    assert good.keys() == bad.keys()
    assert good["test/articleType/accuracy"] == 1.0
    assert (good["test/articleType/collapsed"], bad["test/articleType/collapsed"]) == (0.0, 1.0)
    assert all(type(value) is float and math.isfinite(value) for value in [*good.values(), *bad.values()])
    assert {name.rpartition("/")[2] for name in good} == {
        *("rows", "accuracy", "accuracy_low", "accuracy_high", "top3_accuracy", "majority_share", "collapsed"),
        *("macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1"),
        "expected_calibration_error",
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"truth": ["a"]}, "truth 1, predicted 2, probability 2, top3 2"),
        ({"probability": [0.5]}, "probability 1"),
        ({"truth": [None, None]}, "none of the 2 rows has a true label"),
        ({"truth": [], "predicted": [], "probability": [], "top3": []}, "none of the 0 rows"),
        ({"probability": [0.5, math.nan]}, "probability of row 1 is nan"),
        ({"probability": [1.2, 0.5]}, "probability of row 0 is 1.2"),
        ({"probability": [0.5, -0.1]}, "probability of row 1 is -0.1"),
        ({"truth": ["a", 7]}, "truth of row 1 is 7"),
        ({"predicted": ["a", OTHER]}, "stands for a null prediction"),
        ({"predicted": ["", "a"]}, "predicted of row 0 is ''"),
        ({"top3": [["a", "b", "c", "d"], ["a"]]}, "at most three labels"),
        ({"top3": ["a", "b"]}, "a list of at most three labels"),
        ({"top3": [["a"], [{"label": "a"}]]}, "top3 of row 1 is {'label': 'a'}"),
    ],
)
def test_wrong_input_is_named_with_its_target(changed: dict[str, list[object]], message: str) -> None:
    good = {"truth": ["a", "b"], "predicted": ["a", "b"], "probability": [0.5, 0.5], "top3": [["a"], ["b"]]}
    with pytest.raises(ValueError, match="target 'gender': ") as caught:
        evaluate_target("gender", **(good | changed))  # type: ignore[arg-type]
    assert message in str(caught.value)
