"""What each worker of a training run does. In: settings as plain values and shards of the catalog. Out: checkpoints.

Ray Train calls `train_worker` on every worker. A checkpoint after each epoch holds weights, optimizer and progress, so a
run that died goes on with the epoch after its last one.
"""

from __future__ import annotations

import copy
import logging
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.data
import ray.train
import ray.train.torch
import safetensors.torch
import torch
from torch import nn

from fashion_ray.errors import UserError
from fashion_ray.logs import show_progress
from fashion_ray.models.bundle import Card, empty_network
from fashion_ray.models.engines import EngineChoice, make
from fashion_ray.models.network import LowerNetwork, Network, count_parameters
from fashion_ray.storage import Store
from fashion_ray.training import activations, checkpoint, feeding, stage_cache
from fashion_ray.training.augment import Augmentation, augmented, views_of
from fashion_ray.training.averaging import Averages
from fashion_ray.training.checkpoint import Progress
from fashion_ray.training.imbalance import Sampling
from fashion_ray.training.loop import StageLoop
from fashion_ray.training.losses import Batch
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.rates import ramp, suggested
from fashion_ray.training.recipe import Recipe
from fashion_ray.training.sampling import resampled
from fashion_ray.training.schedule import Stage, direction, should_stop

log = logging.getLogger(__name__)

WINDOW_ROWS = 4096
"""Rows that a stream of pictures is drawn from where classes are evened out."""

TEST_STEPS = 100
"""Of a learning-rate test."""

COMPILERS = ("g++", "clang++", "c++")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a worker needs to know, decided on the driver."""

    store: Store
    start: str
    """Where the first weights lie, below the root."""

    card: Card
    stages: tuple[Stage, ...]
    recipe: Recipe
    choice: EngineChoice
    batch_size: int
    cached_views: int
    augmentation: Augmentation
    sampling: Sampling | None
    """How rows of an epoch are drawn; none where each is fed once."""

    patience: int
    monitor: str
    """The figure of an epoch that patience is about."""

    find_learning_rate: bool
    seed: int
    threads: int
    cache: str
    cache_limit: float
    """Bytes of activations in it."""

    data_key: str
    """Names the rows and labels that are trained on, for the cache."""

    train_rows: int
    """Of an epoch, each as often as it is fed."""

    validation_rows: int
    title_words: int = 0
    """That the network guesses beside the labels."""


def train_worker(config: dict[str, Any]) -> None:
    """Train through all stages; every epoch ends with a report to Ray Train, with a checkpoint from the first rank."""
    show_progress()
    logging.getLogger().setLevel(logging.WARNING)  # Ray Train names its loggers by their files, so the root is the handle
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings: Settings = config["settings"]
    torch.set_num_threads(settings.threads)
    worker = Worker(settings)
    worker.restore()
    if settings.find_learning_rate and not worker.progress.history:
        worker.try_rates(settings.stages[0])
    for number, stage in enumerate(settings.stages):
        if number == worker.progress.stage:
            if not worker.finished(stage):
                worker.run_stage(stage)
            worker.progress.stage, worker.progress.epoch = number + 1, 0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What one worker trains a stage from: cached activations, or pictures where there are none."""

    batch_size: int
    steps: int
    """An epoch."""

    train: activations.Activations | None
    validation: activations.Activations | None


