"""What two crashes cost a search: SIGKILL to jobs/tune.py when a third and when two thirds of its trials are done.

Searches heads on the demo catalog by grid, random and TPE, one trial at a time. Out: a line a search, and status 1 unless the
killed one ends with the trials of an undisturbed one, figures too, runs no finished trial again and has one MLflow run a trial.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import victims
from benchmarks.victims import Household, draw, tail
from fashion_ray import cli, tracking
from fashion_ray.config import Problems
from fashion_ray.storage import Store
from fashion_ray.tuning.ledger import SEARCH, Ledger, Record
from fashion_ray.tuning.trials import SEARCHES

LISTS = ("heads_learning_rate=1e-3 3e-3 1e-2", "batch_size=32 64", "head=linear batchnorm")
RANGES = ("heads_learning_rate=1e-4..3e-2:log", "dropout=0..0.6", "head=linear batchnorm")
SETTINGS = ("schedule=heads:3", "min_class_count=15", "input_size=64x48", "cached_views=2")


@dataclass(frozen=True, kw_only=True)
class TuneDrillOptions:
    """Kill a search twice, and see how it ends."""

    only: tuple[str, ...] = SEARCHES
    """Kinds of search."""

    trials: int = 14
    """Of random and TPE, whose first 10 points are random; the grid has 12."""

    products: int = 800
    """How many products the demo catalog has."""

    patience_s: float = 400.0
    """How long a command may take."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(set(self.only) <= set(SEARCHES) and bool(self.only), "only", self.only, f"among {', '.join(SEARCHES)}")
        found.check(self.trials >= 3, "trials", self.trials, "3 or more")
        found.check(self.patience_s > 0, "patience_s", self.patience_s, "more than 0")
        found.raise_if_any()


@dataclass(kw_only=True)
class Finding:
    """How a search went."""

    search: str
    trials: int = 0
    finished_at_kills: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(TuneDrillOptions, arguments, example="python benchmarks/tune_drill.py --only grid")
    victims.with_own_token()
    household, findings = Household(), []
    with tempfile.TemporaryDirectory(prefix="drill", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        store = Store(str(folder / "root"))
        variables = victims.environment(store.uri, folder / "cache")
        try:
            draw(options.products, variables, folder, household, patience_s=options.patience_s)
            for search in options.only:
                findings.append(play(search, options, store, variables, folder, household))
                print(line(findings[-1]), flush=True)
        finally:
            household.bury(mercy_s=3)
    failed = sum(bool(finding.problems) for finding in findings)
    print(json.dumps({"benchmark": "tune_drill", "failed": failed, "searches": [asdict(finding) for finding in findings]}))
    return 1 if failed else 0


def line(finding: Finding) -> str:
    """A finding for people."""
    kills = " and ".join(str(count) for count in finding.finished_at_kills)
    verdict = "ok" if not finding.problems else "FAILED: " + "; ".join(finding.problems)
    return f"{finding.search} killed after {kills} of {finding.trials} trials: {verdict}"


def play(
    search: str, options: TuneDrillOptions, store: Store, variables: dict[str, str], folder: Path, household: Household
) -> Finding:
    """Search undisturbed; search, kill twice, go on; compare."""
    finding = Finding(search=search)
    asked = ["--search", search, "--space", *(LISTS if search == "grid" else RANGES), "--set", *SETTINGS, "--no-retrain"]
    asked += ["--parallel", "1", *(() if search == "grid" else ("--trials", str(options.trials)))]
    plain, killed = f"plain-{search}", f"killed-{search}"
    done: dict[int, Record] = {}
    for name, kills in ((plain, 0), (killed, 2)):
        log, total = folder / f"{name}.log", len(Ledger(store, plain).read(SEARCH))
        for kill in range(kills):
            process = victims.start("tune", "--name", name, *asked, variables=variables, log=log)
            there = until(process, Ledger(store, name), (kill + 1) * total // 3, household, options.patience_s)
            finding.finished_at_kills.append(len(there))
            done = there | done  # as they were first seen
            if process.poll() is not None:
                finding.problems.append(f"nobody was there to be killed: {tail(log)}")
            victims.kill(psutil.Process(process.pid))
            process.wait()
            household.bury(mercy_s=20)
        process = victims.start("tune", "--name", name, *asked, variables=variables, log=log)
        if victims.finish(process, household, patience_s=options.patience_s) != 0:
            finding.problems.append(f"{name} did not end well: {tail(log)}")
            return finding
    expected, found = (Ledger(store, name).read(SEARCH) for name in (plain, killed))
    finding.trials = len(expected)
    finding.problems += differences(expected, found)
    finding.problems += [f"trial {number} was run again" for number in done if done[number] != found[number]]
    tracked = nested(store, killed)
    if tracked != {record.run_id for record in found.values()}:
        finding.problems.append(f"{len(tracked)} MLflow runs of {len(found)} trials")
    return finding


def until(
    process: subprocess.Popen[bytes], ledger: Ledger, count: int, household: Household, patience_s: float
) -> dict[int, Record]:
    """Wait for so many finished trials; those that are finished."""
    ends = time.monotonic() + patience_s
    while True:
        household.count()
        found = {number: record for number, record in ledger.read(SEARCH).items() if record.finished}
        if len(found) >= count or process.poll() is not None or time.monotonic() > ends:
            return found
        time.sleep(0.05)


def differences(expected: dict[int, Record], found: dict[int, Record]) -> list[str]:
    """What differs in points, states and figures."""
    if list(expected) != list(found):
        return [f"trials {list(found)}, expected {list(expected)}"]
    wrong = []
    for number, record in expected.items():
        other = found[number]
        if record.point != other.point:
            wrong.append(f"trial {number} tried {dict(other.point)}, undisturbed {dict(record.point)}")
        elif (record.state, record.values) != (other.state, other.values):
            wrong.append(f"trial {number} came to {other.state} {other.values}, undisturbed {record.state} {record.values}")
    return wrong


def nested(store: Store, name: str) -> set[str]:
    """The MLflow runs of a search's trials."""
    client = tracking.locate(store).client()
    experiments = [one.experiment_id for one in client.search_experiments()]
    (parent,) = client.search_runs(experiments, f"tags.mlflow.runName = '{name}'")
    return {run.info.run_id for run in client.search_runs(experiments, f"tags.mlflow.parentRunId = '{parent.info.run_id}'")}


if __name__ == "__main__":
    cli.run(main)
