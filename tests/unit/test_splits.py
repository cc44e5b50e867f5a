"""Which side of training a product is on: the promised shares, no product beside its copy, and no surprise."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from fashion_ray.catalog.splits import DEFAULT_RATIOS, SPLITS, assign, join_groups

SIZES = {"Tshirts": 1700, "Shirts": 800, "Watches": 300, "Belts": 100, "Ties": 50, "Scarves": 10}


def catalog(sizes: dict[str, int] = SIZES) -> tuple[list[str], list[str | None]]:
    """Groups of one product and their classes."""
    classes: list[str | None] = [label for label, size in sizes.items() for _ in range(size)]
    return [f"p{number}" for number in range(len(classes))], classes


def crowded(seed: int) -> tuple[list[str], list[str | None]]:
    """Groups of one to six products, of several classes and of none."""
    rng = random.Random(seed)
    groups: list[str] = []
    classes: list[str | None] = []
    for group in range(300):
        main = rng.choice(["Tshirts", "Shirts", "Belts"])
        for _ in range(rng.choice([1, 1, 1, 2, 6])):
            groups.append(f"g{group}")
            classes.append(rng.choice([main, main, main, None, "Shirts"]))
    return groups, classes


def test_the_shares_are_those_asked_for_overall_and_in_each_class() -> None:
    groups, classes = catalog()
    sides = assign(groups, classes)
    assert DEFAULT_RATIOS == (0.8, 0.1, 0.1)
    for label, size in SIZES.items():
        counts = Counter(side for side, found in zip(sides, classes, strict=True) if found == label)
        for name, ratio in zip(SPLITS, DEFAULT_RATIOS, strict=True):
            assert abs(counts[name] - ratio * size) <= 1, (label, counts)
        assert all(counts[name] > 0 for name in SPLITS), (label, counts)


@pytest.mark.parametrize("ratios", [(0.6, 0.2, 0.2), (1.0, 0.0, 0.0), (0.5, 0.5, 0.0)])
def test_other_shares(ratios: tuple[float, float, float]) -> None:
    groups, classes = catalog({"Tshirts": 1000})
    counts = Counter(assign(groups, classes, ratios))
    assert all(abs(counts[name] - ratio * 1000) <= 1 for name, ratio in zip(SPLITS, ratios, strict=True))


def test_a_class_of_one_product_is_trained_on() -> None:
    assert assign(["a"], ["Kurtas"]) == ["train"]


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_on_one_side(seed: int) -> None:
    groups, classes = crowded(seed)
    sides_of: dict[str, set[str]] = defaultdict(set)
    for group, side in zip(groups, assign(groups, classes), strict=True):
        if side is not None:
            sides_of[group].add(side)
    assert {len(sides) for sides in sides_of.values()} == {1}


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_hold_also_for_groups(seed: int) -> None:
    groups, classes = crowded(seed)
    counts = Counter(side for side in assign(groups, classes) if side)
    for name, ratio in zip(SPLITS, DEFAULT_RATIOS, strict=True):
        assert abs(counts[name] / counts.total() - ratio) < 0.04, counts


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_rows_without_a_class_have_no_side(seed: int) -> None:
    groups, classes = crowded(seed)
    sides = assign(groups, classes)
    assert [side is None for side in sides] == [label is None for label in classes]
    assert set(sides) <= {*SPLITS, None}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_rows_changes_nothing(seed: int) -> None:
    groups, classes = crowded(seed)
    sides = assign(groups, classes)
    assert assign(groups, classes) == sides
    order = list(range(len(groups)))
    random.Random(seed + 100).shuffle(order)
    shuffled = assign([groups[row] for row in order], [classes[row] for row in order])
    assert shuffled == [sides[row] for row in order]


def test_a_tie_between_the_classes_of_a_group_does_not_hang_on_the_order() -> None:
    groups, classes = catalog({"A": 30, "B": 30})
    mixed = ["twin", "twin"]
    one = assign([*groups, *mixed], [*classes, "A", "B"])
    other = assign([*groups, *mixed], [*classes, "B", "A"])
    assert one == other


def test_other_classes_do_not_move_a_class() -> None:
    groups, classes = catalog({"Tshirts": 200})
    more, their = [f"x{number}" for number in range(77)], ["Belts"] * 77
    assert assign([*groups, *more], [*classes, *their])[: len(groups)] == assign(groups, classes)


def test_rows_without_a_class_move_nothing() -> None:
    groups, classes = catalog({"Tshirts": 200})
    assert assign([*groups, "p3", "new"], [*classes, None, None]) == [*assign(groups, classes), None, None]


def test_no_rows() -> None:
    assert assign([], []) == []


# Groups of near-duplicates.


def test_products_that_share_nothing_stand_alone() -> None:
    assert join_groups(["b", "a"], ["1", "2"], ["x", "y"]) == ["b", "a"]
    assert join_groups([]) == []
    assert join_groups(["b", "a"]) == ["b", "a"]


def test_products_that_share_any_key_stand_together_over_several_steps() -> None:
    ids = ["4", "3", "2", "1", "0"]
    content = ["c1", "c1", "c2", "c3", "c9"]
    looks = ["p1", "p2", "p2", "p3", "p3x"]
    assert join_groups(ids, content, looks) == ["2", "2", "2", "1", "0"]
    assert join_groups(ids, content, looks, ["k", "l", "m", "n", "k"]) == ["0", "0", "0", "1", "0"]


def test_equal_values_of_different_keys_join_nothing() -> None:
    assert join_groups(["1", "2"], ["same", "x"], ["y", "same"]) == ["1", "2"]


@pytest.mark.parametrize("seed", range(10))
def test_groups_are_the_connected_products_whatever_their_order(seed: int) -> None:
    rng = random.Random(seed)
    ids = [f"{number:03d}" for number in range(120)]
    keys = [[str(rng.randrange(90)) for _ in ids] for _ in range(2)]
    expected = _reachable(ids, keys)
    assert join_groups(ids, *keys) == expected
    order = list(range(len(ids)))
    rng.shuffle(order)
    shuffled = join_groups([ids[row] for row in order], *[[values[row] for row in order] for values in keys])
    assert shuffled == [expected[row] for row in order]


def _reachable(ids: list[str], keys: list[list[str]]) -> list[str]:
    """The smallest id that each product reaches by shared keys, found the slow way."""
    smallest = list(ids)
    while True:
        before = list(smallest)
        for values in keys:
            least: dict[str, str] = {}
            for value, name in zip(values, smallest, strict=True):
                least[value] = min(least.get(value, name), name)
            smallest = [min(name, least[value]) for value, name in zip(values, smallest, strict=True)]
        if smallest == before:
            return smallest


def test_a_long_chain_is_one_group() -> None:
    count = 3000
    ids = [f"{number:05d}" for number in range(count)]
    groups = join_groups(
        ids, [str(number // 2) for number in range(count)], [str((number + 1) // 2) for number in range(count)]
    )
    assert set(groups) == {"00000"}
