"""What a crash costs a training run: SIGKILL to a worker, to the driver, to a node of three, in the middle of an epoch.

Trains on the demo catalog. Out: a line a case, and status 1 unless the run ends well in the same MLflow run, with every epoch
once and as many optimizer steps in each as an undisturbed run takes (an elastic run may take others with fewer workers).
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import victims
from benchmarks.victims import Household, Nodes, draw, tail
from fashion_ray import cli, tracking
from fashion_ray.config import Problems
from fashion_ray.storage import Store

NOBODY, WORKER, DRIVER, NODE, ELASTIC = "nobody", "worker", "driver", "node", "elastic"
VICTIMS = (WORKER, DRIVER, NODE, ELASTIC)
EPOCHS = 3
TRAINING = (
    "--schedule", f"all:{EPOCHS}", "--patience", "0", "--min-class-count", "15", "--input-size", "64x48", "--batch-size", "32",
)  # fmt: skip
WORKERS = {ELASTIC: ("--workers", "3", "--min-workers", "2")}


@dataclass(frozen=True, kw_only=True)
class TrainDrillOptions:
    """Kill a training run of two workers in every way, and see how it ends."""

    only: tuple[str, ...] = VICTIMS
    """Who is killed: worker, driver, node, or elastic, a node that does not come back in a run that may go on with fewer."""

    products: int = 1500
    """How many products the demo catalog has."""

    patience_s: float = 600.0
    """How long a run may take."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(set(self.only) <= set(VICTIMS) and bool(self.only), "only", self.only, f"among {', '.join(VICTIMS)}")
        found.check(self.patience_s > 0, "patience_s", self.patience_s, "more than 0")
        found.raise_if_any()


