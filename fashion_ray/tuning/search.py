"""A search from beginning to end. In: a plan, a catalog, a tracked run. Out: a leaderboard, and the winner as a bundle.

runs/<search>/          the ledger, and what the search was asked to do
runs/<search>-<trial>/  the winner's training run
reports/<search>/       the leaderboard as a table and as a picture

The winner is chosen on validation. The test side is read once, when the winner has been trained.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fashion_ray import spreadsheets, tracking
from fashion_ray.cluster import Resources
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.training.schedule import direction
from fashion_ray.training.topology import plan_workers
from fashion_ray.tuning.finals import finished, train_inside
from fashion_ray.tuning.following import MlflowBook
from fashion_ray.tuning.leaderboard import FACTS, leaderboard, lines
from fashion_ray.tuning.ledger import FINAL, SEARCH, WITHOUT_FIGURE, Ledger, Record, best
from fashion_ray.tuning.options import Plan, longer
from fashion_ray.tuning.running import Setup, run_trials
from fashion_ray.tuning.session import Session
from fashion_ray.tuning.slots import plan_slots
from fashion_ray.tuning.space import Point, Space, options_of
from fashion_ray.tuning.studies import way_out
from fashion_ray.tuning.study_table import Figures
from fashion_ray.tuning.trials import Tried, nth_point

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to."""

    table: pd.DataFrame
    winner: Record
    options: TrainOptions
    """Those that the winner is trained with."""


@contextmanager
def hold(plan: Plan, store: Store, catalog: Snapshot, name: str) -> Iterator[dict[str, Any]]:
    """Hold a search's name while the block runs; yields what is noted of it, its claim on a run of MLflow among that.

    Raises UserError if a search of this name was asked for something else, ConflictError if it is at work now.
    """
    asked = json.loads(json.dumps({**plan.asked(), "catalog_snapshot": catalog.name}))
    with store.held("runs", name, ".lock") as free:
        new = {"asked": asked, "claim": uuid.uuid4().hex}
        try:
            noted = new | store.read_json("runs", name, "search.json")
        except FileNotFoundError:
            if store.exists("runs", name, "start"):
                raise UserError(f"--name: {name!r} is a training run; expected a search, or another --name") from None
            noted = new
        different = sorted(key for key in asked if noted["asked"].get(key) != asked[key])
        if different:
            raise UserError(
                f"--name: the search {name!r} was started with another {', '.join(different)}; expected the same, which only "
                "budgets (--trials, --minutes, --finalists, --parallel) need not be, or another --name"
            )
        if not free:
            raise ConflictError(
                f"--name: the search {name!r} is at work in another process; wait for it, or pass another --name"
            )
        store.write_json(noted, "runs", name, "search.json")
        yield noted


def search(
    plan: Plan, store: Store, catalog: Snapshot, choice: EngineChoice, has: Resources, run: tracking.TrackedRun, name: str
) -> Found:
    """Run the trials that are not finished, then the finalists'. Raises UserError if no trial came to a figure."""
    options, base, axes = plan.options, plan.base, plan.space
    assert axes is not None, "a plan with a search has a space"
    _check_trunks(plan, axes, store, catalog)
    _check_workers(options.trial_workers, choice, has)
    slots = plan_slots(
        1 if options.trial_workers > 1 else options.parallel,
        cpus=has.cpus,
        gpus=has.gpus if choice.device == "cuda" else 0,
        cpus_per_node=has.cpus_per_node,
    )
    log.info(
        "search %s: %d trials side by side, %d workers each, %d threads",
        name,
        slots.count,
        options.trial_workers,
        slots.threads,
    )
    setup = Setup(base=base, store=store, catalog=catalog, choice=choice, slots=slots, has=has, workers=options.trial_workers)
    ledger, book = Ledger(store, name), MlflowBook(run, base)

    def propose(number: int, earlier: list[Tried]) -> Point | None:
        return nth_point(options.search, axes, number, seed=options.seed, earlier=earlier)

    session = Session(
        ledger, SEARCH, propose, book, monitor=base.monitor, numbers=range(plan.trials),
        seconds=None if options.minutes is None else options.minutes * 60, stopping=options.stopping,
    )  # fmt: skip
    try:
        run_trials(session, setup, name)
        finalists = {record.number: _as_final(record, plan) for record in best(session.records, options.finalists)}
        if finalists:
            final = Session(
                ledger, FINAL, lambda number, earlier: finalists[number], book, monitor=base.monitor, numbers=list(finalists)
            )
            run_trials(final, setup, name)
    finally:
        table = _show(ledger, store, run, name, base)
    last = {number: record for number, record in ledger.read(FINAL).items() if number in finalists}
    winner = next(iter(best(last, 1) or best(session.records, 1)), None)
    if winner is None:
        errors = [record.error for record in session.records.values() if record.state in WITHOUT_FIGURE]
        raise UserError(
            f"none of {len(errors)} trials came to a figure; the first failed with: {next(iter(errors), 'nothing')}"
        )
    run.metrics({f"best_{base.monitor}": winner.figure or 0.0, "best_epoch": float(winner.best_epoch or 0)})
    return Found(table=table, winner=winner, options=options_of(base, _as_final(winner, plan)))


