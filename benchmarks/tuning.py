"""What a search is worth: python benchmarks/tuning.py --root ROOT

TPE with half the trials against random search over heads, on cached features, a search a seed, in one process without Ray; and
how long the same trial takes with and without features that are there already.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import report
from fashion_ray import cli
from fashion_ray.config import JobOptions, absolute
from fashion_ray.errors import UserError
from fashion_ray.models import engines
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.tuning import space
from fashion_ray.tuning.features import Features
from fashion_ray.tuning.space import Point
from fashion_ray.tuning.trial import run_trial
from fashion_ray.tuning.trials import Tried, nth_point

SPACE = (
    "head=linear batchnorm mlp", "head_widths=64 256 1024 256,64 if head=mlp", "dropout=0..0.6",
    "optimizer=adamw adam sgd rmsprop", "heads_learning_rate=1e-4..3e-2:log", "batch_size=32 64 128 256",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TuningOptions(JobOptions):
    """Compare TPE with random search, and trials with and without the shared cache."""

    trials: int = 40
    """Of random search; TPE has half as many."""

    seeds: int = 10
    """Searches of each kind."""

    first_seed: int = 0
    """The other searches have the seeds after it."""

    set: tuple[str, ...] = ("targets=articleType", "schedule=heads:3", "max_per_class=60")
    """Options of all trials."""


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(TuningOptions, arguments, example="python benchmarks/tuning.py --root workspace")
    base = space.fixed(options.set, root=absolute(options.root), cache=options.cache)
    first = {"head": "linear"}
    with tempfile.TemporaryDirectory() as folder:
        cold = seconds_of(replace(base, cache=folder), first)
        warm = seconds_of(replace(base, cache=folder), first)
    axes = space.parse(SPACE, base)
    best: dict[str, list[float]] = {"random": [], "tpe": []}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for search, count in (("random", options.trials), ("tpe", options.trials // 2)):
            tried: list[Tried] = []
            for number in range(count):
                point = nth_point(search, axes, number, seed=seed, earlier=tried)
                assert point is not None, "only a grid ends"
                tried.append(Tried(point=point, value=value_of(base, point)))
            best[search].append(max(one.value for one in tried if one.value is not None))
            print(f"seed {seed}: {search} {best[search][-1]:.4f} in {count} trials", file=sys.stderr, flush=True)
    mean: dict[str, Any] = {search: round(sum(found) / len(found), 4) for search, found in best.items()}
    report(
        "tuning",
        {
            "trials": options.trials,
            "best": best,
            "mean": mean,
            "cold_s": round(cold, 2),
            "warm_s": round(warm, 2),
            "cold_over_warm": round(cold / warm, 2),
        },
        f"the best of {options.trials // 2} trials of TPE is {mean['tpe']}, of {options.trials} random ones {mean['random']} "
        f"(mean of {options.seeds} seeds); a trial takes {cold:.1f} s where its features are computed and {warm:.1f} s where "
        "they are shared",
    )


def value_of(base: TrainOptions, point: Point) -> float | None:
    """The best epoch of a trial; none if it failed."""
    rows: list[dict[str, Any]] = []
    try:
        trial(base, point, rows)
    except UserError:
        return None
    return max(float(row[base.monitor]) for row in rows)


def seconds_of(base: TrainOptions, point: Point) -> float:
    """How long a trial takes."""
    started = time.perf_counter()
    trial(base, point, [])
    return time.perf_counter() - started


def trial(base: TrainOptions, point: Point, rows: list[dict[str, Any]]) -> None:
    """Run a trial with one thread, as where several run side by side; its epochs are added to `rows`."""
    store = Store(base.root)
    choice = engines.choose(base.engine, base.precision, gpus=0, **engines.of_this_node())
    features = Features(store=store, choice=choice, threads=1)
    run_trial(prepare(space.options_of(base, point), store, catalog_of(store)), features, rows.append, threads=1)


if __name__ == "__main__":
    cli.run(main)
