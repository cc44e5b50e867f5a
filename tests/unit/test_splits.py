"""Groups and sides: the promised shares, no product beside its copy on another side, and nothing that ever moves."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.catalog.schema import BRIDGE, KNOWN, SPLITS
from fashion_ray.catalog.splits import DEFAULT_RATIOS, Settled, settle, spread

SIZES = {"Tshirts": 1700, "Shirts": 800, "Watches": 300, "Belts": 100, "Ties": 50, "Scarves": 10}
NOTHING = KNOWN.empty_table()

Product = tuple[str, str, str | None]
"""product_id, name of the picture, class."""


def code(picture: str) -> str:
    """A perceptual hash: pictures that differ in what follows a `~` only are near-duplicates, others are far apart."""
    family, _, variant = picture.partition("~")
    bits = np.random.default_rng(list(family.encode())).integers(0, 2, 256, dtype=np.uint8)
    bits[: len(variant)] ^= 1
    return np.packbits(bits).tobytes().hex()


def facts(products: Sequence[Product]) -> pa.Table:
    """What settle takes."""
    return pa.table(
        {
            "product_id": pa.array([product[0] for product in products], type=pa.string()),
            "image_sha256": pa.array([product[1] for product in products], type=pa.string()),
            "perceptual_hash": pa.array([code(product[1]) for product in products], type=pa.string()),
            "stratum": pa.array([product[2] for product in products], type=pa.string()),
        }
    )


def known(products: Sequence[Product], settled: Settled) -> pa.Table:
    """What the next night knows: the catalog, with the sides that it does not show, and what left."""
    table = facts(products).append_column("group_id", settled.groups["group_id"])
    shown = {row["product_id"]: row for row in table.append_column("split", settled.groups["split"]).to_pylist()}
    for row in settled.remembered.to_pylist():
        shown[row["product_id"]] = row
    return pa.Table.from_pylist([{name: row[name] for name in KNOWN.names} for row in shown.values()], schema=KNOWN)


def table_of(settled: Settled) -> dict[str, tuple[str, str | None]]:
    """product_id to group and side."""
    return {row["product_id"]: (row["group_id"], row["split"]) for row in settled.groups.to_pylist()}


def nights(*catalogs: Sequence[Product]) -> list[Settled]:
    """The same catalog as it changes from night to night."""
    found, before = [], NOTHING
    for products in catalogs:
        found.append(settle(facts(products), before))
        before = known(products, found[-1])
    return found


def singles(sizes: dict[str, int] = SIZES) -> list[Product]:
    """Unlike products."""
    return [(f"{label}-{n}", f"{label}-{n}", label) for label, size in sizes.items() for n in range(size)]


def crowd(seed: int, size: int = 300) -> list[Product]:
    """Families of one to six near-duplicates, of several classes and of none."""
    rng = random.Random(seed)
    products: list[Product] = []
    for family in range(size):
        main = rng.choice(["Tshirts", "Shirts", "Belts"])
        for member in range(rng.choice([1, 1, 1, 2, 6])):
            label = rng.choice([main, main, main, None, "Shirts"])
            products.append((f"p{family:03d}.{member}", f"f{family}~{'x' * member}", label))
    return products


def test_the_shares_are_those_asked_for_overall_and_in_each_class() -> None:
    products = singles()
    sides = table_of(settle(facts(products), NOTHING))
    assert DEFAULT_RATIOS == (0.8, 0.1, 0.1)
    for label, size in SIZES.items():
        counts = Counter(sides[product_id][1] for product_id, _, found in products if found == label)
        for name, ratio in zip(SPLITS, DEFAULT_RATIOS, strict=True):
            assert abs(counts[name] - ratio * size) <= 1, (label, counts)
        assert all(counts[name] > 0 for name in SPLITS), (label, counts)


@pytest.mark.parametrize("ratios", [(0.6, 0.2, 0.2), (1.0, 0.0, 0.0), (0.5, 0.5, 0.0)])
def test_other_shares(ratios: tuple[float, float, float]) -> None:
    counts = Counter(settle(facts(singles({"Tshirts": 1000})), NOTHING, ratios=ratios).groups["split"].to_pylist())
    assert all(abs(counts[name] - ratio * 1000) <= 1 for name, ratio in zip(SPLITS, ratios, strict=True))


def test_a_class_of_one_product_is_trained_on() -> None:
    assert table_of(settle(facts([("a", "a", "Kurtas")]), NOTHING)) == {"a": ("a", "train")}


@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_are_one_group_named_by_its_smallest_id_and_on_one_side(seed: int) -> None:
    products = crowd(seed)
    found = table_of(settle(facts(products), NOTHING))
    families: dict[str, list[str]] = defaultdict(list)
    for product_id, picture, _ in products:
        families[picture.partition("~")[0]].append(product_id)
    for members in families.values():
        assert {found[member][0] for member in members} == {min(members)}
        assert len({found[member][1] for member in members} - {None}) <= 1
    for product_id, _, label in products:
        assert (found[product_id][1] is None) == (label is None)


def test_the_order_of_the_rows_decides_nothing() -> None:
    products = crowd(9)
    shuffled = random.Random(0).sample(products, len(products))
    assert table_of(settle(facts(products), NOTHING)) == table_of(settle(facts(shuffled), NOTHING))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_and_goes_nobody_who_stays_moves(seed: int) -> None:
    rng = random.Random(seed)
    everything = crowd(seed, 400)
    catalogs = [sorted(rng.sample(everything, 700 if len(everything) > 700 else len(everything) // 2)) for _ in range(5)]
    first_seen: dict[str, tuple[str, str | None]] = {}
    for products, settled in zip(catalogs, nights(*catalogs), strict=True):
        now = table_of(settled)
        sides: dict[str, set[str]] = defaultdict(set)
        for product_id, place in now.items():
            assert first_seen.setdefault(product_id, place) == place
            if place[1] is not None:
                sides[place[0]].add(place[1])
        assert max(len(found) for found in sides.values()) == 1
        assert settled.bridges == [] and len(now) == len(products)


def test_new_groups_fill_up_the_sides_that_are_short() -> None:
    first = singles({"Belts": 100})
    _, second = nights(first, [*first, *((f"new-{n}", f"new-{n}", "Belts") for n in range(100))])
    counts = Counter(second.groups["split"].to_pylist())
    assert all(abs(counts[name] - ratio * 200) <= 1 for name, ratio in zip(SPLITS, DEFAULT_RATIOS, strict=True))


def two_sides() -> tuple[list[Product], dict[str, tuple[str, str | None]], str, str]:
    """A catalog, its groups and sides, and a product on each of two sides."""
    products = singles({"Belts": 30})
    found = table_of(settle(facts(products), NOTHING))
    train = next(product_id for product_id in sorted(found) if found[product_id][1] == "train")
    test = next(product_id for product_id in sorted(found) if found[product_id][1] == "test")
    return products, found, train, test


def test_a_new_member_inherits_the_side_of_its_group() -> None:
    products, found, train, test = two_sides()
    more = [*products, ("n1", f"{train}~x", "Belts"), ("n2", test, "Belts"), ("n3", f"{test}~xx", None)]
    now = table_of(nights(products, more)[1])
    assert now["n1"] == (train, "train") and now["n2"] == (test, "test") and now["n3"] == (test, None)
    assert {key: now[key] for key in found} == found


def test_a_picture_that_bridges_two_sides_moves_neither_and_is_kept_out() -> None:
    products, found, train, test = two_sides()
    more = [*products, ("n1", f"{train}~x", "Belts")]
    both = [*more, ("n2", test, "Belts"), ("n3", f"{test}~x", "Belts")]
    # n3's picture is near-duplicate to n4's by content, and n4's to the training side by its hash.
    table = facts([*both, ("n4", f"{test}~x", "Belts")])
    hashes = table["perceptual_hash"].to_pylist()
    hashes[-1] = code(f"{train}~xx")
    table = table.set_column(2, "perceptual_hash", pa.array(hashes))
    first = settle(facts(more), known(products, settle(facts(products), NOTHING)))
    settled = settle(table, known(more, first))
    now = table_of(settled)
    assert {key: now[key] for key in found} == found and now["n1"] == (train, "train")
    assert {now[name][1] for name in ("n2", "n3", "n4")} == {BRIDGE}
    assert sorted(settled.bridges) == ["n2", "n3", "n4"]
    assert now["n4"][0].startswith(BRIDGE) and now["n4"][0] not in found


def test_what_once_bridged_stays_out_and_so_does_what_joins_it() -> None:
    products, _, train, test = two_sides()
    table = facts([*products, ("b", "x", "Belts")])
    contents, hashes = table["image_sha256"].to_pylist(), table["perceptual_hash"].to_pylist()
    contents[-1], hashes[-1] = train, code(test)
    table = table.set_column(1, "image_sha256", pa.array(contents)).set_column(2, "perceptual_hash", pa.array(hashes))
    first = settle(table, known(products, settle(facts(products), NOTHING)))
    assert table_of(first)["b"][1] == BRIDGE and first.bridges == ["b"]
    before = pa.table(
        [*table.drop_columns(["stratum"]).columns, *first.groups.select(["group_id", "split"]).columns], schema=KNOWN
    )
    again = settle(table, before)
    assert table_of(again) == table_of(first) and again.bridges == []


def test_a_changed_picture_keeps_group_and_side_unless_it_shows_the_other_side() -> None:
    products, found, train, test = two_sides()
    elsewhere = [(p, "quite-new" if p == train else picture, label) for p, picture, label in products]
    copied = [(p, f"{test}~x" if p == train else picture, label) for p, picture, label in products]
    assert table_of(nights(products, elsewhere)[1]) == found
    now = table_of(nights(products, copied)[1])
    assert now[train] == (f"{BRIDGE}-{train}", BRIDGE)
    assert {key: now[key] for key in found if key != train} == {key: found[key] for key in found if key != train}


def test_a_product_that_comes_back_has_the_side_it_had_even_with_another_picture() -> None:
    products, found, _, test = two_sides()
    without = [product for product in products if product[0] != test]
    _, gone, _, back = nights(products, without, without, products)
    assert test not in table_of(gone) and gone.remembered["product_id"].to_pylist() == [test]
    assert table_of(back) == found and back.remembered.num_rows == 0
    changed = [(p, "new" if p == test else picture, label) for p, picture, label in products]
    assert table_of(nights(products, without, changed)[2]) == found


def test_a_copy_of_a_product_that_left_is_on_its_side() -> None:
    products, _, _, test = two_sides()
    without = [product for product in products if product[0] != test]
    now = table_of(nights(products, without, [*without, ("n", f"{test}~x", "Belts")])[2])
    assert now["n"] == (test, "test")


def test_a_label_that_comes_later_brings_the_side_of_the_group_and_one_that_goes_is_not_forgotten() -> None:
    products, found, _, test = two_sides()
    unlabelled = [*products, ("n", f"{test}~x", None), ("lone", "lone", None)]
    labelled = [*products, ("n", f"{test}~x", "Belts"), ("lone", "lone", "Belts")]
    second, third, fourth, fifth = (table_of(each) for each in nights(products, unlabelled, labelled, unlabelled, labelled)[1:])
    assert second["n"] == (test, None) and third["n"] == (test, "test")
    assert second["lone"] == ("lone", None) and third["lone"][1] in SPLITS
    assert fourth["n"] == (test, None) and fifth == third
    assert {key: fifth[key] for key in found} == found


def test_a_label_that_comes_later_to_a_picture_between_two_sides_bridges() -> None:
    products, found, train, test = two_sides()
    table = facts([*products, ("b", "x", None)])
    contents, hashes = table["image_sha256"].to_pylist(), table["perceptual_hash"].to_pylist()
    contents[-1], hashes[-1] = train, code(test)
    table = table.set_column(1, "image_sha256", pa.array(contents)).set_column(2, "perceptual_hash", pa.array(hashes))
    first = settle(table, known(products, settle(facts(products), NOTHING)))
    assert table_of(first)["b"][1] is None
    before = pa.table(
        [*table.drop_columns(["stratum"]).columns, *first.groups.select(["group_id", "split"]).columns], schema=KNOWN
    )
    strata = pa.array([*table["stratum"].to_pylist()[:-1], "Belts"])
    now = settle(table.set_column(3, "stratum", strata), before)
    assert table_of(now)["b"][1] == BRIDGE and now.bridges == ["b"]
    assert {key: table_of(now)[key] for key in found} == found


def test_spreading_counts_what_is_there_already() -> None:
    assert spread([1] * 4, {"train": 8, "validation": 0, "test": 1}, (0.8, 0.1, 0.1)) == [
        "train",
        "train",
        "validation",
        "train",
    ]
    assert spread([], {}, DEFAULT_RATIOS) == []


def test_an_empty_catalog() -> None:
    settled = settle(facts([]), NOTHING)
    assert settled.groups.num_rows == 0 and settled.bridges == []
