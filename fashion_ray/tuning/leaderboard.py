"""The trials of a search as one table, best first. In: records. Out: a data frame."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from fashion_ray.tuning.ledger import FINAL, Record

FACTS = ("rank", "phase", "trial", "state", "figure", "best_epoch", "epochs", "seconds", "run_id", "error")
"""Columns before the options."""


def leaderboard(records: Mapping[str, Mapping[int, Record]]) -> pd.DataFrame:
    """A row a trial: those of the final phase first, then by their figure; failed ones last. Options are columns.

    An option that does not count in a trial is empty there.
    """
    everything = [record for ones in records.values() for record in ones.values()]
    everything.sort(key=lambda one: (one.value is None, one.phase != FINAL, -(one.value or 0.0), one.number))
    options = list(dict.fromkeys(name for record in everything for name in record.point))
    rows = [
        {
            "rank": rank, "phase": record.phase, "trial": record.number, "state": record.state, "figure": record.figure,
            "best_epoch": record.best_epoch, "epochs": len(record.history), "seconds": record.seconds, "run_id": record.run_id,
            "error": record.error, **{name: record.point.get(name, "") for name in options},
        }
        for rank, record in enumerate(everything, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*FACTS, *options])


def lines(table: pd.DataFrame, monitor: str, count: int = 5) -> list[str]:
    """The best trials in words."""
    found = []
    for row in table[table["figure"].notna()].head(count).to_dict("records"):
        options = ", ".join(f"{name} {row[name]}" for name in table.columns[len(FACTS) :] if row[name] != "")
        found.append(
            f"{row['rank']}. {row['phase']} trial {row['trial']}: {monitor} {row['figure']:.4f} in epoch "
            f"{int(row['best_epoch'])} of {row['epochs']}, {row['seconds']:.0f} s; {options}"
        )
    return found
