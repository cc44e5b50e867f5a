"""A study's figures beside ours. In: what each training came to. Out: tables.

Over several trainings of a group, its folds, a figure is their mean with Student's 95% interval; of one training it is its own,
with the interval that its test rows give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev

import pandas as pd

MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a training came to on its test side."""

    run: str
    """Its name, which is also that of its folder below reports/."""

    target: str = ""
    backbone: str = ""
    weights: str = ""
    input_size: str = ""
    split: str = ""
    classes: int = 0
    balance: float = math.nan
    """Of the training rows as they are fed: entropy of the class shares over that of even ones."""

    train_rows: int = 0
    test_rows: int = 0
    accuracy: float = math.nan
    low: float = math.nan
    high: float = math.nan
    """95% Wilson interval of the accuracy."""

    weighted_f1: float = math.nan
    macro_f1: float = math.nan
    majority: float = math.nan
    """Accuracy of always answering the commonest class."""

    collapsed: bool = False
    """Whether it answers one class for nearly everything."""

    parameters: int = 0
    size_mb: float = math.nan
    """Of its bundle."""

    images_per_second: float = math.nan
    """Of the engine that scores, forward only, on one node."""

    best_epoch: int = 0
    epochs: int = 0
    seconds: float = math.nan
    run_id: str = ""
    """Of its MLflow run."""

    error: str = ""
    """Why there are no figures."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A figure of a study, and the trainings that are to reach it."""

    group: str
    theirs: str
    figures: tuple[Figures, ...]


def t_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of independent values; endless for fewer than two.

    Folds share most of their training rows, so theirs is narrower than it should be (Bengio and Grandvalet 2004).
    """
    if len(values) < 2:
        return -math.inf, math.inf
    import scipy.stats  # a second

    reach = float(scipy.stats.t.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - reach, mean(values) + reach


def compared(entries: Sequence[Entry]) -> pd.DataFrame:
    """A row a group: theirs, ours, and what ours is of."""
    return pd.DataFrame([_row(entry) for entry in entries])


def each(entries: Sequence[Entry]) -> pd.DataFrame:
    """A row a training, with all that is known of it."""
    rows = [{"group": entry.group, "theirs": entry.theirs, **asdict(one)} for entry in entries for one in entry.figures]
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """A table as text, for people and pages alike."""
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(str(value).replace("|", "/") for value in row) + " |" for row in table.to_numpy().tolist()]
    return "\n".join(lines) + "\n"


def _row(entry: Entry) -> dict[str, str]:
    done = [one for one in entry.figures if not one.error]
    said = {"run": entry.group, "theirs": entry.theirs or "none"}
    if not done:
        error = entry.figures[0].error if entry.figures else "not run"
        return {**said, "accuracy": "not run", **dict.fromkeys(_COLUMNS, ""), "of": error}
    first, accuracies = done[0], [one.accuracy for one in done]
    low, high = t_interval(accuracies) if len(done) > 1 else (first.low, first.high)
    of = f"{first.target}, {first.backbone} at {first.input_size}, weights {first.weights}"
    notes = [of] + ([f"{len(done)} of {len(entry.figures)} trainings"] if len(entry.figures) > 1 else [])
    notes += ["answers one class for nearly everything"] if any(one.collapsed for one in done) else []
    return {
        **said, "accuracy": f"{mean(accuracies):.4f} [{low:.4f}, {high:.4f}]",
        "weighted F1": f"{mean(one.weighted_f1 for one in done):.4f}", "macro F1": f"{mean(one.macro_f1 for one in done):.4f}",
        "commonest": f"{mean(one.majority for one in done):.4f}",
        "classes": str(first.classes), "balance": f"{first.balance:.3f}",
        "parameters": f"{first.parameters:,}",
        "MB": f"{first.size_mb:.1f}", "images/s": f"{mean(one.images_per_second for one in done):.0f}",
        "best epoch": ", ".join(f"{one.best_epoch} of {one.epochs}" for one in done), "of": "; ".join(notes),
    }  # fmt: skip


_COLUMNS = ("weighted F1", "macro F1", "commonest", "classes", "balance", "parameters", "MB", "images/s", "best epoch")
