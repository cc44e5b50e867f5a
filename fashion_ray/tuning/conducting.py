"""A plan from beginning to end: search, winner, a study's trainings and comparison. In: a plan. Out: lines for people.

reports/<name>/study.csv, study.md and study_runs.csv hold a study's figures beside ours.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from fashion_ray import spreadsheets, tracking
from fashion_ray.cluster import Resources
from fashion_ray.errors import UserError
from fashion_ray.models import engines
from fashion_ray.models.engines import EngineChoice
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.tuning import study_table
from fashion_ray.tuning.finals import finished, train_inside
from fashion_ray.tuning.options import Plan
from fashion_ray.tuning.search import retrain, search, summary
from fashion_ray.tuning.studies import way_out
from fashion_ray.tuning.study_runs import StudyRun
from fashion_ray.tuning.study_table import Entry, Figures

log = logging.getLogger(__name__)

SHOWN, SHOWN_OF_STUDY = 5, 10
"""Trials of a leaderboard that people are told of."""


def conduct(
    plan: Plan, store: Store, catalog: Snapshot, choice: EngineChoice, has: Resources, run: tracking.TrackedRun, name: str
) -> Iterator[str]:
    """Do all that a plan says, and what was finished before only once. Raises UserError if nothing of it came to a figure."""
    entries: list[Entry] = []
    if plan.searches:
        found = search(plan, store, catalog, choice, has, run, name)
        shown = SHOWN if plan.study is None else SHOWN_OF_STUDY
        yield from summary(found, store, name, plan.base.monitor, count=shown)
        if plan.options.retrain:
            figures, lines = retrain(found, plan, store, catalog, choice, has, run, name)
            yield from lines
            entries.append(Entry(group="winner", theirs=plan.study.theirs if plan.study else "", figures=(figures,)))
    if plan.study is None:
        return
    by_group: dict[str, list[Figures]] = {}
    for one in plan.runs:
        figures, lines = _training(one, plan, store, catalog, choice, has, run, name)
        by_group.setdefault(one.group.name, []).append(figures)
        yield from lines
        _show([*entries, *_entries(plan, by_group)], store, run, name)
    entries += _entries(plan, by_group)
    if not entries:
        return
    yield _show(entries, store, run, name)
    yield f"comparison {store.show('reports', name, 'study.md')}"
    failed = [one.error for entry in entries for one in entry.figures]
    if all(failed):
        raise UserError(way_out(failed[0]))


def _training(
    one: StudyRun, plan: Plan, store: Store, catalog: Snapshot, choice: EngineChoice, has: Resources, run: tracking.TrackedRun,
    name: str,
) -> tuple[Figures, list[str]]:  # fmt: skip
    """One training of a study, or what is known of it; one that fails is said and does not end the others."""
    mine = f"{name}-{one.name}"
    known = finished(store, mine)
    if known is not None:
        return known, [f"run {mine} is finished and not run again"]
    log.info("study %s: %s", plan.options.study, one.name)
    own = one.options
    try:
        if (own.engine, own.precision) != (plan.base.engine, plan.base.precision):
            choice = engines.choose(own.engine, own.precision, gpus=has.gpus, **engines.of_this_node())
        return train_inside(run, mine, own, store, catalog, choice, has, study=plan.options.study)
    except UserError as error:
        figures = Figures(run=mine, backbone=own.backbone, error=str(error))
        return figures, [f"run {mine} not run: {way_out(str(error))}"]
    except Exception as error:
        log.exception("study %s: %s failed", plan.options.study, one.name)
        figures = Figures(run=mine, backbone=own.backbone, error=f"{type(error).__name__}: {error}"[:1000])
        return figures, [f"run {mine} failed with {figures.error}; the log has more, and --name {name} tries it again"]


def _entries(plan: Plan, by_group: dict[str, list[Figures]]) -> list[Entry]:
    groups = {one.group.name: one.group for one in plan.runs}
    theirs = plan.study.theirs if plan.study is not None and not plan.study.space else ""
    return [Entry(group=name, theirs=groups[name].theirs or theirs, figures=tuple(found)) for name, found in by_group.items()]


def _show(entries: list[Entry], store: Store, run: tracking.TrackedRun, name: str) -> str:
    """Write the comparison, below the root and to MLflow; the same as text."""
    table = study_table.compared(entries)
    text = study_table.markdown(table)
    files = {
        "study.md": text,
        "study.csv": spreadsheets.to_csv(table),
        "study_runs.csv": spreadsheets.to_csv(study_table.each(entries)),
    }
    for file, content in files.items():
        store.write_bytes(content.encode(), "reports", name, file)
        run.file(content, f"tables/{file}")
    run.metrics({
        f"{figure}/{one.run.removeprefix(name + '-')}": value
        for entry in entries for one in entry.figures if not one.error
        for figure, value in (("accuracy", one.accuracy), ("weighted_f1", one.weighted_f1), ("macro_f1", one.macro_f1))
    })  # fmt: skip
    return text
