"""How these tests run jobs: as people do, as processes, with a root and a cache of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(root: Path | str, cache: Path | str) -> dict[str, str]:
    """The variables of a job, without what would lead it to another cluster, root or server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "FASHION_RAY_"))}
    return {**kept, "FASHION_RAY_ROOT": str(root), "FASHION_RAY_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}


def command(job: str, *arguments: str) -> list[str]:
    """The command line of a job."""
    return [sys.executable, str(PROJECT / "jobs" / f"{job}.py"), *arguments]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node-local cache that all jobs of these tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def run_job(cache: Path) -> Run:
    """Runs a job to its end: run_job(root, "train", "--schedule", "heads:1")."""

    def run(root: Path | str, job: str, *arguments: str, timeout_s: float = 500) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(job, *arguments),
            env=environment(root, cache),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run
