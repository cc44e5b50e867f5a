"""The picture of a search: every trial a line, whatever its options are."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from matplotlib.figure import Figure

from fashion_ray.pages.parallel_coordinates import _places, parallel_coordinates


def test_a_search_is_drawn_the_same_each_time() -> None:
    table = pd.DataFrame(
        {
            "figure": [0.9, 0.8, None, 0.85],
            "head": ["linear", "mlp", "mlp", "linear"],
            "head_widths": ["", "50,20", "64", ""],
            "learning_rate": ["0.001", "0.01", "0.1", "0.0001"],
        }
    )
    drawn = parallel_coordinates(table, ["head", "head_widths", "learning_rate"], "figure", label="score")
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert drawn == parallel_coordinates(table, ["head", "head_widths", "learning_rate"], "figure", label="score")
    assert drawn != parallel_coordinates(table.head(2), ["head", "head_widths", "learning_rate"], "figure", label="score")
    assert parallel_coordinates(table.head(1), [], "figure", label="score")[:4] == b"\x89PNG"


def test_the_best_trial_is_the_one_with_the_least_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings: list[Figure] = []

    def painted(width: float, height: float, paint: Callable[[Figure], None]) -> bytes:
        drawings.append(Figure())
        paint(drawings[-1])
        return b""

    monkeypatch.setattr("fashion_ray.pages.parallel_coordinates.png", painted)
    table = pd.DataFrame({"figure": [0.4, 0.3, 0.5], "head": ["linear", "mlp", "batchnorm"]})
    for less_is_better in (False, True):
        parallel_coordinates(table, ["head"], "figure", label="validation_loss", less_is_better=less_is_better)
    heights = []
    for drawing in drawings:
        best = [line for line in drawing.axes[0].get_lines() if line.get_color() == "#d55e00"]
        heights += [list(map(float, line.get_ydata()))[-1] for line in best]
    assert heights == [1.0, 0.0], "where the figure's own axis has its most and its least"


def test_a_search_without_a_figure_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="no trial with a figure"):
        parallel_coordinates(pd.DataFrame({"figure": [None], "head": ["mlp"]}), ["head"], "figure", label="score")


def test_numbers_stand_at_their_height_and_words_in_their_order() -> None:
    heights, labels = _places(["0.001", "0.01", "0.1", "0.002", "0.003", "0.004", "0.005"])
    assert heights[:3].tolist() == pytest.approx([0, 0.5, 1]) and labels == {0.0: "0.001", 1.0: "0.1"}
    heights, labels = _places(["0", "10", "5", "1", "2", "3", "4"])
    assert heights[:3].tolist() == pytest.approx([0, 1, 0.5]), "not by the logarithm, since there is a zero"
    heights, labels = _places(["64", "", "8", "64"])
    assert labels == {0.0: "-", 0.5: "8", 1.0: "64"} and heights.tolist() == [1, 0, 0.5, 1]
    assert _places(["mlp", "mlp"])[0].tolist() == [0.5, 0.5]
