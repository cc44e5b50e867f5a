"""What a model's answers are worth for one target.

In: the true label, the predicted label with its probability and the top three labels, one entry per catalog row.
Out: a `TargetEvaluation`, from which the tracked metrics, the plots and the report page are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from fashion_ray.training.curves import Curves
from fashion_ray.training.intervals import F1Intervals, f1_intervals, wilson_interval
from fashion_ray.training.reliability import calibration_bins, calibration_error

OTHER = "(other)"
"""Stands for a null prediction ("none of the labels I know"), always last in `classes`. No label may be called so."""

COLLAPSE_PREDICTED_SHARE = 0.9
COLLAPSE_TRUE_SHARE = 0.5
COLLAPSE_OTHERS_LEAST = 10
"""Rows of other classes from which on a favourite that swallows them is told from bad luck."""

# Path probabilities summed in float32 may exceed 1 by a few units in the last place.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Review:
    """What the review flag of one target is worth: how many rows it lets pass, and how many of those are right.

    Of the rows with any label, since all of them are scored: a null answer is right where the label is too rare to be known.
    """

    rows: int
    passed: int
    """Rows that need no review."""
    right: int
    """Of those, how many are answered right."""
    per_class: pd.DataFrame
    """One row per class as predicted, in the model's order, `OTHER` for null: class, threshold (above 1: always reviewed),
    answers, passed (counts), passed_precision (NaN where none passed)."""

    @property
    def coverage(self) -> float:
        """Share of the rows that need no review."""
        return self.passed / self.rows

    @property
    def precision(self) -> float:
        """Share of right answers among those, NaN if there are none."""
        return self.right / self.passed if self.passed else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the precision."""
        return wilson_interval(self.right, self.passed)


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetEvaluation:
    """How well one target was predicted on the rows that have a true label.

    Shares, precisions, recalls and F1 lie in 0 to 1. Macro and weighted averages run over the classes that occur in the
    truth; a class that was never predicted has precision 0.
    """

    target: str
    classes: list[str]
    """Labels seen in truth or prediction, sorted; then `OTHER`, if any prediction is null."""
    rows: int
    """Rows with a true label, whether or not the model has a class for it."""
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    """95% Wilson interval of the accuracy."""
    top3_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    expected_calibration_error: float
    majority_share: float
    """Accuracy of always answering the commonest true class."""
    collapsed: bool
    """At least 90% of the predictions are one class, which is under 50% of a truth of two classes or more, or which is also
    the answer to at least 90% of the rows of all other classes, 10 of them at least."""
    per_class: pd.DataFrame
    """One row per entry of `classes`: class, precision, recall (NaN without support), f1, support, predicted (count).
    Sorted by support, commonest first, then by name."""
    confusion: np.ndarray[Any, np.dtype[np.int64]]
    """Counts, (classes, classes): rows true, columns predicted, in the order of `classes`."""
    calibration: pd.DataFrame
    """The `calibration_bins` whose error `expected_calibration_error` is."""
    f1_intervals: F1Intervals | None = None
    """95% intervals of macro and weighted F1, where the groups of near-duplicates are known."""
    review: Review | None = None
    """Of the review flag, where thresholds are known."""
    uncalibrated: pd.DataFrame | None = None
    """The bins of the same model's answers before temperature scaling."""
    curves: Curves | None = None
    slices: pd.DataFrame | None = None
    """As `evaluate_slices` returns it."""
    mistakes: pd.DataFrame | None = None
    """As `worst_mistakes` returns it."""
    leaked_share: float | None = None
    """Share of the rows that have a near-duplicate among the training rows: what they add to the figures is memory."""
    unseen_share: float | None = None
    """Share of the rows whose label no training row had: the model has no class for them, and misses them all."""
    seen_accuracy: float | None = None
    """Accuracy on the other rows; none if there are none."""

    @property
    def uncalibrated_error(self) -> float | None:
        """Expected calibration error before temperature scaling."""
        return None if self.uncalibrated is None else calibration_error(self.uncalibrated)

    def metrics(self, prefix: str) -> dict[str, float]:
        """The figures to track, named `prefix/target/name`."""
        return {f"{prefix}/{self.target}/{name}": value for name, value in self.figures().items()}

    def figures(self) -> dict[str, float]:
        """The headline figures, finite; their names are the same in every run.

        What is not defined is left out: the precision of answers that need no review where all do, areas under curves where
        no class has rows of its own and rows of others, and intervals over a single group.
        """
        values = {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "accuracy_low": self.accuracy_low,
            "accuracy_high": self.accuracy_high,
            "top3_accuracy": self.top3_accuracy,
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "weighted_precision": self.weighted_precision,
            "weighted_recall": self.weighted_recall,
            "weighted_f1": self.weighted_f1,
            "expected_calibration_error": self.expected_calibration_error,
            "majority_share": self.majority_share,
            "collapsed": self.collapsed,
        }
        if self.review is not None:
            values["review_coverage"] = self.review.coverage
            if self.review.passed:
                values["review_precision"] = self.review.precision
        if self.f1_intervals is not None:
            values["macro_f1_low"], values["macro_f1_high"] = self.f1_intervals.macro
            values["weighted_f1_low"], values["weighted_f1_high"] = self.f1_intervals.weighted
        if (before := self.uncalibrated_error) is not None:
            values["expected_calibration_error_before"] = before
        if self.curves is not None:
            values |= self.curves.metrics()
        if self.leaked_share is not None:
            values["leaked_share"] = self.leaked_share
        if self.unseen_share is not None:
            values["unseen_share"] = self.unseen_share
        if self.seen_accuracy is not None:
            values["seen_accuracy"] = self.seen_accuracy
        return {name: float(value) for name, value in values.items()}


