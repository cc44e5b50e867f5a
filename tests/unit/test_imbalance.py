"""Evening out classes: exact counts, the same rows wherever it is decided, and weights whose mean is 1."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch

from fashion_ray.training.imbalance import Sampling, balanced_target, copies, feed, repeated, weights
from fashion_ray.training.sampling import drawn, resampled, row_weights

SIZES = {0: 500, 1: 100, 2: 30, 3: 7, 4: 1, -1: 40}
CLASSES = np.random.default_rng(0).permutation(np.repeat(list(SIZES), list(SIZES.values())))
IDS = [f"p{row}" for row in range(len(CLASSES))]


def decided(*, most: int = 0, least: int = 0, seed: int = 0) -> np.ndarray:
    """Copies of the rows above."""
    return copies(CLASSES, IDS, most=most, least=least, seed=seed)


@pytest.mark.parametrize(("most", "least"), [(0, 0), (100, 0), (1, 0), (0, 64), (100, 64), (30, 30), (1000, 1000), (10**9, 0)])
def test_every_class_has_exactly_the_rows_that_it_should(most: int, least: int) -> None:
    times = decided(most=most, least=least)
    for number, size in SIZES.items():
        fed = int(times[number == CLASSES].sum())
        assert fed == (size if number < 0 else max(least, min(size, most or size)))
        assert np.ptp(times[number == CLASSES]) <= 1, "no row of a class is fed more often than another by two"


def test_single_classes_have_the_rows_that_were_asked_for_whatever_the_limits() -> None:
    times = copies(CLASSES, IDS, most=100, least=10, exactly={0: 250, 3: 62, 4: 3}, seed=0)
    fed = {number: int(times[number == CLASSES].sum()) for number in SIZES}
    assert fed == {0: 250, 1: 100, 2: 30, 3: 62, 4: 3, -1: 40}
    alone = copies(CLASSES, IDS, most=0, least=0, exactly={3: 5}, seed=0)
    assert {number: int(alone[number == CLASSES].sum()) for number in SIZES} == {**SIZES, 3: 5}


def test_rows_without_a_label_are_fed_once() -> None:
    assert set(decided(most=1, least=1)[CLASSES < 0]) == {1}


def test_a_cap_drops_and_never_repeats_and_a_floor_repeats_and_never_drops() -> None:
    assert decided(most=20).max() == 1 and decided(most=20).min() == 0
    assert decided(least=64).min() == 1 and decided(least=64)[CLASSES == 4].tolist() == [64]


def test_the_choice_depends_on_ids_and_seed_and_not_on_the_order_of_rows() -> None:
    shuffled = np.random.default_rng(1).permutation(len(IDS))
    found = copies(CLASSES[shuffled], [IDS[row] for row in shuffled], most=20, least=10, seed=0)
    assert np.array_equal(found, decided(most=20, least=10)[shuffled])
    assert not np.array_equal(decided(most=20), decided(most=20, seed=1))


def test_a_smaller_cap_keeps_a_part_of_what_a_larger_one_keeps() -> None:
    assert (decided(most=20) <= decided(most=50)).all()


def test_the_chosen_rows_are_the_same_in_every_process() -> None:
    chosen = copies(np.zeros(6, dtype=np.int64), ["a", "b", "c", "d", "e", "f"], most=2, least=0, seed=0)
    # printf '%s' balance/0/a | b2sum -l 32, and so on, without the highest bit: b and d come first
    assert "".join(letter for letter, times in zip("abcdef", chosen, strict=True) if times) == "bd"


def test_no_rows_have_no_copies() -> None:
    assert copies(np.zeros(0, dtype=np.int64), [], most=3, least=2, seed=0).tolist() == []


def test_what_is_fed_counts_every_copy_of_every_target() -> None:
    season = np.arange(len(CLASSES)) % 3
    fed = feed({"articleType": CLASSES, "season": season}, IDS, target="articleType", most=100, least=50, seed=0)
    times = decided(most=100, least=50)
    assert fed.rows == times.sum() == 100 + 100 + 50 * 3 + 40
    assert fed.copies == {IDS[row]: count for row, count in enumerate(times.tolist()) if count != 1}
    assert (fed.dropped, fed.repeated) == (400, 20 + 7 + 1)
    assert {name: len(values) for name, values in fed.classes.items()} == {"articleType": fed.rows, "season": fed.rows}
    assert np.bincount(fed.classes["season"]).tolist() == [int(times[season == number].sum()) for number in range(3)]


def test_a_cap_may_leave_a_class_of_another_target_without_rows() -> None:
    usage = (np.arange(len(CLASSES)) == np.flatnonzero(CLASSES == 0)[0]).astype(np.int64)  # class 1 is a single row
    fed = {
        most: feed({"articleType": CLASSES, "usage": usage}, IDS, target="articleType", most=most, least=0, seed=0)
        for most in (0, 1)
    }
    assert decided(most=1)[usage == 1].tolist() == [0]
    assert [fed[most].emptied("usage", 2) for most in (0, 1)] == [0, 1]
    assert [fed[most].emptied("articleType", 5) for most in (0, 1)] == [0, 0]


def test_without_limits_everything_is_fed_once() -> None:
    fed = feed({"season": CLASSES}, IDS, target="season", most=0, least=0, seed=0)
    assert (fed.copies, fed.rows, fed.dropped, fed.repeated) == ({}, len(IDS), 0, 0)


def test_tables_hold_each_row_as_often_as_it_is_fed_with_its_copies_numbered() -> None:
    table = pa.table({"product_id": IDS, "labels": CLASSES})
    found, copy = repeated(table, {"p0": 0, "p1": 3, "p2": 2})
    assert Counter(zip(found["product_id"].to_pylist(), copy.tolist(), strict=True)) == Counter(
        [("p1", 0), ("p1", 1), ("p1", 2), ("p2", 0), ("p2", 1), *((product_id, 0) for product_id in IDS[3:])]
    )
    assert found["labels"].to_pylist() == [int(CLASSES[IDS.index(p)]) for p in found["product_id"].to_pylist()]


def test_copies_of_a_row_stand_apart() -> None:
    found, _ = repeated(pa.table({"product_id": IDS}), {"p1": 50})
    places = [place for place, product_id in enumerate(found["product_id"].to_pylist()) if product_id == "p1"]
    assert max(places) - min(places) > len(found) * 0.8
    assert sum(after == before + 1 for before, after in itertools.pairwise(places)) < 10


@pytest.mark.parametrize("repeats", [{}, {f"p{row}": 0 for row in range(len(IDS))}])
def test_all_or_nothing_may_be_fed(repeats: dict[str, int]) -> None:
    found, copy = repeated(pa.table({"product_id": IDS}), repeats)
    assert found.num_rows == len(copy) == (0 if repeats else len(IDS))
    assert set(found["product_id"].to_pylist()) == (set() if repeats else set(IDS))


@pytest.mark.parametrize("rule", ["none", "balanced", "sqrt"])
def test_the_mean_weight_of_labelled_rows_is_1(rule: str) -> None:
    found = np.array(weights(CLASSES, 6, rule=rule))
    assert found[CLASSES[CLASSES >= 0]].mean() == pytest.approx(1)
    assert found[5] == 1, "a class without rows"
    assert found.shape == (6,) and (found > 0).all()


def test_balanced_classes_have_the_same_say_and_the_root_lies_between() -> None:
    rows = np.array([SIZES[number] for number in range(5)])
    assert rows * weights(CLASSES, 5, rule="balanced") == pytest.approx(np.full(5, rows.sum() / 5))
    found = np.array(weights(CLASSES, 5, rule="sqrt"))
    assert found[4] / found[0] == pytest.approx(500**0.5)
    assert weights(CLASSES, 5, rule="none") == (1.0,) * 5


def test_rows_that_have_no_labels_at_all_have_weights_all_the_same() -> None:
    assert weights(np.full(4, -1), 3, rule="balanced") == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("asked", "targets", "expected"),
    [
        ("", ("masterCategory", "subCategory", "articleType"), "articleType"),
        ("", ("season", "subCategory", "masterCategory"), "subCategory"),
        ("", ("season", "reassigned_subCategory", "reassigned_articleType"), "reassigned_articleType"),
        ("", ("season", "usage"), "season"),
        ("", ("joined_category", "season"), "joined_category"),
        ("season", ("masterCategory", "season"), "season"),
    ],
)
def test_the_balanced_target_is_the_finest_level_unless_asked_otherwise(
    asked: str, targets: tuple[str, ...], expected: str
) -> None:
    assert balanced_target(asked, targets) == expected


BALANCED = Sampling(column=1, weights=weights(CLASSES, 5, rule="balanced"))
LABELS = torch.stack([torch.zeros(len(CLASSES), dtype=torch.long), torch.from_numpy(CLASSES)], dim=1)


def test_rows_drawn_by_the_weights_of_their_classes_come_equally_often() -> None:
    rows = row_weights(BALANCED, LABELS)
    assert float(rows[CLASSES >= 0].mean()) == pytest.approx(1) and set(rows[CLASSES < 0].tolist()) == {1.0}
    found = CLASSES[drawn(rows, 60_000, torch.Generator().manual_seed(0)).numpy()]
    labelled = found[found >= 0]
    assert np.bincount(labelled) / len(labelled) == pytest.approx(np.full(5, 0.2), abs=0.02)
    assert (found < 0).mean() == pytest.approx((CLASSES < 0).mean(), abs=0.02)


def test_draws_are_by_weight_and_by_generator() -> None:
    chosen = drawn(torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0]), 4000, torch.Generator().manual_seed(1))
    assert set(chosen.tolist()) == {1, 3}
    assert float((chosen == 3).float().mean()) == pytest.approx(0.75, abs=0.03)
    assert torch.equal(chosen, drawn(torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0]), 4000, torch.Generator().manual_seed(1)))


def test_a_stream_is_drawn_from_in_as_many_batches_of_the_same_size() -> None:
    numbers = np.arange(len(CLASSES))
    stream = [
        (numbers[start : start + 50], LABELS[start : start + 50].numpy(), numbers[start : start + 50] * 2)
        for start in range(0, len(CLASSES), 50)
    ]
    found = list(resampled(iter(stream), BALANCED, window=8, generator=torch.Generator().manual_seed(0)))
    assert [len(pixels) for pixels, _, _ in found] == [len(pixels) for pixels, _, _ in stream]
    for number, (pixels, labels, copy) in enumerate(found):
        assert np.array_equal(labels, LABELS[pixels].numpy()) and np.array_equal(copy, pixels * 2), "rows stay whole"
        assert pixels.max() < 50 * (number + 1) and pixels.min() >= 50 * (number - 7), "none from outside the window"
    classes = np.concatenate([labels[:, 1] for _, labels, _ in found[3:]])
    assert (classes == 0).mean() < 0.4 < (CLASSES == 0).mean()
