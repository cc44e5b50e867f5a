"""What a labelling strategy is worth. In: features and all labels of a catalog. Out: accuracy against labels bought.

Labels are hidden, a first batch is bought at random, and each strategy buys further batches by what a head learned from the
labels bought so far. Accuracy is that of the head on held-out groups, whose labels nobody buys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fashion_ray.insight import heads
from fashion_ray.insight.folds import grouped_folds
from fashion_ray.insight.selection import RANDOM, select

Array = np.ndarray

TEST_FOLDS = 5
"""One of so many is held out."""

DIVERSITY_DIMENSIONS = 64
"""Principal components in which the distances of a selection are measured."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a curve."""

    strategy: str
    seed: int
    labels: int
    accuracy: float


def simulate(
    strategy: str,
    features: Array,
    labels: Array,
    groups: Array,
    *,
    classes: int,
    start: int,
    batch: int,
    most: int,
    seed: int,
    dimensions: int = DIVERSITY_DIMENSIONS,
) -> Iterator[Point]:
    """The curve of a strategy, from `start` labels by `batch` to `most` or all there are.

    `features` (rows, dimensions) are principal components, the first `dimensions` of which diversity is measured in; `labels`
    and `groups` are (rows,). All strategies of a seed have the same test rows and the same first labels.
    """
    spread = np.ascontiguousarray(features[:, :dimensions])
    held = grouped_folds(labels, groups, TEST_FOLDS, seed=seed) == 0
    pool = np.flatnonzero(~held)
    known = np.zeros(len(labels), dtype=bool)
    nothing = np.full((len(pool), 1), 1.0)
    known[pool[select(RANDOM, start, probabilities=nothing, features=features[pool], groups=groups[pool], seed=seed)]] = True
    while True:
        head = learned(features[known], labels[known], classes)
        accuracy = float((head.scores(features[held]).argmax(axis=1) == labels[held]).mean())
        bought = int(known.sum())
        yield Point(strategy=strategy, seed=seed, labels=bought, accuracy=accuracy)
        asked = np.flatnonzero(~known & ~held & ~np.isin(groups, groups[known]))
        wanted = min(batch, most - bought, len(asked))
        if wanted < 1:
            return
        chosen = select(
            strategy, wanted, probabilities=heads.softmax(head.scores(features[asked])), features=spread[asked],
            groups=groups[asked], seed=seed * 1_000_003 + bought, labelled=spread[known],
        )  # fmt: skip
        known[asked[chosen]] = True


def labels_needed(points: list[Point], strategy: str, accuracy: float) -> float | None:
    """With how many labels the mean curve of a strategy first reaches an accuracy, between points by a line; none if never."""
    curve = mean_curve(points, strategy)
    for (before, low), (after, high) in zip([(0, 0.0), *curve], curve, strict=False):
        if high >= accuracy:
            return float(after) if before == 0 else before + (after - before) * (accuracy - low) / max(high - low, 1e-12)
    return None


def mean_curve(points: list[Point], strategy: str) -> list[tuple[int, float]]:
    """(labels, mean accuracy over seeds) of a strategy, for numbers of labels that all seeds have."""
    found: dict[int, list[float]] = {}
    for point in points:
        if point.strategy == strategy:
            found.setdefault(point.labels, []).append(point.accuracy)
    seeds = max((len(values) for values in found.values()), default=0)
    return [(labels, float(np.mean(values))) for labels, values in sorted(found.items()) if len(values) == seeds]


def reduced(features: Array, dimensions: int) -> Array:
    """The principal components of standardised features (rows, dimensions), not scaled: what needs no label is done once."""
    values = heads.standardised(features)
    _, vectors = np.linalg.eigh(values.T @ values / len(values))
    return np.asarray(values @ vectors[:, ::-1][:, :dimensions].astype(np.float32))


def learned(features: Array, labels: Array, classes: int) -> heads.Head:
    """The head that some labels give."""
    return heads.fit(heads.moments(features, labels, classes))