class _Averages(TypedDict):
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float


def evaluate_target(
    target: str,
    *,
    truth: Sequence[str | None],
    predicted: Sequence[str | None],
    probability: Sequence[float],
    top3: Sequence[Sequence[str | None]],
    groups: Sequence[str] | None = None,
    review: Review | None = None,
) -> TargetEvaluation:
    """Compare predictions with the truth; all sequences have one entry per row.

    Rows without a true label (None, or pandas' NaN and NA) are left out. A null prediction is the answer `OTHER`, which
    is wrong on every labelled row. `probability` is that of the predicted label, `top3` holds at most three labels a
    row, `groups` names what each row is a near-duplicate of; `review` is passed on as it is. Raises ValueError for unequal
    lengths, for entries that are no labels, for probabilities that are NaN or outside 0 to 1, and when no row has a true
    label.
    """
    columns = {"truth": truth, "predicted": predicted, "probability": probability, "top3": top3}
    _check_lengths(target, columns if groups is None else columns | {"groups": groups})
    true_labels = [_label(target, "truth", row, value) for row, value in enumerate(truth)]
    answers = [_label(target, "predicted", row, value) for row, value in enumerate(predicted)]
    candidates = [_candidates(target, row, values) for row, values in enumerate(top3)]
    confidence = _probabilities(target, probability)
    kept = _labelled_rows(target, true_labels)
    names = {label for row in kept for label in (true_labels[row], answers[row]) if label is not None}
    has_other = any(answers[row] is None for row in kept)
    classes = sorted(names) + [OTHER] * has_other
    code = {name: number for number, name in enumerate(classes)}
    true_codes = np.array([code[true_labels[row] or OTHER] for row in kept])
    answer_codes = np.array([code[answers[row] or OTHER] for row in kept])
    correct = true_codes == answer_codes

    low, high = wilson_interval(int(correct.sum()), len(kept))
    bins = calibration_bins(confidence[kept], correct)
    group_codes = None if groups is None else pd.factorize(np.array([groups[row] for row in kept], dtype=object))[0]
    # Not scikit-learn's confusion_matrix, which warns of a single class even if it is told the labels.
    pairs = np.bincount(true_codes * len(classes) + answer_codes, minlength=len(classes) ** 2)
    confusion = pairs.reshape(len(classes), len(classes))
    return TargetEvaluation(
        target=target,
        classes=classes,
        rows=len(kept),
        accuracy=float(correct.mean()),
        accuracy_low=low,
        accuracy_high=high,
        top3_accuracy=float(np.mean([true_labels[row] in candidates[row] for row in kept])),
        **_averages(true_codes, answer_codes),
        expected_calibration_error=calibration_error(bins),
        majority_share=float(confusion.sum(axis=1).max() / len(kept)),
        collapsed=_is_collapsed(confusion),
        per_class=_per_class(classes, true_codes, answer_codes),
        confusion=confusion,
        calibration=bins,
        f1_intervals=None if group_codes is None else f1_intervals(true_codes, answer_codes, group_codes),
        review=review,
    )


