"""Whether the challenger may become champion. In: comparisons and what the models were trained on. Out: objections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fashion_ray.promotion.comparison import BETTER, WORSE, TargetComparison
from fashion_ray.promotion.lineage import Lineage


def objections(
    comparisons: Mapping[str, TargetComparison],
    target: str,
    *,
    lineages: Sequence[Lineage],
    unanswered: Sequence[str] = (),
    against_champion: bool = True,
) -> list[str]:
    """What speaks against promotion, by how much; none if the challenger is significantly better on the deciding target and
    significantly worse on no other.

    `unanswered` are the champion's targets that the challenger does not predict; `against_champion` says whether it was
    compared with the model that has the alias. No correction for several targets is made:
    one more refusal costs a look at the page, one more unseen loss costs a night's labels.
    """
    found = []
    decided = comparisons[target]
    if decided.verdict != BETTER:
        found.append(f"not better on the deciding target (p at most {decided.alpha:g} is asked for). {decided.sentence()}")
    found += [
        f"significantly worse on another target. {one.sentence()}"
        for name, one in comparisons.items()
        if name != target and one.verdict == WORSE
    ]
    if unanswered:
        found.append(f"the champion predicts {', '.join(unanswered)}, the challenger does not")
    if not against_champion:
        found.append("it was compared with another model than the champion, which it would replace")
    for one in lineages:
        if one.trained:
            found.append(
                f"{one.trained} of the {one.rows} rows were trained on by the {one.role}, whose figures they flatter "
                f"(it was trained on {one.split} of catalog {one.catalog})"
            )
        if not one.known:
            found.append(f"the {one.role}'s card does not say what it was trained on")
    return found
