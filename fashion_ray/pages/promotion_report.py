"""The page of a promotion. In: comparisons of two models, and the decision. Out: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fashion_ray.pages.rendering import environment
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
            sections=[_section(number, one) for number, one in enumerate(comparisons, start=1)],
        )
    )


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
