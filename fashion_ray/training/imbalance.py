"""Common and rare classes, made more even for training alone. In: classes of training rows. Out: copies, loss weights.

The catalog is not touched: a row is fed to training as often as its number of copies says, 0 being not at all. Drawing rows
anew in each epoch, those of rare classes more often, is in sampling.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fashion_ray.models.taxonomy import levels_among
from fashion_ray.training.vocabulary import bucket

CLASS_WEIGHTS = ("none", "balanced", "sqrt")
SAMPLINGS = ("shuffled", "balanced", "sqrt")
_POWERS = {"balanced": 1.0, "sqrt": 0.5}


def balanced_target(asked: str, targets: Sequence[str]) -> str:
    """The target whose classes are evened out: as asked, or the finest category level, or the first one."""
    levels = levels_among(targets)
    return asked or (levels[-1] if levels else targets[0])


def copies(
    classes: np.ndarray,
    product_ids: Sequence[str],
    *,
    most: int,
    least: int,
    seed: int,
    exactly: Mapping[int, int] | None = None,
) -> np.ndarray:
    """How often each training row is fed, int64 (rows,): every class ends with `least` to `most` rows, 0 for no such limit.

    Classes in `exactly` end with as many as that says. `classes` are class indices, negative without a label: such rows are
    fed once. Which rows are dropped or repeated once more than the others is decided by the hash of their id, whatever order
    they come in.
    """
    times = np.ones(len(classes), dtype=np.int64)
    if not most and not least and not exactly:
        return times
    drawn = [(bucket(f"balance/{seed}/{product_id}"), product_id) for product_id in product_ids]
    order = np.array(sorted(range(len(drawn)), key=drawn.__getitem__), dtype=np.int64)
    for number in np.unique(classes[classes >= 0]):
        members = order[classes[order] == number]
        wanted = (exactly or {}).get(int(number), max(least, min(len(members), most or len(members))))
        times[members] = wanted // len(members)
        times[members[: wanted % len(members)]] += 1
    return times


@dataclass(frozen=True, kw_only=True)
class Fed:
    """What an epoch of training is fed."""

    target: str
    """The one whose classes were evened out."""

    copies: dict[str, int]
    """How often a training product is fed, where that is not once."""

    classes: dict[str, np.ndarray]
    """Class indices of each target, int64 (rows,), of every row as often as it is fed."""

    @property
    def rows(self) -> int:
        """Rows an epoch."""
        return len(self.classes[self.target])

    @property
    def dropped(self) -> int:
        """Training products that are not fed."""
        return sum(not times for times in self.copies.values())

    @property
    def repeated(self) -> int:
        """Training products that are fed more than once."""
        return len(self.copies) - self.dropped

    def emptied(self, target: str, count: int) -> int:
        """How many of a target's `count` classes have no row left."""
        values = self.classes[target]
        return count - len(np.unique(values[values >= 0]))


def feed(
    classes: Mapping[str, np.ndarray],
    product_ids: Sequence[str],
    *,
    target: str,
    most: int,
    least: int,
    seed: int,
    exactly: Mapping[int, int] | None = None,
) -> Fed:
    """What is fed of the training rows with these class indices, the classes of one target evened out as `copies` does."""
    times = copies(classes[target], product_ids, most=most, least=least, seed=seed, exactly=exactly)
    return Fed(
        target=target,
        copies={product_ids[row]: int(times[row]) for row in np.flatnonzero(times != 1).tolist()},
        classes={name: np.repeat(values, times) for name, values in classes.items()},
    )


def repeated(table: pa.Table, copies: Mapping[str, int]) -> tuple[pa.Table, np.ndarray]:
    """Each row as often as `copies` says of its product_id, once if it says nothing, and which copy of its row each is.

    They come in the order of a hash, so that copies of a row do not end in the same batch.
    """
    ids = table["product_id"].to_pylist()
    pairs = [(row, copy) for row, product_id in enumerate(ids) for copy in range(copies.get(product_id, 1))]
    pairs.sort(key=lambda pair: bucket(f"order/{pair[1]}/{ids[pair[0]]}"))
    rows, copy = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return table.take(pa.array(rows)), copy


def weights(classes: np.ndarray, count: int, *, rule: str) -> tuple[float, ...]:
    """The loss weight of each of `count` classes, so that its mean over the labelled rows, as they are fed, is 1.

    `balanced` weighs a class by one over its rows, so that all have the same say; `sqrt` by one over the root of that. A class
    without rows gets 1.
    """
    rows = np.bincount(classes[classes >= 0], minlength=count).astype(np.float64)
    if rule not in _POWERS or not rows.any():
        return (1.0,) * count
    raw = np.maximum(rows, 1.0) ** -_POWERS[rule]
    scaled = np.where(rows > 0, raw * rows.sum() / (raw * rows).sum(), 1.0)
    return tuple(float(value) for value in scaled)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How often rows are drawn, by their class of one target."""

    column: int
    """Of the target among the labels."""

    weights: tuple[float, ...]
    """Of its classes; a row without a label is drawn as often as the mean row, 1."""