def _check_workers(workers: int, choice: EngineChoice, has: Resources) -> None:
    """Raise UserError where the cluster cannot hold the workers of a trial, before each trial says so."""
    try:
        plan_workers(
            workers, cpus=has.cpus, gpus=has.gpus if choice.device == "cuda" else 0, nodes=has.nodes,
            cpus_per_node=has.cpus_per_node,
        )  # fmt: skip
    except UserError as error:
        raise UserError(str(error).replace("--workers", "--trial-workers")) from error


def _check_trunks(plan: Plan, axes: Space, store: Store, catalog: Snapshot) -> None:
    """Raise UserError where the trials' options do not fit the catalog, or a study's trunk has no weights here."""
    trunks = next((axis.choices for axis in axes.axes if axis.name == "backbone"), (plan.base.backbone,))
    if plan.study is None:
        prepare(plan.base, store, catalog)
        return
    for trunk in trunks:
        try:
            prepare(options_of(plan.base, {"backbone": trunk}), store, catalog)
        except UserError as error:
            raise UserError(way_out(str(error))) from error


def _as_final(record: Record, plan: Plan) -> Point:
    """The point of a trial with the epochs of the final."""
    schedule = record.point.get("schedule", plan.base.schedule)
    return {**record.point, "schedule": longer(schedule, plan.options.final_epochs)}


def _show(ledger: Ledger, store: Store, run: tracking.TrackedRun, name: str, base: TrainOptions) -> pd.DataFrame:
    """Write the leaderboard, below the root and to MLflow, also of a search that was cut short."""
    from fashion_ray.pages.parallel_coordinates import parallel_coordinates

    table = leaderboard({phase: ledger.read(phase) for phase in (SEARCH, FINAL)})
    if "schedule" in table:
        table["schedule"] = table["schedule"].replace("", base.schedule)  # finalists have their own, which hides that of others
    files: dict[str, bytes | str] = {"leaderboard.csv": spreadsheets.to_csv(table)}
    varied = [option for option in table.columns[len(FACTS) :] if table[option].nunique() > 1]
    if table["figure"].notna().any():
        files["parallel_coordinates.png"] = parallel_coordinates(
            table, varied, "figure", label=base.monitor, less_is_better=direction(base.monitor) < 0
        )
    for file, content in files.items():
        store.write_bytes(content.encode() if isinstance(content, str) else content, "reports", name, file)
        run.file(content, f"{'plots' if file.endswith('.png') else 'tables'}/{file}")
    return table


def retrain(
    found: Found, plan: Plan, store: Store, catalog: Snapshot, choice: EngineChoice, has: Resources, run: tracking.TrackedRun,
    name: str,
) -> tuple[Figures, list[str]]:  # fmt: skip
    """Train the winner as jobs/train.py does, evaluate it on test and register it; what came of it, also in lines.

    A winner that was trained before is not trained again; one of a study is not registered.
    """
    mine = f"{name}-{found.winner.phase}-{found.winner.number}"
    known = finished(store, mine)
    if known is not None:
        return known, [f"run {mine} is finished and not run again", f"report {store.show('reports', mine, 'training.html')}"]
    return train_inside(run, mine, found.options, store, catalog, choice, has, study=plan.options.study)


def summary(found: Found, store: Store, name: str, monitor: str, *, count: int = 5) -> list[str]:
    """The leaderboard's first lines, and where it lies."""
    counts = ", ".join(f"{count} {state}" for state, count in found.table["state"].value_counts().items())
    return [
        f"{len(found.table)} trials ({counts}); the best by {monitor} on validation:", *lines(found.table, monitor, count),
        f"leaderboard {store.show('reports', name, 'leaderboard.csv')}",
    ]  # fmt: skip


def new_name() -> str:
    """A name for a search that was given none."""
    return f"tune-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
