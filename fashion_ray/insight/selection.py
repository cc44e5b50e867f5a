"""What to label next. In: probabilities, features and near-duplicate groups of candidates. Out: the rows to ask people about.

Strategies, each a function of plain arrays; none picks two rows of one near-duplicate group:

random       any rows
entropy      the highest entropy of the probabilities
margin       the smallest difference between the two likeliest classes
kmeans++     uncertain and unlike each other: rows are drawn one after the other, with probability proportional to uncertainty
             times the squared distance to the nearest row that is drawn (Arthur, Vassilvitskii 2007, weighted; compare BADGE,
             Ash et al. 2020)
k-center     the row with the greatest uncertainty times distance to the nearest row that is picked or labelled (Sener,
             Savarese 2018, weighted)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray

RANDOM = "random"
STRATEGIES = ("kmeans++", "k-center", "margin", "entropy", RANDOM)

POOL = 10
"""Strategies that seek diversity do so among this many times as many rows as wanted, the most uncertain ones."""


def uncertainty(probabilities: Array) -> Array:
    """1 less the margin between the two likeliest classes (rows,), from 0 (sure) to 1."""
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(1 - (top[:, 1] - top[:, 0]), dtype=np.float64)


def entropy(probabilities: Array) -> Array:
    """Of each row (rows,), in nats."""
    return np.asarray(-(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1), dtype=np.float64)


def select(
    strategy: str,
    wanted: int,
    *,
    probabilities: Array,
    features: Array,
    groups: Array,
    seed: int,
    labelled: Array | None = None,
) -> Array:
    """The numbers of at most `wanted` candidates, the first to be asked first.

    `probabilities` (rows, classes), `features` (rows, dimensions) and `groups` (rows,) are of the candidates; `labelled` (n,
    dimensions) are the features of what is labelled, from which k-center keeps away.
    """
    assert strategy in STRATEGIES, strategy
    generator = np.random.default_rng(seed)
    if strategy == RANDOM:
        return _first_of_groups(generator.permutation(len(groups)), groups)[:wanted]
    weights = entropy(probabilities) if strategy == "entropy" else uncertainty(probabilities)
    order = _first_of_groups(np.argsort(-weights, kind="stable"), groups)
    if strategy in ("entropy", "margin"):
        return order[:wanted]
    pool = order[: POOL * wanted]
    pick = kmeans_plus_plus if strategy == "kmeans++" else k_center
    start = labelled if strategy == "k-center" else None
    return np.asarray(pool[pick(features[pool], np.maximum(weights[pool], 1e-6), wanted, generator, start)])


def kmeans_plus_plus(
    features: Array, weights: Array, wanted: int, generator: np.random.Generator, start: Array | None
) -> Array:
    """Rows drawn one after the other with probability proportional to weight times squared distance to the nearest drawn."""
    return _spread(features, weights, wanted, start, lambda chances: _drawn(chances, generator))


def k_center(features: Array, weights: Array, wanted: int, generator: np.random.Generator, start: Array | None) -> Array:
    """Rows picked one after the other, each the one with the greatest weight times squared distance to the nearest picked."""
    return _spread(features, weights, wanted, start, lambda chances: int(chances.argmax()))


def _spread(features: Array, weights: Array, wanted: int, start: Array | None, pick: Callable[[Array], int]) -> Array:
    """At most `wanted` different rows, each picked by its weight times the squared distance to the nearest row so far."""
    lengths = (features**2).sum(axis=1)
    nearest = np.ones(len(features)) if start is None or not len(start) else _nearest(features, lengths, start)
    chances, picked = weights * nearest, []
    for number in range(min(wanted, len(features))):
        row = pick(chances)
        picked.append(row)
        distance = np.maximum(lengths + lengths[row] - 2 * (features @ features[row]), 0.0)
        nearest = distance if number == 0 and (start is None or not len(start)) else np.minimum(nearest, distance)
        chances = weights * nearest
        chances[picked] = -1.0
    return np.array(picked, dtype=np.int64)


def _drawn(chances: Array, generator: np.random.Generator) -> int:
    """A row by its chances, negative ones counting as none; the best where nothing has any."""
    total = np.cumsum(np.maximum(chances, 0.0))
    if total[-1] <= 0:
        return int(chances.argmax())
    return int(np.searchsorted(total, generator.random() * total[-1], side="right"))


def _nearest(features: Array, lengths: Array, start: Array, *, block: int = 4096) -> Array:
    """The squared distance (rows,) of each row to the nearest of `start`, some of these at a time."""
    found = np.full(len(features), np.inf)
    for begin in range(0, len(start), block):
        piece = start[begin : begin + block]
        distance = lengths[:, None] + (piece**2).sum(axis=1)[None, :] - 2 * (features @ piece.T)
        found = np.minimum(found, distance.min(axis=1))
    return np.asarray(np.maximum(found, 0.0))


def _first_of_groups(order: Array, groups: Array) -> Array:
    """The rows in their order, without those whose group came before."""
    first = np.unique(groups[order], return_index=True)[1]
    return np.asarray(order[np.sort(first)])
