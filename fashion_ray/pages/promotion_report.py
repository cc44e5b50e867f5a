"""The page of a promotion. In: comparisons of two models, and the decision. Out: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from fashion_ray.pages import plots
from fashion_ray.pages.rendering import environment, picture
from fashion_ray.promotion.comparison import TargetComparison

CHANGED_MOST = 12


def promotion_report(
    *,
    title: str,
    decision: str,
    facts: Mapping[str, str],
    comparisons: Sequence[TargetComparison],
    objections: Sequence[str] = (),
    because: str = "",
    warnings: Sequence[str] = (),
) -> str:
    """The decision and why, both models' figures on each target, and the classes; the deciding target comes first.

    Everything from outside is escaped, and the page fetches nothing. Raises ValueError without a comparison.
    """
    if not comparisons:
        raise ValueError("got no comparison, expected the deciding target's at least. Compare a target that has labels")
    return (
        environment()
        .get_template("promotion_report.html.j2")
        .render(
            title=title,
            decision=decision,
            facts=facts,
            objections=objections,
            because=because,
            warnings=warnings,
            comparisons=comparisons,
            differences=picture(differences(comparisons)),
            sections=[_section(number, one) for number, one in enumerate(comparisons, start=1)],
        )
    )


def differences(comparisons: Sequence[TargetComparison]) -> bytes:
    """PNG: challenger minus champion of each target's accuracy and macro F1, in points, with their 95% intervals."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = range(len(comparisons))
        for shift, colour, label, name in (
            (-0.12, plots.BLUE, "accuracy", "accuracy"),
            (0.12, plots.ORANGE, "macro F1", "macro_f1"),
        ):
            found = [getattr(one, name) for one in comparisons]
            axes.errorbar(
                [100 * one.value for one in found], [place + shift for place in places],
                xerr=[
                    [max(0.0, 100 * (one.value - one.low)) for one in found],
                    [max(0.0, 100 * (one.high - one.value)) for one in found],
                ],
                fmt="o", color=colour, capsize=3, label=label,
            )  # fmt: skip
        axes.axvline(0, color=plots.INK, linewidth=0.8)
        axes.set_yticks(list(places), [plots.short(one.target) for one in comparisons])
        axes.set_ylim(len(comparisons) - 0.5, -0.5)
        axes.set_xlabel("challenger minus champion, in points")
        axes.legend(frameon=False, fontsize=8.5)

    return plots.png(7.0, 1.2 + 0.45 * len(comparisons), paint)


def _section(number: int, one: TargetComparison) -> dict[str, Any]:
    classes = one.classes.assign(difference=one.classes["challenger_f1"] - one.classes["champion_f1"])
    disputed = classes[(classes["lost"] + classes["won"] > 0) | classes["regressed"]]
    order = (disputed["lost"] - disputed["won"]).abs().sort_values(ascending=False, kind="stable").index
    return {
        "anchor": f"target-{number}",
        "comparison": one,
        "moved": disputed.loc[order].head(CHANGED_MOST).to_dict("records"),
        "classes": classes.to_dict("records"),
    }
