"""A day on several nodes: ingest, train and score on a cluster of three, a node killed with SIGKILL in the middle of each.

Everything is drawn: the demo catalog, a short training on it. Out: a line a case, and status 1 unless every job ends well by
itself with what an undisturbed one gives: the same catalog, as many optimizer steps an epoch, the same scores.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import drill, train_drill, victims
from benchmarks.drill import Case, Stage
from benchmarks.victims import Household, Nodes
from fashion_ray import cli, tracking
from fashion_ray.config import Problems
from fashion_ray.errors import UserError
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store

INGEST, TRAIN, SCORE = STAGES = ("ingest", "train", "score")
NOBODY, NODE = train_drill.NOBODY, train_drill.NODE
TASK = "MapBatches"
"""What is in the titles of the processes that an ingest reads and writes with."""

SCORING = ("--schedule", "heads:1", "--min-class-count", "15", "--cached-views", "1")
DRAWN = 1500
"""Products of the demo catalog that is trained on and scored."""

FILES = 24
"""Into so many it is cut for scoring, so that a node dies among them."""


@dataclass(frozen=True, kw_only=True)
class NodesDrillOptions:
    """Run each job on a cluster of three nodes, once undisturbed and once with a node killed, and compare."""

    only: tuple[str, ...] = STAGES
    """Which jobs: ingest, train, score."""

    products: int = 9000
    """How many products the feed has that is ingested: a portion is 2,048."""

    patience_s: float = 600.0
    """How long a job may take."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(set(self.only) <= set(STAGES) and bool(self.only), "only", self.only, f"among {', '.join(STAGES)}")
        found.check(
            self.products >= 6000, "products", self.products, "at least 6000", "with fewer portions no node need be at work"
        )
        found.check(self.patience_s > 0, "patience_s", self.patience_s, "more than 0")
        found.raise_if_any()


@dataclass(kw_only=True)
class Outcome:
    """How a job went."""

    stage: str
    victim: str
    wall_s: float = 0.0
    nodes: int = 0
    """On how many nodes at once its processes were seen at work."""

    problems: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Place:
    """What all jobs have in common."""

    folder: Path
    household: Household
    nodes: Nodes
    options: NodesDrillOptions
    outcomes: list[Outcome] = field(default_factory=list)

    def note(self, outcome: Outcome) -> None:
        """Keep and tell."""
        self.outcomes.append(outcome)
        print(line(outcome), flush=True)

    def variables(self, root: str) -> dict[str, str]:
        """The environment of a job on a root."""
        return victims.environment(root, self.folder / "cache")


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(NodesDrillOptions, arguments, example="python benchmarks/nodes_drill.py --only ingest score")
    victims.with_own_token()
    play: dict[str, Callable[[Place], None]] = {INGEST: ingest, TRAIN: train, SCORE: score}
    with tempfile.TemporaryDirectory(prefix="drill", ignore_cleanup_errors=True) as temporary:
        place = Place(folder=Path(temporary), household=Household(), nodes=Nodes(), options=options)
        try:
            for stage in STAGES:
                if stage in options.only:
                    play[stage](place)
        finally:
            place.household.count()
            place.nodes.close()
            place.household.bury(mercy_s=3)
    failed = sum(bool(outcome.problems) for outcome in place.outcomes)
    print(json.dumps({"benchmark": "nodes_drill", "failed": failed, "cases": [asdict(one) for one in place.outcomes]}))
    return 1 if failed else 0


def line(outcome: Outcome) -> str:
    """An outcome for people."""
    verdict = "ok" if not outcome.problems else "FAILED: " + "; ".join(outcome.problems)
    return f"{outcome.stage}, {outcome.victim} killed: on {outcome.nodes} nodes, {outcome.wall_s:.0f} s; {verdict}"


def ingest(place: Place) -> None:
    """A feed of several portions, twice; a node dies when the first of them is staged."""
    tables: list[pa.Table] = []
    for victim in (NOBODY, NODE):
        place.nodes.complete()
        store, log = Store(str(place.folder / f"ingest-{victim}")), place.folder / f"ingest-{victim}.log"
        outcome = Outcome(stage=INGEST, victim=victim)
        with counting(place.nodes, TASK, outcome):
            process = victims.start(
                "ingest", "--source", "demo", "--products", str(place.options.products), "--address", place.nodes.address,
                variables=place.variables(store.uri), log=log,
            )  # fmt: skip
            if victim == NODE and not kill_midway(process, place, log):
                outcome.problems.append("nobody was there to be killed")
            status = victims.finish(process, place.household, patience_s=place.options.patience_s)
        outcome.problems += [] if status == 0 else [f"the job ended with {status}: {victims.tail(log)}"]
        if status == 0:
            tables.append(store.read_table(catalog_of(store).folder))
            outcome.problems += different_catalogs(tables[0], tables[-1])
        place.note(outcome)


