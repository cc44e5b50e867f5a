"""Scoring against its limit: rows a second over the whole catalog, as a share of the bare engine's. In: a root. Out: a ratio.

limit     the exported network alone on pixels that are in memory, at the best of a sweep over batch, streams and threads
scoring   jobs/score.py's own code over the whole catalog, every picture through the network, Parquet to published Parquet

They take turns, so that both see the machine in the same state: limit, scoring, limit, and so on; a share is scoring's rate
over the mean of the two beside it. Scoring's clock runs from the first read to the last file that is closed: readers wait until
every actor has its engine, which is what is left out. The wall time with all that is printed too.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import ray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bare_engine import compiled, rate, sweep, whole
from benchmarks.material import BenchmarkOptions, Gate, model_of, report, sample
from fashion_ray import cli, cluster, snapshots
from fashion_ray.catalog.pictures import decode_many
from fashion_ray.config import absolute
from fashion_ray.models import bundle, engines
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import EmbeddingNetwork
from fashion_ray.scoring import score as scoring
from fashion_ray.scoring.actor import ScoringActor
from fashion_ray.scoring.gates import Limits
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.pictures import Decoding, Places, read_pictures
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

SWEPT_ROWS = 2048


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(BenchmarkOptions, arguments, example="python benchmarks/limit.py --root workspace --rows 8192")
    model, cpus = model_of(options), options.cpus or os.cpu_count() or 1
    choice = engines.choose("openvino", "auto", gpus=0, **engines.of_this_node())
    pixels, _ = decode_many(sample(options, ["image"], at_most=True)["image"].to_pylist(), *model.card.decoded_size)
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary) / "graph.xml"
        network = EmbeddingNetwork(bundle.load(model.files, name=model.name)[1])
        engines.make(network, pixel_shape=model.card.decoded_size, choice=choice, threads=cpus, exported=exported)
        found = sweep(exported, pixels[:SWEPT_ROWS], choice, cpus, 2)
        best = max(found, key=lambda setting: found[setting])
        bare = compiled(exported, pixels, choice, *best)
        limits, rates, walls = [rate(bare, whole(pixels, best[0]))], [], []
        with cluster.connect(options.address, cpus=options.cpus):
            for turn in range(options.repeats):
                rows, clock_s, wall_s = scored(options, model, choice, Path(temporary) / str(turn))
                rates.append(rows / clock_s)
                walls.append(rows / wall_s)
                limits.append(rate(bare, whole(pixels, best[0])))
    shares = [ours / mean(limits[turn : turn + 2]) for turn, ours in enumerate(rates)]
    tell(rows, cpus, choice, best, limits=limits, rates=rates, walls=walls, shares=shares)


def tell(
    rows: int, cpus: int, choice: EngineChoice, best: tuple[int, int, int], *, limits: list[float], rates: list[float],
    walls: list[float], shares: list[float],
) -> None:  # fmt: skip
    """Report the medians."""
    report(
        "limit",
        {
            "rows": rows, "cpus": cpus, "precision": choice.precision,
            "best": dict(zip(("batch", "streams", "threads"), best, strict=True)),
            "limit_rows_per_second": [round(value, 1) for value in limits],
            "scoring_rows_per_second": [round(value, 1) for value in rates],
            "with_start_rows_per_second": [round(value, 1) for value in walls],
            "share_of_limit": [round(value, 3) for value in shares], "median_share": round(median(shares), 3),
        },
        f"scoring {median(rates):.0f} rows/s over {rows} rows, {median(shares):.2f} of the bare engine's {median(limits):.0f} "
        f"(batch {best[0]}, {best[1]} streams, {best[2]} threads, {choice.precision}); with the start of its actors "
        f"{median(walls):.0f} rows/s",
    )  # fmt: skip


class GatedActor(ScoringActor):
    """Says when it is ready; readers wait for it."""

    gate: Gate

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        white = np.full((256, *self._inference.card.decoded_size, 3), 255, dtype=np.uint8)
        self._inference.of_pixels(white, {})  # the first call of an engine allocates what later ones use
        self.gate.leave()


def gated_read(work: pa.Table, *, gate: Gate, places: Places, decoding: Decoding | None) -> pa.Table:
    """Reads once every actor is ready."""
    gate.wait()
    return read_pictures(work, places=places, decoding=decoding)


@contextmanager
def gated(gate: Gate) -> Iterator[None]:
    """Scoring whose readers wait for its actors."""
    GatedActor.gate = gate
    ray.cloudpickle.register_pickle_by_value(sys.modules[GatedActor.__module__])  # with the gate, wherever it is imported
    with (
        mock.patch.object(scoring, "read_pictures", functools.partial(gated_read, gate=gate)),
        mock.patch.object(scoring, "ScoringActor", GatedActor),
    ):
        yield


def scored(options: BenchmarkOptions, model: ResolvedModel, choice: EngineChoice, place: Path) -> tuple[int, float, float]:
    """Score the whole catalog in a root of its own: rows, seconds on the clock, seconds in all."""
    store = Store(str(place / "root"))
    catalog = copied(Store(absolute(options.root)), store)
    gate = Gate(place / f"ready-{uuid.uuid4().hex}", 1)
    how = scoring.How(choice=choice, cache=options.cache, run_id="benchmark", limits=Limits(), publish_anyway=True)
    started = time.time()
    with gated(gate):
        result = scoring.score(store, catalog, model, how)
    ended = max(Path(store.path(file)).stat().st_mtime for file in result.snapshot.files)
    assert result.books["scored"] + result.books["quarantined"] == catalog.manifest["rows"]
    return result.snapshot.manifest["rows"], ended - gate.opened(), ended - started


def copied(source: Store, target: Store) -> Snapshot:
    """The current catalog in another root, with nothing else there."""
    catalog = scoring.catalog_of(source)
    for file in catalog.files:
        target.write_bytes(source.read_bytes(file), file)
    return snapshots.publish(target, "catalog", catalog.name, dict(catalog.manifest), base=None)


if __name__ == "__main__":
    cli.run(main)
