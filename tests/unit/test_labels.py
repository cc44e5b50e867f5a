"""Derived labels: every product with a masterCategory is in exactly one joined category, and a name says where it is from."""

from __future__ import annotations

import csv
import random
from collections import Counter

import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.demo.feed import DemoFeed
from fashion_ray.catalog.labels import joined_categories, stratum

Path = tuple[str | None, str | None, str | None]
SHIRTS: Path = ("Apparel", "Topwear", "Shirts")
KURTAS: Path = ("Apparel", "Topwear", "Kurtas")
VESTS: Path = ("Apparel", "Topwear", "Vests")
JEANS: Path = ("Apparel", "Bottomwear", "Jeans")
HATS: Path = ("Accessories", "Headwear", "Hats")
RINGS: Path = ("Accessories", "Jewellery", "Rings")


def products(*counts: tuple[Path, int]) -> pa.Table:
    """A catalog with so many products on each path."""
    paths = [path for path, count in counts for _ in range(count)]
    columns = {level: [path[depth] for path in paths] for depth, level in enumerate(schema.CATEGORY_LEVELS)}
    return pa.table(columns, schema=pa.schema([pa.field(level, pa.string()) for level in schema.CATEGORY_LEVELS]))


def joined(*counts: tuple[Path, int]) -> dict[str | None, int]:
    """The joined categories of such a catalog, with the number of products in each."""
    return dict(Counter(joined_categories(products(*counts))))


def test_articles_stand_alone_subcategories_take_what_is_left_and_masters_the_rest() -> None:
    assert joined(
        (SHIRTS, 500), (KURTAS, 80), (VESTS, 50), (JEANS, 50), (HATS, 50), (RINGS, 2), (("Home", "Rugs", "Rugs"), 1)
    ) == {
        "Apparel / Topwear / Shirts": 500,
        "Apparel / Topwear / Kurtas": 80,
        "Apparel / Topwear / (other)": 50,
        "Apparel / Bottomwear": 50,
        "Accessories / Headwear": 50,
        "Accessories / (other)": 2,
        "Home": 1,
    }


def test_a_share_is_reached_by_exactly_as_many_products() -> None:
    assert "Apparel / Topwear / Shirts" in joined((SHIRTS, 700), (HATS, 9300))
    assert "Apparel / Topwear" in joined((SHIRTS, 699), (HATS, 9301))
    assert "Apparel / Topwear" in joined((SHIRTS, 28), (HATS, 9972))
    assert "Apparel" in joined((SHIRTS, 27), (HATS, 9973))


def test_small_articles_that_are_many_together_are_their_subcategory() -> None:
    many: list[tuple[Path, int]] = [(("Apparel", "Topwear", f"Shirt {number}"), 6) for number in range(50)]
    assert joined(*many, (HATS, 700)) == {"Apparel / Topwear": 300, "Accessories / Headwear / Hats": 700}


def test_a_remainder_too_small_for_its_subcategory_goes_to_the_master() -> None:
    assert joined((SHIRTS, 999), (VESTS, 2)) == {"Apparel / Topwear / Shirts": 999, "Apparel / (other)": 2}


def test_products_without_a_lower_label_are_left_to_the_level_above() -> None:
    found = joined(
        (SHIRTS, 50), (("Apparel", "Topwear", None), 40), (("Apparel", None, None), 30), (("Apparel", None, "Shirts"), 20)
    )
    assert found == {"Apparel / Topwear / Shirts": 50, "Apparel / Topwear / (other)": 40, "Apparel / (other)": 50}


def test_a_product_without_a_master_has_no_joined_category_and_counts_for_nothing() -> None:
    assert joined(((None, "Topwear", "Shirts"), 9000), ((None, None, None), 1), (SHIRTS, 1)) == {
        None: 9001,
        "Apparel / Topwear / Shirts": 1,
    }


def test_one_class_and_none_are_catalogs_too() -> None:
    assert joined((SHIRTS, 3)) == {"Apparel / Topwear / Shirts": 3}
    assert joined((("Apparel", None, None), 3)) == {"Apparel": 3}
    assert joined() == {} and joined_categories(products()) == []
    assert joined(((None, None, None), 2)) == {None: 2}


def test_the_order_of_the_rows_does_not_matter() -> None:
    counts = [(SHIRTS, 50), (KURTAS, 7), (HATS, 3), (("Apparel", "Topwear", None), 2), ((None, None, None), 2)]
    table = products(*counts)
    order = random.Random(1).sample(range(table.num_rows), table.num_rows)
    assert joined_categories(table.take(order)) == [joined_categories(table)[row] for row in order]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Apparel", "Socks", "Socks"), ("Accessories", "Socks", "Socks")),
        (("A", "B / C", "D"), ("A / B", "C", "D")),
        (("A", "B/", "C"), ("A", "B", "/C")),
        (("A", "B", "C"), ("A", "B", None)),
        (("A", "B", None), ("A", None, None)),
        (("A/", "B", "C"), ("A", "/B", "C")),
    ],
)
def test_no_two_classes_share_a_name(one: Path, other: Path) -> None:
    assert sorted(joined((one, 5), (other, 4)).values()) == [4, 5]


def test_the_demo_catalog_gets_joined_categories_of_its_own() -> None:
    feed = csv.DictReader(DemoFeed(products=300).styles_csv().decode(errors="replace").splitlines())
    paths: Counter[Path] = Counter((row["masterCategory"], row["subCategory"], row["articleType"]) for row in feed)
    found = joined(*paths.items())
    assert 8 < len(found) < len(paths) and sum(found.values()) == paths.total()
    assert max(found.values()) < paths.total() / 3


def test_a_stratum_is_the_finest_label_there_is() -> None:
    columns = {name: [None] * 5 for name in schema.LABEL_COLUMNS} | {
        "articleType": ["Shirts", None, None, None, None],
        "subCategory": ["Topwear", "Topwear", None, None, None],
        "masterCategory": ["Apparel", "Apparel", "Apparel", None, None],
        "season": ["Fall", "Fall", "Fall", "Fall", None],
        "usage": ["Home", None, None, "Home", None],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    assert stratum(table) == ["Shirts", "subCategory: Topwear", "masterCategory: Apparel", "season: Fall", None]
    assert stratum(table.slice(0, 0)) == []


@pytest.mark.parametrize("column", schema.LABEL_COLUMNS)
def test_any_one_label_is_enough_for_a_stratum(column: str) -> None:
    table = pa.table({name: pa.array(["x" if name == column else None], pa.string()) for name in schema.LABEL_COLUMNS})
    assert stratum(table) == ["x" if column == "articleType" else f"{column}: x"]
