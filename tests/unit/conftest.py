"""What every unit test leaves behind is cleared away."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest

from fashion_ray.catalog import zips


@pytest.fixture(autouse=True)
def no_open_archives() -> Iterator[None]:
    """An archive that a test opened is closed with it; objects in memory are forgotten."""
    yield
    zips.forget()
    fsspec.filesystem("memory").store.clear()
