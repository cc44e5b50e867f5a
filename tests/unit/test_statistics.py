"""Figures of small catalogs that can be counted by hand, and of ones with nothing in them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.statistics import (
    COLUMNS,
    Leakage,
    balance,
    catalog_statistics,
    class_counts,
    leakage,
    random_split_leakage,
)

WITHOUT_IMAGE = pa.schema([field for field in schema.CATALOG if field.name != "image"])


def catalog(*rows: dict[str, object]) -> pa.Table:
    """A catalog whose products differ in what is given; each is its own picture and group otherwise."""
    usual = [
        {
            "product_id": f"p{n}",
            "image_sha256": f"s{n}",
            "perceptual_hash": f"h{n}",
            "width": 60,
            "height": 80,
            "group_id": f"p{n}",
        }
        for n in range(len(rows))
    ]
    return pa.Table.from_pylist([one | row for one, row in zip(usual, rows, strict=True)], schema=WITHOUT_IMAGE)


def label_row(table: pa.Table, column: str, minimum: int = 50) -> dict[str, object]:
    labels = catalog_statistics(table, minimum=minimum).labels.set_index("column")
    return dict(labels.loc[column])


def noise_row(table: pa.Table, column: str) -> dict[str, float]:
    noise = catalog_statistics(table).duplicates.noise.set_index("column")
    return dict(noise.loc[column])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a", "b"], 1.0),
        (["a", "b", "c", None, None], 1.0),
        (["a", "a", "a", "b"], 0.8112781244591328),
        (["a", "a", "b", "c"], 1.5 / math.log2(3)),
    ],
)
def test_balance_is_entropy_over_its_maximum_and_ignores_nulls(labels: list[str | None], expected: float) -> None:
    assert balance(labels) == pytest.approx(expected)
    assert balance(pd.Series(labels, dtype="str")) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[], [None, None], ["a", "a"]])
def test_balance_needs_two_classes(labels: list[str | None]) -> None:
    assert math.isnan(balance(labels))


def test_a_class_that_no_row_has_any_more_does_not_count() -> None:
    labels = pd.Series(["a", "b", "gone"], dtype="category")[:2]
    assert balance(labels) == pytest.approx(1.0)


def test_a_label_column_is_described_by_its_classes() -> None:
    table = catalog(*[{"gender": "Men"}] * 3, {"gender": "Boys"}, {})
    row = label_row(table, "gender", minimum=2)
    assert (row["classes"], row["labelled"], row["missing"]) == (2, 4, 1)
    assert (row["commonest"], row["commonest_share"], row["under_minimum"]) == ("Men", 0.75, 1)
    assert pd.isna(label_row(table, "season")["commonest"])


def test_of_equally_common_classes_the_first_by_name_is_named() -> None:
    assert label_row(catalog({"gender": "Women"}, {"gender": "Boys"}), "gender")["commonest"] == "Boys"


def test_balance_is_also_given_without_one_master_category() -> None:
    rows = [
        {"masterCategory": master, "gender": gender} for master, gender in [("A", "x"), ("A", "y"), ("Home", "x"), (None, "y")]
    ]
    row = label_row(catalog(*rows), "gender")
    assert row["balance"] == pytest.approx(1.0)
    assert row["balance_without"] == pytest.approx(balance(["x", "y", "y"])), "a product without a masterCategory stays in"


def test_a_master_category_that_does_not_occur_is_not_left_out() -> None:
    statistics = catalog_statistics(catalog({"masterCategory": "A"}, {"masterCategory": "B"}))
    assert statistics.left_out is None
    assert statistics.labels["balance_without"].isna().all()


def test_derived_labels_are_described_where_there_are_any() -> None:
    table = catalog({"joined_category": "Shirts"}, {})
    assert "joined_category" in set(catalog_statistics(table).labels["column"])
    assert "reassigned_articleType" not in set(catalog_statistics(table).labels["column"])


def test_classes_are_counted_in_each_split() -> None:
    labels = pd.Series(["b", "a", "b", None, "c", "a"])
    split = pd.Series(["train", "test", "bridge", None, "validation", None])
    counts = class_counts(labels, split)
    assert counts.columns.tolist() == ["class", "train", "validation", "test", "bridge", "unlabelled", "products"]
    assert counts.to_numpy().tolist() == [["a", 0, 0, 1, 0, 1, 2], ["b", 1, 0, 0, 1, 0, 2], ["c", 0, 1, 0, 0, 0, 1]]


def test_the_three_splits_are_columns_even_if_they_are_empty() -> None:
    assert class_counts(pd.Series(["a"]), pd.Series(["train"])).columns.tolist() == [
        "class", "train", "validation", "test", "products",
    ]  # fmt: skip


def test_splits_sizes_and_missing_values_add_up() -> None:
    table = catalog(
        {"split": "test", "gender": "Men"},
        {"split": "train", "gender": "Men", "year": 2011},
        {"split": "bridge", "gender": "Men"},
        {"width": 28, "height": 28},
    )
    statistics = catalog_statistics(table)
    assert (statistics.products, statistics.labelled) == (4, 3)
    assert statistics.splits.to_numpy().tolist() == [
        ["train", 1, 0.25],
        ["test", 1, 0.25],
        ["bridge", 1, 0.25],
        ["unlabelled", 1, 0.25],
    ]
    assert statistics.sizes.to_numpy().tolist() == [[60, 80, 3, 0.75], [28, 28, 1, 0.25]]
    assert statistics.aspect == {"min": 0.75, "median": 0.75, "max": 1.0}
    missing = statistics.missing.set_index("column")
    assert missing.loc["year"].tolist() == [3, 0.75, 2]
    assert missing.loc["gender"].tolist() == [1, 0.25, 0]


def test_near_duplicates_and_exact_copies_are_counted() -> None:
    table = catalog(
        {"group_id": "g", "image_sha256": "same", "articleType": "Shirts"}, {"group_id": "g", "image_sha256": "same"},
        {"group_id": "g", "articleType": "Tshirts"}, {"group_id": "h"}, {"group_id": "h"}, {}, {"group_id": None},
    )  # fmt: skip
    found = catalog_statistics(table).duplicates
    assert (found.groups, found.pictures, found.exact_groups, found.exact_pictures) == (2, 5, 1, 2)
    assert found.largest.to_numpy().tolist() == [["g", 3, 2, "Shirts 1, Tshirts 1"], ["h", 2, 2, "no label"]]


def test_label_noise_is_what_differs_within_groups() -> None:
    colours = {"g": ["Red", "Red", "Blue", None], "h": ["Red", "Red"], "i": ["Red", None], "j": ["Red"]}
    table = catalog(*[{"group_id": group, "baseColour": one} for group, members in colours.items() for one in members])
    row = noise_row(table, "baseColour")
    assert (row["groups"], row["disagreeing"], row["share"]) == (2, 1, 0.5)
    assert (row["products"], row["differing"], row["differing_share"]) == (5, 1, 0.2)
    assert math.isnan(noise_row(table, "gender")["share"]), "nobody has a gender"


def test_a_split_that_keeps_groups_together_does_not_leak() -> None:
    found = leakage(["a", "a", "b", "b", None, None], ["train", "train", "test", "test", "train", "test"])
    assert (found.test_rows, found.test_share, found.validation_rows) == (3, 0.0, 0)
    assert math.isnan(found.validation_share)


def test_a_split_that_tears_groups_apart_leaks() -> None:
    found = leakage(["a", "a", "b", "c", "c"], ["train", "test", "test", "validation", "bridge"])
    assert found == Leakage(test_rows=2, test_share=0.5, validation_rows=1, validation_share=0.0)


def test_a_random_split_leaks_as_probability_says() -> None:
    ids = [f"p{n}" for n in range(20_000)]
    pairs = [f"g{n // 2}" for n in range(20_000)]
    found = random_split_leakage(ids, pairs, [True] * len(ids), (0.7, 0.1, 0.2), seed=3)
    assert found.test_rows == pytest.approx(4000, rel=0.05)
    assert found.validation_rows == pytest.approx(2000, rel=0.08)
    assert found.test_share == pytest.approx(0.7, abs=0.03), "the other one of a pair is a training row with this probability"
    assert found == random_split_leakage(ids, pairs, [True] * len(ids), (0.7, 0.1, 0.2), seed=3)
    assert found != random_split_leakage(ids, pairs, [True] * len(ids), (0.7, 0.1, 0.2), seed=4)


def test_products_without_labels_take_no_part_in_a_random_split() -> None:
    ids = [f"p{n}" for n in range(1000)]
    found = random_split_leakage(ids, ["g"] * 1000, [n % 2 == 0 for n in range(1000)])
    alone = random_split_leakage(ids[::2], ["g"] * 500, [True] * 500)
    assert found == alone
    assert found.test_share == 1.0


def test_the_order_of_the_products_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"gender": str(rng.choice(["Men", "Women"])), "group_id": f"g{rng.integers(20)}", "split": "train"} for _ in range(60)
    ]
    table = catalog(*rows)
    one, other = catalog_statistics(table), catalog_statistics(table.take(rng.permutation(60)))
    pd.testing.assert_frame_equal(one.labels, other.labels)
    pd.testing.assert_frame_equal(one.duplicates.noise, other.duplicates.noise)
    pd.testing.assert_frame_equal(one.duplicates.largest, other.duplicates.largest)


def test_a_pandas_table_with_any_index_is_the_same() -> None:
    table = catalog({"gender": "Men", "split": "train"}, {"gender": "Boys", "group_id": "p0"})
    frame = table.to_pandas().set_index(np.array([7, 7]))
    pd.testing.assert_frame_equal(catalog_statistics(frame).labels, catalog_statistics(table).labels)
    assert catalog_statistics(frame).duplicates.pictures == 2


def test_an_empty_catalog_has_statistics() -> None:
    statistics = catalog_statistics(catalog())
    assert (statistics.products, statistics.labelled, statistics.duplicates.groups) == (0, 0, 0)
    assert statistics.labels["classes"].tolist() == [0] * len(schema.LABEL_COLUMNS)
    assert statistics.splits.empty and statistics.sizes.empty


def test_a_table_without_the_columns_is_refused() -> None:
    assert "image" not in COLUMNS
    with pytest.raises(ValueError, match=r"expected also \['width', 'split'\]"):
        catalog_statistics(catalog({}).drop_columns(["width", "split"]))
