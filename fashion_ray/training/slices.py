"""Where a model is better and worse. In: answered rows, and columns that sort them. Out: the figures of every slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from fashion_ray.training.intervals import wilson_interval

SLICE_COLUMNS = ("gender", "season", "year")
"""The catalog's columns that results are given for, as far as the catalog has them."""

CLASS_SIZE = "training rows of the class"
LEAKED = "near-duplicate in training"

NONE, REST = "(none)", "(rest)"
MOST_VALUES = 30
"""Of a column; the rarer ones are pooled as `REST`."""

# Upper ends; the same in every run, so that runs can be compared.
_SIZES = {0: "0", 49: "1 to 49", 199: "50 to 199", 999: "200 to 999"}
_LARGEST = "1000 or more"
SIZES = (*_SIZES.values(), _LARGEST)


def size_names(truth: Sequence[str], training_rows: Mapping[str, int]) -> list[str]:
    """How many training rows each row's true class has, as one of `SIZES`."""
    return [next((name for most, name in _SIZES.items() if training_rows.get(label, 0) <= most), _LARGEST) for label in truth]


def evaluate_slices(truth: Sequence[str], predicted: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """One row a value of each column, null too: by (the column), value, rows, accuracy, low, high, macro_f1.

    All sequences have one entry per labelled row. Low and high are the ends of the accuracy's 95% Wilson interval; macro F1
    averages over the classes in the slice's truth. A column that is null throughout is left out.
    """
    codes, _ = pd.factorize(np.array([*truth, *predicted], dtype=object))
    labels, answers = codes[: len(truth)], codes[len(truth) :]
    found = []
    for by, values in columns.items():
        names = [NONE if pd.isna(value) else str(value) for value in values]
        order = _order(by, values)
        of_row = np.array([name if name in order else REST for name in names], dtype=object)
        for name in order:
            rows = of_row == name
            found.append({"by": by, "value": name} | _figures(labels[rows], answers[rows]))
    return pd.DataFrame(found, columns=["by", "value", "rows", "accuracy", "low", "high", "macro_f1"])


def slice_metrics(slices: pd.DataFrame) -> dict[str, float]:
    """The accuracy and the rows of every slice, named `slice/column/value/accuracy`."""
    return {
        f"slice/{row['by']}/{row['value']}/{name}": float(row[name])
        for row in slices.to_dict("records")
        for name in ("accuracy", "rows")
    }


def _figures(truth: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    hits = int((truth == answers).sum())
    low, high = wilson_interval(hits, len(truth))
    macro = f1_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0.0)
    return {"rows": len(truth), "accuracy": hits / len(truth), "low": low, "high": high, "macro_f1": float(macro)}


def _order(by: str, values: Sequence[Any]) -> list[str]:
    """The names of the slices: numbers and texts in their order, sizes by size; then the pooled ones, then null."""
    known = [value for value in values if not pd.isna(value)]
    if not known:
        return []
    counts = pd.Series(known, dtype=object).value_counts()
    shown = counts.index[:MOST_VALUES].tolist()
    ordered = [name for name in SIZES if name in shown] if by == CLASS_SIZE else [str(value) for value in sorted(shown)]
    return [*ordered, *[REST] * (len(counts) > len(shown)), *[NONE] * (len(known) < len(values))]
