"""How the tests are dealt out to two processes: those that share a Ray stay together, and the long ones begin first."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
ORDER = ("cluster", "jobs", "unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A group is the whole of tests/cluster, which has one Ray, or else a file."""
    if not config.pluginmanager.has_plugin("xdist"):
        return
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(ROOT).parts[0]))
    for item in items:
        room, *_ = parts = item.path.relative_to(ROOT).parts
        item.add_marker(pytest.mark.xdist_group(room if room == "cluster" else "/".join(parts)))
