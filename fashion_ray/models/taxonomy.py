"""The category tree that training has seen. In: labels of rows. Out: the levels among the targets, and the paths through them.

The levels are the feed's own or the reassigned ones. How answers follow the paths is in decisions.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fashion_ray.catalog.schema import CATEGORY_LEVELS

REASSIGNED_LEVELS = tuple(f"reassigned_{level}" for level in CATEGORY_LEVELS)
FAMILIES = (CATEGORY_LEVELS, REASSIGNED_LEVELS)
"""The columns that are levels of one tree, from the root: the feed's own, and those without the catch-all class."""

Classes = Mapping[str, Sequence[str | None]]
"""The classes of each target; null stands for `other`, the classes that are too rare to be learned."""


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The category levels among the targets, and the paths through their classes."""

    levels: tuple[str, ...]
    paths: tuple[tuple[int, ...], ...]
    """Indices of classes, one a level."""

    others: Mapping[str, int] = field(default_factory=dict)
    """The index of `other` in each target that has it, category level or not."""

    other_threshold: float = 0.0
    """The probability of `other` above which it may be the answer; 0 lets it compete as any class."""


def levels_among(targets: Iterable[str]) -> tuple[str, ...]:
    """The category levels among some targets, from the root. Raises ValueError if they are of both families."""
    wanted = set(targets)
    found = [levels for family in FAMILIES if (levels := tuple(level for level in family if level in wanted))]
    if len(found) > 1:
        raise ValueError(f"category levels of one family, not both {found[0][0]} and {found[1][0]}")
    return found[0] if found else ()


def learn(classes: Classes, rows: Mapping[str, Sequence[str | None]]) -> Taxonomy:
    """The paths among labelled rows; where `other` is a class of the last level, every parent gets that leaf too."""
    levels = levels_among(classes)
    if len(levels) < 2:
        return Taxonomy(levels=(), paths=())
    index = {level: {name: number for number, name in enumerate(classes[level])} for level in levels}
    seen: set[tuple[int, ...]] = set()
    for names in zip(*(rows[level] for level in levels), strict=True):
        if any(name is None for name in names):
            continue
        found = [index[level].get(name, index[level].get(None)) for level, name in zip(levels, names, strict=True)]
        if None not in found:
            seen.add(tuple(int(number) for number in found if number is not None))
    other = index[levels[-1]].get(None)
    if other is not None:
        seen |= {(*path[:-1], other) for path in seen}
    return Taxonomy(levels=levels, paths=tuple(sorted(seen)))
