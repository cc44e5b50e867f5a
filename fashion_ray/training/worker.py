"""What each worker of a training run does. In: settings as plain values and shards of the catalog. Out: checkpoints.

Ray Train calls `train_worker` on every worker. A checkpoint after each epoch holds weights, optimizer and progress, so a
run that died goes on with the epoch after its last one.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import safetensors.torch
import torch
from torch import nn

from fashion_ray.logs import show_progress
from fashion_ray.models.bundle import Card, digest, empty_network
from fashion_ray.models.engines import EngineChoice, make
from fashion_ray.models.network import LowerNetwork, count_parameters, state_of
from fashion_ray.snapshots import fingerprint
from fashion_ray.storage import Store
from fashion_ray.training import activations, feeding
from fashion_ray.training.augment import flip_and_shift, views_of
from fashion_ray.training.loop import Batch, Recipe, StageLoop, make_optimizer
from fashion_ray.training.schedule import Stage, should_stop

log = logging.getLogger(__name__)

WEIGHTS, OPTIMIZER, PROGRESS = "weights.safetensors", "optimizer.pt", "progress.json"
ENGINE_BATCH = 64
HEADS_VIEWS = 2
"""Views of the embeddings that heads alone are trained on: they gain little from more, and each costs a pass."""


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
    shift: int
    patience: int
    seed: int
    threads: int
    cache: str
    data_key: str
    """Names the rows and labels that are trained on, for the cache."""

    train_rows: int
    """Of an epoch, each as often as it is fed."""

    validation_rows: int


@dataclass
class Progress:
    """How far a run has come; `stage` and `epoch` (within the stage) are the next to do."""

    stage: int = 0
    epoch: int = 0
    history: list[dict[str, Any]] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """The finished epochs."""
        if self.history is None:
            self.history = []
        return self.history


def train_worker(config: dict[str, Any]) -> None:
    """Train through all stages; every epoch ends with a report to Ray Train, with a checkpoint from the first rank."""
    show_progress()
    logging.getLogger().setLevel(logging.WARNING)  # Ray Train names its loggers by their files, so the root is the handle
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings: Settings = config["settings"]
    torch.set_num_threads(settings.threads)
    worker = Worker(settings)
    worker.restore()
    for number, stage in enumerate(settings.stages):
        if number == worker.progress.stage:
            if not worker.finished(stage):
                worker.run_stage(stage)
            worker.progress.stage, worker.progress.epoch = number + 1, 0


class Worker:
    """The state of one worker: network, optimizer, progress."""

    def __init__(self, settings: Settings) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.settings = settings
        self.device = ray.train.torch.get_device()
        torch.manual_seed(settings.seed + self.rank)
        self.network = empty_network(settings.card)
        self.network.load_state_dict(safetensors.torch.load(settings.store.read_bytes(settings.start, WEIGHTS)))
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.network, settings.recipe)
        self.progress = Progress()

    def restore(self) -> None:
        """Go back to the last checkpoint, if this run has one."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return
        with checkpoint.as_directory() as folder:
            weights = safetensors.torch.load_file(Path(folder) / WEIGHTS)
            self.network.load_state_dict({key: value.to(self.device) for key, value in weights.items()})
            state = torch.load(Path(folder) / OPTIMIZER, map_location=self.device, weights_only=True)
            self.optimizer.load_state_dict(state)
            self.progress = Progress(**json.loads((Path(folder) / PROGRESS).read_text()))
        self._say("continuing after epoch %d", len(self.progress.rows()))

    def finished(self, stage: Stage) -> bool:
        """Whether the current stage had all of its epochs, or ends early since none was better for a while."""
        scores = [row["score"] for row in self.progress.rows()[len(self.progress.rows()) - self.progress.epoch :]]
        early = should_stop(scores, self.settings.patience)
        if early and self.progress.epoch < stage.epochs:
            self._say("stage %s ends early: no better score in %d epochs", stage.name, self.settings.patience)
        return early or self.progress.epoch >= stage.epochs

    def run_stage(self, stage: Stage) -> None:
        """Finish the current stage, from the epoch that progress says."""
        settings = self.settings
        cached = settings.cached_views > 0 and stage.trainable < len(self.network.trunk.blocks)
        batch_size = max(2, settings.batch_size // self.world)
        train, validation = self._cached(stage) if cached else (None, None)
        rows = len(train) if train is not None else settings.train_rows // self.world
        loop = StageLoop(
            self.network,
            self.optimizer,
            settings.recipe,
            stage,
            cached=cached,
            steps_per_epoch=max(1, rows // batch_size),
            classes={target: len(names) for target, names in settings.card.classes.items()},
            device=self.device,
            wrap=self._wrap,
        )
        total, learning = count_parameters(self.network)
        opened = self.network.trunk.block_names[len(self.network.trunk.blocks) - stage.trainable :]
        self._say(
            "stage %s: %s of %s parameters learn: heads%s; inputs are %s",
            stage.name, f"{learning:,}", f"{total:,}", "".join(f", {name}" for name in reversed(opened)),
            "cached activations" if cached else "pictures",
        )  # fmt: skip
        while not self.finished(stage):
            epoch = self.progress.epoch
            number = len(self.progress.rows())
            generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number * 1009 + self.rank)
            batches = (
                train.shuffled(batch_size, generator=generator) if train is not None else self._pictures(batch_size, number)
            )
            metrics = loop.train_epoch(batches, epoch)
            held_out = validation.in_order(256) if validation is not None else self._held_out()
            metrics |= loop.evaluate(held_out)
            self._finish_epoch(stage, metrics)

    def _finish_epoch(self, stage: Stage, metrics: dict[str, float]) -> None:
        self.progress.epoch += 1
        history = self.progress.rows()
        row = {"epoch": len(history) + 1, "stage": stage.name, **metrics}
        history.append(row)
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
            safetensors.torch.save_file(state_of(self.network), folder / WEIGHTS)
            torch.save(self.optimizer.state_dict(), folder / OPTIMIZER)
            content = {"stage": self.progress.stage, "epoch": self.progress.epoch, "history": history}
            (folder / PROGRESS).write_text(json.dumps(content))
            ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def _cached(self, stage: Stage) -> tuple[activations.Activations, activations.Activations]:
        """This worker's rows as activations at the stage's boundary, from the cache or computed into it."""
        settings = self.settings
        lower = LowerNetwork(self.network, stage.trainable)
        folder = Path(settings.cache) / "activations"
        key = (settings.data_key, self._frozen_version(stage), stage.trainable, settings.choice, self.rank, self.world)
        size = settings.card.decoded_size
        engine = None
        found = []
        most = settings.cached_views if stage.trainable else HEADS_VIEWS
        for split, views in (("train", min(settings.cached_views, stage.epochs, most)), ("validation", 1)):
            place = folder / fingerprint(*key, split, views, settings.seed, settings.shift)
            cached = activations.load(place)
            if cached is None:
                engine = engine or make(
                    lower.cpu() if settings.choice.name == "openvino" else lower,
                    pixel_shape=size, batch=ENGINE_BATCH, choice=settings.choice, threads=settings.threads,
                )  # fmt: skip
                rows = ray.train.get_dataset_shard(split)
                batches = (
                    feeding.split_rows(rows, batch_size=ENGINE_BATCH, shuffle_seed=None, drop_last=False)
                    if split == "train"
                    else feeding.own_rows(rows, rank=self.rank, world=self.world, size=size, batch_size=ENGINE_BATCH)
                )
                expected = (settings.train_rows if split == "train" else settings.validation_rows) // self.world
                augment = partial(views_of, seed=settings.seed, shift=settings.shift)
                cached = activations.fill(place, batches, engine, views=views, augment=augment, expected_rows=expected)
            found.append(cached)
        self.network.to(self.device)
        return found[0], found[1]

    def _frozen_version(self, stage: Stage) -> str:
        kept = len(self.network.trunk.blocks) - stage.trainable
        frozen = {
            f"{number}.{key}": value
            for number, block in enumerate(self.network.trunk.blocks[:kept])
            for key, value in state_of(block).items()
        }
        card = self.settings.card
        return digest([card.backbone, card.decoded_size, card.input_size, card.mean, card.std], frozen)

    def _pictures(self, batch_size: int, number: int) -> Iterator[Batch]:
        seed = self.settings.seed + number
        generator = torch.Generator().manual_seed(seed * 7919 + self.rank)
        rows = ray.train.get_dataset_shard("train")
        for pixels, labels, _ in feeding.split_rows(rows, batch_size=batch_size, shuffle_seed=seed, drop_last=True):
            inputs = torch.tensor(pixels)
            if self.device.type == "cuda":
                inputs = inputs.pin_memory().to(self.device, non_blocking=True)
            yield Batch(flip_and_shift(inputs, generator=generator, shift=self.settings.shift), torch.tensor(labels))

    def _held_out(self) -> Iterator[Batch]:
        rows = ray.train.get_dataset_shard("validation")
        size = self.settings.card.decoded_size
        for pixels, labels, _ in feeding.own_rows(rows, rank=self.rank, world=self.world, size=size, batch_size=256):
            yield Batch(torch.from_numpy(pixels), torch.from_numpy(labels))

    def _wrap(self, module: nn.Module) -> nn.Module:
        if self.world == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, device_ids=[self.device] if self.device.type == "cuda" else None)

    def _say(self, line: str, *values: object) -> None:
        if self.rank == 0:
            log.info(line, *values)