def kill_midway(process: subprocess.Popen[bytes], place: Place, log: Path) -> bool:
    """Kill a node that is at work when some pictures were inspected and others were not; whether there was one."""
    ends = time.monotonic() + place.options.patience_s
    while process.poll() is None and time.monotonic() < ends:
        place.household.count()
        if re.search(r"inspected \d+ of", log.read_text(errors="replace")):
            node, found = place.nodes.pick(TASK)
            place.nodes.kill(node)
            return found > 0
        time.sleep(0.02)
    return False


def different_catalogs(expected: pa.Table, found: pa.Table) -> list[str]:
    """In what a catalog differs from one of the same feed, which decides every column."""
    one, other = (table.sort_by("product_id").combine_chunks() for table in (expected, found))
    if one["product_id"] != other["product_id"]:
        return [f"other products: {one.num_rows} expected, {other.num_rows} found"]
    return [f"{name} differs" for name in one.column_names if one[name] != other[name]]


def train(place: Place) -> None:
    """Two workers on two nodes; a node dies in mid-epoch and comes back."""
    store = drawn(place)
    truth: list[int] = []
    for victim in (NOBODY, NODE):
        place.nodes.complete()
        outcome = Outcome(stage=TRAIN, victim=victim)
        with counting(place.nodes, victims.WORKER, outcome):
            finding = train_drill.play(
                victim, store, place.variables(store.uri), place.folder, place.household, place.nodes, place.options.patience_s
            )
        truth = truth or finding.steps
        outcome.problems += finding.problems
        if outcome.nodes != 2:
            outcome.problems.append(f"its two workers were on {outcome.nodes} nodes")
        if finding.steps != truth:
            outcome.problems.append(f"{finding.steps} steps an epoch, and {truth} without a kill")
        place.note(outcome)


def score(place: Place) -> None:
    """Every product through the network; a node dies when half of the files are done."""
    source, store = drawn(place), Store(str(place.folder / "score"))
    if not source.exists("models"):
        run(place, source, "train", *SCORING)
    card = resolve("champion", source, tracking.locate(source)).card
    drill.cut(source, catalog_of(source), store, FILES)
    stage = Stage(
        store=store, catalog=catalog_of(store), bundle=source.path("models", card.model_version), folder=place.folder,
        household=place.household, patience_s=place.options.patience_s, nodes=place.nodes,
    )  # fmt: skip
    for case in (Case(victim=NOBODY, cluster=True), Case(victim=NODE, percent=50, cluster=True)):
        outcome = Outcome(stage=SCORE, victim=case.victim)
        with counting(place.nodes, victims.ACTOR, outcome):
            outcome.problems += drill.play(case, stage).problems
        place.note(outcome)


@contextmanager
def counting(nodes: Nodes, title: str, outcome: Outcome) -> Iterator[None]:
    """Looks on how many nodes there are processes with this title while the block runs, and how long that takes."""
    ended, began = threading.Event(), time.monotonic()

    def watch() -> None:
        while not ended.wait(0.25):
            outcome.nodes = max(outcome.nodes, sum(count > 0 for count in nodes.spread(title)))

    watcher = threading.Thread(target=watch, name="nodes")
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        outcome.wall_s = round(time.monotonic() - began, 1)


def drawn(place: Place) -> Store:
    """A root with the demo catalog that is trained on and scored."""
    store = Store(str(place.folder / "drawn"))
    if not store.exists("catalog"):
        run(place, store, "ingest", "--source", "demo", "--products", str(DRAWN))
    return store


def run(place: Place, store: Store, job: str, *arguments: str) -> None:
    """A job on a Ray of its own, for what the drill works on. Raises UserError with the end of its log if it fails."""
    log = place.folder / f"{job}-before.log"
    process = victims.start(job, *arguments, variables=place.variables(store.uri), log=log)
    if victims.finish(process, place.household, patience_s=place.options.patience_s) != 0:
        raise UserError(f"jobs/{job}.py, which makes what the drill works on, failed: {victims.tail(log)}")


if __name__ == "__main__":
    cli.run(main)
