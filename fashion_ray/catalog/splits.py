"""Which side of training a product is on. In: groups and classes. Out: train, validation or test, for each row.

Pure functions of their arguments, so the sides hold still and near-duplicates never stand on different ones.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

SPLITS = ("train", "validation", "test")
DEFAULT_RATIOS = (0.8, 0.1, 0.1)


def assign(
    group_ids: Sequence[str], classes: Sequence[str | None], ratios: tuple[float, float, float] = DEFAULT_RATIOS
) -> list[str | None]:
    """The split of each row: null where the class is null, else the side of its group.

    Each class is spread over the sides in the given ratios, its groups taken in the order of their hash; a group
    that has several classes counts for its commonest one.
    """
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label in zip(group_ids, classes, strict=True):
        if label is not None:
            labels[group][label] += 1
    by_class: dict[str, list[str]] = defaultdict(list)
    for group, counts in labels.items():
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    sides: dict[str, str] = {}
    for members in by_class.values():
        sizes = {group: sum(labels[group].values()) for group in members}
        sides.update(_spread(sorted(members, key=_order), sizes, ratios))
    return [sides[group] if label is not None else None for group, label in zip(group_ids, classes, strict=True)]


def _spread(ordered: list[str], sizes: dict[str, int], ratios: tuple[float, float, float]) -> dict[str, str]:
    """Give each group in turn to the side that is furthest below its share; training first when it is even."""
    total = sum(sizes.values())
    have = dict.fromkeys(SPLITS, 0)
    wanted = {side: ratio * total for side, ratio in zip(SPLITS, ratios, strict=True)}
    sides = {}
    for group in ordered:
        side = max(SPLITS, key=lambda name: wanted[name] - have[name])
        sides[group] = side
        have[side] += sizes[group]
    return sides


def _order(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()


def join_groups(product_ids: Sequence[str], *keys: Sequence[str]) -> list[str]:
    """Group products that share any key, also over several steps; a group is named by its smallest product id.

    Each of `keys` has one value a product, such as a content hash and a perceptual hash.
    """
    parent = list(range(len(product_ids)))

    def find(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for values in keys:
        first: dict[str, int] = {}
        for member, value in enumerate(values):
            one, other = find(first.setdefault(value, member)), find(member)
            if one != other:
                keep, drop = sorted((one, other), key=lambda index: product_ids[index])
                parent[drop] = keep
    return [product_ids[find(member)] for member in range(len(product_ids))]
