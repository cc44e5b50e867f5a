"""Products of a catch-all class get the categories that their names speak of, and nobody else's labels move."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.reassign import CATCH_ALL, COLUMNS, MINIMUM_SIMILARITY, reassign, words

Row = tuple[str | None, str | None, str | None, str | None]

GIFT = (CATCH_ALL, "Free Gifts", "Free Gifts")
SHOP: list[Row] = [
    *[("Accessories", "Watches", "Watches", f"Brand Men {colour} Dial Watch") for colour in ("Black", "White", "Blue")],
    *[("Accessories", "Eyewear", "Sunglasses", f"Brand Men {colour} Sunglasses") for colour in ("Black", "Brown")],
    ("Accessories", "Ties", "Ties", "Brand Men Red Tie"),
    ("Accessories", "Cufflinks", "Ties and Cufflinks", "Brand Men Tie and Cufflink Set"),
    ("Accessories", "Scarves", "Scarves", "Brand Women Green Scarf"),
    *[("Accessories", "Bags", article, f"Brand Women {article}") for article in ("Laptop Bag", "Duffel Bag", "Messenger Bag")],
    ("Apparel", "Saree", "Sarees", "Brand Green Saree"),
    *[("Apparel", "Topwear", "Tshirts", "Brand Men Blue T-shirt")] * 3,
    ("Apparel", "Loungewear", "Tshirts", "Brand Men Blue Tshirt"),
    ("Apparel", "Topwear", "Shirts", "Brand Men Blue Shirt"),
    *[("Personal Care", "Skin", "Body Lotion", "Brand Women Body Lotion")],
    ("Personal Care", "Makeup", "Eye Cream", "Brand Eye Cream"),
    ("Personal Care", "Skin", "Mens Grooming Kit", "Brand Grooming Kit"),
]


def catalog(*rows: Row) -> pa.Table:
    """Products with these category levels and names."""
    names = [*schema.CATEGORY_LEVELS, "productDisplayName"]
    return pa.table([pa.array([row[i] for row in rows], pa.string()) for i in range(4)], names=names)


def given(name: str | None, own: tuple[str | None, str | None, str | None] = GIFT) -> tuple[str | None, ...]:
    """The reassigned labels of a product of this name in the shop, if anything is reassigned at all."""
    found = reassign(catalog(*SHOP, (*own, name))).to_pylist()[-1]
    labels = tuple(found[f"reassigned_{level}"] for level in schema.CATEGORY_LEVELS)
    similarity = found["reassigned_similarity"]
    if similarity is None:
        assert labels == own
        return ()
    assert MINIMUM_SIMILARITY - 1e-6 <= similarity <= 1
    return labels


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("Maxima Men White Dial Watch", ("Accessories", "Watches", "Watches")),
        ("IDEE Men Brown Sunglasses", ("Accessories", "Eyewear", "Sunglasses")),
        ("Satya Paul Green Saree", ("Apparel", "Saree", "Sarees")),
        ("Satya Paul Cream & Grey Saree", ("Apparel", "Saree", "Sarees")),
        ("Park Avenue Blue Patterned Tie", ("Accessories", "Ties", "Ties")),
        ("Arrow Men Tie and Cufflinks", ("Accessories", "Cufflinks", "Ties and Cufflinks")),
        ("Arrow Men Black & White Scarf", ("Accessories", "Scarves", "Scarves")),
        ("Vital Gear Women Purple LAPTOP bag", ("Accessories", "Bags", "Laptop Bag")),
        ("Fila Men's Round Neck T-Shirt", ("Apparel", "Topwear", "Tshirts")),
        ("Turtle Check Men Shirt", ("Apparel", "Topwear", "Shirts")),
        ("Rasasi Women Body Lotion", ("Personal Care", "Skin", "Body Lotion")),
    ],
)
def test_a_gift_gets_the_class_that_its_name_speaks_of(name: str, labels: tuple[str, ...]) -> None:
    assert given(name) == labels


@pytest.mark.parametrize(
    "name", ["Casio G-SHOCK GD-100WW-7DR", "Nike Men Blue Jersey", "Murcia Sling Bag", "", "&&& --- '", None]
)
def test_a_gift_whose_name_speaks_of_no_class_keeps_its_labels(name: str | None) -> None:
    assert given(name) == ()


def test_a_gift_that_has_an_article_of_its_own_moves_to_where_that_belongs() -> None:
    assert given("Park Avenue Red Tie", (CATCH_ALL, "Free Gifts", "Ties")) == ("Accessories", "Ties", "Ties")
    assert given("Park Avenue Red Tie", (CATCH_ALL, None, None)) == ("Accessories", "Ties", "Ties")


def test_products_of_other_classes_keep_their_labels_whatever_their_names() -> None:
    rows: list[Row] = [("Apparel", "Topwear", "Shirts", "Watch"), (None, None, None, "Watch"), ("Home", None, None, None)]
    found = reassign(catalog(*SHOP, *rows))
    assert found.schema == COLUMNS
    assert [tuple(row.values()) for row in found.to_pylist()] == [(*row[:3], None) for row in (*SHOP, *rows)]


def test_the_similarity_of_a_name_that_is_a_label_is_1() -> None:
    found = reassign(catalog(*SHOP, (*GIFT, "Watches")))["reassigned_similarity"][-1].as_py()
    assert found == 1


def test_what_is_only_found_in_the_catch_all_class_is_no_answer() -> None:
    rows: list[Row] = [(CATCH_ALL, "Vouchers", "Ipad", None), (*GIFT, "Blue Ipad"), (*GIFT, "Free Gift")]
    assert reassign(catalog(*SHOP, *rows))["reassigned_similarity"].to_pylist()[-3:] == [None] * 3


def test_any_class_can_be_the_catch_all() -> None:
    rows: list[Row] = [("Misc", None, None, "Blue Watch"), (*GIFT, "Blue Watch")]
    found = reassign(catalog(*SHOP, *rows), catch_all="Misc")
    assert found["reassigned_articleType"].to_pylist()[-2:] == ["Watches", "Free Gifts"]


def test_a_lower_minimum_takes_less_similar_names_and_the_commonest_label_among_equals() -> None:
    bags: list[Row] = [("Accessories", "Bags", "Messenger Bag", "Brand Women Messenger Bag, Laptop Bag, Duffel Bag")]
    found = reassign(catalog(*SHOP, *bags, (*GIFT, "Murcia Sling Bag")), minimum=0.2).to_pylist()[-1]
    assert found["reassigned_subCategory"] == "Bags" and 0.2 <= found["reassigned_similarity"] < MINIMUM_SIMILARITY
    twice: list[Row] = [("A", "B", "Red Bag", "x"), ("A", "C", "Old Bag", "x"), ("A", "C", "Old Bag", "x"), (*GIFT, "Bag")]
    assert reassign(catalog(*twice), minimum=0.2)["reassigned_articleType"][-1].as_py() == "Old Bag"


def test_catalogs_without_classes_or_names_or_rows_are_left_as_they_are() -> None:
    for rows in (
        [],
        [(*GIFT, "Watch")],
        [(*GIFT, None), SHOP[0]],
        [(*GIFT, "&"), ("A", "B", "& and", "&")],
        [(None, None, "Hats", "Hat")],
    ):
        table = catalog(*rows)
        assert reassign(table).select([0, 1, 2]).to_pydict() == {
            f"reassigned_{level}": table[level].to_pylist() for level in schema.CATEGORY_LEVELS
        }


def test_the_columns_are_those_of_the_catalog() -> None:
    assert all(schema.CATALOG.field(field.name).type == field.type for field in COLUMNS)


def test_many_names_are_compared_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [(*GIFT, name) for name in ("Watch", None, "Saree", "Tie", "?", "Scarf", "Sunglasses")]
    whole = reassign(catalog(*SHOP, *rows))
    monkeypatch.setattr("fashion_ray.catalog.reassign.NAMES_AT_ONCE", 2)
    assert reassign(catalog(*SHOP, *rows)) == whole
    assert whole["reassigned_articleType"].to_pylist()[-7:] == [
        "Watches", "Free Gifts", "Sarees", "Ties", "Free Gifts", "Scarves", "Sunglasses",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Watches", "watch"), ("Ties", "TIE"), ("Sarees", "Saree"), ("Scarves", "scarf"), ("Sunglasses", "Sunglass"),
        ("Dresses", "Dress"), ("Accessories", "Accessory"), ("Tshirts", "T-Shirt"), ("Gloves", "Glove"), ("Kurtas", "kurta"),
    ],
)  # fmt: skip
def test_singular_and_plural_are_the_same_word(one: str, other: str) -> None:
    assert words(one) == words(other) != []


@pytest.mark.parametrize(
    ("one", "other"), [("Shirts", "Tshirts"), ("Bra", "Bracelet"), ("Kurtas", "Kurtis"), ("Top", "Trolley")]
)
def test_different_words_stay_different(one: str, other: str) -> None:
    assert words(one) != words(other)
