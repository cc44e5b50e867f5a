"""The small networks of earlier studies. In: a name and the size of pictures. Out: blocks that have learned nothing yet.

They end where a study's last linear layer begins, so `--head linear` completes them. A name without a suffix is the network
with the study's own colours; `_rgb` or `_grey` is the same one in the others. Layers start as PyTorch starts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fashion_ray.errors import UserError

Blocks = list[tuple[str, nn.Module]]

GREY_CHANNELS, RGB_CHANNELS = 1, 3
LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue, by ITU-R BT.601: what PIL's and Keras's grey is."""

UNTRAINED = "it has no pretrained weights and learns from scratch: pass --weights none, or a bundle's weights"
SIMPLECNN_DROPOUT = 0.5
"""The study names none; PyTorch's default."""


def build(name: str, input_size: tuple[int, int]) -> tuple[Blocks, int]:
    """The blocks of a network for pictures of this height and width, and the width of its embedding.

    The first block takes (batch, 3, height, width) of 0 to 1 whatever the colours, the last one gives (batch, embedding_dim).
    Raises UserError for pictures that its poolings leave nothing of.
    """
    make, kernels, channels = NETWORKS[name]
    blocks, embedding_dim = make(channels, _after_poolings(name, input_size, kernels))
    if channels == GREY_CHANNELS:
        label, first = blocks[0]
        blocks[0] = (label, nn.Sequential(Grey(), first))
    return blocks, embedding_dim


class Grey(nn.Module):
    """Luminance: (batch, 3, height, width) to (batch, 1, height, width)."""

    shares: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shares", torch.tensor(LUMINANCE).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """A weighted mean of the three channels."""
        return (images * self.shares).sum(1, keepdim=True)


def _simplecnn(channels: int, size: tuple[int, int]) -> tuple[Blocks, int]:
    def stage(taken: int, given: int, kernel: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(taken, given, kernel), nn.ReLU(), nn.MaxPool2d(2))

    flattened = 64 * size[0] * size[1]
    blocks: Blocks = [
        ("conv1", stage(channels, 32, 5)),
        ("conv2", stage(32, 64, 3)),
        ("conv3", stage(64, 128, 3)),
        ("conv4", stage(128, 64, 3)),
        ("dense1", nn.Sequential(nn.Flatten(), nn.Linear(flattened, 512), nn.ReLU(), nn.Dropout(SIMPLECNN_DROPOUT))),
        ("dense2", nn.Sequential(nn.Linear(512, 256), nn.ReLU())),
    ]
    return blocks, 256


def _class30cnn(channels: int, size: tuple[int, int]) -> tuple[Blocks, int]:
    def convolution(taken: int, given: int) -> list[nn.Module]:
        return [nn.Conv2d(taken, given, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(given)]

    def stage(taken: int, given: int) -> nn.Module:
        return nn.Sequential(*convolution(taken, given), *convolution(given, given), nn.MaxPool2d(2), nn.Dropout(0.2))

    dense = [nn.Linear(64 * size[0] * size[1], 512), nn.ReLU(), nn.BatchNorm1d(512), nn.Dropout(0.25)]
    blocks: Blocks = [
        ("conv1", stage(channels, 32)), ("conv2", stage(32, 64)), ("dense1", nn.Sequential(nn.Flatten(), *dense)),
    ]  # fmt: skip
    return blocks, 512


def _lenet5(channels: int, size: tuple[int, int]) -> tuple[Blocks, int]:
    blocks: Blocks = [
        ("conv1", nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AvgPool2d(2))),
        ("conv2", nn.Sequential(nn.Conv2d(6, 16, 3), nn.ReLU(), nn.AvgPool2d(2))),
        ("dense1", nn.Sequential(nn.Flatten(), nn.Linear(16 * size[0] * size[1], 120), nn.ReLU())),
        ("dense2", nn.Sequential(nn.Linear(120, 84), nn.ReLU())),
    ]
    return blocks, 84


def _mlp300(channels: int, size: tuple[int, int]) -> tuple[Blocks, int]:
    blocks: Blocks = [
        ("dense1", nn.Sequential(nn.Flatten(), nn.Linear(channels * size[0] * size[1], 300), nn.ReLU())),
        ("dense2", nn.Sequential(nn.Linear(300, 100), nn.ReLU())),
    ]
    return blocks, 100


def _after_poolings(name: str, input_size: tuple[int, int], kernels: Sequence[int]) -> tuple[int, int]:
    """Height and width after convolutions without padding, each followed by a pooling that halves them."""
    smallest = 1
    for kernel in reversed(kernels):
        smallest = 2 * smallest + kernel - 1
    if min(input_size) < smallest:
        raise UserError(
            f"--input-size: got {input_size[0]}x{input_size[1]}, expected at least {smallest}x{smallest} for {name}, whose "
            "poolings leave nothing of smaller pictures"
        )
    height, width = input_size
    for kernel in kernels:
        height, width = (height - kernel + 1) // 2, (width - kernel + 1) // 2
    return height, width


Make = Callable[[int, tuple[int, int]], tuple[Blocks, int]]

_SIMPLECNN: tuple[Make, tuple[int, ...]] = (_simplecnn, (5, 3, 3, 3))
_CLASS30CNN: tuple[Make, tuple[int, ...]] = (_class30cnn, (1, 1))  # padded, so that only the poolings shrink
_LENET5: tuple[Make, tuple[int, ...]] = (_lenet5, (3, 3))
_MLP300: tuple[Make, tuple[int, ...]] = (_mlp300, ())

NETWORKS: Mapping[str, tuple[Make, tuple[int, ...], int]] = {
    "simplecnn": (*_SIMPLECNN, RGB_CHANNELS),
    "simplecnn_grey": (*_SIMPLECNN, GREY_CHANNELS),
    "class30cnn": (*_CLASS30CNN, RGB_CHANNELS),
    "class30cnn_grey": (*_CLASS30CNN, GREY_CHANNELS),
    "lenet5": (*_LENET5, GREY_CHANNELS),
    "lenet5_rgb": (*_LENET5, RGB_CHANNELS),
    "mlp300": (*_MLP300, GREY_CHANNELS),
    "mlp300_rgb": (*_MLP300, RGB_CHANNELS),
}
"""Of each name: what makes the blocks, the kernels before each pooling as `_after_poolings` counts them, the channels."""
