"""Pictures of what probabilities are worth: ROC and precision-recall curves, reliability. Tables in, PNG bytes out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fashion_ray.pages.plots import BLUE, CURVE_COLOURS, FAINT, INK, ORANGE, area, png, short
from fashion_ray.training.curves import MICRO, SMALLEST_RATE, Curve, Curves
from fashion_ray.training.reliability import calibration_error


def probability_curves(curves: Curves) -> bytes:
    """ROC on the left and precision-recall on the right, each with its areas; those that `curves` kept.

    Raises ValueError if none is kept, as no class has rows of its own and rows of others.
    """
    if not curves.roc:
        raise ValueError(
            f"got no curve of the {len(curves.areas)} classes, expected one that has rows of its own and rows of others. "
            "Leave the picture out"
        )
    most = max(len(curves.roc), len(curves.precision_recall))

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        _lines(left, curves.roc, steps=False)
        chance = np.geomspace(SMALLEST_RATE, 1, 50)
        left.plot(chance, chance, color="#8c959f", linewidth=1, linestyle="--", zorder=1)
        left.set_xscale("log")
        left.set(
            xlim=(SMALLEST_RATE, 1), xlabel="false positive rate (logarithmic; dashed: chance)", ylabel="true positive rate"
        )
        left.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01%", "0.1%", "1%", "10%", "100%"])
        left.minorticks_off()
        left.set_title("ROC (area)")
        _lines(right, curves.precision_recall, steps=True)
        right.set(xlim=(-0.01, 1.01), xlabel="recall", ylabel="precision")
        right.set_title("Precision and recall (average precision)")

    return png(9.6, 4.2 + 0.2 * most, paint)


def reliability_diagram(calibrated: pd.DataFrame, uncalibrated: pd.DataFrame | None, *, title: str) -> bytes:
    """Accuracy against predicted probability, with the rows in each bin below; the diagonal is calibrated.

    Both tables are `calibration_bins`: of the calibrated answers, and of those before temperature scaling (a line). Raises
    ValueError unless there is a row.
    """
    if not calibrated["rows"].sum():
        raise ValueError("got bins without a row, expected one row at least. Leave out a target that has no labelled row")

    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        full = calibrated[calibrated["rows"] > 0]
        width = calibrated["high"] - calibrated["low"]
        upper.bar(full["low"], full["accuracy"], width[full.index], align="edge", color=BLUE, alpha=0.3, edgecolor=BLUE)
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
        label = f"calibrated: expected error {calibration_error(calibrated):.1%}"
        upper.plot(full["confidence"], full["accuracy"], "o", color=BLUE, markersize=5, label=label)
        if uncalibrated is not None:
            before = uncalibrated[uncalibrated["rows"] > 0]
            label = f"before temperature scaling: {calibration_error(uncalibrated):.1%}"
            upper.plot(
                before["confidence"], before["accuracy"], "s", color=ORANGE, markersize=4.5, label=label,
                markerfacecolor="white",
            )  # fmt: skip
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside lower center", frameon=False, fontsize=8.5)
        upper.set_title(short(title, 60))
        lower.bar(calibrated["low"], calibrated["rows"], width, align="edge", color="#8c959f", edgecolor="white")
        lower.set(xlabel="predicted probability (dots: mean of the bin)", ylabel="rows")
        lower.xaxis.set_major_formatter(PercentFormatter(1.0))

    return png(5.0, 5.2, paint)


def _lines(axes: Axes, curves: list[Curve], *, steps: bool) -> None:
    """The lines with a legend below, the micro average black and thick, the classes from the best to the worst."""
    styles = itertools.product(("-", "--"), CURVE_COLOURS)
    for curve in curves:
        micro = curve.name == MICRO
        line, colour = ("-", INK) if micro else next(styles)
        x = curve.x if steps else np.maximum(curve.x, SMALLEST_RATE)
        axes.plot(
            x, curve.y, color=colour, linestyle=line, linewidth=2.0 if micro else 1.2,
            drawstyle="steps-pre" if steps else "default", label=f"{area(curve.area)}  {short(curve.name, 32)}",
            zorder=3 if micro else 2,
        )  # fmt: skip
    axes.set(ylim=(-0.01, 1.02))
    axes.grid(color=FAINT, linewidth=0.5)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=8.5, borderaxespad=0.0)
