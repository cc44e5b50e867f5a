"""What a model can answer. In: the label columns of a catalog. Out: the classes of each target and the encoding of labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fashion_ray.catalog.schema import SPLITS, TARGETS
from fashion_ray.errors import UserError
from fashion_ray.models import taxonomy

MINIMUM_APPLIES_TO = frozenset(family[-1] for family in taxonomy.FAMILIES)
"""articleType, as the feed has it or reassigned."""

Labels = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The classes of each target, sorted, with null at the end for those that are too rare; and the taxonomy's paths."""

    classes: dict[str, list[str | None]]
    paths: taxonomy.Taxonomy
    rare: frozenset[str]
    """articleTypes with too few pictures to be classes."""

    def encode(self, target: str, labels: Sequence[str | None]) -> np.ndarray:
        """Class indices, int64 (rows,): the index of null where the class is too rare, -1 without a label that training saw."""
        index: dict[str | None, int] = {name: number for number, name in enumerate(self.classes[target])}
        other = index.get(None, -1)
        return np.array(
            [-1 if label is None else other if self.is_rare(target, label) else index.get(label, -1) for label in labels],
            dtype=np.int64,
        )

    def is_rare(self, target: str, label: str) -> bool:
        """Whether a label is no class because it has too few pictures."""
        return target in MINIMUM_APPLIES_TO and label in self.rare


def build(targets: Sequence[str], labels: Labels, splits: Sequence[str | None], *, minimum: int) -> Vocabulary:
    """The vocabulary of a catalog: classes that training has seen; articleTypes under `minimum` pictures become `other`.

    `minimum` counts every labelled picture, before splitting. Raises UserError for an empty split or target.
    """
    sides = np.array(splits, dtype=object)
    for side in SPLITS:
        if not (sides == side).any():
            raise UserError(
                f"the catalog has no {side} rows; expected labelled products on every side. "
                "Ingest a larger feed, or pass another --split"
            )
    training: list[int] = np.nonzero(sides == "train")[0].tolist()
    classes: dict[str, list[str | None]] = {}
    all_rare: frozenset[str] = frozenset()
    for target in targets:
        assert target in TARGETS, target
        column = labels[target]
        counts = Counter(label for label in column if label is not None)
        seen = {column[row] for row in training} - {None}
        rare = {label for label, count in counts.items() if target in MINIMUM_APPLIES_TO and count < minimum}
        all_rare |= rare
        kept = sorted(label for label in seen if label is not None and label not in rare)
        if len(kept) < 2:
            raise UserError(
                f"--targets: {target} has {len(kept)} classes with training rows, expected at least 2; "
                + (_too_few(counts, minimum) if rare else "leave it out, or ingest a feed that has labels of it")
            )
        classes[target] = [*kept, *([None] if seen & rare else [])]
    rows = {target: [labels[target][row] for row in training] for target in targets}
    return Vocabulary(classes=classes, paths=taxonomy.learn(classes, rows), rare=all_rare)


def _too_few(counts: Counter[str], minimum: int) -> str:
    largest = " and ".join(f"{label} has {count}" for label, count in counts.most_common(2))
    return f"--min-class-count is {minimum} and {largest} labelled pictures: lower it, or leave the target out"


def known_truth(vocabulary: Vocabulary, target: str, labels: Sequence[str | None]) -> list[str | None]:
    """The labels that accuracy is measured on: not too rare articleTypes; classes unseen in training stay, as misses."""
    return [None if label is None or vocabulary.is_rare(target, label) else label for label in labels]


def bucket(product_id: str) -> int:
    """A number that deals rows out to workers, the same everywhere, whatever order they arrive in."""
    return int.from_bytes(hashlib.blake2b(product_id.encode(), digest_size=4).digest(), "big") & 0x7FFFFFFF


def shuffled(
    labels: dict[str, np.ndarray], product_ids: Sequence[str], pool: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """A control experiment: each row gets the labels of some other training row, drawn by the hash of its id."""
    size = len(next(iter(pool.values())))
    rows = np.array([bucket(f"{seed}/{product_id}") % size for product_id in product_ids])
    return {target: pool[target][rows] for target in labels}
