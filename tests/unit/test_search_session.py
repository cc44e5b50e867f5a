"""A search as a sequence of decisions: what is noted, what is run again after a kill, when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fashion_ray.storage import Store
from fashion_ray.training.options import TrainOptions
from fashion_ray.tuning import space
from fashion_ray.tuning.leaderboard import FACTS, leaderboard, lines
from fashion_ray.tuning.ledger import DIED, DONE, FAILED, FINAL, SEARCH, STARTED, STOPPED, Ledger, Record, best
from fashion_ray.tuning.session import Propose, Session
from fashion_ray.tuning.space import Point
from fashion_ray.tuning.trials import nth_point

BASE = TrainOptions(schedule="heads:3")
SPACES = {
    "grid": space.parse(["optimizer=adamw adam sgd rmsprop", "dropout=0 0.2 0.4"], BASE),
    "random": space.parse(["learning_rate=1e-4..1e-2:log", "dropout=0..0.5", "head=linear batchnorm"], BASE),
}
SPACES["tpe"] = SPACES["random"]
TRIALS, EPOCHS = 12, 3


class Notes:
    """What a tracking server would hold."""

    def __init__(self) -> None:
        self.runs: dict[str, Point] = {}
        self.states: dict[str, str] = {}
        self.begun: list[str] = []

    def begin(self, record: Record) -> str:
        run_id = record.run_id or f"run-{len(self.runs)}"
        assert self.runs.setdefault(run_id, record.point) == record.point
        self.begun.append(run_id)
        return run_id

    def epoch(self, record: Record, row: Mapping[str, Any]) -> None:
        assert record.run_id in self.runs

    def end(self, record: Record) -> None:
        self.states[record.run_id] = record.state


class Killed(BaseException):
    """The process dies."""


def proposer(search: str) -> Propose:
    return lambda number, earlier: nth_point(search, SPACES[search], number, seed=3, earlier=earlier)


def figure_of(point: Point, epoch: int) -> float:
    rate = float(point.get("learning_rate", 1e-3))
    return 0.9 - 0.1 * abs(math.log10(rate) + 3) - 0.2 * float(point["dropout"]) + 0.01 * epoch


def session(ledger: Ledger, search: str, notes: Notes, **changes: Any) -> Session:
    settings: dict[str, Any] = {"monitor": "score", "numbers": range(TRIALS), **changes}
    return Session(ledger, SEARCH, proposer(search), notes, **settings)


def run(work: Session, *, killed_after: int = 10**9) -> int:
    """One trial at a time until there is none, or until so many epochs; how many epochs there were."""
    epochs = 0
    while (record := work.next()) is not None:
        for epoch in range(1, EPOCHS + 1):
            if epochs == killed_after:
                raise Killed
            epochs += 1
            if work.epoch(record.number, {"epoch": epoch, "score": figure_of(record.point, epoch)}):
                break
        else:
            work.end(record.number)
    return epochs


def seen(ledger: Ledger) -> list[tuple[int, Point, str, list[float]]]:
    """All that must not depend on kills."""
    return [(one.number, one.point, one.state, one.values) for one in ledger.read(SEARCH).values()]


@pytest.mark.parametrize("stopping", ["none", "asha", "median"])
@pytest.mark.parametrize("search", ["grid", "random", "tpe"])
def test_a_search_that_was_killed_twice_ends_as_an_undisturbed_one(tmp_path: Path, search: str, stopping: str) -> None:
    whole, torn = (Ledger(Store(str(tmp_path / name)), "search") for name in ("whole", "torn"))
    undisturbed = run(session(whole, search, Notes(), stopping=stopping))
    notes, spent = Notes(), 0
    for kill in (4, 7):
        with pytest.raises(Killed):
            run(session(torn, search, notes, stopping=stopping), killed_after=kill)
        spent += kill
    spent += run(session(torn, search, notes, stopping=stopping))
    assert seen(torn) == seen(whole) and len(seen(whole)) == TRIALS
    assert undisturbed < spent <= undisturbed + 2 * EPOCHS, "only what was cut short is run again"
    assert len(notes.runs) == TRIALS, "a trial that is run again goes on in its own run"
    assert set(notes.states) == set(notes.runs)


def test_a_trial_is_noted_before_it_begins(tmp_path: Path) -> None:
    ledger, notes = Ledger(Store(str(tmp_path)), "search"), Notes()
    record = session(ledger, "grid", notes).next()
    assert record is not None and ledger.read(SEARCH) == {0: record}
    assert record.state == STARTED and record.run_id == "run-0" and not record.finished


def test_trials_side_by_side_get_different_points_and_end_in_any_order(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)), "search")
    work = session(ledger, "grid", Notes(), numbers=range(3))
    first, second = work.next(), work.next()
    assert first is not None and second is not None and (first.number, second.number) == (0, 1)
    work.epoch(1, {"score": 0.5})
    work.end(1)
    third = work.next()
    assert third is not None and third.number == 2 and work.next() is None
    again = session(ledger, "grid", Notes(), numbers=range(3))
    left = [again.next(), again.next(), again.next()]
    assert [record.number for record in left if record is not None] == [0, 2], "what was cut short, and no finished one"


def test_a_failing_trial_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    ledger, notes = Ledger(Store(str(tmp_path)), "search"), Notes()
    work = session(ledger, "grid", notes, numbers=range(2))
    record = work.next()
    assert record is not None
    work.epoch(0, {"score": 0.9})
    work.end(0, "the train loss became NaN")
    work.end(0, "and what came of it")
    failed = ledger.read(SEARCH)[0]
    assert (failed.state, failed.error, failed.value) == (FAILED, "the train loss became NaN", None)
    assert len(failed.history) == 1 and notes.states == {"run-0": FAILED}
    assert run(work) == EPOCHS and [one.number for one in best(work.records, 5)] == [1]
    assert session(ledger, "grid", Notes(), numbers=range(2)).next() is None, "nor is it run again"


def test_a_trial_whose_process_died_is_run_again_only_where_the_search_is_continued(tmp_path: Path) -> None:
    ledger, notes = Ledger(Store(str(tmp_path)), "search"), Notes()
    work = session(ledger, "grid", notes, numbers=range(2))
    record = work.next()
    assert record is not None
    work.epoch(0, {"score": 0.9})
    work.died(0, "a lost node")
    work.died(0, "and again")
    assert run(work) == EPOCHS, "the other one"
    dead = ledger.read(SEARCH)[0]
    assert (dead.state, dead.error, dead.value, dead.finished) == (DIED, "a lost node", None, False)
    assert [one.number for one in best(work.records, 5)] == [1]
    assert run(session(ledger, "grid", notes, numbers=range(2))) == EPOCHS
    assert [one.state for one in ledger.read(SEARCH).values()] == [DONE, DONE] and len(notes.runs) == 2


def test_no_trial_begins_after_the_minutes_are_over(tmp_path: Path) -> None:
    now = 0.0
    work = session(Ledger(Store(str(tmp_path)), "search"), "grid", Notes(), seconds=60.0, clock=lambda: now)
    record = work.next()
    assert record is not None
    now = 61.0
    assert work.next() is None
    work.epoch(0, {"score": 0.5})
    work.end(0)
    assert work.records[0].state == DONE and work.records[0].seconds == 61.0


def test_the_best_come_first_and_less_of_a_loss_is_better() -> None:
    records = {
        number: Record(
            phase=SEARCH, number=number, point={}, run_id="", monitor="validation_loss", state=state,
            history=tuple({"validation_loss": loss} for loss in losses),
        )
        for number, (state, losses) in enumerate(
            [(DONE, [0.5, 0.4, 0.45]), (STOPPED, [0.3]), (FAILED, [0.1]), (STARTED, [0.1]), (DONE, [0.3])]
        )
    }  # fmt: skip
    assert [one.number for one in best(records, 9)] == [1, 4, 0]
    assert records[0].best_epoch == 2 and records[0].value == -0.4 and records[0].figure == 0.4


def test_the_leaderboard_has_a_row_a_trial_finals_first_and_failures_last(tmp_path: Path) -> None:
    def record(phase: str, number: int, score: float | None, **point: str) -> Record:
        return Record(
            phase=phase, number=number, point=point, run_id=f"r{number}", monitor="score", seconds=2.0,
            state=FAILED if score is None else DONE, history=() if score is None else ({"score": 0.1}, {"score": score}),
            error="died" if score is None else "",
        )  # fmt: skip

    short = {0: record(SEARCH, 0, 0.9, head="linear"), 1: record(SEARCH, 1, None, head="mlp"), 2: record(SEARCH, 2, 0.95)}
    table = leaderboard({SEARCH: short, FINAL: {0: record(FINAL, 0, 0.93, head="mlp", head_widths="50,20")}})
    assert list(table["rank"]) == [1, 2, 3, 4] and list(table["phase"]) == [FINAL, SEARCH, SEARCH, SEARCH]
    assert list(table["trial"]) == [0, 2, 0, 1] and list(table["error"]) == ["", "", "", "died"]
    assert list(table.columns) == [*FACTS, "head", "head_widths"] and list(table["head_widths"]) == ["50,20", "", "", ""]
    assert lines(table, "score")[0].startswith(
        "1. final trial 0: score 0.9300 in epoch 2 of 2, 2 s; head mlp, head_widths 50,20"
    )
    assert len(lines(table, "score")) == 3 and list(leaderboard({}).columns) == list(FACTS)
