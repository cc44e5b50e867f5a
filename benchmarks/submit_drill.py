"""Every job by `ray job submit` on a cluster of this machine's own, its exit status told truthfully, one stopped and resumed.

A head is started with `ray start`; the root comes by the runtime environment of each submission, the project by --working-dir.
With --bucket the root is in a bucket of an S3 server on localhost, and MLflow is a server too. Everything is drawn: the demo
catalog, short trainings. Out: a line a submission, and status 1 unless each ended as it must.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fsspec
from ray.job_submission import JobSubmissionClient

from benchmarks import victims
from fashion_ray import cli
from fashion_ray.config import Problems
from fashion_ray.errors import UserError

RAY = str(Path(sys.executable).parent / "ray")
OWNER = {"owner": "drill"}
SHORT = "--schedule heads:1 --cached-views 1 --min-class-count 12"
STOPPED = "train --name stopped --schedule heads:2,top1:6 --cached-views 1 --min-class-count 12"
FIRST_EPOCH = "epoch 1 "


@dataclass(frozen=True)
class Step:
    """A submission."""

    line: str
    """The job and its options; ROOT stands for the root, FOLDER for one of this machine."""

    ends: int = 0
    """The exit status that it must have."""

    says: str = ""
    """What its log must have."""


STEPS = (
    Step("ingest --source demo --products 1500", says="catalog published"),
    Step("ingest --source ./feed.zip", ends=2, says="relative path './feed.zip' inside a submitted job"),
    Step(f"train --name first {SHORT}", says="registered as version 1 (champion)"),
    Step("score", says="scored 1"),
    Step(f"train --name second {SHORT} --seed 1", says="registered as version 2 (challenger)"),
    Step("promote", ends=3, says="refused: "),
    Step("promote --because drill", says="champion"),
    Step("score --limits.changed-share 0", ends=3, says="refused: "),
    Step("score --publish-anyway", says="scores "),
    Step("similar", says="similar"),
    Step("audit --folds 2", says="audit"),
    Step("tune --trials 2 --no-retrain --set schedule=heads:1 min_class_count=12", says="2 trials (2 done)"),
    Step("browse --output FOLDER/catalog.html", says="catalog.html"),
    Step("nightly --night n1 --status-file ROOT/pager.json", says="night n1 ok"),
    Step("nightly --night n1 --status-file ROOT/pager.json", says="done before"),
)


@dataclass(frozen=True, kw_only=True)
class SubmitDrillOptions:
    """Submit every job to a cluster of this machine's own."""

    bucket: bool = False
    """On object storage, which moto plays, with an MLflow server."""

    patience_s: float = 600.0
    """How long a job may take."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(self.patience_s > 0, "patience_s", self.patience_s, "more than 0")
        found.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where jobs are submitted."""

    address: str
    root: str
    folder: Path
    """Of this machine, for what jobs write beside the root."""

    variables: dict[str, str]
    own: dict[str, str]
    """What every submission's runtime environment sets beside the root."""

    client: JobSubmissionClient
    patience_s: float

    def submit(self, line: str, *, wait: bool = True) -> str:
        """`ray job submit`; the id of the job."""
        job, *rest = line.replace("ROOT", self.root).replace("FOLDER", str(self.folder)).split()
        environment = {"FASHION_RAY_ROOT": self.root, "FASHION_RAY_CACHE": str(self.folder / "cache"), **self.own}
        command = [
            RAY, "job", "submit", "--address", self.address, "--working-dir", ".", *([] if wait else ["--no-wait"]),
            "--runtime-env-json", json.dumps({"env_vars": environment | {"FASHION_RAY_NEEDS": "CPU:1"}}),
            "--metadata-json", json.dumps(OWNER), "--", sys.executable, f"jobs/{job}.py", *rest,
        ]  # fmt: skip
        done = subprocess.run(
            command,
            env=self.variables,
            cwd=victims.PROJECT,
            capture_output=True,
            text=True,
            timeout=self.patience_s,
            check=False,
        )
        found = re.search(r"raysubmit_\w+", done.stdout + done.stderr)
        if found is None:
            raise UserError(f"ray job submit did not submit: {done.stderr[-1500:]}")
        return found[0]

    def told(self, job: str) -> Any:
        """What the cluster knows of a job."""
        return self.client.get_job_info(job)

    def log(self, job: str) -> str:
        """What the job has said."""
        return str(self.client.get_job_logs(job))

    def until(self, job: str, *states: str, says: str = "") -> None:
        """Wait for one of these states, or for words in the log. Raises UserError if that takes too long."""
        ends = time.monotonic() + self.patience_s
        while str(self.told(job).status) not in states and not (says and says in self.log(job)):
            if time.monotonic() > ends:
                raise UserError(f"job {job} has not come to {' or '.join(states)} in {self.patience_s:g} s")
            time.sleep(0.5)


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(SubmitDrillOptions, arguments, example="python benchmarks/submit_drill.py")
    victims.with_own_token()
    failed = []
    with (
        tempfile.TemporaryDirectory(prefix="submit", ignore_cleanup_errors=True) as temporary,
        _services(Path(temporary), bucket=options.bucket) as where,
        _head(Path(temporary), where, options.patience_s) as desk,
    ):
        for step in STEPS:
            began = time.monotonic()
            problems = run(step, desk)
            print(f"{step.line}: {_verdict(problems)}, {time.monotonic() - began:.0f} s", flush=True)
            failed += [step.line] if problems else []
        problems = stop_and_resume(desk)
        print(f"ray job stop in mid-training, and the same command again: {_verdict(problems)}", flush=True)
        failed += [STOPPED] if problems else []
    print(json.dumps({"benchmark": "submit_drill", "bucket": options.bucket, "submissions": len(STEPS) + 2, "failed": failed}))
    return 1 if failed else 0


