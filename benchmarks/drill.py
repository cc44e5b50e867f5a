"""What a crash costs a night of scoring: SIGKILL to its driver, to a scoring actor, to a node of three, early, midway and late.

In: a root with a catalog and a champion, or nothing: then the demo is drawn and trained on. Out: a line a case, and status 1
if a table is not that of an uninterrupted run, a file was done twice that was not in hand, or a reader saw a mixture.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import victims, witness
from benchmarks.victims import Household, Nodes, Progress, tail
from fashion_ray import cli, snapshots, tracking
from fashion_ray.config import Problems, absolute, is_uri
from fashion_ray.errors import UserError
from fashion_ray.scoring import open_scores
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.score import catalog_of
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

NOBODY, DRIVER, ACTOR, NODE = VICTIMS = ("nobody", "driver", "actor", "node")
ORPHANS_S = 90.0
"""Ray's own agents take so long at most to notice that their node is gone."""

CALLS = 2
"""Files that an actor of a node with few processors has in hand at once (scoring.plan)."""

TRAINING = ("--schedule", "heads:1", "--min-class-count", "15", "--cached-views", "1")


@dataclass(frozen=True, kw_only=True)
class DrillOptions:
    """Kill a night of scoring in every way, and see what is left of it."""

    root: str | None = None
    """A local root with a catalog and a champion, which is only read; none draws the demo catalog and trains on it."""

    model: str = "champion"
    """The model, as in jobs/score.py."""

    only: tuple[str, ...] = (DRIVER, ACTOR, NODE)
    """Who is killed: driver, actor, node."""

    cluster: bool = False
    """Kill drivers and actors on three nodes too, rather than on a Ray of the job's own."""

    at: str = "10,50,90"
    """At which percentages of the files done."""

    products: int = 2000
    """How many products the demo catalog has."""

    files: int = 40
    """How many files the catalog has at least; one with fewer is cut anew for the drill."""

    patience_s: float = 600.0
    """How long a run may take."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(self.root is None or not is_uri(self.root), "root", self.root, "a folder of this machine")
        found.check(set(self.only) <= {DRIVER, ACTOR, NODE} and bool(self.only), "only", self.only, "among driver, actor, node")
        found.check(bool(percentages(self.at)), "at", self.at, "percentages from 1 to 99, such as 10,50,90")
        found.check(self.files >= 20, "files", self.files, "at least 20", "with fewer, 10% is no file")
        found.check(self.patience_s > 0, "patience_s", self.patience_s, "more than 0")
        found.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Case:
    """Who is killed, and when."""

    victim: str
    percent: int = 0
    cluster: bool = False
    """On the cluster of several nodes, rather than on a Ray of the job's own."""


@dataclass(kw_only=True)
class Finding:
    """How a case went."""

    victim: str
    percent: int
    cluster: bool
    files: int
    done: int = 0
    """Files that were done when the kill came."""

    kept: int = 0
    """Of these, files that were not done again."""

    again: int = 0
    """Files that were begun more than once, and how many there may be: those in hand."""

    most_again: int = 0
    restarted: bool = False
    wall_s: float = 0.0
    ratio: float = 1.0
    """Wall time, both runs together, by that of the uninterrupted run at the same place."""

    looks: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Stage:
    """What all cases have in common."""

    store: Store
    catalog: Snapshot
    bundle: str
    folder: Path
    household: Household
    patience_s: float
    nodes: Nodes | None = None
    truth: pa.Table | None = None
    """The scores of the first uninterrupted run."""

    walls: dict[bool, float] = field(default_factory=dict)
    """Wall time of the uninterrupted run, on the cluster or not."""


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(DrillOptions, arguments, example="python benchmarks/drill.py --only driver --at 50")
    victims.with_own_token()
    findings = []
    with stage(options) as here:
        for case in cases(options):
            here.nodes = here.nodes or (Nodes() if case.cluster else None)
            finding = play(case, here)
            findings.append(finding)
            print(line(finding), flush=True)
    failed = sum(bool(finding.problems) for finding in findings)
    print(json.dumps({"benchmark": "drill", "failed": failed, "cases": [asdict(finding) for finding in findings]}))
    return 1 if failed else 0


def percentages(text: str) -> list[int]:
    """Of `10,50,90`; none if it is anything else."""
    parts = text.split(",")
    found = [int(part) for part in parts if part.strip().isdigit() and 1 <= int(part) <= 99]
    return found if len(found) == len(parts) else []


