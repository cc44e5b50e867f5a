"""What a stage is fed from the cache. In: a network, a stage, a recipe. Out: the entry's file, and the batches of an epoch.

Workers of Ray Train and the trials of a search ask here, so they find each other's entries and learn from the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fashion_ray.models.bundle import Card, digest
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import Network, state_of
from fashion_ray.snapshots import fingerprint
from fashion_ray.training.activations import SUFFIX, Activations
from fashion_ray.training.augment import Augmentation, augmented
from fashion_ray.training.imbalance import Sampling
from fashion_ray.training.losses import Batch
from fashion_ray.training.mixing import mixed
from fashion_ray.training.recipe import Recipe
from fashion_ray.training.schedule import Stage

HEADS_VIEWS = 2
"""Views of the embeddings that heads alone are trained on: they gain little from more, and each costs a pass."""


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What decides the entries of a worker's cache, beside the stage."""

    cache: str
    """The node-local cache."""

    data_key: str
    """Names the rows and labels."""

    choice: EngineChoice
    augmentation: Augmentation
    cached_views: int
    seed: int
    rank: int = 0
    world: int = 1

    def views(self, split: str, stage: Stage) -> int:
        """Views of each picture: one of those that are evaluated, and no more for training than it has epochs."""
        most = self.cached_views if stage.trainable else HEADS_VIEWS
        return min(self.cached_views, stage.epochs, most) if split == "train" else 1

    def place(self, split: str, stage: Stage, version: str) -> Path:
        """The file of a stage's activations, by everything that decides its content; `version` is of what is frozen."""
        key = (self.data_key, version, stage.trainable, self.choice, self.rank, self.world)
        changed = (self.seed, self.augmentation) if split == "train" else ()  # what is evaluated is as it is
        name = fingerprint(*key, split, self.views(split, stage), *changed)
        return Path(self.cache) / "activations" / (name + SUFFIX)

    def pictures(self, split: str) -> Path:
        """The file of the decoded pixels of a split's rows, which `data_key` must name with their size."""
        name = fingerprint(self.data_key, "pictures", split, self.rank, self.world)
        return Path(self.cache) / "activations" / (name + SUFFIX)


def is_cached(stage: Stage, network: Network, cached_views: int) -> bool:
    """Whether a stage is fed from the cache: something of the trunk is frozen below it."""
    return cached_views > 0 and stage.trainable < len(network.trunk.blocks)


def frozen_version(network: Network, card: Card, stage: Stage) -> str:
    """A hash of what a stage leaves frozen, and of what enters it."""
    kept = len(network.trunk.blocks) - stage.trainable
    frozen = {
        f"{number}.{key}": value
        for number, block in enumerate(network.trunk.blocks[:kept])
        for key, value in state_of(block).items()
    }
    # What stands at the boundary below the heads has been pooled.
    pooling = [card.pooling] if card.pooling != "average" and not stage.trainable else []
    return digest([card.backbone, card.decoded_size, card.input_size, card.mean, card.std, *pooling], frozen)


def epoch_seed(seed: int, number: int, rank: int) -> int:
    """Of the order, views and mixing of an epoch, counted from 0 over all stages."""
    return seed * 1_000_003 + number * 1009 + rank


def epoch_batches(
    rows: Activations, batch_size: int, recipe: Recipe, sampling: Sampling | None, *, seed: int
) -> Iterator[Batch]:
    """The batches of an epoch from the cache."""
    generator = torch.Generator().manual_seed(seed)
    return maybe_mixed(rows.shuffled(batch_size, generator=generator, sampling=sampling), recipe, seed)


def picture_batches(
    rows: Activations, batch_size: int, recipe: Recipe, sampling: Sampling | None, how: Augmentation, *, seed: int
) -> Iterator[Batch]:
    """The batches of an epoch from decoded pixels, each picture augmented anew."""
    generator = torch.Generator().manual_seed(seed)
    fed = rows.shuffled(batch_size, generator=generator, sampling=sampling)
    changed = (Batch(augmented(batch.inputs, how, generator=generator), batch.labels) for batch in fed)
    return maybe_mixed(changed, recipe, seed)


def maybe_mixed(batches: Iterator[Batch], recipe: Recipe, seed: int) -> Iterator[Batch]:
    """The same batches, mixed if the recipe says so."""
    if not recipe.mixup and not recipe.cutmix:
        return batches
    return mixed(batches, mixup=recipe.mixup, cutmix=recipe.cutmix, random=np.random.default_rng(seed))
