"""Which side a row is on in a training run. In: a scheme as text, and columns of the catalog. Out: train, validation or test.

A scheme is a pure function of a row, so the driver and every worker find the same sides without a column for them:

stored          the catalog's own column
72/18/10        training, validation and test in percent, by the hash of group_id
80/20           training and test; a tenth of the training groups, by another hash, is the validation side
fold:2/5        the second of five folds of groups is the test side; the others as above. fold:1/2 and fold:2/2 are halves, and
                both with five seeds are 5x2 cross-validation (Dietterich 1998, Approximate statistical tests)
random:80/10/10 as the ratios, by the hash of product_id: near-duplicates leak from side to side
year:2016       products of later years are the test side, a tenth of the earlier ones' groups validates

What the catalog keeps out of its own sides, as unlabelled or as a bridge between them, is on no side in any scheme. A scheme
may also be about some classes `only`: articleType=Dresses,Shirts leaves all other rows on no side.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from fashion_ray.catalog.schema import SPLITS, TARGETS
from fashion_ray.training.vocabulary import bucket

EXPECTED = "stored, ratios such as 72/18/10 or 80/20, fold:2/5, random:80/10/10 or year:2016"
VALIDATION_SHARE = 0.1
"""Of the training side, where a scheme names no validation side."""

MOST_FOLDS = 100
TRAIN, VALIDATION, TEST = SPLITS

TEARING = ("random", "year")
"""Kinds of schemes that may put a group on several sides. A stored side comes from the ingest, which tears none."""

_COLUMNS = {
    "stored": ("split",),
    "groups": ("split", "group_id"),
    "fold": ("split", "group_id"),
    "random": ("split", "product_id"),
    "year": ("split", "group_id", "year"),
}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A rule that says which side a row is on."""

    kind: str
    numbers: tuple[float, ...]
    """Two or three ratios in percent, the fold and their number, or the last year of training."""

    seed: int
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Label columns and the classes that a row must have in each."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The catalog's columns that decide."""
        return tuple(dict.fromkeys([*_COLUMNS[self.kind], *(target for target, _ in self.only)]))


def parse(text: str, seed: int = 0) -> Scheme:
    """The scheme that a text names. Raises ValueError that says what was expected."""
    if text == "stored":
        return Scheme(kind="stored", numbers=(), seed=0)
    if found := re.fullmatch(r"year:(\d{4})", text):
        return Scheme(kind="year", numbers=(int(found[1]),), seed=seed)
    if found := re.fullmatch(r"fold:(\d{1,9})/(\d{1,9})", text):
        fold, folds = int(found[1]), int(found[2])
        if not (2 <= folds <= MOST_FOLDS and 1 <= fold <= folds):
            raise ValueError(f"fold:K/N with N from 2 to {MOST_FOLDS} and K from 1 to N, such as fold:2/5")
        return Scheme(kind="fold", numbers=(fold, folds), seed=seed)
    if found := re.fullmatch(r"(random:)?(\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?){1,2})", text):
        ratios = tuple(float(part) for part in found[2].split("/"))
        if min(ratios) <= 0 or abs(sum(ratios) - 100) > 1e-6:
            raise ValueError("ratios above 0 that sum to 100, such as 72/18/10")
        return Scheme(kind="random" if found[1] else "groups", numbers=ratios, seed=seed)
    raise ValueError(EXPECTED)


def limited(scheme: Scheme, only: Sequence[str]) -> Scheme:
    """The scheme for rows of some classes only, each text `TARGET=CLASS,CLASS`. Raises ValueError with what was expected."""
    found = []
    for text in only:
        target, _, names = text.partition("=")
        classes = tuple(name.strip() for name in names.split(",") if name.strip())
        if target not in TARGETS or not classes:
            near = difflib.get_close_matches(target, TARGETS, n=1)
            hint = f"; did you mean {near[0]}?" if near and near[0] != target else ""
            raise ValueError(
                f"TARGET=CLASS,CLASS such as articleType=Dresses,Shirts, a target among {', '.join(TARGETS)}{hint}"
            )
        found.append((target, classes))
    return replace(scheme, only=tuple(found))


def assign(scheme: Scheme, table: pa.Table) -> list[str | None]:
    """The side of each row of a table with the scheme's columns; null for a row that is on none."""
    found = _assign_all(scheme, table)
    for target, classes in scheme.only:
        found = [side if label in classes else None for side, label in zip(found, table[target].to_pylist(), strict=True)]
    return found


def _assign_all(scheme: Scheme, table: pa.Table) -> list[str | None]:
    stored = table["split"].to_pylist()
    if scheme.kind == "stored":
        return [side if side in SPLITS else None for side in stored]
    keys = table[scheme.columns[1]].to_pylist()
    years = table["year"].to_pylist() if scheme.kind == "year" else [None] * len(keys)
    return [_side(scheme, key, year) if side in SPLITS else None for side, key, year in zip(stored, keys, years, strict=True)]


def is_on(table: pa.Table, *, scheme: Scheme, side: str) -> pa.Array:
    """Whether each row is on a side, as a mask."""
    return pa.array([found == side for found in assign(scheme, table)], type=pa.bool_())


def _side(scheme: Scheme, key: str, year: int | None) -> str | None:
    assert key is not None, "every product of a catalog has an id and a group"
    place = _place("split", scheme.seed, key)
    if scheme.kind == "year":
        if year is None:
            return None
        tested = year > scheme.numbers[0]
    elif scheme.kind == "fold":
        fold, folds = scheme.numbers
        tested = int(place * folds) + 1 == fold
    elif len(scheme.numbers) == 2:
        tested = 100 * place >= scheme.numbers[0]
    else:
        train, validation, _ = scheme.numbers
        return TRAIN if 100 * place < train else VALIDATION if 100 * place < train + validation else TEST
    if tested:
        return TEST
    return VALIDATION if _place("validation", scheme.seed, key) < VALIDATION_SHARE else TRAIN


def _place(purpose: str, seed: int, key: str) -> float:
    """Where in 0 to 1 a hash puts a key, the same everywhere; hashes of other purposes know nothing of it."""
    return bucket(f"{purpose}/{seed}/{key}") / 2**31


def torn_groups(sides: Sequence[str | None], group_ids: Sequence[str | None]) -> int:
    """How many groups of near-duplicates stand on more than one side."""
    found: dict[str | None, set[str]] = defaultdict(set)
    for side, group in zip(sides, group_ids, strict=True):
        if side is not None:
            found[group].add(side)
    return sum(len(those) > 1 for those in found.values())