def cases(options: DrillOptions) -> list[Case]:
    """In the order of play: at each place an uninterrupted run first, of which the very first has no snapshot before it."""
    found: list[Case] = []
    for victim in (DRIVER, ACTOR, NODE):
        if victim in options.only:
            unhurt = Case(victim=NOBODY, cluster=options.cluster or victim == NODE)
            found += [unhurt] if unhurt not in found else []
            found += [Case(victim=victim, percent=percent, cluster=unhurt.cluster) for percent in percentages(options.at)]
    return found


def line(finding: Finding) -> str:
    """A finding for people."""
    place = " on 3 nodes" if finding.cluster else ""
    verdict = "ok" if not finding.problems else "FAILED: " + "; ".join(finding.problems)
    if finding.victim == NOBODY:
        return f"nobody killed{place}: {finding.files} files in {finding.wall_s:.1f} s, {finding.looks} looks; {verdict}"
    return (
        f"{finding.victim} killed at {finding.percent}%{place}: {finding.done} of {finding.files} files were done, "
        f"{finding.kept} kept, {finding.again} begun again (at most {finding.most_again}), "
        f"{'restarted' if finding.restarted else 'went on by itself'}, {finding.ratio:.2f} of the uninterrupted time, "
        f"{finding.looks} looks; {verdict}"
    )


@contextmanager
def stage(options: DrillOptions) -> Iterator[Stage]:
    """A root of the drill's own, cleared away at the end with every process below this one."""
    household = Household()
    with tempfile.TemporaryDirectory(prefix="drill", ignore_cleanup_errors=True) as temporary:
        here: Stage | None = None
        try:
            here = prepare(options, Path(temporary), household)
            yield here
        finally:
            household.count()
            if here is not None and here.nodes is not None:
                here.nodes.close()
            household.bury(mercy_s=3)


def prepare(options: DrillOptions, folder: Path, household: Household) -> Stage:
    """A catalog of many files and a bundle; both stay where they are unless the catalog has too few files."""
    root = absolute(options.root) if options.root is not None else str(folder / "drawn")
    if options.root is None:
        run(folder, household, options, root, "ingest", "--source", "demo", "--products", str(options.products))
        run(folder, household, options, root, "train", *TRAINING)
    source, store = Store(root), Store(str(folder / "root"))
    catalog = catalog_of(source)
    card = resolve(options.model, source, tracking.locate(source)).card
    bundle = source.path("models", card.model_version)
    (folder / "root").mkdir()
    if len(catalog.manifest["files"]) < options.files:
        cut(source, catalog, store, options.files)
    else:
        os.symlink(source.path("catalog"), store.path("catalog"))
    return Stage(
        store=store, catalog=catalog_of(store), bundle=bundle if source.exists("models", card.model_version) else options.model,
        folder=folder, household=household, patience_s=options.patience_s,
    )  # fmt: skip


def run(folder: Path, household: Household, options: DrillOptions, root: str, job: str, *arguments: str) -> None:
    """Run a job that the drill needs. Raises UserError with the end of its log if it fails."""
    log = folder / f"{job}.log"
    process = victims.start(job, *arguments, variables=victims.environment(root, folder / "cache"), log=log)
    if victims.finish(process, household, patience_s=max(600.0, options.patience_s)) != 0:
        raise UserError(f"jobs/{job}.py, which draws what the drill works on, failed: {tail(log)}")


