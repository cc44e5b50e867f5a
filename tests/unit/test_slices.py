"""Slices and worst mistakes, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from fashion_ray.training.intervals import wilson_interval
from fashion_ray.training.mistakes import worst_mistakes
from fashion_ray.training.slices import CLASS_SIZE, MOST_VALUES, SIZES, evaluate_slices, size_names, slice_metrics


def test_every_value_has_its_figures_and_null_is_a_value_too() -> None:
    truth = ["a", "a", "b", "b", "a"]
    given = ["a", "b", "b", "b", "(other)"]
    table = evaluate_slices(truth, given, {"year": [2017, 2012, 2017, None, 2012], "season": ["Fall"] * 5})
    assert table[["by", "value", "rows"]].to_numpy().tolist() == [
        ["year", "2012", 2], ["year", "2017", 2], ["year", "(none)", 1], ["season", "Fall", 5],
    ]  # fmt: skip
    assert table["accuracy"].tolist() == [0, 1, 1, 0.6]
    assert tuple(table.loc[3, ["low", "high"]]) == pytest.approx(wilson_interval(3, 5))
    assert table["macro_f1"].iloc[3] == pytest.approx(f1_score(truth, given, labels=["a", "b"], average="macro"))
    assert table["macro_f1"].tolist()[:3] == [0, 1, 1]


def test_a_column_without_values_is_left_out_and_so_is_every_figure_of_nothing() -> None:
    table = evaluate_slices(["a"], ["a"], {"season": [None], "gender": ["Men"]})
    assert table["by"].tolist() == ["gender"]
    assert evaluate_slices(["a"], ["a"], {}).empty
    assert slice_metrics(evaluate_slices(["a"], ["a"], {})) == {}


def test_rare_values_are_pooled_and_no_row_is_lost() -> None:
    values = [f"v{number:02d}" for number in range(MOST_VALUES + 5)] + [f"v{number:02d}" for number in range(MOST_VALUES)]
    table = evaluate_slices(["a"] * len(values), ["a"] * len(values), {"brand": values})
    assert len(table) == MOST_VALUES + 1 and table["rows"].sum() == len(values)
    assert tuple(table.iloc[-1][["value", "rows"]]) == ("(rest)", 5)


def test_classes_are_sliced_by_the_rows_that_training_had_in_the_order_of_size() -> None:
    rows = {"a": 1000, "b": 999, "c": 1, "d": 50, "e": 49}
    sizes = size_names(["a", "b", "c", "d", "e", "unseen"], rows)
    assert sizes == ["1000 or more", "200 to 999", "1 to 49", "50 to 199", "1 to 49", "0"]
    table = evaluate_slices(list("abcdef"), list("abcdef"), {CLASS_SIZE: sizes})
    assert table["value"].tolist() == list(SIZES)


def test_a_slice_is_tracked_by_accuracy_and_rows() -> None:
    table = evaluate_slices(["a", "b"], ["a", "a"], {"gender": ["Men", "Men"]})
    assert slice_metrics(table) == {"slice/gender/Men/accuracy": 0.5, "slice/gender/Men/rows": 2.0}


def answered(*rows: tuple[str, str, str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["product_id", "group", "truth", "predicted", "probability"])


def test_the_surest_wrong_answers_come_first_one_of_each_group() -> None:
    rows = answered(
        ("1", "g", "a", "b", 0.7), ("2", "g", "a", "b", 0.9), ("3", "h", "a", "a", 1.0), ("5", "i", "a", "b", 0.8),
        ("4", "j", "a", "b", 0.8), ("6", "k", "b", "(other)", 0.2),
    )  # fmt: skip
    table = worst_mistakes(rows)
    assert table["product_id"].tolist() == ["2", "4", "5", "6"]
    assert list(table.columns) == ["product_id", "truth", "predicted", "probability"]
    assert worst_mistakes(rows, most=2)["product_id"].tolist() == ["2", "4"]
    shuffled = rows.iloc[np.random.default_rng(0).permutation(len(rows))]
    pd.testing.assert_frame_equal(worst_mistakes(shuffled), table)


def test_without_mistakes_the_table_is_empty() -> None:
    assert worst_mistakes(answered(("1", "g", "a", "a", 0.7))).empty
