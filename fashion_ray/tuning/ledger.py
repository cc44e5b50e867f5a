"""What is known of a search's trials. In: trials that begin and end. Out: records, a JSON file each, found again after a kill.

runs/<search>/trials/<phase>-<number>.json, written as a whole. A trial is noted before it begins, so that its MLflow run is
continued where it is run again, and once more when it has ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fashion_ray.storage import Store
from fashion_ray.training.schedule import direction
from fashion_ray.tuning.space import Point

SEARCH, FINAL = "search", "final"
"""Phases: the short trials over everything, and the best of them again with more epochs."""

STARTED, DONE, STOPPED, FAILED, DIED = "started", "done", "stopped", "failed", "died"
"""States of a trial: at work or cut short; with all of its epochs; ended early by a rule; ended by an error; ended with its
process."""

UNFINISHED = (STARTED, DIED)
"""What is run again where a search is continued: memory or a node that was lost may be there by then."""

WITHOUT_FIGURE = (FAILED, DIED)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A trial."""

    phase: str
    number: int
    point: Point
    run_id: str
    """Of its MLflow run."""

    monitor: str
    """The figure of an epoch that trials are compared by."""

    state: str = STARTED
    history: tuple[Mapping[str, Any], ...] = ()
    """The figures of each epoch."""

    seconds: float = 0.0
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it need not be run again."""
        return self.state not in UNFINISHED

    @property
    def values(self) -> list[float]:
        """The monitored figure of each epoch, with its sign turned where less is better."""
        return [direction(self.monitor) * float(row[self.monitor]) for row in self.history]

    @property
    def value(self) -> float | None:
        """The best of them; none of a trial that failed or has no epoch yet."""
        return max(self.values) if self.history and self.state not in WITHOUT_FIGURE else None

    @property
    def figure(self) -> float | None:
        """The same as it was measured."""
        return None if self.value is None else direction(self.monitor) * self.value

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best value, counted from 1."""
        return 1 + self.values.index(max(self.values)) if self.history else None


@dataclass(frozen=True)
class Ledger:
    """The records of a search."""

    store: Store
    search: str
    """The name of the search."""

    def write(self, record: Record) -> None:
        """Note a trial, in place of what was noted of it."""
        name = f"{record.phase}-{record.number:05d}.json"
        self.store.write_json(dataclasses.asdict(record), "runs", self.search, "trials", name)

    def read(self, phase: str) -> dict[int, Record]:
        """The trials of a phase by their numbers, ascending."""
        folder = ("runs", self.search, "trials")
        names = [name for name in self.store.names(*folder) if name.startswith(f"{phase}-") and name.endswith(".json")]
        records = (self.store.read_json(*folder, name) for name in names)
        found = [Record(**{**record, "history": tuple(record["history"])}) for record in records]
        return {record.number: record for record in sorted(found, key=lambda record: record.number)}


def best(records: Mapping[int, Record], count: int) -> list[Record]:
    """The trials with the best values, best first; of equal ones the earlier."""
    scored = [record for record in records.values() if record.finished and record.value is not None]
    return sorted(scored, key=lambda record: (-(record.value or 0.0), record.number))[:count]
