"""What training does not do twice, and what it never waits for: python benchmarks/training.py --root ROOT

Trains a part of the catalog with jobs/train.py: the heads, the last block, the last three and the whole trunk, fed from the
cache of frozen activations and fed from pictures. Then, in a worker of Ray Train, epochs of the last block from the cache and
of all layers from pictures that are streamed take turns with epochs over tensors that lie in memory, which shows whether
training waits for its rows; and in a process without Ray the latter are taken alone, which shows what Ray's own processes take.
A rate is the median of a stage's epochs but the first, without validation and the filling of the cache.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray.train
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ingest import PROJECT
from benchmarks.material import report
from fashion_ray import cli, cluster
from fashion_ray.config import JobOptions, absolute
from fashion_ray.models import engines
from fashion_ray.models.network import LowerNetwork
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store
from fashion_ray.training import activations, worker
from fashion_ray.training.augment import augmented, views_of
from fashion_ray.training.loop import StageLoop
from fashion_ray.training.losses import Batch
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.training.recipe_options import recipe_of
from fashion_ray.training.run import KEEP_MEMORY, datasets_of
from fashion_ray.training.topology import plan_workers
from fashion_ray.tuning.features import rows_of

EPOCHS = {"heads": 8, "top1": 3, "top3": 2, "all": 2}
"""Of each stage. In the first, files are read and threads start.

One of the heads from the cache takes less than a second, and Ray's own processes take part of the first few seconds.
"""

VIEWS = 4
"""In the cache: with so many it should teach what pictures teach."""

CACHE, STREAM = "top1 from the cache", "all streamed"
"""In turns with the epochs from memory."""

FROZEN = ("heads", "top1", "top3")
"""Stages that have a frozen part."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(JobOptions):
    """Compare epochs from the cache, from pictures that are streamed, and from memory."""

    max_per_class: int = 600
    """Training rows of a subCategory; 0 takes all, which is slow."""


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(TrainingOptions, arguments, example="python benchmarks/training.py --root workspace")
    logging.getLogger().setLevel(logging.WARNING)
    Path(options.cache).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.cache) as temporary:
        root, cache = Path(temporary) / "root", Path(temporary) / "cache"
        shutil.copytree(Path(absolute(options.root)) / "catalog", root / "catalog")
        schedule = ",".join(f"{stage}:{epochs}" for stage, epochs in EPOCHS.items())
        frozen = ",".join(f"{stage}:{EPOCHS[stage]}" for stage in FROZEN)
        asked = ["--root", str(root), "--cache", str(cache), "--patience", "0", "--max-per-class", str(options.max_per_class)]
        asked += ["--balance-target", "subCategory"]
        cached = trained(root, "cached", [*asked, "--schedule", frozen, "--cached-views", str(VIEWS)])
        pictures = trained(root, "pictures", [*asked, "--schedule", schedule, "--cached-views", "0"])
        of_training = TrainOptions(
            root=str(root), max_per_class=options.max_per_class, balance_target="subCategory", schedule=schedule,
            cached_views=VIEWS,
        )  # fmt: skip
        threads, place = options.cpus or os.cpu_count() or 1, cache / "benchmark.arrow"
        memory = in_a_worker(of_training, place, threads, Path(temporary) / "trainer")
        alone = remembered(of_training, place, threads)
    faster = {stage: round(cached[stage].rate / pictures[stage].rate, 2) for stage in FROZEN}
    fed = {"all": pictures["all"].rate, "top1": cached["top1"].rate}
    kept = {"all": round(memory[STREAM] / memory["all"], 3), "top1": round(memory[CACHE] / memory["top1"], 3)}
    outside = {stage: round(rate / alone[stage], 3) for stage, rate in fed.items()}
    better = {stage: round(100 * (cached[stage].score - pictures[stage].score), 2) for stage in FROZEN}
    report(
        "training",
        {
            "rows": memory["rows"], "cached": shown(cached), "pictures": shown(pictures), "memory": memory, "alone": alone,
            "cached_over_pictures": faster, "streamed_over_memory": kept, "streamed_over_memory_without_ray": outside,
            "points_over_pictures": better,
        },
        f"{memory['rows']:.0f} rows; an epoch from the cache is "
        + ", ".join(f"{ratio} times as fast ({stage})" for stage, ratio in faster.items())
        + f"; in one worker streamed pictures reach {kept['all']} of the speed from memory (all layers), the cache "
        f"{kept['top1']} (last block); the jobs reach {outside['all']} and {outside['top1']} of that in a process without Ray; "
        "validation scores after the stages, cache less pictures, in points: "
        + ", ".join(f"{points:+.2f} ({stage})" for stage, points in better.items()),
    )  # fmt: skip


class Ended(NamedTuple):
    """How a stage went."""

    rate: float
    """Images a second: the median of its epochs but the first, if it has more."""

    score: float
    """Mean validation accuracy after its last epoch."""


def trained(root: Path, name: str, asked: list[str]) -> dict[str, Ended]:
    """How each stage of the job ended."""
    command = [sys.executable, str(PROJECT / "jobs/train.py"), "--name", name, *asked]
    subprocess.run(command, check=True, stdout=sys.stderr)
    notes = [json.loads(path.read_text()) for path in (root / "runs" / name).glob("checkpoint_*/progress.json")]
    history = max((note["history"] for note in notes), key=len)
    stages: dict[str, list[dict[str, Any]]] = {}
    for row in history:
        stages.setdefault(row["stage"], []).append(row)
    return {
        stage: Ended(settled([row["images_per_second"] for row in rows]), rows[-1]["score"]) for stage, rows in stages.items()
    }


