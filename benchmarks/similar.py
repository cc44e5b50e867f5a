"""Whether comparing all products is exact, fast and flat: python benchmarks/similar.py --root ROOT --times 10

Takes the embeddings of the current scores, and the same so many times over with noise, and answers some blocks of queries
as a task of jobs/similar.py does, with one thread in a process of its own. Prints the processor time of all blocks, taken from
those, the peak memory (PSS) of that process for both, and how many neighbours differ from a plain comparison in numpy.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import BenchmarkOptions, report
from fashion_ray import cli, memory
from fashion_ray.config import absolute
from fashion_ray.insight import neighbours
from fashion_ray.insight.embeddings import scores_of
from fashion_ray.insight.neighbours import Rules
from fashion_ray.insight.spreading import BLOCK_ROWS
from fashion_ray.insight.units import FileUnits, open_units
from fashion_ray.storage import Store

NOISE = 0.02
CHECKED = 200


@dataclass(frozen=True, kw_only=True)
class SimilarBenchmarkOptions(BenchmarkOptions):
    """Compare all products of a catalog and of a longer one, on a sample of the queries."""

    times: int = 10
    """How many times as many products the second has."""

    blocks: int = 2
    """How many blocks of queries are answered of each."""

    k: int = 5
    """Neighbours."""


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(SimilarBenchmarkOptions, arguments, example="python benchmarks/similar.py --root workspace")
    store = Store(absolute(options.root))
    once = open_units(store, scores_of(store), options.cache)
    with tempfile.TemporaryDirectory() as temporary:
        found = [_measured(units, options) for units in (once, repeated(once, options.times, temporary, options.seed))]
    short, long = found
    ratio = long["peak_mb"] / short["peak_mb"]
    report(
        "similar",
        {"once": short, "longer": long, "peak_ratio": round(ratio, 3)},
        f"{short['rows']} products: {short['cpu_s']:.0f} processor seconds for all, {short['peak_mb']:.0f} MB a task; "
        f"{long['rows']} products: {long['cpu_s'] / short['cpu_s']:.0f} times the time, {ratio:.2f} times the memory; "
        f"{short['wrong']} and {long['wrong']} of {CHECKED} checked queries differ from numpy",
    )


def repeated(units: FileUnits, times: int, folder: str, seed: int) -> FileUnits:
    """The vectors so many times over, each with noise of its own and scaled to length 1."""
    path, rng = Path(folder) / "longer.f32", np.random.default_rng(seed)
    with open(path, "wb") as file:
        for _ in range(times):
            for start in range(0, units.rows, neighbours.TILE_ROWS):
                tile = units.tile(start, min(start + neighbours.TILE_ROWS, units.rows))
                noise = rng.standard_normal(tile.shape, np.float32) * np.float32(NOISE / np.sqrt(units.dim))
                file.write(neighbours.unit(tile + noise).tobytes())
    return FileUnits(path=str(path), rows=units.rows * times, dim=units.dim)


def _measured(units: FileUnits, options: SimilarBenchmarkOptions) -> dict[str, Any]:
    """The figures of one catalog, from a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_answered, units, options).result()


def _answered(units: FileUnits, options: SimilarBenchmarkOptions) -> dict[str, Any]:
    torch.set_num_threads(1)
    order = np.arange(units.rows, dtype=np.int32)
    rules = Rules(usable=np.ones(units.rows, bool), order=order, differ=(order,), most=0.995)
    drawn = np.random.default_rng(options.seed).permutation(units.rows)[: options.blocks * BLOCK_ROWS]
    with memory.peak() as peak:
        started = time.process_time()
        parts = [
            neighbours.nearest(units, neighbours.queries_of(units, rules, block), rules, options.k)
            for block in np.array_split(drawn, options.blocks)
        ]
        spent = time.process_time() - started
    rows = np.concatenate([part.rows for part in parts])[:CHECKED]
    return {
        "rows": units.rows, "cpu_s": round(spent * units.rows / len(drawn), 1), "peak_mb": round(peak.size_bytes / 1e6, 1),
        "wrong": int((rows != plainly(units, drawn[:CHECKED], rules, options.k)).any(axis=1).sum()),
    }  # fmt: skip


def plainly(units: FileUnits, queries: np.ndarray, rules: Rules, k: int) -> np.ndarray:
    """The k nearest rows by one matrix product in float64 a tile, nothing left out of the sort."""
    asked = units.take(queries).astype(np.float64)
    tiles = range(0, units.rows, neighbours.TILE_ROWS)
    cosine = np.concatenate(
        [asked @ units.tile(start, min(start + neighbours.TILE_ROWS, units.rows)).astype(np.float64).T for start in tiles],
        axis=1,
    ).astype(np.float32)
    cosine[np.arange(len(queries)), queries] = -np.inf
    cosine[cosine > rules.most] = -np.inf
    return np.lexsort((np.broadcast_to(rules.order, cosine.shape), -cosine), axis=1)[:, :k]


if __name__ == "__main__":
    cli.run(main)
