"""`ray job submit` on a cluster of this machine's own: the same training, and the exit status told truthfully."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.conftest import PROJECT, Run, environment

RAY = str(Path(sys.executable).parent / "ray")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[str, dict[str, str], Path]]:
    """A head node started with `ray start`: its dashboard's address, its environment, the root that it was given."""
    root = tmp_path_factory.mktemp("root")
    temporary = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets' paths must be short
    variables = environment(root, cache) | {"RAY_AUTH_MODE": "token"}  # `ray start` asks for a token by itself
    dashboard = free_port()
    started = subprocess.Popen(
        [RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={free_port()}", f"--dashboard-port={dashboard}", 
         f"--dashboard-agent-listen-port={free_port()}",
         "--dashboard-host=127.0.0.1", f"--temp-dir={temporary}", "--disable-usage-stats"],
        env=variables, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 90
        while subprocess.run(
            [RAY, "job", "list", "--address", address], env=variables, capture_output=True, check=False
        ).returncode:
            assert started.poll() is None and time.monotonic() < deadline, "the head did not come up"
            time.sleep(1)
        yield address, variables, root
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(timeout=5)  # it would take half a minute
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
        shutil.rmtree(temporary, ignore_errors=True)


def submit(
    head: tuple[str, dict[str, str], Path], *entry: str, options: tuple[str, ...] = ("--working-dir", str(PROJECT))
) -> subprocess.CompletedProcess[str]:
    """`ray job submit --working-dir . -- python ...`, waited for."""
    address, variables, _ = head
    return subprocess.run(
        [RAY, "job", "submit", "--address", address, *options, "--", sys.executable, *entry],
        env=variables, cwd=PROJECT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_a_submitted_training_runs_on_the_cluster(head: tuple[str, dict[str, str], Path], run_job: Run) -> None:
    _, _, root = head
    assert run_job(root, "ingest", "--products", "400").returncode == 0
    done = submit(head, "jobs/train.py", "--schedule", "heads:1", "--cached-views", "1", "--min-class-count", "8")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "registered as version 1 (champion)" in done.stdout
    (card,) = (root / "models").glob("*/card.json")
    assert json.loads(card.read_text())["provenance"]["schedule"] == "heads:1"


@pytest.mark.parametrize("options", [("--working-dir", str(PROJECT)), ("--metadata-json", '{"owner": "tests"}')])
def test_a_submitted_job_with_a_bad_option_fails_and_says_why(
    options: tuple[str, ...], head: tuple[str, dict[str, str], Path]
) -> None:
    done = submit(head, "jobs/train.py", "--root", "./here", options=options)  # without a folder: where `ray start` was called
    assert done.returncode != 0
    said = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert said and "--root" in said[-1] and "relative path './here'" in said[-1], done.stdout[-2000:]
    details = json.loads(told(head, submission_id(done)))
    assert details["driver_exit_code"] == 2 and details["status"] == "FAILED"
    assert details["metadata"].get("owner") == ("tests" if "--metadata-json" in options else None)


def submission_id(done: subprocess.CompletedProcess[str]) -> str:
    """The id that `ray job submit` printed."""
    found = re.search(r"raysubmit_\w+", done.stdout + done.stderr)
    assert found is not None, done.stdout[-2000:]
    return found[0]


def told(head: tuple[str, dict[str, str], Path], job: str) -> str:
    """What the cluster knows of a submitted job; asked in a process of its own, which has the head's token."""
    address, variables, _ = head
    script = (
        "import sys; from ray.job_submission import JobSubmissionClient\n"
        "print(JobSubmissionClient(sys.argv[1]).get_job_info(sys.argv[2]).model_dump_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, address, job], env=variables, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
