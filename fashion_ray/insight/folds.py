"""Folds for out-of-sample answers. In: labels and near-duplicate groups. Out: a fold for each row, groups kept whole."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def grouped_folds(labels: Array, groups: Array, folds: int, *, seed: int) -> Array:
    """The fold (rows,) of each row, from 0; a group is in one fold, and each class is spread over folds as evenly as groups go.

    `labels` and `groups` are whole numbers (rows,). A group counts for the label of its first row.
    """
    kept, first, member = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(kept)), labels[first]))
    fold = np.empty(len(kept), dtype=np.int64)
    fold[order] = np.arange(len(kept)) % folds
    return np.asarray(fold[member])


def groups_of(labels: Array, groups: Array, classes: int) -> Array:
    """How many different groups (classes,) each class has rows in."""
    pairs = np.unique(np.stack([labels, groups], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=classes)
