"""Pictures of a training run: plain tables in, PNG bytes out.

The same input gives the same bytes. The size of a picture in inches, times 100, is the width in CSS pixels at which its
text is meant to be read (`DPI` is higher, for sharp screens and paper).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fashion_ray.training.evaluation import OTHER, TargetEvaluation
from fashion_ray.training.intervals import wilson_interval

DPI = 144
REST = "(rest)"

INK = "#1f2328"
FAINT = "#d0d7de"
BLUE = "#0072b2"
ORANGE = "#d55e00"

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow, too light on white.
CURVE_COLOURS = [BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666"]
_CURVE_MARKERS = ["o", "s", "^", "D"]

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8c959f",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.07,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.facecolor": "white",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "savefig.bbox": None,
    "savefig.dpi": "figure",
    "savefig.facecolor": "auto",
    "text.color": INK,
    # Labels come from a catalog: "$5 to $10" is a label, not a formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.color": INK,
    "ytick.labelsize": 8.0,
}


@dataclass(frozen=True, kw_only=True)
class ConfusionView:
    """A confusion matrix as it is drawn: commonest classes first, the rare ones pooled as `REST`.

    `counts` is (rows, columns). Rows are true classes that occur; columns are those and whatever else was predicted,
    `OTHER` last. `correct` has, per row, the predictions that are right: for `REST` fewer than its own square, which
    also holds the confusions among the pooled classes.
    """

    rows: list[str]
    columns: list[str]
    counts: np.ndarray[Any, np.dtype[np.int64]]
    correct: np.ndarray[Any, np.dtype[np.int64]]


def png(width_in: float, height_in: float, paint: Callable[[Figure], None]) -> bytes:
    """Draw on a new figure in the house's style and return it as PNG, without anything that differs between runs."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def learning_curves(history: pd.DataFrame) -> bytes:
    """Loss and accuracy by epoch, validation solid and training dashed, with the boundaries of the stages.

    `history` has one row per epoch: epoch (from 1, running over all stages), stage, train_loss, validation_loss,
    `validation_accuracy/<target>` and possibly `train_accuracy/<target>`; NaN where it was not measured. Raises
    ValueError if there is no epoch or a column is missing.
    """
    check_history(history)
    table = history.sort_values("epoch", ignore_index=True)
    targets = [name.partition("/")[2] for name in table.columns if str(name).startswith("validation_accuracy/")]

    def paint(figure: Figure) -> None:
        loss, accuracy = figure.subplots(1, 2)
        _curve(loss, table, "validation_loss", INK, "-")
        _curve(loss, table, "train_loss", INK, "--")
        for number, target in enumerate(targets):
            colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
            marker = _CURVE_MARKERS[number // len(CURVE_COLOURS) % len(_CURVE_MARKERS)]
            _curve(accuracy, table, f"validation_accuracy/{target}", colour, "-", marker)
            _curve(accuracy, table, f"train_accuracy/{target}", colour, "--", marker)
            accuracy.plot([], [], color=colour, marker=marker, markersize=4, label=short(target))
        low, high = accuracy.get_ylim()
        accuracy.set_ylim(max(low, -0.01), min(high, 1.01))
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
        for line, fill, label in (("-", INK, "validation"), ("--", "white", "training")):
            loss.plot([], [], color=INK, linestyle=line, marker="o", markersize=4, markerfacecolor=fill, label=label)
        for axes, title in ((loss, "Loss"), (accuracy, "Accuracy")):
            axes.set_title(title, pad=8 + _mark_stages(axes, table))
            axes.set_xlabel("epoch")
            axes.set_xlim(table["epoch"].min() - 0.5, table["epoch"].max() + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(axis="y", color=FAINT, linewidth=0.6)
        figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)

    return png(10.0, 4.2 + 0.2 * (len(targets) // 5), paint)


def rate_curve(rates: Sequence[float], losses: Sequence[float], found: float | None) -> bytes:
    """The loss before each step of a learning-rate test over its rate, and the rate at which it fell fastest, if it did."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(rates, losses, color=BLUE, linewidth=1.6)
        axes.set_xscale("log")
        least = min(losses)
        axes.set_ylim(top=2 * losses[0] - least, bottom=least - 0.1 * (losses[0] - least or 1.0))
        if found is not None:
            axes.axvline(found, color=ORANGE, linestyle="--", linewidth=1.4)
            axes.annotate(
                f" {found:.2g}", (found, 1), xycoords=("data", "axes fraction"), va="top", color=ORANGE, annotation_clip=False
            )
        axes.set_title("Learning-rate test" + ("" if found is not None else ": the loss never fell"))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss of the batch")

    return png(7.0, 3.6, paint)


def check_history(history: pd.DataFrame) -> None:
    """Raise ValueError unless `history` has an epoch and the columns that every run has."""
    missing = [name for name in ("epoch", "stage", "train_loss", "validation_loss") if name not in history.columns]
    if missing:
        raise ValueError(
            f"the history has columns {[str(name) for name in history.columns]}, expected also {missing}. "
            "Pass one row per epoch with all of them; NaN where a loss was not measured"
        )
    if history.empty:
        raise ValueError("the history has no row, expected one per epoch. Train for at least one epoch first")


def confusion_view(evaluation: TargetEvaluation, *, most: int = 40) -> ConfusionView:
    """Order the confusion matrix by support and pool what is beyond the `most` commonest classes; no count is lost."""
    if most < 1:
        raise ValueError(f"got most={most}, expected the number of classes to show, 1 or more")
    order = [str(name) for name in evaluation.per_class["class"] if name != OTHER]
    shown, pooled = order[:most], order[most:]
    groups = [[name] for name in shown] + ([pooled] if pooled else [])
    names = shown + ([REST] if pooled else [])
    if OTHER in evaluation.classes:
        groups, names = [*groups, [OTHER]], [*names, OTHER]
    code = {name: number for number, name in enumerate(evaluation.classes)}
    folding = np.zeros((len(groups), len(code)), dtype=np.int64)
    for number, group in enumerate(groups):
        folding[number, [code[name] for name in group]] = 1
    counts = folding @ evaluation.confusion @ folding.T
    occurring = np.flatnonzero(counts.sum(axis=1))
    correct = folding @ np.diag(evaluation.confusion)
    return ConfusionView(
        rows=[names[row] for row in occurring], columns=names, counts=counts[occurring], correct=correct[occurring]
    )


def confusion_matrix(evaluation: TargetEvaluation, *, most: int = 40) -> bytes:
    """Where each true class went: colour is the share of its row, the number (up to 12 classes) the count."""
    view = confusion_view(evaluation, most=most)
    few = len(view.columns) <= 12
    cell_in = 0.52 if few else 0.175
    row_names, column_names = [short(name, 24) for name in view.rows], [short(name, 24) for name in view.columns]
    labels_in = 0.4 + 0.07 * max(len(name) for name in column_names)
    width_in = labels_in + cell_in * len(view.columns) + 1.1
    height_in = labels_in + cell_in * len(view.rows) + 0.6

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        share = view.counts / view.counts.sum(axis=1, keepdims=True)
        # The square root makes a confusion of 2% visible next to a diagonal of 95%.
        image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0.0, 1.0), aspect="equal")
        axes.set_xticks(range(len(view.columns)), column_names, rotation=90)
        axes.set_yticks(range(len(view.rows)), row_names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(len(view.columns) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(view.rows) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white" if few else "#eaeef2", linewidth=1.5 if few else 0.4)
        axes.tick_params(which="minor", length=0)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title("Confusion matrix")
        if few:
            _write_counts(axes, view.counts, share)
        bar = figure.colorbar(image, ax=axes, shrink=min(0.7, 3.0 / (cell_in * len(view.rows))), aspect=16, pad=0.02)
        bar.set_ticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0], labels=["0", "1%", "5%", "10%", "25%", "50%", "100%"])
        bar.minorticks_off()
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)

    return png(max(width_in, 4.0), max(height_in, 3.2), paint)


def class_recall_bars(evaluation: TargetEvaluation, most: int = 40) -> bytes:
    """Recall of each true class with its 95% Wilson interval, commonest class on top; the rare ones pooled."""
    view = confusion_view(evaluation, most=most)
    support = view.counts.sum(axis=1)
    recall = view.correct / support
    pairs = zip(view.correct, support, strict=True)
    interval = np.array([wilson_interval(int(hits), int(rows)) for hits, rows in pairs])

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = np.arange(len(view.rows))
        axes.barh(places, recall, height=0.72, color=BLUE)
        axes.hlines(places, interval[:, 0], interval[:, 1], color=INK, linewidth=1.1)
        axes.axvline(evaluation.accuracy, color=ORANGE, linewidth=1.2, linestyle="--")
        axes.set_yticks(places, [short(name) for name in view.rows])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(len(places) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("recall; line: 95% interval; dashed: accuracy over all classes")
        axes.set_title("Recall by class")
        for place, rows in zip(places, support, strict=True):
            axes.text(1.02, float(place), f"{rows:,}", va="center", fontsize=8, transform=axes.get_yaxis_transform())
        axes.text(1.02, -0.75, "rows", va="bottom", fontsize=8, transform=axes.get_yaxis_transform())

    return png(6.0, 1.1 + 0.2 * max(len(view.rows), 4), paint)


def short(label: str, most: int = 28) -> str:
    """One line of at most `most` characters; what is cut off is marked by an ellipsis."""
    line = " ".join(label.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def area(value: float) -> str:
    """The area under a curve as text that says 1.000 only if it is; n/a where there is none."""
    if np.isnan(value):
        return "n/a"
    text = f"{value:.3f}"
    return ">0.999" if text == "1.000" and value < 1 else text


def _curve(axes: Axes, table: pd.DataFrame, column: str, colour: str, line: str, marker: str = "o") -> None:
    if column not in table.columns:
        return
    points = table[["epoch", column]].dropna()
    # Markers make a single epoch visible and targets of one colour distinct; on every one of many epochs they would
    # hide the line.
    every = max(1, len(points) // 15)
    axes.plot(
        points["epoch"], points[column], color=colour, linestyle=line, linewidth=1.6, marker=marker, markersize=4,
        markevery=every, markerfacecolor=colour if line == "-" else "white",
    )  # fmt: skip


def _mark_stages(axes: Axes, table: pd.DataFrame) -> float:
    """Rule off the stages and name them above the axes; returns the height of the names in points."""
    starts = table.index[table["stage"] != table["stage"].shift()]
    first_epochs = [float(table.loc[start, "epoch"]) for start in starts]
    ends = [*first_epochs[1:], float(table["epoch"].max()) + 1.0]
    names = [short(str(table.loc[start, "stage"]), 16) for start in starts]
    # A panel is about 290 points wide, a character 5 and a line 12.
    epochs_per_point = (ends[-1] - first_epochs[0]) / 290.0
    spans = list(zip(names, first_epochs, ends, strict=True))
    crowded = any(5.0 * len(name) * epochs_per_point > end - start for name, start, end in spans)
    place = -np.inf
    for number, (name, start, end) in enumerate(spans):
        if number:
            axes.axvline(start - 0.5, color="#8c959f", linewidth=0.8)
        # Names of short stages stand upright, side by side, pushed right where they would overlap.
        place = max((start + end) / 2 - 0.5, place + 12.0 * epochs_per_point if crowded else -np.inf)
        axes.text(
            place, 1.01, name, transform=axes.get_xaxis_transform(), fontsize=8, color="#57606a", ha="center",
            va="bottom", rotation=90 if crowded else 0,
        )  # fmt: skip
    return 5.2 * max(len(name) for name in names) if crowded else 14.0


def _write_counts(axes: Axes, counts: np.ndarray[Any, Any], share: np.ndarray[Any, Any]) -> None:
    size = 8.0 if counts.max() < 10_000 else 6.5
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.35 else INK
            axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=colour)
