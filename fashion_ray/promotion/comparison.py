"""Two models on the same rows. In: labels and both models' answers. Out: a comparison a target, and its classes.

An answer is right if it is the row's label. Rows whose label is a class of neither model are left out, since neither could
be right; where only one knows it the other is wrong, so that a model that knows more classes is worth more, and `(other)` is
never right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fashion_ray.promotion import paired
from fashion_ray.promotion.paired import Claims, Interval

BETTER, WORSE, EQUAL = "better", "worse", "no significant difference"
UNKNOWN = -1
"""The code of `(other)`: no row's label has it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetComparison:
    """What two models are worth for one target. Differences are challenger minus champion."""

    target: str
    rows: int
    """Rows whose label at least one of the models knows."""

    left_out: int
    """Rows with a label that neither knows."""

    lost: int
    """Rows that only the champion has right."""

    won: int
    """Rows that only the challenger has right."""

    champion_accuracy: float
    challenger_accuracy: float
    accuracy: Interval
    p_value: float
    """McNemar's, two-sided and exact."""

    champion_macro_f1: float
    challenger_macro_f1: float
    macro_f1: Interval
    alpha: float
    only_champion: list[str]
    """Classes that the challenger does not know."""

    only_challenger: list[str]
    classes: pd.DataFrame
    """A row a class that occurs, commonest first: class, rows, known_to, and of both models (champion_, challenger_) recall and
    f1; lost and won (rows of the class that only one has right); recall_p and f1_p, one-sided, that it fell by chance; p, the
    smaller of the two after Holm's correction over all classes and both figures of the target; regressed."""

    @property
    def verdict(self) -> str:
        """BETTER or WORSE if the accuracies differ significantly, else EQUAL."""
        if self.p_value > self.alpha or self.won == self.lost:
            return EQUAL
        return BETTER if self.won > self.lost else WORSE

    @property
    def regressions(self) -> list[str]:
        """Classes whose recall or F1 fell by more than chance, commonest first."""
        return [str(name) for name in self.classes.loc[self.classes["regressed"], "class"]]

    def figures(self) -> dict[str, float]:
        """Numbers to track, named `target/name`."""
        values = {
            "rows": self.rows, "rows_left_out": self.left_out, "lost": self.lost, "won": self.won,
            "champion_accuracy": self.champion_accuracy, "challenger_accuracy": self.challenger_accuracy,
            "accuracy_difference": self.accuracy.value, "accuracy_difference_low": self.accuracy.low,
            "accuracy_difference_high": self.accuracy.high, "p_value": self.p_value,
            "champion_macro_f1": self.champion_macro_f1, "challenger_macro_f1": self.challenger_macro_f1,
            "macro_f1_difference": self.macro_f1.value, "macro_f1_difference_low": self.macro_f1.low,
            "macro_f1_difference_high": self.macro_f1.high, "regressed_classes": len(self.regressions),
        }  # fmt: skip
        return {f"{self.target}/{name}": float(value) for name, value in values.items()}

    def sentence(self) -> str:
        """The comparison in one line."""
        return (
            f"{self.target}: {self.verdict}, accuracy {self.challenger_accuracy:.4f} against {self.champion_accuracy:.4f}, "
            f"{self.accuracy.value:+.4f} [{self.accuracy.low:+.4f}, {self.accuracy.high:+.4f}], of {self.rows} rows "
            f"{self.won} won and {self.lost} lost, p {self.p_value:.2g}"
        )


def compare(
    target: str,
    *,
    truth: Sequence[str | None],
    champion: Sequence[str | None],
    challenger: Sequence[str | None],
    champion_classes: Sequence[str | None],
    challenger_classes: Sequence[str | None],
    alpha: float,
) -> TargetComparison | None:
    """The comparison on the labelled rows; one entry a row, null for no label and for the answer `(other)`.

    None if no row has a label that one of the models knows.
    """
    known = [{name for name in names if name is not None} for names in (champion_classes, challenger_classes)]
    labelled = [row for row, label in enumerate(truth) if label is not None]
    rows = [row for row in labelled if truth[row] in known[0] | known[1]]
    if not rows:
        return None
    names = sorted(known[0] | known[1])
    code = {name: number for number, name in enumerate(names)}
    true, old, new = (
        np.array([UNKNOWN if (name := column[row]) is None else code[name] for row in rows])
        for column in (truth, champion, challenger)
    )
    old_right, new_right = old == true, new == true
    lost, won = int((old_right & ~new_right).sum()), int((new_right & ~old_right).sum())
    champion_f1, challenger_f1, macro_f1 = paired.macro_f1_difference(true, old, new, classes=len(names))
    return TargetComparison(
        target=target,
        rows=len(rows),
        left_out=len(labelled) - len(rows),
        lost=lost,
        won=won,
        champion_accuracy=float(old_right.mean()),
        challenger_accuracy=float(new_right.mean()),
        accuracy=paired.share_difference(lost, won, len(rows)),
        p_value=paired.mcnemar(lost, won),
        champion_macro_f1=champion_f1,
        challenger_macro_f1=challenger_f1,
        macro_f1=macro_f1,
        alpha=alpha,
        only_champion=sorted(known[0] - known[1]),
        only_challenger=sorted(known[1] - known[0]),
        classes=_classes(names, known, true, old, new, alpha),
    )


def _classes(
    names: list[str], known: list[set[str]], true: np.ndarray, old: np.ndarray, new: np.ndarray, alpha: float
) -> pd.DataFrame:
    found = []
    for number in np.unique(true):
        name, claims = names[number], claims_of(int(number), true, old, new)
        hits = claims.both_right + claims.lost, claims.both_right + claims.won
        named = int((old == number).sum()), int((new == number).sum())
        found.append(
            {
                "class": name,
                "rows": claims.support,
                "known_to": "both" if name in known[0] & known[1] else "champion" if name in known[0] else "challenger",
                "champion_recall": hits[0] / claims.support,
                "challenger_recall": hits[1] / claims.support,
                "champion_f1": 2 * hits[0] / (claims.support + named[0]),
                "challenger_f1": 2 * hits[1] / (claims.support + named[1]),
                "lost": claims.lost,
                "won": claims.won,
                "recall_p": paired.fell(claims.lost, claims.won),
                "f1_p": paired.f1_fell(claims),
            }
        )
    table = pd.DataFrame(found)
    corrected = paired.holm([*table["recall_p"], *table["f1_p"]])
    table["p"] = np.minimum(corrected[: len(table)], corrected[len(table) :])
    table["regressed"] = table["p"] <= alpha
    return table.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def claims_of(number: int, true: np.ndarray, old: np.ndarray, new: np.ndarray) -> Claims:
    """Who gives one class's name to which rows."""
    mine, by_old, by_new = true == number, old == number, new == number
    return Claims(
        support=int(mine.sum()),
        both_right=int((mine & by_old & by_new).sum()),
        both_wrong=int((~mine & by_old & by_new).sum()),
        lost=int((mine & by_old & ~by_new).sum()),
        won=int((mine & by_new & ~by_old).sum()),
        champion_wrong=int((~mine & by_old & ~by_new).sum()),
        challenger_wrong=int((~mine & by_new & ~by_old).sum()),
    )