def evaluate_review(
    classes: Sequence[str | None],
    thresholds: Sequence[float],
    *,
    predicted: np.ndarray[Any, Any],
    right: np.ndarray[Any, Any],
    flagged: np.ndarray[Any, Any],
) -> Review:
    """What a review flag is worth on labelled rows, one at least: indices of predicted classes, and two bools; (rows,) each."""
    passed = np.bincount(predicted[~flagged], minlength=len(classes))
    hits = np.bincount(predicted[right & ~flagged], minlength=len(classes))
    table = pd.DataFrame(
        {
            "class": [OTHER if name is None else name for name in classes],
            "threshold": list(thresholds),
            "answers": np.bincount(predicted, minlength=len(classes)),
            "passed": passed,
            "passed_precision": np.where(passed > 0, hits / np.maximum(passed, 1), np.nan),
        }
    )
    return Review(rows=len(predicted), passed=int(passed.sum()), right=int(hits.sum()), per_class=table)


def _labelled_rows(target: str, true_labels: list[str | None]) -> list[int]:
    rows = [row for row, label in enumerate(true_labels) if label is not None]
    if not rows:
        raise ValueError(
            f"target {target!r}: none of the {len(true_labels)} rows has a true label, expected at least one. "
            "Evaluate a split whose rows are labelled, or leave this target out"
        )
    return rows


def _averages(true_codes: np.ndarray[Any, Any], answer_codes: np.ndarray[Any, Any]) -> _Averages:
    labels = np.unique(true_codes)
    macro = precision_recall_fscore_support(true_codes, answer_codes, labels=labels, average="macro", zero_division=0.0)
    weighted = precision_recall_fscore_support(true_codes, answer_codes, labels=labels, average="weighted", zero_division=0.0)
    return _Averages(
        macro_precision=float(macro[0]), macro_recall=float(macro[1]), macro_f1=float(macro[2]),
        weighted_precision=float(weighted[0]), weighted_recall=float(weighted[1]), weighted_f1=float(weighted[2]),
    )  # fmt: skip


def _per_class(classes: list[str], true_codes: np.ndarray[Any, Any], answer_codes: np.ndarray[Any, Any]) -> pd.DataFrame:
    precision, recall, f1, support = precision_recall_fscore_support(
        true_codes, answer_codes, labels=np.arange(len(classes)), average=None, zero_division=0.0
    )
    table = pd.DataFrame(
        {
            "class": classes,
            "precision": precision,
            "recall": np.where(support > 0, recall, np.nan),
            "f1": f1,
            "support": support,
            "predicted": np.bincount(answer_codes, minlength=len(classes)),
        }
    )
    # `classes` is sorted already, so a stable sort leaves equal supports in the order of their names.
    return table.sort_values("support", ascending=False, kind="stable", ignore_index=True)


def _is_collapsed(confusion: np.ndarray[Any, Any]) -> bool:
    true_counts, answer_counts = confusion.sum(axis=1), confusion.sum(axis=0)
    rows = confusion.sum()
    favourite = int(answer_counts.argmax())
    others = rows - true_counts[favourite]
    swallowed = answer_counts[favourite] - confusion[favourite, favourite]
    unlikely = true_counts[favourite] / rows < COLLAPSE_TRUE_SHARE
    blind = others >= COLLAPSE_OTHERS_LEAST and swallowed / others >= COLLAPSE_PREDICTED_SHARE
    return bool(
        (true_counts > 0).sum() >= 2 and answer_counts[favourite] / rows >= COLLAPSE_PREDICTED_SHARE and (unlikely or blind)
    )


def _check_lengths(target: str, columns: Mapping[str, Sequence[Any]]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"target {target!r}: got {found} entries, expected one per row in each. Pass aligned columns")


def _probabilities(target: str, probability: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = np.asarray(probability, dtype=np.float64)
    bad = np.flatnonzero(~((values >= 0.0) & (values <= 1.0 + _ROUNDING)))
    if bad.size:
        raise ValueError(
            f"target {target!r}: probability of row {bad[0]} is {values[bad[0]]} ({bad.size} such rows), expected a "
            "number from 0 to 1. Pass the calibrated probability of the predicted label, not a logit"
        )
    return np.minimum(values, 1.0)


def _candidates(target: str, row: int, values: Sequence[str | None]) -> list[str | None]:
    if isinstance(values, str) or len(values) > 3:
        raise ValueError(f"target {target!r}: top3 of row {row} is {values!r}, expected a list of at most three labels")
    return [_label(target, "top3", row, value) for value in values]


def _label(target: str, column: str, row: int, value: object) -> str | None:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str) or value in ("", OTHER):
        raise ValueError(
            f"target {target!r}: {column} of row {row} is {value!r}, expected a label or None; a label is text, not "
            f"empty, and not {OTHER!r}, which stands for a null prediction. Rename it in the catalog or pass None"
        )
    return str(value)
