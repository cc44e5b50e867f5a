"""Small networks and what they can learn, for tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn import functional

from fashion_ray.models.backbones import Trunk, TrunkSpec
from fashion_ray.models.network import Geometry, Network, build_heads
from fashion_ray.training.averaging import Averages
from fashion_ray.training.loop import StageLoop
from fashion_ray.training.losses import Batch
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.recipe import Recipe
from fashion_ray.training.schedule import Stage

CPU = torch.device("cpu")
SIDE = 8
CLASSES: dict[str, list[str | None]] = {"season": ["Fall", "Summer", "Winter"], "usage": ["Casual", "Sports"]}
COUNTS = {target: len(names) for target, names in CLASSES.items()}
RECIPE = Recipe(
    learning_rate=0.02, heads_learning_rate=0.02, layer_decay=0.7, weight_decay=0.01, label_smoothing=0.0,
    batchnorm_learns=False, bf16=False,
)  # fmt: skip
HEADS, TOP, ALL = (
    Stage(name="heads", trainable=0, epochs=4),
    Stage(name="top1", trainable=1, epochs=4),
    Stage(name="all", trainable=3, epochs=4),
)


def block(channels: int, wider: int, stride: int = 2) -> nn.Module:
    """A convolution with all that follows one."""
    return nn.Sequential(nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU())


def tiny(*, head: str = "batchnorm", dropout: float = 0.0, seed: int = 0) -> Network:
    """A network of three blocks for pictures of 8 x 8 pixels."""
    torch.manual_seed(seed)
    spec = TrunkSpec(name="tiny", embedding_dim=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    trunk = Trunk(spec, [block(3, 8), block(8, 16), block(16, 16, 1)], ["one", "two", "three"])
    geometry = Geometry(decoded_size=(SIDE, SIDE), input_size=(SIDE, SIDE))
    network = Network(geometry, trunk, build_heads(head, 16, CLASSES, dropout))
    for module in network.trunk.modules():  # statistics of a network that has seen pictures
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    return network


@cache
def toy(rows: int = 96) -> tuple[Tensor, Tensor]:
    """Pictures whose colour is their season and whose brightness is their usage, and these labels."""
    generator = torch.Generator().manual_seed(7)
    seasons = torch.randint(0, 3, (rows,), generator=generator)
    usages = torch.randint(0, 2, (rows,), generator=generator)
    pixels = torch.randint(0, 40, (rows, SIDE, SIDE, 3), generator=generator) + 60 * usages.view(-1, 1, 1, 1)
    pixels += 120 * functional.one_hot(seasons, 3).view(-1, 1, 1, 3)
    return pixels.to(torch.uint8), torch.stack([seasons, usages], dim=1)


def batches(pixels: Tensor, labels: Tensor, size: int = 16) -> Iterator[Batch]:
    """The rows in order, in batches."""
    for start in range(0, len(labels), size):
        yield Batch(pixels[start : start + size], labels[start : start + size])


def stage_loop(
    network: Network,
    stage: Stage,
    *,
    recipe: Recipe = RECIPE,
    optimizer: torch.optim.Optimizer | None = None,
    cached: bool = False,
    steps: int = 6,
    averages: Averages | None = None,
) -> StageLoop:
    """A stage of a network, alone in the world."""
    return StageLoop(
        network, optimizer or make_optimizer(network, recipe), recipe, stage,
        cached=cached, steps_per_epoch=steps, classes=COUNTS, device=CPU,
        averages=averages,
    )  # fmt: skip
