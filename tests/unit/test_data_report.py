"""The data page is complete, self-contained, escapes what it is given, and says so where the books do not balance."""

from __future__ import annotations

import re

import pandas as pd
import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.statistics import CatalogStatistics, Leakage, catalog_statistics
from fashion_ray.pages.contact_sheet import contact_sheet
from fashion_ray.pages.data_plots import class_bars, folded
from fashion_ray.pages.data_report import data_report
from fashion_ray.pages.examples import QuarantinedExample
from tests.unit.test_pages import EVIL, Page, size_of

WITHOUT_IMAGE = pa.schema([field for field in schema.CATALOG if field.name != "image"])
BOOKS = {
    "rows": 110, "rows_labelled": 90, "rows_missing_picture": 20, "rows_quarantined": 0, "rows_withdrawn": 0, "pictures": 103,
    "pictures_in_catalog": 100, "pictures_without_row": 10, "pictures_quarantined": 3,
}  # fmt: skip
SUMMARY = {"added": 60, "changed": 10, "removed": 2, "unchanged": 30, "quarantined": 23}
REASONS = {"truncated": 3, "no_picture": 20}


def statistics(products: int = 100, label: str = "Shirts", **changed: object) -> CatalogStatistics:
    """Nine of ten products are labelled, in two classes; p0 and p10 are near-duplicates."""
    rows = [
        {
            "product_id": f"p{n}", "image_sha256": f"s{n}", "perceptual_hash": "h", "group_id": f"p{n}",
            "width": 60, "height": 80,
            **({"articleType": label if n % 3 else "Tops", "split": ("train", "validation", "test")[n % 3]} if n % 10 else {}),
        }
        for n in range(products)
    ]  # fmt: skip
    for row in rows[10:11]:
        row["group_id"] = "p0"
    for row in rows[1:]:
        row |= changed
    return catalog_statistics(pa.Table.from_pylist(rows, schema=WITHOUT_IMAGE), minimum=40)


def report(**changed: object) -> str:
    values: dict[str, object] = {
        "title": "The catalog", "facts": {"source": "demo"}, "books": BOOKS, "summary": SUMMARY, "statistics": statistics(),
        "reasons": REASONS,
    }  # fmt: skip
    return data_report(**(values | changed))  # type: ignore[arg-type]


def test_the_page_has_every_part_and_fetches_nothing() -> None:
    sheet = contact_sheet([(None, "x")])
    html = report(
        sheets={"random": sheet, "quarantined": sheet, "duplicates": sheet},
        leakage=Leakage(validation_rows=9, validation_share=0.123, test_rows=9, test_share=0.456),
        quarantined=[QuarantinedExample(product_id="p7", source_row=None, reason="truncated", detail="ends early")],
        warnings=["mind the gap"],
        next_steps=["run `python jobs/train.py`"],
    )
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.tags.count("img") == 3 + 1, "one chart: only articleType has classes"
    assert page.tags.count("details") == 1 + 1
    assert "script" not in page.tags
    assert all(link.startswith("data:") for link in page.links)
    assert not re.search(r"https?://|@import|url\(", html)
    for said in (
        "Where everything went", "Products at random", "Labels", "Splits", "Picture", "Missing values", "label noise", "demo",
        "ends early", "mind the gap", "12.3%", "45.6%",
        "60 \N{MULTIPLICATION SIGN} 80", "a row whose picture is missing from the feed",
    ):  # fmt: skip
        assert said in page.text
    assert "<code>python jobs/train.py</code>" in html


def test_the_page_is_the_same_twice() -> None:
    assert report() == report()


def test_the_summary_stands_on_top() -> None:
    text = " ".join(Page(report()).text.split("Where everything went")[0].split())
    for said in ("100products in the catalog", "90with labels, 90.0%", "23quarantined, most: no picture", "balanced"):
        assert said in text
    assert "not balanced" not in text


def test_books_that_balance_are_shown_with_their_parts() -> None:
    text = Page(report()).text
    assert "✓ rows 110 = rows labelled 90 + rows missing picture 20 + rows quarantined 0" in text
    assert "✓ products in the catalog 100 = added 60 + changed 10 + unchanged 30" in text
    assert "✗" not in text
    assert "in the catalog or in the quarantine, once. 2 products of the catalog before have left." in text
    assert "do not balance" not in text


