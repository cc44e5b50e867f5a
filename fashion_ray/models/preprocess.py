"""The part of the network before its trunk. In: uint8 pixels as decoded. Out: the floats that the trunk was trained on.

It is a module of the network, so training, evaluation, export and scoring cannot differ in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Preprocess(nn.Module):
    """Bicubic resizing as two small matrix products, then scaling to the trunk's mean and standard deviation.

    As matrix products it costs a tenth of what an inference engine's own bicubic interpolation does, and agrees with
    torch's to 1e-5. Input (batch, height, width, 3) uint8, output (batch, 3, input height, input width) float32.
    """

    def __init__(
        self,
        *,
        decoded_size: tuple[int, int],
        input_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        rows = resize_matrix(decoded_size[0], input_size[0])
        columns = resize_matrix(decoded_size[1], input_size[1]).T.contiguous()
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    rows: Tensor
    columns: Tensor
    mean: Tensor
    std: Tensor

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        """The trunk's input. In float32 even under autocast: 8-bit pixels lose steps in bfloat16."""
        with torch.autocast(pixels_BHWC.device.type, enabled=False):
            images = pixels_BHWC.permute(0, 3, 1, 2).float()
            resized = torch.matmul(torch.matmul(self.rows, images), self.columns)
            return ((resized - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def resize_matrix(size: int, wanted: int) -> Tensor:
    """The linear map of bicubic resizing along one axis, (wanted, size), antialiased where it shrinks."""
    if size == wanted:
        return torch.eye(size)
    unit = torch.eye(size).view(1, 1, size, size)
    resized = functional.interpolate(unit, size=(wanted, size), mode="bicubic", align_corners=False, antialias=wanted < size)
    return resized[0, 0].contiguous()
