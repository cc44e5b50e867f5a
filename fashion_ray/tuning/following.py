"""Trials as nested MLflow runs. In: records and figures of epochs. Out: runs that people can follow and compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashion_ray import tracking
from fashion_ray.errors import UserError
from fashion_ray.training.options import TrainOptions
from fashion_ray.tuning.ledger import DIED, DONE, FAILED, STARTED, STOPPED, Record
from fashion_ray.tuning.space import OWNED, options_of

STATUS = {DONE: "FINISHED", STOPPED: "FINISHED", FAILED: "FAILED", DIED: "FAILED", STARTED: "KILLED"}


class MlflowBook:
    """Nested runs of a search's run, all written by the process that leads the search."""

    def __init__(self, parent: tracking.TrackedRun, base: TrainOptions) -> None:
        self._parent, self._base = parent, base

    def begin(self, record: Record) -> str:
        """Open the run of a trial, its own if it has one, with every option as a parameter; its id."""
        name = f"{record.phase}-{record.number}"
        tags = {"job": "trial", "phase": record.phase, **tracking.inside(self._parent)}
        run = tracking.open_run(self._parent.tracking, name, tags, claim=f"{self._parent.run_id}/{name}")
        if not run.has_parameters():
            try:
                options = tracking.flat(options_of(self._base, record.point))
            except UserError:  # the trial itself will say so
                options = dict(record.point)
            run.parameters({name: value for name, value in options.items() if name not in OWNED} | {"trial": record.number})
        return run.run_id

    def epoch(self, record: Record, row: Mapping[str, Any]) -> None:
        """Log the figures of an epoch."""
        self._run(record).metrics({key: value for key, value in row.items() if isinstance(value, float)}, step=row["epoch"])

    def end(self, record: Record) -> None:
        """Log how a trial ended, and close its run."""
        run = self._run(record)
        run.tags({"state": record.state} | ({"error": record.error[:1000]} if record.error else {}))
        if record.figure is not None and record.best_epoch is not None and record.finished:
            run.metrics({f"best_{record.monitor}": record.figure, "best_epoch": record.best_epoch, "seconds": record.seconds})
        run.end(STATUS[record.state])

    def _run(self, record: Record) -> tracking.TrackedRun:
        return tracking.TrackedRun(self._parent.tracking, record.run_id)