def test_a_page_about_nothing_odd_warns_of_nothing() -> None:
    assert 'role="alert"' not in report(summary=SUMMARY | {"quarantined": 0}, reasons={})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"books": BOOKS | {"rows": 111}}, "rows 111, but the parts add up to 110"),
        ({"books": BOOKS | {"pictures_quarantined": 4}}, "pictures 103, but the parts add up to 104"),
        ({"summary": SUMMARY | {"added": 61}}, "products in the catalog 100, but the parts add up to 101"),
        ({"reasons": {}}, "quarantined 23, but the parts add up to 0"),
    ],
)
def test_books_that_do_not_balance_are_warned_of(changed: dict[str, object], message: str) -> None:
    page = Page(report(**changed))
    assert f"The books do not balance: {message}." in page.text
    assert "not balanced" in page.text
    assert "in the catalog or in the quarantine, once" not in page.text
    assert page.text.count("✗") == 1


def test_other_books_have_other_equations() -> None:
    text = Page(report(books={"in": 5, "good": 3, "bad": 2}, equations={"in": ("good", "bad")})).text
    assert "✓ in 5 = good 3 + bad 2" in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"summary": {"added": 1}}, "got no changed of the summary, removed of the summary"),
        ({"books": {"rows": 1}}, "got no rows_labelled of the books"),
        ({"sheets": {"other": b""}}, r"got the sheets \['other'\], expected only"),
    ],
)
def test_figures_that_are_missing_or_unknown_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        report(**changed)


def test_reasons_come_the_commonest_first_and_unknown_ones_without_a_meaning() -> None:
    text = Page(report(reasons={"truncated": 3, "odd": 20})).text
    assert text.index("odd20") < text.index("truncated3")
    assert "Nothing is quarantined." in Page(report(reasons={}, summary=SUMMARY | {"quarantined": 0})).text


def test_what_must_be_known_before_training_is_warned_of() -> None:
    assert "No product has a label" in Page(report(statistics=statistics(articleType=None))).text
    assert "No product in the validation and the test split" in Page(report(statistics=statistics(split="train"))).text
    torn = Page(report(statistics=statistics(group_id="g"))).text
    assert "100.0% of the test rows have a near-duplicate among the training rows" in torn
    flood = Page(report(summary=SUMMARY | {"quarantined": 300}, reasons={"truncated": 300})).text
    assert "75.0% of the feed is quarantined" in flood


def test_whatever_comes_from_outside_is_escaped() -> None:
    html = report(
        title=EVIL,
        facts={EVIL: EVIL},
        statistics=statistics(label=EVIL, split=EVIL, group_id=EVIL),
        reasons={EVIL: 23},
        reason_meanings={EVIL: EVIL},
        quarantined=[QuarantinedExample(product_id=EVIL, source_row=1, reason=EVIL, detail='" onload="x')],
        warnings=[EVIL, f"`{EVIL}`"],
        next_steps=[EVIL],
    )
    page = Page(html)
    assert "<script" not in html
    assert 'onload="x' not in html
    assert page.text.count(EVIL) >= 14


def test_an_empty_catalog_has_a_page() -> None:
    none = dict.fromkeys(SUMMARY, 0)
    page = Page(report(statistics=statistics(0), summary=none, books={}, reasons={}))
    assert page.tags.count("img") == 0
    assert "No product has a label" in page.text


def counts(*products: int) -> pd.DataFrame:
    return pd.DataFrame({"class": [f"class {n}" for n in range(len(products))], "products": products})


def test_a_long_tail_is_folded_by_what_can_be_learned_and_loses_no_product() -> None:
    bars = folded(counts(900, 500, 80, 70, 60, 9, 1), minimum=50, most=2)
    assert [(name, products) for name, products, _ in bars] == [
        ("class 0", 900), ("class 1", 500), ("(3 more)", 210), ("(2 more under 50)", 10),
    ]  # fmt: skip
    assert len({colour for _, _, colour in bars}) == 3


def test_a_tail_of_one_class_is_not_folded() -> None:
    assert [name for name, _, _ in folded(counts(9, 8, 7), minimum=1, most=2)] == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize("products", [(1,), (5, 5), (20_000, 1), tuple(range(500, 0, -1))])
def test_a_chart_of_classes_is_a_picture_of_sensible_size_and_the_same_twice(products: tuple[int, ...]) -> None:
    png = class_bars(counts(*products), title="$x$", minimum=50)
    width, height = size_of(png)
    assert 600 <= width <= 900 and 150 <= height <= 900
    assert png == class_bars(counts(*products), title="$x$", minimum=50)


def test_a_chart_of_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="gender: got no class"):
        class_bars(counts(), title="gender", minimum=50)
