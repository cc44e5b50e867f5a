"""What the cache that trials share is worth to a study's grid: python benchmarks/studies.py --root ROOT

Some points of the grid, spread evenly, each run twice in one process without Ray: with a cache of its own, so that it computes
its own features, and with one that is filled already. From these follows what the whole grid takes either way.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

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
from fashion_ray.tuning.features import Features
from fashion_ray.tuning.options import TuneOptions, plan_of
from fashion_ray.tuning.space import options_of
from fashion_ray.tuning.studies import THE_TRUNK_AT_HAND, defaults
from fashion_ray.tuning.trial import run_trial


@dataclass(frozen=True, kw_only=True)
class StudyOptions(JobOptions):
    """Time some points of a study's grid with and without the cache that its trials share."""

    study: str = "article-grid24"
    """A study with a search by grid."""

    set: tuple[str, ...] = (f"backbone={THE_TRUNK_AT_HAND}",)
    """As of jobs/tune.py."""

    points: int = 4
    """Of the grid, spread evenly."""

    pictures: int = 0
    """Of these points, so many are run from pictures too, with no cache of any kind: the trunk is run once an epoch."""


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(StudyOptions, arguments, example="python benchmarks/studies.py --root workspace --points 4")
    plan = plan_of(TuneOptions(**{**defaults(options.study), "set": options.set}), absolute(options.root))  # type: ignore[arg-type]
    if plan.space is None or plan.options.search != "grid":
        raise UserError(f"--study: {options.study} has no grid; expected a study with one, such as article-grid24")
    grid = plan.space.points()
    count = min(options.points, len(grid))
    sample = [grid[(number * len(grid) // count + number) % len(grid)] for number in range(count)]  # of each last value some
    prepare(options_of(plan.base, sample[0]), store := Store(plan.base.root), catalog_of(store))  # what is imported once
    alone, shared, pictures = [], [], []
    for number, point in enumerate(sample):
        with tempfile.TemporaryDirectory(dir=options.cache if os.path.isdir(options.cache) else None) as folder:
            trial = replace(options_of(plan.base, point), cache=folder)
            alone.append(seconds_of(trial))
            shared.append(seconds_of(trial))
            if number < options.pictures:
                pictures.append(seconds_of(replace(trial, cached_views=0)))
        print(
            f"{dict(point)}: own {alone[-1]:.1f} s, shared {shared[-1]:.1f} s", *pictures[number:], file=sys.stderr, flush=True
        )
    kinds = len({(point.get("backbone"), point.get("input_size")) for point in grid})
    fill = mean(one - other for one, other in zip(alone, shared, strict=True))
    without, with_it = len(grid) * mean(alone), kinds * fill + len(grid) * mean(shared)
    report(
        "studies",
        {"points": [dict(point) for point in sample], "alone_s": alone, "shared_s": shared, "pictures_s": pictures,
         "grid": len(grid), "ratio": round(without / with_it, 2)},
        f"{len(grid)} points of {options.study}: a trial takes {mean(alone):.1f} s with features of its own and "
        f"{mean(shared):.1f} s with shared ones (mean of {len(sample)}); the grid takes {without / with_it:.1f} times as long "
        "without the shared cache" + (
            f"; from pictures a trial takes {mean(pictures) / mean(shared[:len(pictures)]):.0f} times as long"
            if pictures else ""
        ),
    )  # fmt: skip


def seconds_of(options: TrainOptions) -> float:
    """How long a trial takes, from its options to its last epoch, with all processors."""
    threads = os.cpu_count() or 1
    store = Store(options.root)
    choice = engines.choose(options.engine, options.precision, gpus=0, **engines.of_this_node())
    started = time.perf_counter()
    features = Features(store=store, choice=choice, threads=threads)
    run_trial(prepare(options, store, catalog_of(store)), features, lambda row: None, threads=threads)
    return time.perf_counter() - started


if __name__ == "__main__":
    cli.run(main)
