"""What all tests have in common. They are dealt out to two processes: those that share a Ray stay together, and begin first."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent
ORDER = ("cluster", "jobs", "unit")
CLUSTER = "tests/cluster/"

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of two processes on two cores; before anything imports torch
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # jobs have more threads than one, and do not wait at others' expense


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A job that a test calls sets the log up; the next test finds it as it was."""
    yield
    logger = logging.getLogger("fashion_ray")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first."""
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(ROOT).parts[0]))


class ByRay(LoadScopeScheduling):
    """Deals out the whole of tests/cluster, which has one Ray, and every other file, to one process each."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return CLUSTER if file.startswith(CLUSTER) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByRay:
    """What pytest-xdist asks for its scheduler."""
    return ByRay(config, log)
