"""A feed that nobody looks at: what it may do to the catalog, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog.feed_gates import FeedLimits, lost_labels, refusals
from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.catalog.tasks import here
from fashion_ray.errors import GateRefused, UserError
from fashion_ray.storage import Store
from tests.unit.nights import IDS, Feed, feed, jpeg, row, take

LIMITS = FeedLimits()
BOOKS = {"rows": 1000, "rows_quarantined": 0, "rows_labelled": 1000, "pictures": 1000, "pictures_quarantined": 0}


def against(
    limits: FeedLimits = LIMITS, *, before: int = 1000, removed: int = 0, lost: dict[str, int] | None = None, **books: int
) -> str:
    return "; ".join(refusals(before, {"removed": removed}, BOOKS | books, lost or {}, limits))


def test_a_feed_within_the_limits_is_taken() -> None:
    assert against(removed=200, rows_quarantined=100, pictures_quarantined=100, lost={"articleType": 100}) == ""


@pytest.mark.parametrize(
    ("exceeded", "sentence"),
    [
        ({"removed": 201}, "201 of the 1000 products would leave the catalog (20.1%), at most 20.0% may (removed_share)"),
        ({"rows_quarantined": 101}, "101 of the feed's 1000 rows cannot be used (10.1%)"),
        ({"pictures_quarantined": 101}, "101 of the feed's 1000 pictures cannot be used (10.1%)"),
        ({"lost": {"season": 0, "articleType": 101}}, "101 of the feed's 1000 products lose their articleType (10.1%)"),
    ],
)
def test_each_limit_refuses_with_its_figures(exceeded: dict[str, Any], sentence: str) -> None:
    said = against(**exceeded)
    assert said.startswith(sentence) and ";" not in said
    open_ = FeedLimits(removed_share=None, unusable_share=None, unlabelled_share=None)
    assert against(open_, **exceeded) == ""


def test_all_that_speaks_against_a_feed_is_said_at_once() -> None:
    assert against(removed=900, rows_quarantined=900).count("(") == 4


def test_a_few_rows_say_nothing_and_the_first_feed_removes_nothing() -> None:
    few = {"rows": 10, "rows_quarantined": 9, "rows_labelled": 10, "pictures": 10, "pictures_quarantined": 9}
    assert against(lost={"articleType": 9}, **few) == ""
    assert "9 of the feed's 10 rows" in against(FeedLimits(least_rows=10), **few)
    assert against(before=0, removed=0) == ""


def test_limits_that_are_none_are_all_named() -> None:
    with pytest.raises(UserError, match=r"--feed-limits.removed-share: got 2.*--feed-limits.least-rows: got 0"):
        FeedLimits(removed_share=2, least_rows=0)


def test_labels_are_lost_where_a_product_had_one_and_has_none() -> None:
    def table(**articles: str | None) -> pa.Table:
        nothing = pa.nulls(len(articles), pa.string())
        columns = dict.fromkeys(LABEL_COLUMNS, nothing)
        return pa.table({"product_id": list(articles), **columns, "articleType": pa.array(articles.values(), pa.string())})

    lost = lost_labels(table(a="Shirts", b="Ties", c=None, gone="Ties"), table(b=None, new=None, c=None, a="Ties"))
    assert lost == {**dict.fromkeys(LABEL_COLUMNS, 0), "articleType": 1}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A root with forty products."""
    store = Store(str(tmp_path / "root"))
    take(store, feed(*IDS))
    return store


def without_articles() -> Feed:
    """The same products, and the column is gone."""
    return Feed([row(each) | {"articleType": None} for each in IDS], {each: jpeg(each) for each in IDS})


def rubbish() -> Feed:
    """The same products, and no picture is one."""
    return Feed([row(each) for each in IDS], dict.fromkeys(IDS[:10], b"<html>404") | {e: jpeg(e) for e in IDS[10:]})


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (feed(*IDS[:4]), "36 of the 40 products would leave"),
        (without_articles(), "40 of the feed's 40 products lose their articleType"),
        (rubbish(), "10 of the feed's 40 pictures cannot be used"),
    ],
    ids=["nine tenths gone", "column missing", "pictures that are none"],
)
def test_a_feed_that_is_refused_leaves_the_catalog_as_it_was(store: Store, bad: Feed, said: str) -> None:
    before = snapshots.current(store, "catalog")
    with pytest.raises(GateRefused, match=said) as refused:
        ingest(Request(source=bad, limits=FeedLimits()), store, run_id="r", each=here)
    assert "--publish-anyway" in str(refused.value) and snapshots.current(store, "catalog") == before
    taken = ingest(Request(source=bad), store, run_id="r", each=here)
    assert not taken.already_current and taken.snapshot.sequence == 2


def test_an_ordinary_delta_passes_the_gates(store: Store) -> None:
    coming = feed("n1", "n2", **{IDS[0]: jpeg("another")})
    taken = ingest(Request(source=coming, delta=True, limits=FeedLimits()), store, run_id="r", each=here)
    assert taken.summary["added"] == 2 and taken.summary["removed"] == 0
