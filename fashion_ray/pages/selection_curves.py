"""Curves of labelling strategies. In: accuracy against labels bought, of each strategy. Out: a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from fashion_ray.pages import plots


def selection_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """PNG: (labels, accuracy) of each strategy as a line; `random` is drawn dashed."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, curve in curves.items():
            labels, accuracies = zip(*curve, strict=True)
            axes.plot(labels, [100 * value for value in accuracies], "--" if name == "random" else "-", label=name)
        axes.set_xlabel("labels bought")
        axes.set_ylabel("accuracy on held-out groups, %")
        axes.legend(frameon=False, fontsize=8.5)

    return plots.png(6.5, 4.0, paint)