def cut(source: Store, catalog: Snapshot, target: Store, files: int) -> None:
    """Publish the same catalog below another root in so many files, or one more."""
    size = max(1, catalog.manifest["rows"] // files)
    entries: list[dict[str, Any]] = []
    for file in catalog.files:
        table = source.read_table(file)
        for first in range(0, table.num_rows, size):
            name, rows = f"part-{len(entries):05d}.parquet", table.slice(first, size)
            written = target.write_table(rows, catalog.folder, name)
            entries.append(snapshots.file_entry(name, rows.num_rows, written))
    snapshots.publish(target, "catalog", catalog.name, {**catalog.manifest, "files": entries}, base=None)


def play(case: Case, here: Stage) -> Finding:
    """One case, judged."""
    finding = Finding(**asdict(case), files=len(here.catalog.manifest["files"]))
    log = here.folder / f"{case.victim}-{case.percent}-{case.cluster}.log"
    if here.nodes is not None:
        here.nodes.complete()
    before = witness.look(here.store.uri)
    with witness.looking(here.store.uri) as looks:
        began = time.perf_counter()
        status = strike(case, here, finding, log)
        finding.wall_s = round(time.perf_counter() - began, 1)
    if status != 0:
        finding.problems.append(f"the run ended with {status}: {tail(log)}")
    after = witness.look(here.store.uri)
    finding.looks = len(looks.seen)
    finding.problems += witness.contradictions(looks, before, after, rows=here.catalog.manifest["rows"])
    finding.problems += set_aside(here.store)
    if after is not None:
        table = open_scores(here.store.uri).to_table()
        here.truth = here.truth if here.truth is not None else table
        finding.problems += witness.differences(here.truth, table)
    if case.victim == NOBODY:
        here.walls[case.cluster] = finding.wall_s
    finding.ratio = round(finding.wall_s / here.walls[case.cluster], 2)
    return finding


def set_aside(store: Store) -> list[str]:
    """The products that the current scores are without."""
    scores = snapshots.current(store, "scores")
    rows = store.read_table(scores.manifest["quarantine"]).to_pylist() if scores is not None else []
    return [f"product {row['product_id']} was set aside: {row['reason']}, {row['detail']}" for row in rows[:3]]


def strike(case: Case, here: Stage, finding: Finding, log: Path) -> int | None:
    """Score everything, kill somebody on the way, start again if need be; the status of the last run."""
    variables = victims.environment(here.store.uri, here.folder / "cache")
    place = ("--address", here.nodes.address) if case.cluster and here.nodes is not None else ()
    arguments = ("score", "--full", "--model", here.bundle, *place)
    known = victims.published(here.store)
    process = victims.start(*arguments, variables=variables, log=log)
    if case.victim == NOBODY:
        return victims.finish(process, here.household, patience_s=here.patience_s)
    wanted = math.ceil(finding.files * case.percent / 100)
    folder = victims.until(process, here.store, known, wanted, patience_s=here.patience_s)
    if folder is None:
        finding.problems.append(f"it never had {wanted} files to be killed at")
        return victims.finish(process, here.household, patience_s=0)
    here.household.count()
    orphans = psutil.Process(process.pid).children(recursive=True)
    finding.most_again, then = slay(case.victim, here, process.pid, folder)
    if case.victim == DRIVER:
        process.wait()
        finding.restarted = True
        process = victims.start(*arguments, variables=variables, log=log)
    status = victims.finish(process, here.household, patience_s=here.patience_s)
    settle(finding, then, victims.progress(here.store, folder))
    deadline = time.monotonic() + ORPHANS_S
    while (left := sum(victims.alive(one) for one in orphans)) and time.monotonic() < deadline:
        time.sleep(1)
    if left:
        finding.problems.append(f"{left} processes of the killed run are still there")
    return status


def slay(victim: str, here: Stage, driver: int, folder: str) -> tuple[int, Progress]:
    """Kill; how many files were in hand at most, and how far the work was."""
    if victim == NODE:
        assert here.nodes is not None
        node, actors = here.nodes.pick(victims.ACTOR)
        then = victims.progress(here.store, folder)
        here.nodes.kill(node)
        return CALLS * actors, then
    found = victims.named(victims.ACTOR)
    then = victims.progress(here.store, folder)
    if victim == DRIVER:
        victims.kill(psutil.Process(driver))
        return CALLS * len(found), then
    for one in found[:1]:
        victims.kill(one)
    return CALLS * len(found[:1]), then


def settle(finding: Finding, then: Progress, now: Progress) -> None:
    """The books of a kill, and whether more was done twice than was in hand."""
    finding.done, finding.again = len(then.receipts), now.again
    finding.kept = sum(now.receipts.get(part) == written for part, written in then.receipts.items())
    if not finding.most_again:
        finding.problems.append("nobody was there to be killed")
    if finding.again > finding.most_again:
        finding.problems.append(f"{finding.again} files were begun again, and at most {finding.most_again} were in hand")
    if len(now.receipts) != finding.files:
        finding.problems.append(f"{len(now.receipts)} receipts for {finding.files} files")


if __name__ == "__main__":
    cli.run(main)
