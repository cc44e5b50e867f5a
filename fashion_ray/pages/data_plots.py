"""Pictures of a catalog: tables of catalog.statistics in, PNG bytes out. The same input gives the same bytes."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fashion_ray.pages import plots

LIGHT_BLUE, LIGHT_ORANGE = "#99c6e0", "#eebf99"

LOG_FROM = 100
"""A log scale where the commonest class has this many times the products of the rarest one shown."""


def folded(counts: pd.DataFrame, *, minimum: int, most: int = 20) -> list[tuple[str, int, str]]:
    """The bars of `class_bars`, as (name, products, colour): `most` classes, then what is left in up to two; none is lost."""
    # A bar that stands for a single class says nothing that the class would not say better.
    cut = most if len(counts) > most + 1 else len(counts)
    shown, rest = counts.head(cut), counts.iloc[cut:]
    bars = [
        (plots.short(str(name)), int(size), plots.ORANGE if size < minimum else plots.BLUE)
        for name, size in zip(shown["class"], shown["products"], strict=True)
    ]
    rare = rest["products"] < minimum
    for some, said, colour in ((rest[~rare], "more", LIGHT_BLUE), (rest[rare], f"more under {minimum}", LIGHT_ORANGE)):
        if len(some):
            bars.append((f"({len(some)} {said})", int(some["products"].sum()), colour))
    return bars


def class_bars(counts: pd.DataFrame, *, title: str, minimum: int, most: int = 20) -> bytes:
    """The products of each class as bars, the commonest on top; what is beyond `most` classes is folded into pale bars.

    `counts` has class and products, the commonest first, as in CatalogStatistics.classes. Classes with fewer than `minimum`
    products are orange. Raises ValueError if there is no class.
    """
    if counts.empty:
        raise ValueError(f"{title}: got no class, expected one at least. Leave out the plot of a column without labels")
    names, sizes, colours = zip(*folded(counts, minimum=minimum, most=most), strict=True)
    orange = bool({plots.ORANGE, LIGHT_ORANGE} & set(colours))
    log = max(sizes) >= LOG_FROM * min(sizes)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        if log:
            axes.set_xscale("log")
        # On a log scale a class of one product needs some room to be seen; the right end is for the figures.
        axes.set_xlim(0.6 if log else 0.0, max(sizes) * (3.0 if log else 1.14))
        axes.barh(range(len(sizes)), sizes, height=0.72, color=colours)
        axes.set_yticks(range(len(sizes)), names)
        axes.set_ylim(len(sizes) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(axis="x", color=plots.FAINT, linewidth=0.6)
        axes.set_xlabel("products" + (", log scale" if log else "") + (f"; orange: under {minimum}" if orange else ""))
        axes.set_title(plots.short(title, 60))
        for place, size in enumerate(sizes):
            axes.annotate(f"{size:,}", (size, place), (4, 0), textcoords="offset points", va="center", fontsize=8)

    return plots.png(5.6, 1.0 + 0.2 * max(len(sizes), 3), paint)
