"""What all tests have in common. They are dealt out to two processes: those that share a Ray stay together, and begin first."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
ORDER = ("cluster", "jobs", "unit")


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A job that a test calls sets the log up; the next test finds it as it was."""
    yield
    logger = logging.getLogger("fashion_ray")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A group is the whole of tests/cluster, which has one Ray, or else a file."""
    if not config.pluginmanager.has_plugin("xdist"):
        return
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(ROOT).parts[0]))
    for item in items:
        room, *_ = parts = item.path.relative_to(ROOT).parts
        item.add_marker(pytest.mark.xdist_group(room if room == "cluster" else "/".join(parts)))
