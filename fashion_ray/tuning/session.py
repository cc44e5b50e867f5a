"""A phase of a search as decisions. In: questions and results of whoever runs trials. Out: what to run, when to stop.

It knows neither Ray nor MLflow, and keeps everything that must outlive it in the ledger.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from fashion_ray.tuning.ledger import DIED, DONE, FAILED, STARTED, STOPPED, Ledger, Record
from fashion_ray.tuning.space import Point
from fashion_ray.tuning.stopping import stops
from fashion_ray.tuning.trials import Tried

log = logging.getLogger(__name__)

Propose = Callable[[int, list[Tried]], Point | None]
"""The point of trial n, given the earlier ones; none if there is no more."""


class Book(Protocol):
    """Where people follow trials."""

    def begin(self, record: Record) -> str:
        """Open the run of a trial, its own if it has one; its id."""

    def epoch(self, record: Record, row: Mapping[str, Any]) -> None:
        """Note the figures of an epoch."""

    def end(self, record: Record) -> None:
        """Close the run of a trial that has ended, or was cut short."""


class Session:
    """One phase at work."""

    def __init__(
        self,
        ledger: Ledger,
        phase: str,
        propose: Propose,
        book: Book,
        *,
        monitor: str,
        numbers: range | Sequence[int],
        seconds: float | None = None,
        stopping: str = "none",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._phase, self._propose, self._book = ledger, phase, propose, book
        self._monitor, self._numbers, self._stopping, self._clock = monitor, numbers, stopping, clock
        self._until = None if seconds is None else clock() + seconds
        self.records = ledger.read(phase)
        self._live: dict[int, tuple[Record, float]] = {}
        """Trials at work, and when they began."""

        self._died: set[int] = set()
        """Trials whose process died in this session, which does not try them again."""

        if any(record.finished for record in self.records.values()):
            finished = sum(record.finished for record in self.records.values())
            log.info("%s: %d trials are finished and not run again", phase, finished)

    def next(self) -> Record | None:
        """The next trial to run, noted and with a run of its own; none if there is no more, or the budget is spent."""
        given = self._live.keys() | self._died
        waiting = (number for number in self._numbers if number not in given and not self._finished(number))
        number = next(waiting, None)
        if number is None:
            return None
        if self._until is not None and self._clock() >= self._until:
            return None
        known = self.records.get(number)
        point = known.point if known is not None else self._propose(number, self._tried(number))
        if point is None:
            return None
        before = Record(
            phase=self._phase, number=number, point=point, run_id=known.run_id if known is not None else "",
            monitor=self._monitor,
        )  # fmt: skip
        record = replace(before, run_id=self._book.begin(before))
        self._ledger.write(record)
        self.records[number] = record
        self._live[number] = record, self._clock()
        return record

    def _finished(self, number: int) -> bool:
        return number in self.records and self.records[number].finished

    def epoch(self, number: int, row: Mapping[str, Any]) -> bool:
        """Note an epoch; whether the trial should stop now."""
        record, began = self._live[number]
        record = replace(record, history=(*record.history, dict(row)))
        self._live[number] = record, began
        self._book.epoch(record, row)
        others = [one.values for one in self.records.values() if one.number != number and one.state in (DONE, STOPPED)]
        others += [one.values for one, _ in self._live.values() if one.number != number]
        if not stops(self._stopping, record.values, others):
            return False
        self._end(number, STOPPED)
        return True

    def end(self, number: int, error: str | None = None) -> None:
        """Note that a trial has ended; nothing happens if that was known."""
        if number in self._live:
            self._end(number, DONE if error is None else FAILED, error or "")

    def died(self, number: int, error: str) -> None:
        """Note that a trial's process died, so that the search runs it again once it is continued."""
        if number in self._live:
            self._died.add(number)
            self._end(number, DIED, error)

    def cut_short(self) -> None:
        """Close the runs of the trials at work, which will be run again."""
        for record, _ in self._live.values():
            self._book.end(record)

    def _end(self, number: int, state: str, error: str = "") -> None:
        record, began = self._live.pop(number)
        record = replace(record, state=state, error=error[:2000], seconds=round(self._clock() - began, 2))
        self._ledger.write(record)
        self.records[number] = record
        self._book.end(record)
        said = f"{record.monitor} {record.figure:.4f} in epoch {record.best_epoch}" if record.figure is not None else error
        shown = ", ".join(f"{name} {value}" for name, value in record.point.items())
        log.info("%s trial %d %s after %.1f s: %s; %s", self._phase, number, state, record.seconds, said[:300], shown)

    def _tried(self, number: int) -> list[Tried]:
        """The trials before this one, in the order of their numbers."""
        return [
            Tried(point=record.point, value=record.value, running=record.state == STARTED)
            for before, record in sorted(self.records.items())
            if before < number
        ]
