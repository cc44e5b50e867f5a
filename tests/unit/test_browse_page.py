"""The catalog page as a file: whole, small, hostile titles as text, and a policy that allows its one script only."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fashion_ray.browsing import mail
from fashion_ray.browsing.options import BrowseOptions
from fashion_ray.browsing.running import write
from fashion_ray.browsing.shelf import Shelf, open_shelf
from fashion_ray.errors import UserError
from fashion_ray.pages.browse import browse_page, script
from fashion_ray.storage import Store
from tests.unit.shelves import HOSTILE, put_catalog, put_scores


@pytest.fixture
def opened(tmp_path: Path) -> Shelf:
    """Nine products over two nights, one with a title and one with a label that mean harm."""
    store = Store(str(tmp_path / "root"))
    titles = {str(number): f"Shirt {number}" for number in range(8)} | {"hostile": HOSTILE}
    catalog = put_catalog(store, titles)
    answers: dict[str, tuple[str | None, float]] = dict.fromkeys(titles, ("Tshirts", 0.9))
    put_scores(store, answers | {"0": (None, 0.3)}, catalog=catalog.name)
    put_scores(store, answers | {"1": (HOSTILE + "&\u2028", 0.7)}, catalog=catalog.name)
    return open_shelf(store)


def data_of(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    return dict(json.loads(found[0]))


def test_the_page_holds_its_products_and_what_labels_stand_for(opened: Shelf) -> None:
    page, count = mail.page(opened, limit=0, seed=0, neighbours=2)
    data = data_of(page)
    words, products = data["about"]["words"], {one["id"]: one for one in data["products"]}
    assert count == len(products) == data["about"]["shown"] == 9
    assert [words[number] for number in products["0"]["answers"][1][:2]] == ["Tshirts", "Tshirts"]
    assert products["0"]["history"][0][1] == [None, 0.3] and len(products["0"]["neighbours"]) == 2
    assert words[products["1"]["answers"][1][1]] == HOSTILE + "&\u2028" and products["hostile"]["title"] == HOSTILE
    assert all(one["picture"].startswith("data:image/jpeg;base64,/9j/") for one in products.values())


def test_a_title_or_label_that_means_harm_opens_no_tag(opened: Shelf) -> None:
    page, _ = mail.page(opened, limit=0, seed=0, neighbours=2)
    assert "onerror" in page and "<img" not in page, "only inside the data, where < is an escape"
    assert page.count("</script>") == page.count("<script") == 2 and "\u2028" not in page


def test_the_page_fetches_nothing_and_its_policy_allows_its_own_script_alone(opened: Shelf) -> None:
    page, _ = mail.page(opened, limit=0, seed=0, neighbours=2)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
    assert len(inline) == 1 and f"script-src 'sha256-{digest}';" in html.unescape(policy)
    assert "default-src 'none'" in html.unescape(policy) and "connect-src" not in policy and "unsafe-eval" not in policy
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]*\"", page) == [] and "url(" not in page and "://" not in page
    served = browse_page({"snapshot": "s", "targets": [], "labels": {}, "commits": [], "rows": 0})
    assert "connect-src &#39;self&#39;" in served and data_of(served)["products"] is None


def test_the_script_writes_text_and_never_markup() -> None:
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "</",
        "srcdoc",
        ".style",
    ):
        assert way not in script(), way


def test_the_products_are_drawn_by_their_ids_and_the_seed(opened: Shelf) -> None:
    assert mail.drawn(opened, 4, 0) == mail.drawn(opened, 4, 0) == sorted(mail.drawn(opened, 4, 0))
    assert len({tuple(mail.drawn(opened, 4, seed)) for seed in range(5)}) > 1
    assert mail.drawn(opened, 0, 0) == list(range(9))


def test_the_file_is_replaced_as_a_whole_or_not_at_all(opened: Shelf, tmp_path: Path) -> None:
    target = tmp_path / "catalog.html"
    said = write(opened, BrowseOptions(output=str(target), limit=3))
    assert said.startswith(f"page {target} (3 of 9 products, 0.0") and target.read_text().startswith("<!doctype html>")
    assert write(opened, BrowseOptions(output=str(target), limit=3)) == said
    with pytest.raises(UserError, match=r"--output: .*nowhere.* cannot be written"):
        write(opened, BrowseOptions(output=str(tmp_path / "nowhere" / "page.html")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog.html", "root"]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"output": " "}, "--output"), ({"limit": -1}, "--limit"), ({"seed": -1}, "--seed"),
        ({"neighbours": 51}, "--neighbours"),
        ({"port": 70000}, "--port"), ({"host": "0.0.0.0"}, "--host"), ({"host": ""}, "--host"), ({"host": "a b"}, "--host"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=f"{expected}: got"):
        BrowseOptions(**wrong)
