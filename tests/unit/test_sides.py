"""Sides of a training run: in proportion, groups whole, folds that partition, and the same wherever they are asked for."""

from __future__ import annotations

from collections import Counter, defaultdict

import pyarrow as pa
import pytest

from fashion_ray.catalog.splits import SPLITS
from fashion_ray.training.sides import EXPECTED, assign, is_on, limited, parse, torn_groups

GROUPS = 4000
STORED = (*SPLITS, "train", "bridge", None)
"""Sides of the catalog's own, as they come in turn."""


def catalog() -> pa.Table:
    """Groups of one to four products, of the years 2010 to 2019 and none, on stored sides, as bridges and unlabelled."""
    rows = []
    for group in range(GROUPS):
        for member in range(1 + group % 4):
            number = len(rows)
            rows.append(
                {
                    "product_id": f"p{number}", "group_id": f"g{group}", "split": STORED[group % len(STORED)],
                    "year": None if number % 11 == 0 else 2010 + (group + member) % 10,
                }
            )  # fmt: skip
    return pa.Table.from_pylist(rows)


CATALOG = catalog()
LABELLED = sum(side in SPLITS for side in CATALOG["split"].to_pylist())
SCHEMES = ["stored", "72/18/10", "80/20", "fold:2/5", "random:80/10/10", "random:80/20", "year:2016"]


def sides(text: str, seed: int = 0) -> list[str | None]:
    """The side of each product."""
    scheme = parse(text, seed)
    return assign(scheme, CATALOG.select(scheme.columns))


def members(text: str, seed: int, side: str) -> set[str]:
    """The products on a side."""
    found = zip(CATALOG["product_id"].to_pylist(), sides(text, seed), strict=True)
    return {product_id for product_id, where in found if where == side}


def test_the_stored_sides_are_the_catalogs() -> None:
    stored = CATALOG["split"].to_pylist()
    assert sides("stored") == [side if side in SPLITS else None for side in stored]
    assert "bridge" in stored and None in stored


@pytest.mark.parametrize("text", SCHEMES)
def test_what_the_catalog_keeps_out_is_on_no_side_in_any_scheme(text: str) -> None:
    kept_out = [found for found, stored in zip(sides(text), CATALOG["split"].to_pylist(), strict=True) if stored not in SPLITS]
    assert set(kept_out) == {None} and len(kept_out) == CATALOG.num_rows - LABELLED


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("72/18/10", (72, 18, 10)),
        ("33.3/33.3/33.4", (33.3, 33.3, 33.4)),
        ("80/20", (72, 8, 20)),
        ("fold:1/2", (45, 5, 50)),
        ("fold:5/5", (72, 8, 20)),
        ("random:80/10/10", (80, 10, 10)),
        ("random:50/50", (45, 5, 50)),
    ],
)
def test_sides_have_their_shares_of_the_labelled_rows(text: str, shares: tuple[float, ...]) -> None:
    counts = Counter(sides(text))
    for side, share in zip(SPLITS, shares, strict=True):
        # Groups have up to four rows: six standard deviations of 4,000 fair draws are under 5%.
        assert 100 * counts[side] / LABELLED == pytest.approx(share, abs=3), side
    assert sum(counts[side] for side in SPLITS) == LABELLED, "every labelled row is on a side"


@pytest.mark.parametrize("text", ["72/18/10", "80/20", "fold:2/5", "fold:1/2"])
@pytest.mark.parametrize("seed", [0, 7])
def test_no_group_is_torn(text: str, seed: int) -> None:
    assert torn_groups(sides(text, seed), CATALOG["group_id"].to_pylist()) == 0
    found = defaultdict(set)
    for side, group in zip(sides(text, seed), CATALOG["group_id"].to_pylist(), strict=True):
        found[group].add(side)
    assert all(len(those) == 1 for those in found.values())


@pytest.mark.parametrize("text", ["random:80/10/10", "year:2016"])
def test_schemes_that_tear_groups_are_found_out(text: str) -> None:
    assert torn_groups(sides(text), CATALOG["group_id"].to_pylist()) > 50


def test_torn_groups_are_counted_among_rows_that_are_on_a_side() -> None:
    assert torn_groups(["train", "test", "train", None, "test", None], ["a", "a", "b", "b", "c", "c"]) == 1


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_the_test_sides_of_all_folds_hold_every_labelled_row_exactly_once(folds: int) -> None:
    counts = Counter(row for fold in range(1, folds + 1) for row in members(f"fold:{fold}/{folds}", 3, "test"))
    assert len(counts) == LABELLED and set(counts.values()) == {1}


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_halves_are_disjoint_and_complete(seed: int) -> None:
    """As 5x2 cross-validation takes them: what one half trains and validates on is what the other one tests."""
    one, other = members("fold:1/2", seed, "test"), members("fold:2/2", seed, "test")
    assert not one & other and len(one | other) == LABELLED
    assert members("fold:1/2", seed, "train") | members("fold:1/2", seed, "validation") == other


def test_another_seed_is_another_deal() -> None:
    one, other = members("fold:1/2", 1, "test"), members("fold:1/2", 2, "test")
    assert len(one & other) / len(one) == pytest.approx(0.5, abs=0.05)
    assert sides("80/20", 1) == sides("80/20", 1) != sides("80/20", 2)
    assert sides("stored", 1) == sides("stored", 2)
    assert parse("stored", 1) == parse("stored", 2), "or its cache would be filled twice"


