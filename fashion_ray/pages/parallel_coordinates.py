"""Trials of a search as lines through their options. In: a table. Out: a PNG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fashion_ray.pages.plots import FAINT, INK, png

NONE = "-"
"""What an option has in a trial in which it does not count."""

SPREAD = 20
"""Positive numbers that reach over such a factor are drawn by their logarithm."""

MOST_LABELS = 12


def parallel_coordinates(
    table: pd.DataFrame, options: Sequence[str], figure: str, *, label: str, less_is_better: bool = False
) -> bytes:
    """An axis an option and the figure at the right, a line a trial, the best drawn last and darkest.

    `table` has a row a trial, its options as text, empty where one does not count, and the figure as a number; rows without a
    figure are left out. Raises ValueError if none has one.
    """
    known = table[table[figure].notna()]
    rows = known.sort_values(figure, ascending=not less_is_better, kind="stable", ignore_index=True)
    if not len(rows):
        raise ValueError("got no trial with a figure, expected at least one")
    places = {name: _places([str(value) for value in rows[name]]) for name in options}

    def paint(drawing: Figure) -> None:
        axes = drawing.subplots()
        columns = [*(places[name][0] for name in options), _scaled(rows[figure].to_numpy(dtype=float))]
        for number, heights in enumerate(np.stack(columns, axis=1)):
            share = (number + 1) / len(rows)
            best = number == len(rows) - 1
            axes.plot(
                range(len(heights)), heights, color="#d55e00" if best else "#0072b2", alpha=1.0 if best else 0.12 + 0.5 * share,
                linewidth=2.2 if best else 1.0,
            )  # fmt: skip
        for column, name in enumerate(options):
            _axis(axes, column, places[name][1])
        low, high = rows[figure].min(), rows[figure].max()
        _axis(axes, len(options), {0.0: f"{low:.4f}", 1.0: f"{high:.4f}"} if high > low else {0.5: f"{low:.4f}"})
        axes.set_xticks(range(len(options) + 1), [*options, label], rotation=30, ha="right")
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlim(-0.3, len(options) + 0.7)
        axes.set_title(f"{len(rows)} trials by {label}, the best in orange")

    return png(max(6.0, 1.3 * (len(options) + 2)), 4.5, paint)


def _axis(axes: Axes, column: int, labels: dict[float, str]) -> None:
    axes.axvline(column, color=FAINT, zorder=0)
    for height, text in labels.items():
        axes.text(column + 0.04, height, text, fontsize=7, color=INK, va="center")


def _places(texts: Sequence[str]) -> tuple[np.ndarray, dict[float, str]]:
    """The height of each text on its axis, 0 to 1, and what stands at which height."""
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(dtype=float)
    known = sorted({text or NONE for text in texts}, key=lambda text: (text != NONE, _order(text)))
    if not np.isfinite(numbers).all() or len(known) <= 6:
        heights = {text: 0.5 if len(known) == 1 else place / (len(known) - 1) for place, text in enumerate(known)}
        shown = known if len(known) <= MOST_LABELS else [known[0], known[-1]]
        return np.array([heights[text or NONE] for text in texts]), {heights[text]: text for text in shown}
    log = numbers.min() > 0 and numbers.max() / numbers.min() > SPREAD
    return _scaled(np.log(numbers) if log else numbers), {0.0: f"{numbers.min():.3g}", 1.0: f"{numbers.max():.3g}"}


def _order(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text


def _scaled(numbers: np.ndarray) -> np.ndarray:
    spread = numbers.max() - numbers.min()
    return (numbers - numbers.min()) / spread if spread else np.full(len(numbers), 0.5)
