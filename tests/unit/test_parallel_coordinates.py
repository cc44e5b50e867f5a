"""The picture of a search: every trial a line, whatever its options are."""

from __future__ import annotations

import pandas as pd
import pytest

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
