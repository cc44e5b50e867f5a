"""The limit of scoring: the exported network alone, on pixels that are in memory already, however it is best run.

In: a catalog and a bundle. Out: rows a second of every batch, number of streams and of threads, and the best of them; and
how much of the best the setting that scoring uses gets.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openvino

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import BenchmarkOptions, model_of, report, sample
from fashion_ray import cli
from fashion_ray.catalog.pictures import decode_many
from fashion_ray.errors import UserError
from fashion_ray.models import bundle, engines
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import EmbeddingNetwork

BATCHES = (16, 32, 64, 128, 256, 512)


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(BenchmarkOptions, arguments, example="python benchmarks/bare_engine.py --rows 2048")
    model = model_of(options)
    size = model.card.decoded_size
    pixels, _ = decode_many(sample(options, ["image"])["image"].to_pylist(), *size)
    network = EmbeddingNetwork(bundle.load(model.files, name=model.name)[1])
    cpus = options.cpus or os.cpu_count() or 1
    choice = engines.choose("openvino", "auto", gpus=0, **engines.of_this_node())
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary) / "graph.xml"
        scoring = engines.make(network, pixel_shape=size, choice=choice, threads=cpus, exported=exported)
        found = sweep(exported, pixels, choice, cpus, options.repeats)
        best = max(found, key=lambda setting: found[setting])
        # Once more, in turns with what scoring does, so that both saw the machine in the same state.
        runner = compiled(exported, pixels, choice, *best)
        pairs = [
            (rate(runner, whole(pixels, best[0])), rate(lambda: scoring(pixels), len(pixels))) for _ in range(options.repeats)
        ]
    share = median(theirs / ours for ours, theirs in pairs)
    report(
        "bare_engine",
        {
            "rows": len(pixels), "precision": choice.precision, "cpus": cpus,
            "best": dict(zip(("batch", "streams", "threads"), best, strict=True)),
            "rows_per_second": round(median(ours for ours, _ in pairs), 1), "scoring_setting_of_best": round(share, 3),
            "of_best": {"/".join(map(str, setting)): round(value / found[best], 3) for setting, value in found.items()},
        },
        f"{median(ours for ours, _ in pairs):.0f} rows/s at best (batch {best[0]}, {best[1]} streams, {best[2]} threads, "
        f"{choice.precision}); scoring's own setting (batch {scoring.batch}, {scoring.streams} streams) gets {share:.2f} of it",
    )  # fmt: skip


def sweep(
    exported: Path, pixels: np.ndarray, choice: EngineChoice, cpus: int, repeats: int
) -> dict[tuple[int, int, int], float]:
    """Rows a second of every setting. Raises UserError if there are too few rows for any."""
    found = {}
    for batch, streams, threads in settings(cpus, len(pixels)):
        run = compiled(exported, pixels, choice, batch, streams, threads)
        found[batch, streams, threads] = median(rate(run, whole(pixels, batch)) for _ in range(repeats))
    if not found:
        raise UserError(f"--rows: got {len(pixels)}, expected at least {2 * BATCHES[0]}, two of the smallest batches")
    return found


def settings(cpus: int, rows: int) -> list[tuple[int, int, int]]:
    """(batch, streams, threads in all); each stream has a thread at least, and two batches to work on.

    From four processors on, half as many threads are tried too: two processors may be one core.
    """
    counts = sorted({count for count in (1, 2, 4, 8, 16, 32, 64, cpus) if count <= cpus})
    return [
        (batch, streams, threads)
        for batch, streams, threads in itertools.product(BATCHES, counts, counts)
        if streams <= threads and 2 * streams * batch <= rows and (threads == cpus or (cpus >= 4 and 2 * threads >= cpus))
    ]


def compiled(
    exported: Path, pixels: np.ndarray, choice: EngineChoice, batch: int, streams: int, threads: int
) -> Callable[[], None]:
    """A function that puts every whole batch through the engine; it has run once already."""
    core = openvino.Core()
    graph = core.read_model(str(exported))
    graph.reshape([batch, *pixels.shape[1:]])
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": choice.precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    queue = openvino.AsyncInferQueue(core.compile_model(graph, "CPU", properties), streams)

    def run() -> None:
        for start in range(0, whole(pixels, batch), batch):
            queue.start_async([pixels[start : start + batch]], share_inputs=True)
        queue.wait_all()

    run()
    return run


def whole(pixels: np.ndarray, batch: int) -> int:
    """Rows in whole batches."""
    return len(pixels) // batch * batch


def rate(run: Callable[[], object], rows: int) -> float:
    """Rows a second of one run."""
    started = time.perf_counter()
    run()
    return rows / (time.perf_counter() - started)


if __name__ == "__main__":
    cli.run(main)
