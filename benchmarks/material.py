"""What every benchmark works on. In: a root with a catalog and a model. Out: the same rows for the same seed, and a bundle."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import tracking
from fashion_ray.config import JobOptions, absolute
from fashion_ray.errors import UserError
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(JobOptions):
    """Measure on rows of the catalog, drawn by a seed."""

    rows: int = 4000
    """How many rows."""

    seed: int = 0
    """Which rows."""

    model: str = "champion"
    """The model, as in jobs/score.py."""

    repeats: int = 3
    """How often each thing is measured; the median counts."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(self.rows >= 1, "rows", self.rows, "at least 1")
        found.check(self.repeats >= 1, "repeats", self.repeats, "at least 1")
        found.raise_if_any()


def model_of(options: BenchmarkOptions) -> ResolvedModel:
    """The bundle to measure. Raises UserError."""
    store = Store(absolute(options.root))
    return resolve(options.model, store, tracking.locate(store))


def sample(options: BenchmarkOptions, columns: list[str], *, split: str | None = None, at_most: bool = False) -> pa.Table:
    """Rows of the current catalog in a random order, of one side if asked.

    Raises UserError if there are fewer than `--rows`, unless `at_most`.
    """
    store = Store(absolute(options.root))
    folder = catalog_of(store).folder
    table = store.read_table(folder, columns=list(dict.fromkeys([*columns, "split"])))
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
    if table.num_rows < options.rows and not at_most:
        raise UserError(f"--rows: got {options.rows}, expected at most the {table.num_rows} that the catalog has")
    order = np.random.default_rng(options.seed).permutation(table.num_rows)[: options.rows]
    return table.select(columns).take(pa.array(order)).combine_chunks()


class Gate:
    """A folder where each network leaves a file when it is loaded, so that readers can wait and the clock can start."""

    def __init__(self, folder: Path, networks: int) -> None:
        folder.mkdir()
        self._folder, self._networks, self._open = folder, networks, False

    def leave(self) -> None:
        """Say that one more is ready."""
        (self._folder / uuid.uuid4().hex).touch()

    def wait(self) -> None:
        """Until all are."""
        while not self._open:
            self._open = len(list(self._folder.iterdir())) >= self._networks
            time.sleep(0 if self._open else 0.005)

    def opened(self) -> float:
        """When the last one was ready, in seconds of the epoch."""
        return max(file.stat().st_mtime for file in self._folder.iterdir())


def report(name: str, figures: Mapping[str, Any], sentence: str) -> None:
    """Print a line for programs and one for people."""
    print(json.dumps({"benchmark": name, **figures}))
    print(f"{name}: {sentence}", flush=True)