def run(step: Step, desk: Desk) -> list[str]:
    """Submit and wait; what is wrong with how it ended."""
    job = desk.submit(step.line)
    told, said = desk.told(job), desk.log(job)
    return judge(step, status=str(told.status), ended=told.driver_exit_code, metadata=dict(told.metadata or {}), said=said)


def judge(step: Step, *, status: str, ended: int | None, metadata: dict[str, str], said: str) -> list[str]:
    """What is wrong with how a submission ended, as the cluster tells it."""
    checks = {
        f"exit status {ended}, expected {step.ends}": ended == step.ends,
        f"state {status}": status == ("FAILED" if step.ends else "SUCCEEDED"),
        f"its log lacks {step.says!r}: {' '.join(said[-600:].split())}": step.says in said,
        f"metadata {metadata}": OWNER.items() <= metadata.items(),
    }
    return [problem for problem, fine in checks.items() if not fine]


def stop_and_resume(desk: Desk) -> list[str]:
    """Stop a training after its first epoch, and submit the same command again; what is wrong."""
    first = desk.submit(STOPPED, wait=False)
    desk.until(first, "SUCCEEDED", "FAILED", "STOPPED", says=FIRST_EPOCH)
    subprocess.run(
        [RAY, "job", "stop", first, "--address", desk.address], env=desk.variables, capture_output=True, check=False,
        timeout=desk.patience_s,
    )  # fmt: skip
    desk.until(first, "SUCCEEDED", "FAILED", "STOPPED")
    problems = [] if str(desk.told(first).status) == "STOPPED" else [f"the stopped job is {desk.told(first).status}"]
    again = desk.submit(STOPPED)
    said = desk.log(again)
    problems += [] if str(desk.told(again).status) == "SUCCEEDED" else [f"the resumed job is {desk.told(again).status}"]
    problems += ["the resumed training began at its beginning"] if FIRST_EPOCH in said else []
    return problems + ([] if "registered as version" in said else ["the resumed training registered no model"])


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where the root is, and what leads there."""

    root: str
    of_nodes: dict[str, str]
    """Variables of the head's own environment: credentials are a node's."""

    of_jobs: dict[str, str]


@contextmanager
def _services(folder: Path, *, bucket: bool) -> Iterator[Services]:
    """A folder for a root, or a bucket of an S3 server and an MLflow server, both on localhost."""
    if not bucket:
        (folder / "root").mkdir()
        yield Services(root=str(folder / "root"), of_nodes={}, of_jobs={})
        return
    storage, tracking = _free_port(), _free_port()
    keys = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{storage}", "AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "drill",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    mlflow = [
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(tracking), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with ExitStack() as stack:
        for module, port in ((["moto.server", "-H", "127.0.0.1", "-p", str(storage)], storage), (mlflow, tracking)):
            log = stack.enter_context((folder / f"{module[0]}.log").open("wb"))
            server = subprocess.Popen(
                [sys.executable, "-m", *module], stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
            stack.callback(_end, server)
            _until_it_listens(server, port, folder / f"{module[0]}.log")
        os.environ.update(keys)
        fsspec.filesystem("s3").mkdir("drill")
        yield Services(root="s3://drill/root", of_nodes=keys, of_jobs={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{tracking}"})


def _until_it_listens(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError as error:
            if server.poll() is not None or time.monotonic() > ends:
                raise UserError(f"a server did not come up ({error}): {victims.tail(log)}") from error
            time.sleep(0.2)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _head(folder: Path, where: Services, patience_s: float) -> Iterator[Desk]:
    """A head node, as `ray start --head` starts it; it knows nothing of the root."""
    temporary = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets' paths must be short
    variables = victims.environment(where.root, folder / "cache") | where.of_nodes
    del variables["FASHION_RAY_ROOT"], variables["FASHION_RAY_CACHE"]
    dashboard = _free_port()
    address = f"http://127.0.0.1:{dashboard}"
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={_free_port()}", f"--dashboard-port={dashboard}",
             f"--dashboard-agent-listen-port={_free_port()}", "--dashboard-host=127.0.0.1", f"--temp-dir={temporary}"],
            env=variables, cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        client = _client(head, address, folder / "head.log")
        yield Desk(
            address=address, root=where.root, folder=folder, variables=variables, own=where.of_jobs, client=client,
            patience_s=patience_s,
        )  # fmt: skip
    finally:
        _end(head)


def _client(head: subprocess.Popen[bytes], address: str, log: Path) -> JobSubmissionClient:
    ends = time.monotonic() + 90
    while True:
        try:
            client = JobSubmissionClient(address)
            client.list_jobs()
        except (ConnectionError, RuntimeError) as error:
            if head.poll() is not None or time.monotonic() > ends:
                raise UserError(f"the head did not come up ({error}): {victims.tail(log)}") from error
            time.sleep(1)
        else:
            return client


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _verdict(problems: Sequence[str]) -> str:
    return "ok" if not problems else "FAILED: " + "; ".join(problems)


if __name__ == "__main__":
    cli.run(main)