@dataclass(kw_only=True)
class Finding:
    """How a case went."""

    victim: str
    cluster: bool
    """On three nodes, rather than on a Ray of the job's own."""

    wall_s: float = 0.0
    epochs_before: int = 0
    """That were finished when the kill came."""

    steps: list[int] = field(default_factory=list)
    """Of the optimizer, an epoch."""

    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(TrainDrillOptions, arguments, example="python benchmarks/train_drill.py --only worker")
    victims.with_own_token()
    household, nodes, findings = Household(), None, []
    with tempfile.TemporaryDirectory(prefix="drill", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        store = Store(str(folder / "root"))
        variables = victims.environment(store.uri, folder / "cache")
        try:
            draw(options.products, variables, folder, household, patience_s=options.patience_s)
            truth: list[int] = []
            for victim in (NOBODY, *options.only):
                if victim in (NODE, ELASTIC):
                    if nodes is not None:
                        nodes.close()
                    nodes = Nodes(1 if victim == NODE else 3)  # of three, a worker takes two and leaves one to its reader
                finding = play(victim, store, variables, folder, household, nodes, options.patience_s)
                truth = truth or finding.steps
                if victim != ELASTIC and finding.steps != truth:
                    finding.problems.append(f"{finding.steps} steps an epoch, and {truth} without a kill")
                findings.append(finding)
                print(line(finding), flush=True)
        finally:
            household.count()
            if nodes is not None:
                nodes.close()
            household.bury(mercy_s=3)
    failed = sum(bool(finding.problems) for finding in findings)
    print(json.dumps({"benchmark": "train_drill", "failed": failed, "cases": [asdict(finding) for finding in findings]}))
    return 1 if failed else 0


def line(finding: Finding) -> str:
    """A finding for people."""
    place = " on 3 nodes" if finding.cluster else ""
    verdict = "ok" if not finding.problems else "FAILED: " + "; ".join(finding.problems)
    when = "" if finding.victim == NOBODY else f" in epoch {finding.epochs_before + 1}"
    return f"{finding.victim} killed{when}{place}: steps {finding.steps} in {finding.wall_s:.0f} s; {verdict}"


def play(
    victim: str,
    store: Store,
    variables: dict[str, str],
    folder: Path,
    household: Household,
    nodes: Nodes | None,
    patience_s: float,
) -> Finding:
    """Train, kill somebody in the second epoch, start again if need be, and read the books."""
    finding = Finding(victim=victim, cluster=nodes is not None)
    log, name = folder / f"{victim}.log", f"drill-{victim}"
    place = ("--address", nodes.address) if nodes is not None else ()
    asked = ("train", "--name", name, *TRAINING, *WORKERS.get(victim, ("--workers", "2")), *place)
    began = time.monotonic()
    process = victims.start(*asked, variables=variables, log=log)
    if victim != NOBODY:
        finding.epochs_before = until_epoch(process, log, patience_s)
        household.count()
        if not slay(victim, process.pid, nodes):
            finding.problems.append("nobody was there to be killed")
        if victim == DRIVER:
            process.wait()
            process = victims.start(*asked, variables=variables, log=log)
    status = victims.finish(process, household, patience_s=patience_s)
    finding.wall_s = round(time.monotonic() - began, 1)
    if status != 0:
        finding.problems.append(f"the run ended with {status}: {tail(log)}")
        return finding
    went_on = re.findall(r"continuing after epoch (\d+), step \d+, with (\d+) workers", log.read_text(errors="replace"))
    expected = (str(finding.epochs_before), "2")  # workers: as many as ever, and of three those that are left
    if victim != NOBODY and expected not in went_on:
        finding.problems.append(f"it did not continue after epoch {expected[0]} with {expected[1]} workers, but: {went_on}")
    history = longest(store, name)
    finding.steps = [int(row["steps"]) for row in history]
    if [row["epoch"] for row in history] != list(range(1, EPOCHS + 1)):
        finding.problems.append(f"epochs {[row['epoch'] for row in history]}, expected 1 to {EPOCHS}")
    finding.problems += untracked(store, name)
    return finding


def until_epoch(process: Any, log: Path, patience_s: float) -> int:
    """Wait for the middle of an epoch that is not the first; how many were finished before it."""
    ends = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < ends:
        said = log.read_text(errors="replace")
        speeds, rows = re.findall(r" epoch \d+ \(all\): loss.* (\d+) images/s", said), re.search(r": (\d+) training", said)
        if speeds and rows:
            time.sleep(0.4 * int(rows[1]) / int(speeds[-1]))
            return len(speeds)
        time.sleep(0.1)
    return 0


def slay(victim: str, driver: int, nodes: Nodes | None) -> bool:
    """Kill; whether anybody was there."""
    if victim == DRIVER:
        victims.kill(psutil.Process(driver))
        return True
    if victim in (NODE, ELASTIC):
        assert nodes is not None
        node, workers = nodes.pick(victims.WORKER)
        nodes.kill(node)
        return workers > 0
    found = victims.named(victims.WORKER)
    for one in found[:1]:
        victims.kill(one)
    return bool(found)


def longest(store: Store, name: str) -> list[dict[str, Any]]:
    """The epochs of a run, from its last checkpoint."""
    notes = [json.loads(path.read_text()) for path in Path(store.path("runs", name)).glob("checkpoint_*/progress.json")]
    found: list[dict[str, Any]] = max((note["history"] for note in notes), key=len, default=[])
    return found


def untracked(store: Store, name: str) -> list[str]:
    """What is wrong with the MLflow runs of a name: there is to be one, finished, with the epochs' figures."""
    client = tracking.locate(store).client()
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, f"attributes.run_name = '{name}'")
    if len(found) != 1:
        return [f"{len(found)} MLflow runs"]
    steps = [metric.step for metric in client.get_metric_history(found[0].info.run_id, "train_loss")]
    wrong = [] if found[0].info.status == "FINISHED" else [f"its MLflow run is {found[0].info.status}"]
    return wrong + ([] if sorted(set(steps)) == list(range(1, EPOCHS + 1)) else [f"MLflow has epochs {steps}"])


if __name__ == "__main__":
    cli.run(main)
