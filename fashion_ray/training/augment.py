"""Augmentation of whole batches on their device. In: uint8 pixels. Out: the same, changed, each picture in its own way.

All randomness comes from a generator on the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

GREY = (0.2989, 0.587, 0.114)
"""Of red, green and blue, as torchvision.transforms.v2 weighs them."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to pictures; 0 leaves it out."""

    flip: bool = False
    """Whether half of the pictures are mirrored."""

    shift: int = 0
    """Pixels that pictures are moved by at most, either way."""

    crop: float = 0.0
    """Share of each side that is cut away at most; the rest is scaled up again."""

    rotation: float = 0.0
    """Degrees that pictures are turned by at most, either way."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    """These three are multiplied by 1 minus so much to 1 plus so much."""

    erasing: float = 0.0
    """Share of the pictures that lose a rectangle (Zhong et al. 2020)."""

    noise: float = 0.0
    """Standard deviation of Gaussian noise, in the 256 levels of a pixel."""


def augmented(pixels_BHWC: Tensor, how: Augmentation, *, generator: torch.Generator) -> Tensor:
    """Pictures changed in every way that was asked for, uint8 as they came."""
    if how.flip or how.shift:
        pixels_BHWC = flip_and_shift(pixels_BHWC, generator=generator, flip=how.flip, shift=how.shift)
    if how.crop or how.rotation:
        pixels_BHWC = warped(pixels_BHWC, crop=how.crop, rotation=how.rotation, generator=generator)
    if how.brightness or how.contrast or how.saturation:
        pixels_BHWC = recoloured(
            pixels_BHWC,
            brightness=how.brightness, contrast=how.contrast, saturation=how.saturation, generator=generator,
        )  # fmt: skip
    if how.noise:
        pixels_BHWC = noisy(pixels_BHWC, deviation=how.noise, generator=generator)
    if how.erasing:
        pixels_BHWC = erased(pixels_BHWC, share=how.erasing, generator=generator)
    return pixels_BHWC


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


def warped(pixels_BHWC: Tensor, *, crop: float, rotation: float, generator: torch.Generator) -> Tensor:
    """Turn each picture by up to `rotation` degrees and cut up to `crop` of each side away, scaled up to the size it had.

    Both in one bilinear sampling; what comes from outside repeats the edge. The aspect ratio is kept.
    """
    batch, height, width, _ = pixels_BHWC.shape
    angle = math.radians(rotation) * _uniform(batch, -1, 1, generator)
    side = 1 - crop * _uniform(batch, 0, 1, generator)
    right, down = ((1 - side) * _uniform(batch, -1, 1, generator) for _ in range(2))
    # From places in the new picture to places in the old one, where both axes run from -1 to 1 whatever the aspect.
    cosine, sine, aspect = side * angle.cos(), side * angle.sin(), height / max(1, width)
    matrix = torch.stack([cosine, -sine * aspect, right, sine / aspect, cosine, down], dim=1).view(batch, 2, 3)
    images = pixels_BHWC.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    found = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _levels(found.permute(0, 2, 3, 1))


def recoloured(
    pixels_BHWC: Tensor, *, brightness: float, contrast: float, saturation: float, generator: torch.Generator
) -> Tensor:
    """Brightness, contrast and saturation of each picture times factors of its own, as torchvision's ColorJitter blends."""
    images = pixels_BHWC.float()

    def factor(most: float) -> Tensor:
        return (1 + most * _uniform(len(images), -1, 1, generator)).view(-1, 1, 1, 1).to(images.device)

    if brightness:
        images = (images * factor(brightness)).clamp(0, 255)
    if contrast:
        mean = _grey(images).mean((1, 2, 3), keepdim=True)
        images = torch.lerp(mean, images, factor(contrast)).clamp(0, 255)
    if saturation:
        images = torch.lerp(_grey(images), images, factor(saturation))
    return _levels(images)


def noisy(pixels_BHWC: Tensor, *, deviation: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of this standard deviation to every value."""
    noise = torch.randn(pixels_BHWC.shape, generator=generator).to(pixels_BHWC.device)
    return _levels(pixels_BHWC.float() + deviation * noise)


def erased(pixels_BHWC: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """In this share of the pictures a rectangle of 2 to 33 % of the area gets one colour drawn at random."""
    batch, height, width, channels = pixels_BHWC.shape
    area = height * width * _uniform(batch, 0.02, 0.33, generator)
    ratio = _uniform(batch, math.log(0.3), math.log(3.3), generator).exp()
    tall = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    top = ((height - tall + 1) * _uniform(batch, 0, 1, generator)).floor()
    left = ((width - wide + 1) * _uniform(batch, 0, 1, generator)).floor()
    chosen = _uniform(batch, 0, 1, generator) < share
    colour = torch.randint(0, 256, (batch, 1, 1, channels), generator=generator, dtype=torch.uint8)
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    top, left, tall, wide, chosen = (value.view(-1, 1, 1) for value in (top, left, tall, wide, chosen))
    inside = chosen & (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    device = pixels_BHWC.device
    return torch.where(inside[..., None].to(device), colour.to(device), pixels_BHWC)


def views_of(pixels: np.ndarray, views: np.ndarray, *, seed: int, how: Augmentation) -> np.ndarray:
    """A view of each picture by its number (rows,), the same for the same batch; view 0 is the picture as it is."""
    if not views.any():
        return pixels
    generator = torch.Generator().manual_seed(int(pixels[:8].sum()) * 131 + int(views[0]) + seed)
    changed = augmented(torch.from_numpy(pixels), how, generator=generator).numpy()
    return np.where((views > 0)[:, None, None, None], changed, pixels)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _grey(images: Tensor) -> Tensor:
    if images.shape[-1] != len(GREY):
        return images.mean(-1, keepdim=True)
    return (images * torch.tensor(GREY, device=images.device)).sum(-1, keepdim=True)


def _levels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
