"""Areas and curves against scikit-learn on the same rows, numbers worked out by hand, and where none is defined."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import label_binarize

from fashion_ray.pages import probability_plots
from fashion_ray.training import curves
from fashion_ray.training.curves import MICRO, best_and_worst, evaluate_curves


def rows(count: int, classes: int, *, seed: int = 0, pull: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """True classes and a probability of every class, the right ones pulled up."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), truth] += pull
    chances = np.exp(logits)
    return truth, chances / chances.sum(axis=1, keepdims=True)


def named(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def test_areas_are_scikit_learns() -> None:
    truth, chances = rows(300, 4)
    found = evaluate_curves(named(4), truth, chances)
    members = label_binarize(truth, classes=range(4))
    assert found.areas["roc_auc"].tolist() == pytest.approx(roc_auc_score(members, chances, average=None))
    assert found.areas["average_precision"].tolist() == pytest.approx(average_precision_score(members, chances, average=None))
    assert found.areas["support"].tolist() == np.bincount(truth).tolist()
    assert found.metrics() == pytest.approx(
        {
            "roc_auc_macro": roc_auc_score(members, chances, average="macro"),
            "roc_auc_micro": roc_auc_score(members, chances, average="micro"),
            "average_precision_macro": average_precision_score(members, chances, average="macro"),
            "average_precision_micro": average_precision_score(members, chances, average="micro"),
        }
    )


def test_a_small_example_worked_out_by_hand() -> None:
    # Of the four pairs of a row of class 0 and another, three are in the right order; its rows stand at places 1 and 3.
    truth, first = np.array([0, 1, 0, 1]), np.array([0.9, 0.8, 0.7, 0.1])
    found = evaluate_curves(["a", "b"], truth, np.stack([first, 1 - first], axis=1))
    assert found.areas["roc_auc"].tolist() == pytest.approx([0.75, 0.75])
    assert found.areas["average_precision"].iloc[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_the_drawn_lines_go_all_the_way_and_have_the_areas_that_are_told() -> None:
    truth, chances = rows(3000, 12, pull=2.5)
    found = evaluate_curves(named(12), truth, chances)
    assert found.roc[0].name == found.precision_recall[0].name == MICRO
    for line in found.roc:
        assert len(line.x) <= curves.MOST_POINTS
        assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (0, 0, 1, 1)
        assert np.trapezoid(line.y, line.x) == pytest.approx(line.area, abs=2e-3)
    for line in found.precision_recall:
        assert len(line.x) <= curves.MOST_POINTS
        assert (line.x[0], line.x[-1]) == (0, 1) and (np.diff(line.x) >= 0).all()
        assert (np.diff(line.x) * line.y[1:]).sum() == pytest.approx(line.area, abs=1e-2)


def test_a_class_without_rows_has_no_area_and_counts_in_no_average() -> None:
    truth, chances = rows(200, 3)
    chances = np.concatenate([chances, np.full((200, 1), 1e-3)], axis=1)
    found = evaluate_curves(named(4), truth, chances)
    assert found.areas[["roc_auc", "average_precision"]].iloc[3].isna().all()
    assert found.metrics()["roc_auc_macro"] == pytest.approx(found.areas["roc_auc"].iloc[:3].mean())
    assert [line.name for line in found.roc[1:]] == list(found.areas.iloc[:3].sort_values("roc_auc", ascending=False)["class"])


def test_rows_of_a_class_that_the_model_does_not_know_are_others_to_every_class() -> None:
    truth, chances = np.array([0, 1, -1]), np.array([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1]])
    found = evaluate_curves(["a", "b"], truth, chances)
    assert found.areas["roc_auc"].tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("truth", "classes"), [([-1, -1], 2), ([0, 0], 1)], ids=["no row is of a known class", "no row is of another class"]
)
def test_without_rows_of_a_class_and_of_others_there_is_no_curve(
    truth: list[int], classes: int, recwarn: pytest.WarningsRecorder
) -> None:
    found = evaluate_curves(named(classes), np.array(truth), np.full((len(truth), classes), 1 / classes))
    assert found.metrics() == {} and found.roc == found.precision_recall == []
    assert found.areas["roc_auc"].isna().all()
    assert not recwarn.list


def test_of_one_class_only_the_pooled_pairs_have_an_area() -> None:
    found = evaluate_curves(["a", "b"], np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert found.metrics() == {"roc_auc_micro": 1.0, "average_precision_micro": 1.0}
    assert [line.name for line in found.roc] == [MICRO]


def test_the_best_and_the_worst_are_shown_and_small_classes_only_for_want_of_larger_ones() -> None:
    areas = pd.DataFrame({"area": [0.9, math.nan, 0.2, 0.8, 0.7, 0.6], "support": [10, 50, 50, 50, 3, 50]})
    assert best_and_worst(areas, "area", each=2) == [0, 3, 5, 2]
    assert best_and_worst(areas, "area", each=1) == [0, 2]
    assert best_and_worst(areas, "area", each=3) == [0, 3, 4, 5, 2]


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_every_class_of_ten_has_its_line_and_of_more_the_five_at_each_end(classes: int) -> None:
    truth, chances = rows(3000, classes)
    drawing = Figure()
    found = evaluate_curves(named(classes), truth, chances)
    probability_plots._lines(drawing.subplots(), found.roc, steps=False)
    looks = [(line.get_color(), line.get_linestyle()) for line in drawing.axes[0].get_lines()]
    assert len(set(looks)) == len(looks) == min(classes, 10) + 1, "the micro average too, none like another"
    assert probability_plots.probability_curves(found)[:4] == b"\x89PNG"