class Worker:
    """The state of one worker: network, optimizer, progress."""

    def __init__(self, settings: Settings) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.settings = settings
        self.device = ray.train.torch.get_device()
        torch.manual_seed(settings.seed + self.rank)
        self.network = empty_network(settings.card, title_words=settings.title_words)
        self.network.load_state_dict(safetensors.torch.load(settings.store.read_bytes(settings.start, checkpoint.WEIGHTS)))
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.network, settings.recipe)
        decay = settings.recipe.ema_decay
        self.averages = Averages(self.network, decay) if decay else None
        self.progress = Progress()

    def restore(self) -> None:
        """Go back to the last checkpoint, if this run has one."""
        found = ray.train.get_checkpoint()
        if found is None:
            return
        with found.as_directory() as folder:
            self.progress = checkpoint.restore(
                Path(folder), self.network, self.optimizer, self.averages, device=self.device, rank=self.rank
            )
        epochs, steps = len(self.progress.history), self.progress.steps
        self._say("continuing after epoch %d, step %d, with %d workers", epochs, steps, self.world)

    def finished(self, stage: Stage) -> bool:
        """Whether the current stage had all of its epochs, or ends early since none was better for a while."""
        monitor, history = self.settings.monitor, self.progress.history
        values = [direction(monitor) * row[monitor] for row in history[len(history) - self.progress.epoch :]]
        early = should_stop(values, self.settings.patience)
        if early and self.progress.epoch < stage.epochs:
            self._say("stage %s ends early: no better %s in %d epochs", stage.name, monitor, self.settings.patience)
        return early or self.progress.epoch >= stage.epochs

    def run_stage(self, stage: Stage) -> None:
        """Finish the current stage, from the epoch that progress says."""
        torch.set_num_threads(self.settings.threads)
        inputs = self._inputs(stage)
        loop = self._loop(stage, inputs, self.network, self.optimizer, self.averages)
        if loop.light:
            torch.set_num_threads(1)  # a second would wait for Ray's own processes
        total, learning = count_parameters(self.network)
        opened = self.network.trunk.block_names[len(self.network.trunk.blocks) - stage.trainable :]
        self._say(
            "stage %s: %s of %s parameters learn: heads%s; inputs are %s",
            stage.name, f"{learning:,}", f"{total:,}", "".join(f", {name}" for name in reversed(opened)),
            "pictures" if inputs.train is None else "cached activations",
        )  # fmt: skip
        recipe = self.settings.recipe
        if recipe.cutmix and not recipe.mixup and inputs.train is not None:
            self._say("stage %s: no --cutmix, since its inputs are no pictures; pass --cached-views 0, or --mixup", stage.name)
        while not self.finished(stage):
            metrics = loop.train_epoch(self._batches(inputs, len(self.progress.history)), self.progress.epoch)
            metrics |= loop.evaluate(inputs.validation.in_order(256) if inputs.validation is not None else self._held_out())
            self._finish_epoch(stage, metrics)

    def try_rates(self, stage: Stage) -> None:
        """Find the learning rate at which the loss of a stage falls fastest, on a copy of the network that is thrown away."""
        inputs, network = self._inputs(stage), copy.deepcopy(self.network)
        random = torch.get_rng_state()
        loop = self._loop(stage, inputs, network, make_optimizer(network, self.settings.recipe), None)
        rates = ramp(TEST_STEPS)
        losses = loop.sweep((batch for epoch in range(TEST_STEPS) for batch in self._batches(inputs, epoch)), rates)
        torch.set_rng_state(random)
        self.progress.rate_curve = [pair for pair in zip(rates, losses, strict=False) if math.isfinite(pair[1])]
        option = "--learning-rate" if stage.trainable else "--heads-learning-rate"
        found = suggested(rates, losses)
        self._say(
            "learning-rate test of stage %s: the loss falls fastest at %s %s",
            stage.name, option, f"{found:.2g}" if found else "none",
        )  # fmt: skip

    def _inputs(self, stage: Stage) -> Inputs:
        settings = self.settings
        batch_size = max(2, settings.batch_size // self.world)
        cached = stage_cache.is_cached(stage, self.network, settings.cached_views)
        train, validation = self._cached(stage) if cached else (None, None)
        rows = len(train) if train is not None else settings.train_rows // self.world
        return Inputs(batch_size=batch_size, steps=max(1, rows // batch_size), train=train, validation=validation)

    def _loop(
        self, stage: Stage, inputs: Inputs, network: Network, optimizer: torch.optim.Optimizer, averages: Averages | None
    ) -> StageLoop:
        if self.settings.recipe.compiler and self.device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
            raise UserError(f"--compile: found none of {', '.join(COMPILERS)} here; expected a C++ compiler, or no --compile")
        return StageLoop(
            network, optimizer, self.settings.recipe, stage, cached=inputs.train is not None, steps_per_epoch=inputs.steps,
            classes={target: len(names) for target, names in self.settings.card.classes.items()}, device=self.device,
            wrap=self._wrap, averages=averages,
        )  # fmt: skip

    def _batches(self, inputs: Inputs, number: int) -> Iterator[Batch]:
        """This worker's batches of an epoch, counted from 0 over all stages."""
        settings = self.settings
        seed = stage_cache.epoch_seed(settings.seed, number, self.rank)
        if inputs.train is not None:
            return stage_cache.epoch_batches(inputs.train, inputs.batch_size, settings.recipe, settings.sampling, seed=seed)
        return stage_cache.maybe_mixed(self._pictures(inputs.batch_size, number), settings.recipe, seed)

    def _finish_epoch(self, stage: Stage, metrics: dict[str, float]) -> None:
        row: dict[str, Any] = {"epoch": len(self.progress.history) + 1, "stage": stage.name, **metrics}
        if math.isnan(row[monitor := self.settings.monitor]):
            raise UserError(
                f"--monitor: {monitor} is NaN, since no row has a label of it; expected labels, or another --monitor"
            )
        self.progress.finish_epoch(row)
        self._say(
            "epoch %d (%s): loss %.3f, validation loss %.3f, %s, %.0f images/s",
            row["epoch"], stage.name, row["train_loss"], row["validation_loss"],
            ", ".join(f"{target} {row[f'validation_accuracy/{target}']:.4f}" for target in self.settings.card.targets),
            row["images_per_second"],
        )  # fmt: skip
        if self.rank != 0:
            ray.train.report(row)
            return
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            checkpoint.save(folder, self.network, self.optimizer, self.progress, self.averages)
            ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def _cached(self, stage: Stage) -> tuple[activations.Activations, activations.Activations]:
        """This worker's rows as activations at the stage's boundary, from the cache or computed into it."""
        settings = self.settings
        lower = LowerNetwork(self.network, stage.trainable)
        entries = stage_cache.Entries(
            cache=settings.cache, data_key=settings.data_key, choice=settings.choice, augmentation=settings.augmentation,
            cached_views=settings.cached_views, seed=settings.seed, rank=self.rank, world=self.world,
        )  # fmt: skip
        version = stage_cache.frozen_version(self.network, settings.card, stage)
        size = settings.card.decoded_size
        engine = None
        found = []
        for split in ("train", "validation"):
            place = entries.place(split, stage, version)
            cached = activations.load(place)
            if cached is None:
                engine = engine or make(
                    lower.cpu() if settings.choice.name == "openvino" else lower,
                    pixel_shape=size, choice=settings.choice, threads=settings.threads,
                )  # fmt: skip
                rows = ray.train.get_dataset_shard(split)
                batches = (
                    feeding.split_rows(rows, batch_size=engine.batch, shuffle_seed=None, drop_last=False)
                    if split == "train"
                    else feeding.own_rows(rows, rank=self.rank, world=self.world, size=size, batch_size=engine.batch)
                )
                expected = (settings.train_rows if split == "train" else settings.validation_rows) // self.world
                augment = partial(views_of, seed=settings.seed, how=settings.augmentation)
                cached = activations.fill(
                    place, batches, engine, views=entries.views(split, stage), augment=augment, expected_rows=expected,
                    limit=settings.cache_limit, streams=engine.streams,
                )  # fmt: skip
            found.append(cached)
        self.network.to(self.device)
        return found[0], found[1]

    def _pictures(self, batch_size: int, number: int) -> Iterator[Batch]:
        settings = self.settings
        return streamed_pictures(
            ray.train.get_dataset_shard("train"), batch_size=batch_size, seed=settings.seed + number, rank=self.rank,
            augmentation=settings.augmentation, sampling=settings.sampling, device=self.device,
        )  # fmt: skip

    def _held_out(self) -> Iterator[Batch]:
        rows = ray.train.get_dataset_shard("validation")
        size = self.settings.card.decoded_size
        for pixels, labels, _ in feeding.own_rows(rows, rank=self.rank, world=self.world, size=size, batch_size=256):
            yield Batch(torch.tensor(pixels), torch.tensor(labels))

    def _wrap(self, module: nn.Module) -> nn.Module:
        if self.world == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, device_ids=[self.device] if self.device.type == "cuda" else None)

    def _say(self, line: str, *values: object) -> None:
        if self.rank == 0:
            log.info(line, *values)


def streamed_pictures(
    shard: ray.data.DataIterator,
    *,
    batch_size: int,
    seed: int,
    rank: int,
    augmentation: Augmentation,
    sampling: Sampling | None,
    device: torch.device,
) -> Iterator[Batch]:
    """A worker's full batches of an epoch from pictures as they are read, in the order and the augmentation of `seed`."""
    generator = torch.Generator().manual_seed(seed * 7919 + rank)
    batches = feeding.split_rows(shard, batch_size=batch_size, shuffle_seed=seed, drop_last=True)
    if sampling is not None:
        batches = resampled(batches, sampling, window=max(1, WINDOW_ROWS // batch_size), generator=generator)
    for pixels, labels, _ in batches:
        inputs = torch.tensor(pixels)
        if device.type == "cuda":
            inputs = inputs.pin_memory().to(device, non_blocking=True)
        yield Batch(augmented(inputs, augmentation, generator=generator), torch.tensor(labels))
