"""How well a target's probabilities rank the rows. In: true classes, every class's probability. Out: ROC and PR curves, areas.

Every class is told from all the others. The micro average pools all pairs of a row and a class, so it is that of the rows;
the macro average counts every class alike that has both rows of its own and rows of others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

MICRO = "micro average"

SHOWN_EACH_END = 5
"""Of the best and of the worst classes, whose curves are kept; all the areas are in the table."""

SHOWN_LEAST_ROWS = 10
"""A class with fewer rows has stairs for a curve; it is kept only where there are too few larger ones."""

MOST_POINTS = 300
"""Of a curve that is kept: more cannot be told apart in a picture. Areas are of all points."""

SMALLEST_RATE = 1e-4
"""False positive rates below it are drawn there: with a few thousand rows they are nought or one of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One line: for ROC the false against the true positive rate, else recall against precision, drawn as steps."""

    name: str
    area: float
    x: np.ndarray[Any, np.dtype[np.float64]]
    y: np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Areas of all classes, and the curves of the micro average and of the best and worst few classes, in that order."""

    areas: pd.DataFrame
    """One row per class of the model: class, support, roc_auc, average_precision; NaN unless some rows are of it, some not."""
    roc: list[Curve]
    precision_recall: list[Curve]
    """Its areas are average precisions, as the trapezoid rule would flatter (scikit-learn, `average_precision_score`)."""

    def metrics(self) -> dict[str, float]:
        """Micro and macro areas, those that are defined."""
        found = {}
        for name, lines in (("roc_auc", self.roc), ("average_precision", self.precision_recall)):
            found[f"{name}_macro"] = float(self.areas[name].mean())
            found[f"{name}_micro"] = next((line.area for line in lines if line.name == MICRO), math.nan)
        return {name: value for name, value in found.items() if math.isfinite(value)}


def evaluate_curves(classes: Sequence[str], truth: np.ndarray[Any, Any], probability: np.ndarray[Any, Any]) -> Curves:
    """Curves and areas for labelled rows: `truth` (rows,) has the index of the class, -1 for one the model does not know.

    `probability` is (rows, classes). Rows of a class that the model does not know are rows of others for every class.
    """
    members = truth[:, None] == np.arange(len(classes))
    support = members.sum(axis=0)
    defined = np.flatnonzero((support > 0) & (support < len(truth)))
    areas = pd.DataFrame({"class": list(classes), "support": support, "roc_auc": math.nan, "average_precision": math.nan})
    lines: dict[str, dict[int, Curve]] = {"roc_auc": {}, "average_precision": {}}
    for number in defined.tolist():
        found = _pair(classes[number], members[:, number], probability[:, number])
        for kind, line in zip(lines, found, strict=True):
            lines[kind][number] = line
            areas.loc[number, kind] = line.area
    kept = {}
    for kind, ones in lines.items():
        chosen = best_and_worst(areas, kind)
        kept[kind] = [_thinned(ones[number]) for number in chosen]
    if support.any() and not members.all():
        for kind, line in zip(kept, _pair(MICRO, members.ravel(), probability.ravel()), strict=True):
            kept[kind].insert(0, _thinned(line))
    return Curves(areas=areas, roc=kept["roc_auc"], precision_recall=kept["average_precision"])


def best_and_worst(areas: pd.DataFrame, kind: str, *, each: int = SHOWN_EACH_END) -> list[int]:
    """The rows of the classes to show, largest area first: all if they are few, else `each` of the best and of the worst."""
    ranked = areas[areas[kind].notna()].sort_values(kind, ascending=False, kind="stable")
    large = ranked[ranked["support"] >= SHOWN_LEAST_ROWS]
    if len(large) >= 2 * each:
        ranked = large
    places = [int(place) for place in ranked.index]
    return places if len(places) <= 2 * each else places[:each] + places[-each:]


def _pair(name: str, member: np.ndarray[Any, Any], probability: np.ndarray[Any, Any]) -> tuple[Curve, Curve]:
    false_rate, true_rate, _ = roc_curve(member, probability)
    precision, recall, _ = precision_recall_curve(member, probability, drop_intermediate=True)
    return (
        Curve(name=name, area=float(auc(false_rate, true_rate)), x=false_rate, y=true_rate),
        Curve(name=name, area=float(average_precision_score(member, probability)), x=recall[::-1], y=precision[::-1]),
    )


def _thinned(curve: Curve) -> Curve:
    """The same line with about `MOST_POINTS` of its points, its ends among them: half along its length, half towards x = 0.

    The corner at small x is where a good ROC curve happens, and it is drawn on a logarithmic axis.
    """
    if len(curve.x) <= MOST_POINTS:
        return curve
    chosen = {0, len(curve.x) - 1}
    for x in (curve.x, np.log10(np.maximum(curve.x, SMALLEST_RATE)) / np.log10(SMALLEST_RATE)):
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(curve.y)))])
        chosen.update(np.searchsorted(length, np.linspace(0.0, length[-1], MOST_POINTS // 2 - 1)).tolist())
    places = sorted(chosen)
    return Curve(name=curve.name, area=curve.area, x=curve.x[places], y=curve.y[places])
