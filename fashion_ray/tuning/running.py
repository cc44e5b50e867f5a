"""Trials on Ray Tune. In: a session that decides, and what a trial needs. Out: trials that ran, side by side.

Ray Tune starts, places and stops trials; which and when is asked of the session, on the driver. Tune's own state is not kept:
the ledger is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fashion_ray.cluster import Resources
from fashion_ray.errors import UserError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.training.run import fit
from fashion_ray.tuning.features import Features
from fashion_ray.tuning.ledger import Record
from fashion_ray.tuning.session import Session
from fashion_ray.tuning.slots import Slots
from fashion_ray.tuning.space import options_of
from fashion_ray.tuning.trial import run_trial

FAILED = "failed"
"""What a trial reports instead of an epoch's figures if it fails: why."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every trial needs to know."""

    base: TrainOptions
    store: Store
    catalog: Snapshot
    choice: EngineChoice
    slots: Slots
    has: Resources
    workers: int = 1
    """Of each trial; more than one are started by Ray Train, which takes 10 to 18 seconds."""

    @property
    def resources(self) -> dict[str, float]:
        """What Ray Tune reserves for a trial: next to nothing where Ray Train reserves what its workers need."""
        return {"CPU": 0.0, "memory": 1.0} if self.workers > 1 else {"CPU": self.slots.cpus, "GPU": self.slots.gpus}


def run_trials(session: Session, setup: Setup, name: str) -> None:
    """Run the session's trials until it has no more; without one Ray Tune is not started."""
    first = session.next()
    if first is None:
        return
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the other one prints its settings whatever the verbosity
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # they are in the ledger
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    slots, store = setup.slots, setup.store
    store.remove("runs", name, "tune")
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, setup=setup, name=name), setup.resources),
        tune_config=tune.TuneConfig(
            search_alg=_Supplier(session, first), scheduler=_Judge(session), num_samples=-1, max_concurrent_trials=slots.count,
            reuse_actors=True, trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=store.path("runs", name), storage_filesystem=store.arrow_filesystem(), verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )  # fmt: skip
    try:
        tuner.fit()
    except BaseException:
        session.cut_short()
        raise
    finally:
        for number in session.records if setup.workers > 1 else ():
            store.remove("runs", _folder(name, number))  # of one that was stopped
    store.remove("runs", name, "tune")


def _folder(name: str, number: int) -> str:
    """Where Ray Train keeps a trial's checkpoints while it runs: a name that no run of people can have, since it is removed."""
    return f"{name}~{number}"


class _Supplier(Searcher):  # type: ignore[misc]
    """Hands out the session's trials, beginning with one that was asked for before."""

    def __init__(self, session: Session, first: Record) -> None:
        super().__init__()
        self._session = session
        self._first: Record | None = first
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's number and point, or that there is none."""
        record, self._first = self._first or self._session.next(), None
        if record is None:
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = record.number
        return {"number": record.number, "point": dict(record.point)}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Note the end of a trial, whatever it was that ended it."""
        number = self._numbers.pop(trial_id)
        if error:
            self._session.died(number, "the trial's process died; too little memory, or a lost node?")
        else:
            self._session.end(number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Judge(FIFOScheduler):  # type: ignore[misc]
    """Passes epochs on to the session, and stops the trials that it gives up."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Whether a trial goes on after an epoch."""
        number = trial.config["number"]
        if FAILED in result:
            self._session.end(number, str(result[FAILED]))
        elif not result.get("done"):
            row = {key.removeprefix("row/"): value for key, value in result.items() if key.startswith("row/")}
            if self._session.epoch(number, row):
                return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)


def _trial(config: Mapping[str, Any], *, setup: Setup, name: str) -> None:
    """What runs in a trial's process."""
    logging.getLogger("fashion_ray").setLevel(logging.WARNING)
    try:
        options = options_of(setup.base, config["point"])
        if setup.workers > 1:
            _with_workers(replace(options, workers=setup.workers), setup, _folder(name, config["number"]))
            return
        features = Features(store=setup.store, choice=setup.choice, threads=setup.slots.node_threads)
        prepared = prepare(options, setup.store, setup.catalog)
        run_trial(prepared, features, lambda row: tune.report({"row": row}), threads=setup.slots.threads)
    except UserError as error:
        tune.report({FAILED: str(error)})
    except Exception as error:
        tune.report({FAILED: f"{type(error).__name__}: {error}"})
        raise


class _Rows(TuneReportCallback):  # type: ignore[misc]
    """Passes the figures of an epoch on from Ray Train to Ray Tune, as a trial without workers reports them."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """The first rank's; all ranks' are the same."""
        super().after_report(run_context, [{"row": metrics[0]}], None)


def _with_workers(options: TrainOptions, setup: Setup, name: str) -> None:
    """Train by Ray Train from the beginning, and keep nothing of it."""
    setup.store.remove("runs", name)
    try:
        fit(prepare(options, setup.store, setup.catalog), setup.store, setup.choice, setup.has, _Rows(), name)
    finally:
        setup.store.remove("runs", name)
