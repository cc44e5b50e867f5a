"""Preprocessing inside the network: the same pixels as torch's bicubic, the same floats wherever it runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fashion_ray.models.preprocess import Preprocess, resize_matrix

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def pictures(rows: int, height: int, width: int) -> Tensor:
    """Noise, the hardest thing to resize: uint8 (rows, height, width, 3)."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (rows, height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("decoded", "wanted"),
    [((80, 60), (160, 120)), ((28, 28), (96, 96)), ((80, 60), (80, 60)), ((33, 47), (101, 90)), ((80, 60), (160, 60))],
)
def test_enlarging_agrees_with_torch(decoded: tuple[int, int], wanted: tuple[int, int]) -> None:
    pixels = pictures(3, *decoded)
    found = Preprocess(decoded_size=decoded, input_size=wanted, **PLAIN)(pixels)
    plain = pixels.permute(0, 3, 1, 2).float() / 255
    expected = functional.interpolate(plain, size=wanted, mode="bicubic", align_corners=False)
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("decoded", "wanted"), [((160, 120), (80, 60)), ((240, 180), (224, 168)), ((97, 61), (31, 20))])
def test_shrinking_agrees_with_torch_antialiased(decoded: tuple[int, int], wanted: tuple[int, int]) -> None:
    pixels = pictures(2, *decoded)
    found = Preprocess(decoded_size=decoded, input_size=wanted, **PLAIN)(pixels)
    plain = pixels.permute(0, 3, 1, 2).float() / 255
    expected = functional.interpolate(plain, size=wanted, mode="bicubic", align_corners=False, antialias=True)
    assert (found - expected).abs().max() < 1e-5


def test_each_row_of_the_matrix_weighs_the_whole_picture() -> None:
    for size, wanted in ((80, 160), (160, 80), (60, 60), (7, 50)):
        matrix = resize_matrix(size, wanted)
        assert matrix.shape == (wanted, size)
        assert torch.allclose(matrix.sum(1), torch.ones(wanted), atol=1e-5)


def test_normalises_each_channel_by_its_own_figures() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    colour = np.array([255, 128, 0], dtype=np.uint8)
    pixels = torch.from_numpy(np.broadcast_to(colour, (2, 20, 16, 3)).copy())
    found = Preprocess(decoded_size=(20, 16), input_size=(40, 32), mean=mean, std=std)(pixels)
    for channel in range(3):
        expected = (colour[channel] / 255 - mean[channel]) / std[channel]
        assert torch.allclose(found[:, channel], torch.full((2, 40, 32), float(expected)), atol=1e-4)


def test_pixels_of_rows_last_colour_become_floats_of_colour_first() -> None:
    pixels = torch.zeros(4, 20, 16, 3, dtype=torch.uint8)
    pixels[2, 5, 7, 1] = 255
    found = Preprocess(decoded_size=(20, 16), input_size=(20, 16), **PLAIN)(pixels)
    assert found.shape == (4, 3, 20, 16)
    assert found.dtype == torch.float32
    assert found.nonzero().tolist() == [[2, 1, 5, 7]]


def test_autocast_changes_nothing() -> None:
    pixels = pictures(2, 80, 60)
    preprocess = Preprocess(decoded_size=(80, 60), input_size=(160, 120), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    expected = preprocess(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        found = preprocess(pixels)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_picture_does_not_depend_on_its_neighbours() -> None:
    pixels = pictures(5, 80, 60)
    preprocess = Preprocess(decoded_size=(80, 60), input_size=(96, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    together = preprocess(pixels)
    alone = torch.cat([preprocess(pixels[row : row + 1]) for row in range(5)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_has_no_weights_to_be_saved() -> None:
    assert not Preprocess(decoded_size=(80, 60), input_size=(160, 120), **PLAIN).state_dict()
