"""Common and rare classes, made more even for training alone. In: classes of training rows. Out: copies, draws, loss weights.

The catalog is not touched: a row is fed to training as often as its number of copies says, 0 being not at all. Or rows are
drawn anew in each epoch, those of rare classes more often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

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

    def of_rows(self, labels: Tensor) -> Tensor:
        """The weight of each row, float64 (rows,), from labels (rows, targets)."""
        classes = labels[:, self.column]
        weights = torch.tensor(self.weights, dtype=torch.float64)
        return torch.where(classes >= 0, weights[classes.clamp_min(0)], 1.0)


def drawn(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of `count` rows drawn with replacement, each with a chance in proportion to its weight."""
    edges = weights.cumsum(0)  # multinomial takes no more than 2 ** 24 rows
    return torch.searchsorted(
        edges, torch.rand(count, generator=generator, dtype=torch.float64) * edges[-1], right=True
    ).clamp_max(len(weights) - 1)


def resampled(
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], sampling: Sampling, *, window: int, generator: torch.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """As many batches of a stream of (pixels, labels, copy), drawn with replacement from the last `window` of them."""
    held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for batch in batches:
        held = [*held[-window + 1 :], batch]
        labels = np.concatenate([one[1] for one in held])
        chosen = drawn(sampling.of_rows(torch.from_numpy(labels)), len(batch[1]), generator).numpy()
        starts = np.cumsum([0, *(len(one[1]) for one in held)])
        which = np.searchsorted(starts, chosen, side="right") - 1
        found = [
            np.stack([held[n][part][row] for n, row in zip(which, chosen - starts[which], strict=True)]) for part in range(3)
        ]
        yield found[0], found[1], found[2]
