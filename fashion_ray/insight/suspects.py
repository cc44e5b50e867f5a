"""Labels that are probably wrong. In: out-of-sample probabilities, labels, near-duplicate groups. Out: evidence a row.

The rule, in nats (one more makes a label e times less likely):

    evidence = - log p(label)                         by heads that have not seen the label
             + DUPLICATE_NATS * disagreement          of the row's near-duplicates, -1 (all have its label) to 1 (none has)

p is the picture's probability; with titles it is the product of the picture's and the title's, which are nearly independent
witnesses, normalised again. Rows are ranked by evidence. What else is known of a row is said beside it, as reasons: confident
learning (Northcutt, Jiang, Chuang 2021, by cleanlab), near-duplicates that disagree, and distance from its class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

DUPLICATE_NATS = 2.0
"""Chosen on planted errors, where 1 to 4 find about the same."""

FAR_SHARE = 0.02
"""Rows of a class beyond this quantile of distance are far from it."""

LEAST = 1e-9
"""The least probability that counts: no witness alone is more than some 20 nats sure."""

REASONS = ("confident_learning", "near_duplicates_disagree", "far_from_class")


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What speaks against each row's label; arrays are (rows,)."""

    evidence: Array
    """Nats; the rows are ranked by it."""

    suggested: Array
    """The likeliest class, which is the row's own where nothing else is likelier."""

    probability: Array
    """Of the suggestion."""

    given_probability: Array
    """Of the label."""

    reasons: dict[str, Array]
    """Of REASONS, whether it holds."""


def joined(picture: Array, title: Array | None) -> Array:
    """The probabilities (rows, classes) of one witness, or of two that are independent given the class."""
    if title is None:
        return picture
    logs = np.log(np.maximum(picture, LEAST)) + np.log(np.maximum(title, LEAST))
    logs -= logs.max(axis=1, keepdims=True)
    np.exp(logs, out=logs)
    logs /= logs.sum(axis=1, keepdims=True)
    return np.asarray(logs)


def findings(probabilities: Array, labels: Array, groups: Array, distances: Array) -> Findings:
    """Evidence against each label. `distances` (rows,) are to the row's own class, in its class's own units."""
    rows = np.arange(len(labels))
    given = probabilities[rows, labels]
    disagreement = duplicates_disagreement(labels, groups)
    evidence = DUPLICATE_NATS * disagreement - np.log(np.maximum(given, LEAST))
    suggested = probabilities.argmax(axis=1)
    return Findings(
        evidence=evidence, suggested=suggested, probability=probabilities[rows, suggested], given_probability=given,
        reasons={
            "confident_learning": confident_learning(probabilities, labels),
            "near_duplicates_disagree": disagreement > 0,
            "far_from_class": far_from_class(distances, labels),
        },
    )  # fmt: skip


def duplicates_disagreement(labels: Array, groups: Array) -> Array:
    """Of each row's near-duplicates (other rows of its group), the share with another label less the share with its own.

    0 for a row that has none.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    _, cell, cells = np.unique(np.stack([groups, labels], axis=1), axis=0, return_inverse=True, return_counts=True)
    others = sizes[member] - 1
    same = cells[cell.ravel()] - 1
    return np.where(others > 0, (others - 2 * same) / np.maximum(others, 1), 0.0)


def confident_learning(probabilities: Array, labels: Array) -> Array:
    """Whether confident learning counts a row's label as an error (rows,): cleanlab, pruning by noise rate."""
    from cleanlab.filter import find_label_issues

    present = np.unique(labels)
    if len(present) < 2:
        return np.zeros(len(labels), dtype=bool)
    inner = probabilities[:, present]
    inner = inner / np.maximum(inner.sum(axis=1, keepdims=True), LEAST)
    return np.asarray(
        find_label_issues(np.searchsorted(present, labels), inner, n_jobs=1, min_examples_per_class=0), dtype=bool
    )


def far_from_class(distances: Array, labels: Array, *, share: float = FAR_SHARE) -> Array:
    """Whether a row is among this share of its class that is farthest from it; classes of a few rows have none."""
    far = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = int(share * len(rows))
        far[rows[np.argsort(-distances[rows], kind="stable")[:count]]] = True
    return far


def class_distances(features: Array, labels: Array, groups: Array) -> Array:
    """1 - cosine (rows,) of each row and the mean direction of the other groups' rows of its class; 0 where there are none."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    found = np.zeros(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        _, member = np.unique(groups[rows], return_inverse=True)
        own = np.zeros((int(member.max()) + 1, unit.shape[1]))
        np.add.at(own, member, unit[rows])
        rest = own.sum(axis=0) - own[member]
        length = np.linalg.norm(rest, axis=1)
        found[rows] = np.where(length > 1e-9, 1 - (unit[rows] * rest).sum(axis=1) / np.maximum(length, 1e-9), 0.0)
    return found
