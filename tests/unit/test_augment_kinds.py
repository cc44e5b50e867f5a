"""Crops, turns, colours, noise and erasing: pictures stay pictures, nothing happens at 0, and torchvision would do the same."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from fashion_ray.training.augment import Augmentation, augmented, erased, noisy, recoloured, views_of, warped

SETTINGS = {
    "flip": True, "shift": 3, "crop": 0.3, "rotation": 20.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4,
    "erasing": 1.0, "noise": 10.0,
}  # fmt: skip


def pictures(rows: int = 6, height: int = 24, width: int = 18, channels: int = 3) -> Tensor:
    """Noise."""
    shape = (rows, height, width, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def generator(seed: int = 0) -> torch.Generator:
    """Randomness."""
    return torch.Generator().manual_seed(seed)


def smooth(rows: int = 1, height: int = 40, width: int = 30) -> Tensor:
    """Pictures that get brighter to the right in red and downwards in green."""
    down, right = torch.meshgrid(torch.linspace(50, 200, height), torch.linspace(50, 200, width), indexing="ij")
    one = torch.stack([right, down, torch.full_like(down, 90)], dim=2).round().to(torch.uint8)
    return one.expand(rows, -1, -1, -1)


def test_there_is_a_setting_of_every_kind() -> None:
    assert set(SETTINGS) == {field.name for field in fields(Augmentation)}


def test_nothing_happens_where_everything_is_off() -> None:
    chance = generator()
    state = chance.get_state()
    assert augmented(pictures(), Augmentation(), generator=chance) is not None
    assert torch.equal(augmented(pictures(), Augmentation(), generator=chance), pictures())
    assert torch.equal(chance.get_state(), state), "not a random number is used up"


@pytest.mark.parametrize("kind", [*SETTINGS, "all"])
@pytest.mark.parametrize("shape", [(6, 24, 18, 3), (2, 16, 16, 1), (1, 80, 60, 3)])
def test_shape_and_type_stay_and_pictures_change(kind: str, shape: tuple[int, int, int, int]) -> None:
    how = Augmentation(**(SETTINGS if kind == "all" else {kind: SETTINGS[kind]}))  # type: ignore[arg-type]
    given = pictures(*shape)
    found = augmented(given, how, generator=generator(1))
    assert found.shape == given.shape and found.dtype == torch.uint8
    assert torch.equal(given, pictures(*shape)), "what came in stays as it was"
    if not (kind == "flip" and shape[0] == 1) and not (kind == "saturation" and shape[3] == 1):
        assert not torch.equal(found, given)


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_generator_decides_and_nothing_else(kind: str) -> None:
    how = Augmentation(**{kind: SETTINGS[kind]})  # type: ignore[arg-type]
    torch.manual_seed(1)
    found = augmented(pictures(40), how, generator=generator(3))
    torch.manual_seed(2)
    assert torch.equal(augmented(pictures(40), how, generator=generator(3)), found)
    assert not torch.equal(augmented(pictures(40), how, generator=generator(4)), found)


@pytest.mark.parametrize("kind", sorted(set(SETTINGS) - {"flip"}))
def test_each_picture_changes_in_its_own_way(kind: str) -> None:
    how = Augmentation(**{kind: SETTINGS[kind]})  # type: ignore[arg-type]
    found = augmented(pictures(1).expand(12, -1, -1, -1), how, generator=generator())
    assert len({picture.numpy().tobytes() for picture in found}) > 8


def angles(seed: int, rows: int) -> Tensor:
    """What `warped` draws first, from -1 to 1."""
    return -1 + 2 * torch.rand(rows, generator=generator(seed))


def test_a_turn_is_torchvisions() -> None:
    given = smooth(5)
    found = warped(given, crop=0.0, rotation=15.0, generator=generator(7))
    for picture, angle in zip(found, angles(7, 5).tolist(), strict=True):
        expected = reference.rotate(
            given[0].permute(2, 0, 1).float(), 15.0 * angle, interpolation=reference.InterpolationMode.BILINEAR
        ).permute(1, 2, 0)
        inner = (slice(12, -12), slice(9, -9))  # torchvision has black corners where this repeats the edge
        assert float((picture.float() - expected)[inner].abs().max()) < 2
    assert int(found.min()) >= 49, "no black corners"


def test_a_crop_is_a_part_of_the_picture_at_its_aspect() -> None:
    found = warped(smooth(60), crop=0.5, rotation=0.0, generator=generator()).float()
    red, green = found[..., 0], found[..., 1]
    wide, tall = red.amax((1, 2)) - red.amin((1, 2)), green.amax((1, 2)) - green.amin((1, 2))
    assert torch.allclose(wide / 150, tall / 150, atol=0.05), "the same share of both sides"
    assert 70 < float(wide.min()) < 85 and float(wide.max()) > 140, "from half of each side to all of it"
    assert float(red.amin()) >= 50 and float(red.amax()) <= 200
    assert float(red.amin((1, 2)).std()) > 5 and float(green.amin((1, 2)).std()) > 5, "in places of their own"


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_colours_change_as_torchvisions_do(kind: str) -> None:
    given = pictures(5)
    factors = (1 + 0.4 * angles(3, 5)).tolist()
    named = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, kind: 0.4}
    found = recoloured(given, **named, generator=generator(3))
    adjust = getattr(reference, f"adjust_{kind}")
    for picture, before, factor in zip(found, given, factors, strict=True):
        expected = adjust(before.permute(2, 0, 1).float() / 255, factor).permute(1, 2, 0) * 255
        assert float((picture.float() - expected).abs().max()) <= 0.51


def test_noise_has_its_deviation() -> None:
    grey = torch.full((20, 30, 30, 3), 128, dtype=torch.uint8)
    found = noisy(grey, deviation=8.0, generator=generator()).float()
    assert float(found.std()) == pytest.approx(8, rel=0.03) and float(found.mean()) == pytest.approx(128, abs=0.2)


def test_erasing_takes_a_rectangle_of_a_share_of_the_pictures() -> None:
    given = pictures(400)
    found = erased(given, share=0.5, generator=generator())
    changed = (found != given).any(-1)
    hit = changed.flatten(1).any(1)
    assert 160 < int(hit.sum()) < 240
    for picture, where in zip(found[hit], changed[hit], strict=True):
        rows, columns = where.any(1).nonzero().flatten(), where.any(0).nonzero().flatten()
        box = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert bool((box == box[0, 0]).all()), "one colour"
        assert box.shape[0] * box.shape[1] <= 0.4 * 24 * 18


def test_views_share_all_of_it() -> None:
    how = Augmentation(**SETTINGS)  # type: ignore[arg-type]
    given = pictures().numpy()
    numbers = np.array([0, 1, 0, 2, 3, 0])
    found = views_of(given, numbers, seed=5, how=how)
    assert [np.array_equal(one, other) for one, other in zip(found, given, strict=True)] == [not number for number in numbers]
    assert np.array_equal(found, views_of(given, numbers, seed=5, how=how))
