"""Mixed batches: mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019). In: batches. Out: batches with two labels a row.

Each row is mixed with the one before it, as torchvision.transforms.v2 does. Labels stay apart instead of becoming one
distribution, so that a row may have a label for one target and none for another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from fashion_ray.training.losses import Batch


def mixed(batches: Iterable[Batch], *, mixup: float, cutmix: float, random: np.random.Generator) -> Iterator[Batch]:
    """Batches mixed by shares from Beta(alpha, alpha), the alphas being `mixup` and `cutmix`, 0 for never.

    Where both are asked for each batch draws one of them. Activations (floats) are mixed by mixup alone.
    """
    for batch in batches:
        pixels = not batch.inputs.is_floating_point()
        kinds = [kind for kind, alpha in (("mixup", mixup), ("cutmix", cutmix if pixels else 0.0)) if alpha > 0]
        kind = kinds[random.integers(len(kinds))] if kinds else ""
        if kind == "mixup":
            share = float(random.beta(mixup, mixup))
            yield Batch(blended(batch.inputs, share), batch.labels, batch.labels.roll(1, 0), share)
        elif kind == "cutmix":
            height, width = batch.inputs.shape[1:3]
            area = box(
                height,
                width,
                float(random.beta(cutmix, cutmix)),
                row=int(random.integers(height)),
                column=int(random.integers(width)),
            )
            inputs, share = pasted(batch.inputs, area)
            yield Batch(inputs, batch.labels, batch.labels.roll(1, 0), share)
        else:
            yield batch


def blended(inputs: Tensor, share: float) -> Tensor:
    """`share` of each row and the rest of the one before it, in the type that came in."""
    found = torch.lerp(inputs.roll(1, 0).float(), inputs.float(), share)
    return found.to(inputs.dtype) if inputs.is_floating_point() else found.round().to(inputs.dtype)


def box(height: int, width: int, share: float, *, row: int, column: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a box of 1 - `share` of the area around a centre, as far as it is within the picture."""
    half = 0.5 * math.sqrt(1 - share)
    down, right = int(half * height), int(half * width)
    return max(0, row - down), min(height, row + down), max(0, column - right), min(width, column + right)


def pasted(pixels_BHWC: Tensor, area: tuple[int, int, int, int]) -> tuple[Tensor, float]:
    """Pictures with a box of the one before each, and the share of their own that is left."""
    top, bottom, left, right = area
    found = pixels_BHWC.clone()
    found[:, top:bottom, left:right] = pixels_BHWC.roll(1, 0)[:, top:bottom, left:right]
    return found, 1 - (bottom - top) * (right - left) / (pixels_BHWC.shape[1] * pixels_BHWC.shape[2])
