"""The training loss. In: logits and labels of several targets, some of them missing. Out: one number to minimise.

The loss is the sum over targets of the mean cross-entropy of the rows that have a label. Rows of mixed pictures have two
labels, each counting by its share of the picture. Words of titles, where they are guessed, are as one more target with several
labels a row: the mean cross-entropy of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fashion_ray.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Inputs, as pixels (rows, height, width, 3) uint8 or activations (rows, ...), and labels (rows, targets), -1 for none.

    Indices of words of titles, where they are guessed, are further columns of the labels.
    """

    inputs: Tensor
    labels: Tensor
    others: Tensor | None = None
    """Of mixed inputs, the labels of what was mixed in."""

    share: float = 1.0
    """Of mixed inputs, the share that `labels` speak of; the rest is that of `others`."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How cross-entropies are weighted; tensors (classes,) of each target, empty where nothing is to be done."""

    label_smoothing: float = 0.0
    class_weights: tuple[Tensor, ...] = ()
    target_weights: tuple[float, ...] = ()
    logit_offsets: tuple[Tensor, ...] = ()
    title_weight: float = 0.0


def of_recipe(recipe: Recipe, device: torch.device) -> tuple[Loss, Loss]:
    """The losses of training and of evaluation: only the weights of targets are of both."""
    train = Loss(
        label_smoothing=recipe.label_smoothing,
        class_weights=tuple(torch.tensor(weights, device=device) for weights in recipe.class_weights),
        target_weights=recipe.target_weights,
        logit_offsets=tuple(torch.tensor(offsets, device=device) for offsets in recipe.logit_offsets),
        title_weight=recipe.title_weight,
    )
    return train, Loss(target_weights=recipe.target_weights)


def masses_of(batch: Batch) -> Tensor:
    """How many labels each target has, float32 (targets,), and the columns of words; in mixed rows each counts by its share."""
    own = (batch.labels >= 0).sum(0).float()
    return own if batch.others is None else batch.share * own + (1 - batch.share) * (batch.others >= 0).sum(0)


def sums_of(logits: Sequence[Tensor], batch: Batch, loss: Loss) -> list[Tensor]:
    """The sum of the labelled rows' losses, one a target, and of the words' if they are guessed, whose logits come last.

    A row counts by the weight of its class; what it is divided by later is the number of rows, so that weights have the same
    effect in every batch. With logit offsets, tau times the log of the class's share of the training rows, this is the
    logit-adjusted loss of Menon et al. (2021), equation 10.
    """
    found = []
    targets = logits[:-1] if loss.title_weight else logits
    for column, values in enumerate(targets):
        if loss.logit_offsets:
            values = values + loss.logit_offsets[column]
        total = _rows(values, batch.labels[:, column], loss, column).sum()
        if batch.others is not None:
            total = batch.share * total + (1 - batch.share) * _rows(values, batch.others[:, column], loss, column).sum()
        found.append(total)
    if loss.title_weight:
        chances, count = logits[-1].log_softmax(1), len(targets)
        total = _of_words(chances, batch.labels[:, count:])
        if batch.others is not None:
            total = batch.share * total + (1 - batch.share) * _of_words(chances, batch.others[:, count:])
        found.append(total)
    return found


def total_of(sums: Sequence[Tensor], masses: Tensor, loss: Loss) -> Tensor:
    """The loss: the weighted sum over targets of the mean of their labels. Less than one whole label counts as one."""
    total = torch.zeros((), device=masses.device)
    if loss.title_weight:
        *sums, of_words = sums
        total = total + loss.title_weight * of_words / masses[len(sums) :].sum().clamp_min(1)
    for column, value in enumerate(sums):
        mean = value / masses[column].clamp_min(1)
        total = total + (mean * loss.target_weights[column] if loss.target_weights else mean)
    return total


def logit_offsets(classes: np.ndarray, count: int, *, tau: float) -> tuple[float, ...]:
    """`tau` times the log of each class's share of the labelled rows; a class without rows counts as if it had one."""
    rows = np.maximum(np.bincount(classes[classes >= 0], minlength=count), 1).astype(np.float64)
    return tuple(float(value) for value in tau * np.log(rows / rows.sum()))


def _of_words(chances: Tensor, wanted: Tensor) -> Tensor:
    """The sum of the cross-entropies of words (rows, words), -1 for none, from log-probabilities (rows, vocabulary)."""
    return -(chances.gather(1, wanted.clamp_min(0)) * (wanted >= 0)).sum()


def _rows(values: Tensor, wanted: Tensor, loss: Loss, column: int) -> Tensor:
    # Unlabelled rows have loss 0. The function's own `weight` would also tilt the smoothed share, by other classes.
    losses = functional.cross_entropy(values, wanted, ignore_index=-1, reduction="none", label_smoothing=loss.label_smoothing)
    return losses * loss.class_weights[column][wanted.clamp_min(0)] if loss.class_weights else losses
