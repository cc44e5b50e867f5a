"""Whom the crash drills kill, and how they clear up. In: processes below this one, a folder that grows. Out: kills, counts.

Every process that is signalled was started below this one; it is known by its id and start time, never by its name alone.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from fashion_ray import snapshots
from fashion_ray.errors import UserError
from fashion_ray.storage import Store

PROJECT = Path(__file__).resolve().parents[1]
SAMPLE_S = 0.01
ACTOR, WORKER = "ScoringActor", "RayTrainWorker"
"""What is in the titles of the processes that score and train."""

NODES = 3
MARK = "DRILL_HAS_ITS_TOKEN"


@dataclass(kw_only=True)
class Household:
    """All processes that were ever seen below this one, so that orphans are found again."""

    known: set[psutil.Process] = field(default_factory=set)

    def count(self) -> None:
        """Note who is there now."""
        self.known |= set(psutil.Process().children(recursive=True))

    def bury(self, mercy_s: float) -> int:
        """Wait for everybody to end, then kill who is left; how many those were."""
        self.count()
        _, left = psutil.wait_procs([one for one in self.known if alive(one)], timeout=mercy_s)
        for one in left:
            kill(one)
        psutil.wait_procs(left, timeout=5)
        self.known.clear()
        return len(left)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a folder of scores is."""

    receipts: dict[str, int]
    """When the receipt of each finished file was written, in nanoseconds."""

    begun: Counter[str]
    """How often each file was begun."""

    @property
    def in_hand(self) -> int:
        """Files that were begun and are not finished."""
        return len(set(self.begun) - set(self.receipts))

    @property
    def again(self) -> int:
        """How many files were begun more than once."""
        return sum(times > 1 for times in self.begun.values())


def finished(store: Store, folder: str) -> list[str]:
    """The files in a folder of scores that have a receipt."""
    names = store.names(folder, "_receipts")
    return [name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")]


def progress(store: Store, folder: str) -> Progress:
    """The receipts and beginnings in a folder of scores (a local root)."""
    receipts = {part: os.stat(store.path(folder, "_receipts", f"{part}.json")).st_mtime_ns for part in finished(store, folder)}
    begun = {
        part: sum(not name.startswith(".") for name in store.names(folder, "_attempts", part))
        for part in store.names(folder, "_attempts")
    }
    return Progress(receipts=receipts, begun=Counter(begun))


def published(store: Store) -> set[str]:
    """The names of all scores that were ever published."""
    return {commit.name for commit in snapshots.history(store, "scores")}


def growing(store: Store, known: set[str]) -> str | None:
    """The folder of scores that are not among the known ones yet; null if there is none."""
    names = [name for name in store.names("scores", "snapshots") if name not in known]
    return snapshots.staging("scores", names[-1]) if names else None


def environment(root: str, cache: Path) -> dict[str, str]:
    """The variables of a job on a root, without what would lead it elsewhere; with a token of the drill's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "FASHION_RAY_"))}
    token = {key: os.environ[key] for key in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    return {**kept, **token, "FASHION_RAY_ROOT": root, "FASHION_RAY_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}


def with_own_token() -> None:
    """Start this program anew with a token that only it and the Rays below it know; Ray reads it once, when it is imported."""
    if MARK not in os.environ:
        own = {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0", MARK: "1",
            "OMP_WAIT_POLICY": "passive",  # nodes that share processors would spend them on waiting for each other
        }  # fmt: skip
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **own})


def start(job: str, *arguments: str, variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a job, in a session of its own so that an interrupt from the keyboard meets the drill alone."""
    command = [sys.executable, str(PROJECT / "jobs" / f"{job}.py"), *arguments]
    with open(log, "ab") as output:
        return subprocess.Popen(command, env=variables, stdout=output, stderr=output, start_new_session=True)


def finish(process: subprocess.Popen[bytes], household: Household, *, patience_s: float) -> int | None:
    """Wait for a job's end; its status, null if it took too long and was killed."""
    ends = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < ends:
        household.count()
        time.sleep(0.25)
    if process.poll() is None:
        process.kill()
        process.wait()
        return None
    return process.returncode


def tail(log: Path) -> str:
    """The end of a log on one line."""
    return " ".join(log.read_text(errors="replace")[-1500:].split())


def draw(products: int, variables: dict[str, str], folder: Path, household: Household, *, patience_s: float) -> None:
    """Ingest the demo catalog for a drill. Raises UserError with the end of its log if that fails."""
    log = folder / "ingest.log"
    drawing = start("ingest", "--source", "demo", "--products", str(products), variables=variables, log=log)
    if finish(drawing, household, patience_s=patience_s) != 0:
        raise UserError(f"jobs/ingest.py, which draws the demo catalog, failed: {tail(log)}")


def until(process: subprocess.Popen[bytes], store: Store, known: set[str], files: int, *, patience_s: float) -> str | None:
    """Wait until so many files of the growing folder are done; the folder, null if the job ended before or took too long."""
    ends = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < ends:
        folder = growing(store, known)
        if folder is not None and len(finished(store, folder)) >= files:
            return folder
        time.sleep(SAMPLE_S)
    return None


def named(part: str, below: int | None = None) -> list[psutil.Process]:
    """The processes of Ray below a process (none: this one) that have this in their title; of one that ended, none."""
    found: list[psutil.Process] = []
    try:
        below_it = psutil.Process(below).children(recursive=True)
    except psutil.NoSuchProcess:
        return found
    for one in below_it:
        try:
            title = " ".join(one.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::") and part in title:
            found.append(one)
    return found


def alive(one: psutil.Process) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return bool(one.is_running() and one.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def kill(one: psutil.Process) -> None:
    """SIGKILL, if it is still there."""
    try:
        one.kill()
    except psutil.NoSuchProcess:
        return


class Nodes:
    """A Ray cluster of several nodes on this machine, a processor each or as many as Ray is told."""

    def __init__(self, cpus: int = 1) -> None:
        self._cluster: Any = Cluster()
        self._cpus = cpus
        self.complete()

    @property
    def address(self) -> str:
        """For --address."""
        return str(self._cluster.address)

    def complete(self) -> None:
        """Start nodes, or replace those that are gone; the first is the head, to which drivers connect."""
        at_termination = signal.getsignal(signal.SIGTERM)
        while len(self._cluster.list_all_nodes()) < NODES:
            self._cluster.add_node(num_cpus=self._cpus, include_dashboard=False)
            signal.signal(signal.SIGTERM, at_termination)  # a node puts its own handler there, which aborts the process

    def pick(self, part: str) -> tuple[Any, int]:
        """A node to kill, not the head: the one with the most processes that have this in their title; and how many."""
        found = {node: len(named(part, _raylet(node))) for node in self._cluster.worker_nodes}
        node = max(found, key=lambda one: found[one])
        return node, found[node]

    def spread(self, part: str) -> list[int]:
        """How many processes of each node, the head too, have this in their title."""
        return [len(named(part, _raylet(node))) for node in self._cluster.list_all_nodes()]

    def kill(self, node: Any) -> None:
        """SIGKILL to a node; its workers follow when they miss it."""
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)
