"""Augmentation: the same pictures, mirrored and moved by no more than was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fashion_ray.training.augment import Augmentation, flip_and_shift, views_of

HEIGHT, WIDTH = 12, 10


def numbered(batch: int) -> Tensor:
    """Pictures whose pixels say where they are: row, column, and the number of the picture."""
    rows = torch.arange(HEIGHT).view(1, HEIGHT, 1).expand(batch, HEIGHT, WIDTH)
    columns = torch.arange(WIDTH).view(1, 1, WIDTH).expand(batch, HEIGHT, WIDTH)
    number = torch.arange(batch).view(batch, 1, 1).expand(batch, HEIGHT, WIDTH)
    return torch.stack([rows, columns, number], dim=3).to(torch.uint8)


def augmented(batch: int, *, seed: int = 0, flip: bool = True, shift: int = 4) -> Tensor:
    """The numbered pictures, augmented."""
    return flip_and_shift(numbered(batch), generator=torch.Generator().manual_seed(seed), flip=flip, shift=shift)


def shifts(lines: Tensor, size: int, most: int) -> list[int]:
    """By how much each line of coordinates was moved, if it is `size` coordinates moved with a repeated edge."""
    moved = []
    for line in lines.long():
        fits = [by for by in range(-most, most + 1) if torch.equal((torch.arange(size) + by).clamp(0, size - 1), line)]
        assert len(fits) == 1, line
        moved.append(fits[0])
    return moved


@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (7, 80, 60, 3), (2, 5, 9, 1), (0, 8, 8, 3)])
def test_shape_and_type_stay(shape: tuple[int, ...]) -> None:
    found = flip_and_shift(torch.zeros(shape, dtype=torch.uint8), generator=torch.Generator().manual_seed(0))
    assert found.shape == shape and found.dtype == torch.uint8


def test_the_generator_decides() -> None:
    assert torch.equal(augmented(50, seed=3), augmented(50, seed=3))
    assert not torch.equal(augmented(50, seed=3), augmented(50, seed=4))
    torch.manual_seed(1)
    one = augmented(20)
    torch.manual_seed(2)
    assert torch.equal(one, augmented(20))


def test_a_generator_goes_on() -> None:
    generator = torch.Generator().manual_seed(0)
    first = flip_and_shift(numbered(30), generator=generator)
    assert not torch.equal(first, flip_and_shift(numbered(30), generator=generator))


def test_what_comes_in_stays_as_it_is() -> None:
    pictures = numbered(10)
    flip_and_shift(pictures, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pictures, numbered(10))


@pytest.mark.parametrize("most", [1, 3])
def test_pictures_move_by_at_most_so_much_and_repeat_their_edge(most: int) -> None:
    found = augmented(400, flip=False, shift=most)
    down, right = shifts(found[:, :, 0, 0], HEIGHT, most), shifts(found[:, 0, :, 1], WIDTH, most)
    for moved in (down, right):
        assert set(moved) == set(range(-most, most + 1))  # all of them are drawn, both ways
    assert len(set(zip(down, right, strict=True))) == (2 * most + 1) ** 2  # each way on its own
    # Every row and every column of a picture moved alike, and no picture took another's place.
    assert torch.equal(found[..., 0], found[:, :, :1, 0].expand(-1, -1, WIDTH))
    assert torch.equal(found[..., 1], found[:, :1, :, 1].expand(-1, HEIGHT, -1))
    assert torch.equal(found[..., 2], numbered(400)[..., 2])


def test_no_shift_leaves_pictures_where_they_are() -> None:
    assert torch.equal(augmented(20, flip=False, shift=0), numbered(20))


def test_about_half_of_the_pictures_are_mirrored() -> None:
    found, plain = augmented(1000, shift=0), numbered(1000)
    mirrored = (found == plain.flip(2)).flatten(1).all(1)
    same = (found == plain).flatten(1).all(1)
    assert torch.equal(mirrored, ~same)
    assert 430 < int(mirrored.sum()) < 570


def test_pictures_are_never_turned_upside_down() -> None:
    found = augmented(200, shift=4)
    rows = found[:, :, 0, 0].long()
    assert bool((rows[:, 1:] >= rows[:, :-1]).all())


def test_a_shift_larger_than_the_picture_repeats_its_edge() -> None:
    found = augmented(100, flip=False, shift=50)
    assert int(found[..., 0].max()) <= HEIGHT - 1 and int(found[..., 1].max()) <= WIDTH - 1
    assert bool((found[:, :, 0, 0] == HEIGHT - 1).all(1).any())


def view(numbers: list[int], *, seed: int = 0) -> np.ndarray:
    """Views of one noisy picture, a row each."""
    picture = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), dtype=np.uint8)
    return views_of(
        np.repeat(picture, len(numbers), axis=0), np.array(numbers), seed=seed, how=Augmentation(flip=True, shift=4)
    )


def test_view_0_is_the_picture_as_it_is_and_others_are_not() -> None:
    plain = view([0] * 6)
    assert all(np.array_equal(row, plain[0]) for row in plain)
    mixed = view([0, 2, 0, 4, 6, 8])
    same = [np.array_equal(row, plain[0]) for row in mixed]
    assert same[0] and same[2] and sum(same) <= 3  # one of the others may have drawn no change


def test_copies_of_a_picture_in_a_batch_get_views_of_their_own() -> None:
    views = {row.tobytes() for row in view([2 * copy for copy in range(40)])}
    assert len(views) > 25  # of 162 that there are
    assert not views <= {row.tobytes() for row in view([2 * copy + 1 for copy in range(40)])}


def test_views_are_the_same_for_the_same_batch_and_seed() -> None:
    assert np.array_equal(view([1, 3, 5]), view([1, 3, 5]))
    assert not np.array_equal(view([1, 3, 5]), view([1, 3, 5], seed=1))