def settled(rates: Sequence[float]) -> float:
    """The median of all rates but the first, or that one where it is alone."""
    return statistics.median(rates[1:] or rates)


def shown(stages: Mapping[str, Ended]) -> dict[str, dict[str, float]]:
    """The same, rounded."""
    return {stage: {"rate": round(one.rate, 1), "score": round(one.score, 4)} for stage, one in stages.items()}


def in_a_worker(options: TrainOptions, place: Path, threads: int, folder: Path) -> dict[str, float]:
    """As `remembered`, in a worker of Ray Train set up as the job's are, which is fed as they are too."""
    told, seed = place.with_suffix(".json"), options.seed

    def work(config: dict[str, Any]) -> None:
        from benchmarks import training  # this module itself, when it is run, would travel with all of torch

        def stream(epoch: int) -> Iterator[Batch]:
            return worker.streamed_pictures(
                ray.train.get_dataset_shard("train"), batch_size=options.batch_size, seed=seed + epoch, rank=0,
                augmentation=options.augmentation, sampling=None, device=torch.device("cpu"),
            )  # fmt: skip

        told.write_text(json.dumps(training.remembered(options, place, threads, stream)))

    store = Store(options.root)
    with cluster.connect(None, cpus=threads, dashboard=True) as has:
        plan = plan_workers(1, cpus=has.cpus, gpus=0, nodes=has.nodes, cpus_per_node=has.cpus_per_node)
        trainer = TorchTrainer(
            work,
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker=plan.resources()),
            datasets={"train": datasets_of(prepare(options, store, catalog_of(store)), store)["train"]},
            run_config=RunConfig(name="memory", storage_path=str(folder), worker_runtime_env={"env_vars": KEEP_MEMORY}),
        )
        trainer.fit()
    return dict(json.loads(told.read_text()))


def remembered(
    options: TrainOptions, place: Path, threads: int, stream: Callable[[int], Iterator[Batch]] | None = None
) -> dict[str, float]:
    """Rows, and images a second in this process: of all layers from memory, and of the last block from memory and the cache.

    With `stream`, the batches of an epoch by its number, also of all layers from those.
    """
    torch.set_num_threads(threads)
    prepared = prepare(options, Store(options.root), catalog_of(Store(options.root)))
    card = prepared.card
    fed = list(rows_of(Store(options.root), prepared, "train", 256))
    pixels, labels, copy = (np.concatenate(column) for column in zip(*fed, strict=True))
    choice = engines.choose("auto", "auto", gpus=0, **engines.of_this_node())
    lower = LowerNetwork(prepared.network, 1)
    engine = engines.make(lower, pixel_shape=card.decoded_size, choice=choice, threads=threads)
    pieces = (slice(start, start + engine.batch) for start in range(0, len(pixels), engine.batch))
    cache = activations.fill(
        place, ((pixels[piece], labels[piece], copy[piece]) for piece in pieces), engine,
        views=options.cached_views, augment=partial(views_of, seed=0, how=options.augmentation), expected_rows=len(pixels),
        limit=float("inf"), streams=engine.streams,
    )  # fmt: skip
    views = torch.stack([cache.values(range(len(cache)), [view] * len(cache)) for view in range(cache.views)])
    targets, size = torch.from_numpy(labels), options.batch_size
    generator = torch.Generator().manual_seed(0)

    def orders() -> Sequence[torch.Tensor]:
        return torch.tensor_split(torch.randperm(len(pixels), generator=generator), tuple(range(size, len(pixels), size)))

    def of_pictures(epoch: int) -> Iterator[Batch]:
        for index in orders():
            if len(index) == size:
                inputs = torch.from_numpy(pixels[index.numpy()])
                yield Batch(augmented(inputs, options.augmentation, generator=generator), targets[index])

    def of_views(epoch: int) -> Iterator[Batch]:
        for index in orders():
            if len(index) == size:
                yield Batch(views[torch.randint(0, len(views), (size,), generator=generator), index], targets[index])

    def of_cache(epoch: int) -> Iterator[Batch]:
        return cache.shuffled(size, generator=generator)

    recipe = recipe_of(options, prepared.fed, prepared.words.classes, bf16=choice.precision == "bf16")
    network = prepared.network.to(memory_format=torch.channels_last)
    found = {"rows": float(len(pixels))}
    for stage in prepared.stages:
        if stage.name not in ("top1", "all"):
            continue
        loop = StageLoop(
            network, make_optimizer(network, recipe), recipe, stage, cached=stage.name == "top1",
            steps_per_epoch=len(pixels) // size, classes={target: len(names) for target, names in card.classes.items()},
            device=torch.device("cpu"),
        )  # fmt: skip
        feeds: dict[str, Callable[[int], Iterator[Batch]]] = {"all": of_pictures}
        if stage.name == "top1":
            feeds = {"top1": of_views, CACHE: of_cache}
        elif stream is not None:
            feeds[STREAM] = stream
        found |= in_turns(loop, stage.epochs, feeds)
    return found


def in_turns(loop: StageLoop, epochs: int, feeds: Mapping[str, Callable[[int], Iterator[Batch]]]) -> dict[str, float]:
    """Images a second from each feed, which take turns, since the machine's own speed changes from minute to minute."""
    rates: dict[str, list[float]] = {name: [] for name in feeds}
    for epoch in range(epochs):
        for name, feed in feeds.items():
            rates[name].append(loop.train_epoch(feed(epoch), epoch)["images_per_second"])
    return {name: round(settled(of_feed), 1) for name, of_feed in rates.items()}


if __name__ == "__main__":
    cli.run(main)
