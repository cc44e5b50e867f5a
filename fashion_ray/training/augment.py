"""Augmentation of whole batches on their device. In: uint8 pixels. Out: the same, flipped and shifted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def flip_and_shift(pixels_BHWC: Tensor, *, generator: torch.Generator, flip: bool = True, shift: int = 4) -> Tensor:
    """Mirror each picture with probability 1/2 and move it by up to `shift` pixels either way, repeating its edge."""
    batch, height, width, _ = pixels_BHWC.shape
    device = pixels_BHWC.device

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (batch, 1), generator=generator).to(device)

    rows = (torch.arange(height, device=device) + draw(-shift, shift + 1)).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + draw(-shift, shift + 1)).clamp(0, width - 1)
    if flip:
        columns = torch.where(draw(0, 2).bool(), width - 1 - columns, columns)
    index = torch.arange(batch, device=device)[:, None, None]
    return pixels_BHWC[index, rows[:, :, None], columns[:, None, :]]


def views_of(pixels: np.ndarray, views: np.ndarray, *, seed: int, shift: int) -> np.ndarray:
    """A view of each picture by its number (rows,), the same for the same batch; view 0 is the picture as it is."""
    if not views.any():
        return pixels
    generator = torch.Generator().manual_seed(int(pixels[:8].sum()) * 131 + int(views[0]) + seed)
    changed = flip_and_shift(torch.from_numpy(pixels), generator=generator, shift=shift).numpy()
    return np.where((views > 0)[:, None, None, None], changed, pixels)
