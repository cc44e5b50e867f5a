"""The cache of activations: whole or not there, and every row dealt out as often as it should be."""

from __future__ import annotations

import gc
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from fashion_ray.errors import UserError
from fashion_ray.training.activations import CHUNK_ROWS, Activations, fill, load
from fashion_ray.training.imbalance import Sampling

SHAPE = (2, 3)
ROWS, BATCH = 50, 16
LIMIT = 1e6


def pictures(rows: int = ROWS, batch: int = BATCH, copies: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches of pictures that are filled with their number, labels that say it too, and which copy each row is."""
    for start in range(0, rows, batch):
        numbers = np.arange(start, min(rows, start + batch))
        pixels = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 4, 4, 3)).astype(np.uint8)
        yield pixels, np.stack([numbers, -numbers - 1], axis=1).astype(np.int64), numbers % copies


def engine(pixels: np.ndarray) -> list[np.ndarray]:
    """The number of each picture in every place of its activations; a second output must not matter."""
    numbers = pixels[:, 0, 0, 0].astype(np.float32)
    return [np.broadcast_to(numbers[:, None, None], (len(numbers), *SHAPE)).copy(), np.zeros((len(numbers), 1))]


def brighter(pixels: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Each view adds 50 to the pixels."""
    return (pixels + 50 * views[:, None, None, None]).astype(np.uint8)


def filled(folder: Path, *, views: int = 2, rows: int = ROWS) -> Activations:
    """A finished cache."""
    return fill(folder, pictures(rows), engine, views=views, augment=brighter, expected_rows=rows, limit=LIMIT)


def numbers(values: Tensor) -> list[int]:
    """What the activations of each row say."""
    flat = values.float().flatten(1)
    assert bool((flat == flat[:, :1]).all())
    return [int(number) for number in flat[:, 0]]


def test_what_is_filled_can_be_loaded(tmp_path: Path) -> None:
    for found in (filled(tmp_path / "cache" / "key"), load(tmp_path / "cache" / "key")):
        assert found is not None and len(found) == ROWS and found.views == 2
        assert numbers(whole(found, 0)) == list(range(ROWS))
        assert numbers(whole(found, 1)) == [50 + row for row in range(ROWS)]
        assert found.labels.dtype == torch.int64
        assert found.labels.tolist() == [[row, -row - 1] for row in range(ROWS)]


def test_copies_of_a_row_get_further_views_and_never_the_same_ones(tmp_path: Path) -> None:
    # 2 copies x 2 views of rows that say 0 to 49: copy 0 has views 0 and 1, copy 1 has views 2 and 3.
    found = fill(tmp_path / "key", pictures(copies=2), engine, views=2, augment=brighter, expected_rows=ROWS, limit=LIMIT)
    for view in range(found.views):
        assert numbers(whole(found, view)) == [row + 50 * (row % 2 * 2 + view) for row in range(ROWS)]


def test_embeddings_of_one_dimension_are_kept_too(tmp_path: Path) -> None:
    def flat(pixels: np.ndarray) -> list[np.ndarray]:
        return [pixels[:, :2, 0, 0].astype(np.float32)]

    found = fill(tmp_path / "key", pictures(), flat, views=1, augment=brighter, expected_rows=ROWS, limit=LIMIT)
    assert whole(found, 0).shape == (ROWS, 2)


def test_values_are_those_of_the_engine_to_bfloat16(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((ROWS, 7)).astype(np.float32)

    def noisy(pixels: np.ndarray) -> list[np.ndarray]:
        return [values[pixels[:, 0, 0, 0]]]

    found = fill(tmp_path / "key", pictures(), noisy, views=1, augment=brighter, expected_rows=ROWS, limit=LIMIT)
    assert torch.equal(whole(found, 0).float(), torch.from_numpy(values).to(torch.bfloat16).float())


def test_nothing_is_loaded_from_nowhere(tmp_path: Path) -> None:
    assert load(tmp_path / "missing") is None
    (tmp_path / "empty").write_bytes(b"")
    assert load(tmp_path / "empty") is None


def test_filling_again_replaces_the_whole(tmp_path: Path) -> None:
    filled(tmp_path / "key", views=3)
    again = filled(tmp_path / "key", views=1, rows=20)
    assert (len(again), again.views) == (20, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_an_interrupted_fill_leaves_nothing(error: type[BaseException], after: int, tmp_path: Path) -> None:
    calls = 0

    def failing(pixels: np.ndarray) -> list[np.ndarray]:
        nonlocal calls
        calls += 1
        if calls > after:
            raise error("stopped")
        return engine(pixels)

    with pytest.raises(error):
        fill(tmp_path / "key", pictures(), failing, views=2, augment=brighter, expected_rows=ROWS, limit=LIMIT)
    assert load(tmp_path / "key") is None
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_fill_leaves_the_finished_one_before_it(tmp_path: Path) -> None:
    filled(tmp_path / "key")

    def failing() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        yield next(pictures())
        raise RuntimeError("the reader died")

    with pytest.raises(RuntimeError, match="the reader died"):
        fill(tmp_path / "key", failing(), engine, views=1, augment=brighter, expected_rows=ROWS, limit=LIMIT)
    found = load(tmp_path / "key")
    assert found is not None and (len(found), found.views) == (ROWS, 2)


def test_what_a_killed_fill_left_is_not_loaded(tmp_path: Path) -> None:
    tried = 0

    def watching(pixels: np.ndarray) -> list[np.ndarray]:
        nonlocal tried
        # As if the process ended here: a copy of all there is at this moment.
        for path in tmp_path.glob(".key*"):
            tried += 1
            copy = tmp_path / "copies" / uuid.uuid4().hex
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
            assert load(copy) is None
        assert load(tmp_path / "key") is None
        return engine(pixels)

    rows = pictures(rows=2 * CHUNK_ROWS)
    fill(tmp_path / "key", rows, watching, views=2, augment=brighter, expected_rows=2 * CHUNK_ROWS, limit=LIMIT)
    assert tried > 10
    assert load(tmp_path / "key") is not None


def test_no_rows_are_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows"):
        fill(tmp_path / "key", iter([]), engine, views=1, augment=brighter, expected_rows=0, limit=LIMIT)
    assert list(tmp_path.iterdir()) == []


def made(views: int = 2, rows: int = ROWS) -> Activations:
    """Activations in memory that say which row and view they are; bfloat16 holds whole numbers up to 256."""
    said = [torch.arange(rows).add(50 * view).to(torch.bfloat16).view(rows, 1).repeat(1, 6) for view in range(views)]
    chunks = [[view.view(torch.int16).numpy() for view in said]]
    return Activations(chunks=chunks, shape=SHAPE, labels=torch.arange(rows).view(rows, 1))


def whole(cache: Activations, view: int) -> Tensor:
    """All values of a view."""
    return cache.values(range(len(cache)), [view] * len(cache))


def dealt(cache: Activations, batch: int, seed: int) -> list[tuple[int, int, int]]:
    """(label, row, view) of everything that is dealt out."""
    found = []
    for piece in cache.shuffled(batch, generator=torch.Generator().manual_seed(seed)):
        assert piece.inputs.shape == (batch, *SHAPE) and piece.labels.shape == (batch, 1)
        for label, value in zip(piece.labels[:, 0].tolist(), numbers(piece.inputs), strict=True):
            found.append((label, value % 50, value // 50))
    return found


@pytest.mark.parametrize(("rows", "batch"), [(50, 16), (48, 16), (50, 50), (50, 51), (50, 1), (3, 2)])
def test_shuffled_deals_full_batches_and_no_row_twice(rows: int, batch: int) -> None:
    found = dealt(made(rows=rows), batch, seed=0)
    assert len(found) == rows // batch * batch
    assert all(label == row for label, row, _ in found)
    assert max(Counter(row for _, row, _ in found).values(), default=1) == 1


def test_another_generator_deals_in_another_order() -> None:
    cache = made()
    assert dealt(cache, 16, seed=1) == dealt(cache, 16, seed=1)
    one, other = ([row for _, row, _ in dealt(cache, 16, seed=seed)] for seed in (1, 2))
    assert one != other and one != sorted(one)


def test_rows_are_drawn_with_replacement_where_classes_are_evened_out() -> None:
    cache = Activations(chunks=made().chunks, shape=SHAPE, labels=(torch.arange(ROWS) >= 45).long().view(ROWS, 1))
    sampling = Sampling(column=0, weights=(50 / 45 / 2, 50 / 5 / 2))
    pieces = [
        piece
        for seed in range(20)
        for piece in cache.shuffled(10, generator=torch.Generator().manual_seed(seed), sampling=sampling)
    ]
    assert len(pieces) == 20 * 5 and all(piece.inputs.shape == (10, *SHAPE) for piece in pieces)
    for piece in pieces:
        assert [int(number % 50 >= 45) for number in numbers(piece.inputs)] == piece.labels[:, 0].tolist()
    assert float(torch.cat([piece.labels for piece in pieces]).float().mean()) == pytest.approx(0.5, abs=0.06)
    assert {number // 50 for piece in pieces for number in numbers(piece.inputs)} == {0, 1}, "views"


def test_what_is_left_out_is_not_always_the_same() -> None:
    left = {row for seed in range(20) for row in set(range(ROWS)) - {row for _, row, _ in dealt(made(), 16, seed=seed)}}
    assert len(left) > 10


def test_every_view_is_used_about_as_often_and_each_row_in_several() -> None:
    cache = made(views=3)
    found = [entry for seed in range(60) for entry in dealt(cache, 10, seed=seed)]
    counts = Counter(view for _, _, view in found)
    assert set(counts) == {0, 1, 2}
    assert all(abs(count - len(found) / 3) < 0.1 * len(found) for count in counts.values())
    assert {row for _, row, view in found if view == 2} == set(range(ROWS))


def test_one_view_is_the_picture_itself() -> None:
    assert {view for _, _, view in dealt(made(views=1), 10, seed=0)} == {0}


@pytest.mark.parametrize("batch", [1, 16, 50, 1000])
def test_in_order_gives_every_row_once_as_it_is(batch: int) -> None:
    pieces = list(made().in_order(batch))
    assert [number for piece in pieces for number in numbers(piece.inputs)] == list(range(ROWS))
    assert [label for piece in pieces for label in piece.labels[:, 0].tolist()] == list(range(ROWS))
    assert all(len(piece.labels) <= batch for piece in pieces)


def test_batches_may_be_changed_without_changing_the_cache(tmp_path: Path) -> None:
    cache = filled(tmp_path / "key")
    for piece in (*cache.in_order(16), *cache.shuffled(16, generator=torch.Generator().manual_seed(0))):
        piece.inputs.zero_()
    again = load(tmp_path / "key")
    assert again is not None
    assert numbers(whole(cache, 0)) == numbers(whole(again, 0)) == list(range(ROWS))


def test_the_cache_is_an_arrow_file_that_is_mapped_and_not_held_in_memory(tmp_path: Path) -> None:
    cache = filled(tmp_path / "key", views=1)
    table = pa.ipc.open_file(tmp_path / "key").read_all()
    assert table.column_names == ["labels", "view_0"] and table.num_rows == ROWS
    assert whole(cache, 0).dtype == torch.bfloat16
    gc.collect()
    before = pa.total_allocated_bytes()
    again = load(tmp_path / "key")
    assert again is not None and pa.total_allocated_bytes() <= before  # less, where an earlier test leaves garbage
    mapped = Path("/proc/self/maps")
    if not mapped.exists():
        pytest.skip("no /proc here")
    assert str(tmp_path / "key") in mapped.read_text()


@pytest.mark.parametrize("rows", [1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS + 7])
@pytest.mark.parametrize("batch", [1, 100, CHUNK_ROWS, 2 * CHUNK_ROWS + 5])
def test_rows_come_back_in_order_however_they_were_cut(rows: int, batch: int, tmp_path: Path) -> None:
    def values(pixels: np.ndarray) -> list[np.ndarray]:
        return [pixels[:, 0, 0, :2].astype(np.float32)]  # the number, in two digits of 256

    def given() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(0, rows, batch):
            row = np.arange(start, min(rows, start + batch))
            pixels = np.stack([row % 256, row // 256, row * 0], axis=1).astype(np.uint8)[:, None, None, :]
            yield pixels, row[:, None], row * 0

    found = fill(
        tmp_path / "key", given(), values, views=2, augment=lambda pixels, _: pixels, expected_rows=rows, limit=LIMIT, streams=3
    )
    assert found.labels[:, 0].tolist() == list(range(rows))
    for view in range(2):
        digits = whole(found, view)
        assert (digits[:, 0] + 256 * digits[:, 1].float()).tolist() == list(range(rows))


def test_calls_run_side_by_side_and_results_keep_their_order(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=30)

    def slow(pixels: np.ndarray) -> list[np.ndarray]:
        if pixels[0, 0, 0, 0] < 32:  # the first two batches are at work at once, or this breaks
            both.wait()
        return engine(pixels)

    found = fill(tmp_path / "key", pictures(), slow, views=1, augment=brighter, expected_rows=ROWS, limit=LIMIT, streams=2)
    assert numbers(whole(found, 0)) == list(range(ROWS))