def test_the_validation_side_is_drawn_by_a_hash_of_its_own() -> None:
    """Otherwise it would be the groups with the smallest hashes, and in a fold that has those there would be none."""
    for fold in range(1, 6):
        validation, train = members(f"fold:{fold}/5", 0, "validation"), members(f"fold:{fold}/5", 0, "train")
        assert len(validation) / len(validation | train) == pytest.approx(0.1, abs=0.02)


def test_later_years_are_the_test_side() -> None:
    years, stored, found = CATALOG["year"].to_pylist(), CATALOG["split"].to_pylist(), sides("year:2016")
    for year, before, side in zip(years, stored, found, strict=True):
        if before in SPLITS:
            assert side == (None if year is None else "test" if year > 2016 else side)
            assert year is None or year > 2016 or side in ("train", "validation")
    earlier = Counter(side for side in found if side in ("train", "validation"))
    assert earlier["validation"] / earlier.total() == pytest.approx(0.1, abs=0.02)
    validated = [
        (group, side) for group, side in zip(CATALOG["group_id"].to_pylist(), found, strict=True) if side not in ("test", None)
    ]
    assert len(set(validated)) == len({group for group, _ in validated}), "validation and training share no group"


@pytest.mark.parametrize(
    ("text", "seed", "key", "expected"),
    [
        # printf '%s' split/SEED/KEY | b2sum -l 32, without the highest bit, over 2^31; likewise validation/SEED/KEY
        ("50/25/25", 0, "g1", "train"),
        ("50/25/25", 0, "g2", "validation"),
        ("50/25/25", 9, "g1", "test"),
        ("80/20", 0, "g1", "validation"),
        ("80/20", 0, "g2", "train"),
        ("fold:5/5", 4, "10001", "test"),
        ("fold:4/5", 4, "10001", "train"),
    ],
)
def test_a_side_is_the_same_in_every_process(text: str, seed: int, key: str, expected: str) -> None:
    table = pa.table({"split": ["train"], "group_id": [key]})
    assert assign(parse(text, seed), table) == [expected]


@pytest.mark.parametrize("text", SCHEMES)
def test_a_row_alone_is_on_the_side_that_it_is_on_among_others(text: str) -> None:
    scheme = parse(text)
    backwards = CATALOG.take(pa.array(range(CATALOG.num_rows - 1, -1, -1)))
    assert assign(scheme, backwards) == sides(text)[::-1]
    assert assign(scheme, CATALOG.slice(40, 1)) == sides(text)[40:41]
    assert assign(scheme, CATALOG.slice(0, 0)) == []


@pytest.mark.parametrize("text", SCHEMES)
def test_masks_of_the_sides_are_the_sides(text: str) -> None:
    for side in SPLITS:
        mask = is_on(CATALOG, scheme=parse(text), side=side)
        assert mask.type == pa.bool_()
        assert mask.to_pylist() == [found == side for found in sides(text)]


@pytest.mark.parametrize(
    "text",
    [
        "", "Stored", "half", "80", "80/30", "80/20/10", "100/0", "0/50/50", "70/10/10/10", "80-20", "fold", "fold:0/5",
        "fold:6/5", "fold:1/1", "fold:1/101", "fold:1", "random", "random:80", "random:80/30", "year", "year:16", "year:x",
        "stored:80/20", " 80/20", "-80/180",
    ],
)  # fmt: skip
def test_a_scheme_that_is_none_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match=r"80/20|72/18/10|fold:2/5"):
        parse(text)


def test_the_examples_of_the_message_are_schemes() -> None:
    for text in ("stored", "72/18/10", "80/20", "fold:2/5", "random:80/10/10", "year:2016"):
        assert text in EXPECTED
        parse(text)


def test_rows_of_other_classes_are_on_no_side_and_the_others_where_they_were() -> None:
    genders = ["Men", "Women", "Boys", None]
    kinds = ["Dresses", "Shirts", "Socks"]
    table = CATALOG.append_column("gender", pa.array([genders[row % 4] for row in range(CATALOG.num_rows)]))
    table = table.append_column("articleType", pa.array([kinds[row % 3] for row in range(CATALOG.num_rows)]))
    scheme = limited(parse("72/18/10"), ["articleType=Dresses, Shirts", "gender=Women"])
    assert set(scheme.columns) == {"split", "group_id", "articleType", "gender"}
    found = assign(scheme, table.select(scheme.columns))
    for row, (side, before) in enumerate(zip(found, sides("72/18/10"), strict=True)):
        assert side == (before if row % 3 < 2 and row % 4 == 1 else None)
    assert limited(parse("stored"), []) == parse("stored")


@pytest.mark.parametrize(
    "text", ["articleType", "articleType=", "articleType= , ", "articletype=Shirts", "=Shirts", "year=2016"]
)
def test_classes_that_are_not_named_say_how_to(text: str) -> None:
    with pytest.raises(ValueError, match=r"TARGET=CLASS,CLASS such as articleType=Dresses,Shirts"):
        limited(parse("stored"), [text])
    with pytest.raises(ValueError, match="did you mean articleType"):
        limited(parse("stored"), ["articletype=Shirts"])
