"""Products beside those that are similar to them. In: pictures with captions. Out: PNGs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from fashion_ray.pages import plots
from fashion_ray.pages.contact_sheet import contact_sheet, group_sheet

Shown = tuple[bytes | None, str]


def sheet(pictures: Sequence[Shown]) -> bytes:
    """A query and its neighbours, side by side, six in a row."""
    return contact_sheet(pictures, columns=6)


def examples_sheet(groups: Sequence[tuple[str, Sequence[Shown]]]) -> bytes:
    """Several queries, each with its neighbours in a row of its own below its title."""
    return group_sheet(groups, columns=max(len(members) for _, members in groups))


def similarity_histogram(first: Sequence[float], last: Sequence[float], k: int) -> bytes:
    """How near the nearest and the k-th neighbours are, as a PNG. Raises ValueError if there are none."""
    if not len(first):
        raise ValueError("got no neighbour, expected one at least. Leave out the plot where there are none")

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        low = min(min(first), min(last, default=1.0))
        for values, colour, name in ((first, plots.BLUE, "nearest"), (last, plots.ORANGE, f"number {k}")):
            axes.hist(values, bins=60, range=(low, 1.0), histtype="step", linewidth=1.6, color=colour, label=name)
        axes.set_xlabel("cosine")
        axes.set_ylabel("products")
        axes.set_title("How similar the similar ones are")
        axes.legend(frameon=False, fontsize=8)

    return plots.png(5.6, 2.6, paint)
