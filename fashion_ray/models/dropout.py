"""Dropout that costs an eighth of the random numbers on CPUs. In: activations. Out: the same with some of them zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 256
"""A byte of a random number decides on an activation, so shares are rounded to a 256th."""


class ByteDropout(nn.Dropout):
    """As nn.Dropout, with `p` rounded to a 256th on CPUs, where torch draws a number an activation, one after the other.

    On heads over cached features that was more than a quarter of a training step.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of any shape; what is kept is scaled by 1 / (1 - p), so that means stay. In evaluation nothing happens."""
        dropped = round(LEVELS * self.p)
        if not self.training or not 0 < dropped < LEVELS or inputs.device.type != "cpu":
            return super().forward(inputs)
        words = torch.empty(-(-inputs.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: inputs.numel()].view(inputs.shape) >= dropped
        return inputs * (kept.to(inputs.dtype) * (LEVELS / (LEVELS - dropped)))
