"""Linear heads in closed form. In: features and labels. Out: probabilities, also for rows that the head has not seen.

Linear discriminant analysis with a shrunk covariance (Friedman 1989, Regularized discriminant analysis): like logistic
regression a softmax over linear scores, but made of sums over rows. A fold is left out by subtracting its sums, so all
folds together cost one pass; the sums of pieces of a catalog add up; and a wrong label moves a mean a little, where
gradient descent would learn it by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

Array = np.ndarray

ABSENT = np.float32(-1e9)
"""The score of a class that no row had."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Sums over rows; those of two sets of rows add up."""

    gram: Array
    """Of the features' products (dimensions, dimensions)."""

    sums: Array
    """Of each class's features (classes, dimensions)."""

    counts: Array
    """Rows of each class (classes,)."""

    def __add__(self, other: Moments) -> Moments:
        return Moments(gram=self.gram + other.gram, sums=self.sums + other.sums, counts=self.counts + other.counts)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(gram=self.gram - other.gram, sums=self.sums - other.sums, counts=self.counts - other.counts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """Linear scores of classes."""

    weight: Array
    """float32 (classes, dimensions)."""

    bias: Array
    """float32 (classes,)."""

    def scores(self, features: Array) -> Array:
        """float32 (rows, classes) of features (rows, dimensions)."""
        return np.asarray(features @ self.weight.T + self.bias)


def moments(features: Array, labels: Array, classes: int) -> Moments:
    """The sums of float32 features (rows, dimensions) and labels (rows,) from 0 to classes - 1."""
    rows = len(labels)
    member = csr_array((np.ones(rows, dtype=np.float32), (labels, np.arange(rows))), shape=(classes, rows))
    return Moments(
        gram=(features.T @ features).astype(np.float64),
        sums=np.asarray(member @ features, dtype=np.float64),
        counts=np.bincount(labels, minlength=classes).astype(np.float64),
    )


def fit(sums: Moments) -> Head:
    """The head of some rows, of which there must be one or more.

    The fewer rows there are for each dimension, the more of the covariance is replaced by a sphere of the same trace.
    """
    rows, width = sums.counts.sum(), len(sums.gram)
    shrinkage = width / (width + rows)
    means = sums.sums / np.maximum(sums.counts, 1)[:, None]
    within = (sums.gram - (means * sums.counts[:, None]).T @ means) / rows
    sphere = max(float(np.trace(within)) / width, 1e-9)
    covariance = (1 - shrinkage) * within + shrinkage * sphere * np.eye(width)
    weight = cho_solve(cho_factor(covariance), means.T).T
    prior = np.log(np.maximum(sums.counts, 1) / rows)
    bias = np.where(sums.counts > 0, prior - 0.5 * (weight * means).sum(axis=1), ABSENT)
    return Head(weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def standardised(features: Array) -> Array:
    """float32 features with mean 0 and standard deviation 1 in each dimension; one that never varies becomes 0."""
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    return np.asarray((features - mean.astype(np.float32)) / np.maximum(spread, 1e-6).astype(np.float32), dtype=np.float32)


def out_of_sample(features: Array, labels: Array, folds: Array, classes: int) -> Array:
    """Probabilities (rows, classes) of each row by the head of the other folds, calibrated by one temperature.

    `folds` (rows,) numbers them from 0; there are two or more.
    """
    scores = out_of_sample_scores(features, labels, folds, classes)
    return softmax(scores, temperature(scores, labels))


def out_of_sample_scores(features: Array, labels: Array, folds: Array, classes: int) -> Array:
    """The scores (rows, classes) that the probabilities are made of."""
    parts = [moments(features[folds == fold], labels[folds == fold], classes) for fold in range(int(folds.max()) + 1)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    scores = np.empty((len(labels), classes), dtype=np.float32)
    for fold, part in enumerate(parts):
        scores[folds == fold] = fit(total - part).scores(features[folds == fold])
    return scores


def softmax(scores: Array, temperature: float = 1.0) -> Array:
    """Probabilities (rows, classes) of scores."""
    found = scores / np.float32(temperature)
    found -= found.max(axis=1, keepdims=True)
    np.exp(found, out=found)
    found /= found.sum(axis=1, keepdims=True)
    return np.asarray(found)


def temperature(scores: Array, labels: Array, *, most_rows: int = 8192) -> float:
    """What to divide scores by, so that their softmax fits the labels best (Guo et al. 2017); judged on some of the rows."""
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), most_rows)).astype(np.int64)
    some, truth = scores[chosen], labels[chosen]

    def loss(logarithm: float) -> float:
        right = softmax(some, float(np.exp(logarithm)))[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 4.0), method="bounded", options={"xatol": 0.02}).x))
