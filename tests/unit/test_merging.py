"""A feed onto a catalog: what stays, what changes, what leaves, and that the sums are right."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from fashion_ray.catalog.inspecting import FOUND
from fashion_ray.catalog.merging import MERGED, merge, summarize
from fashion_ray.catalog.plan import DESCRIBED

Row = dict[str, Any]


def product(product_id: str, picture: str = "p", article: str | None = "Shirts", piece: int = 0, **values: object) -> Row:
    """A product of a catalog or of a feed."""
    return {
        "product_id": product_id, "image_sha256": picture, "perceptual_hash": "0", "width": 60, "height": 80,
        "articleType": article, "piece": piece, "position": 0, **values,
    }  # fmt: skip


def found(*rows: Row) -> pa.Table:
    """What the first pass found."""
    return pa.Table.from_pylist([{"has_row": True, "again": False, **row} for row in rows], schema=FOUND)


def base(*rows: Row) -> pa.Table:
    """The catalog so far."""
    return pa.Table.from_pylist(list(rows), schema=MERGED)


def said(**articles: str) -> pa.Table:
    """Rows without pictures."""
    return pa.Table.from_pylist([{"product_id": key, "articleType": each} for key, each in articles.items()], schema=DESCRIBED)


def shown(table: pa.Table) -> dict[str, tuple[str, str | None, int]]:
    """product_id to picture, label and piece."""
    assert table.schema.equals(MERGED)
    return {row["product_id"]: (row["image_sha256"], row["articleType"], row["piece"]) for row in table.to_pylist()}


BEFORE = base(*(product(name, f"old-{name}", "Shirts", 1) for name in "abcdef"))


def test_a_full_feed_is_the_catalog() -> None:
    coming = merge(
        found(product("a", "new"), product("z"), product("b", None, reason="truncated")), BEFORE, said(), [], delta=False
    )
    assert shown(coming) == {"a": ("new", "Shirts", 0), "z": ("p", "Shirts", 0)}
    assert summarize(BEFORE, coming) == {"added": 1, "changed": 1, "removed": 5, "unchanged": 0}


def test_a_delta_changes_what_it_speaks_of_and_nothing_else() -> None:
    feed = found(
        product("a", "new-a", "Ties"),  # picture and label
        product("b", "new-b", None, has_row=False),  # picture only: the label stays
        product("c", None, "Ties", reason="truncated", position=-1),  # label; the new picture is unusable, the old one stays
        product("n", "new-n", None, has_row=False),  # new, unlabelled
        product("m", None, "Ties", reason="truncated", position=-1),  # new and unusable
    )
    coming = merge(feed, BEFORE, said(d="Belts"), ["e", "nobody"], delta=True)
    assert shown(coming) == {
        "a": ("new-a", "Ties", 0), "b": ("new-b", "Shirts", 0), "c": ("old-c", "Ties", 1), "d": ("old-d", "Belts", 1),
        "f": ("old-f", "Shirts", 1), "n": ("new-n", None, 0),
    }  # fmt: skip
    assert summarize(BEFORE, coming) == {"added": 1, "changed": 4, "removed": 1, "unchanged": 1}


def test_an_unusable_picture_without_a_row_changes_nothing() -> None:
    coming = merge(found(product("a", None, None, has_row=False, reason="truncated")), BEFORE, said(), [], delta=True)
    assert shown(coming) == shown(BEFORE)
    assert summarize(BEFORE, coming) == {"added": 0, "changed": 0, "removed": 0, "unchanged": 6}


@pytest.mark.parametrize("name", ["year", "productDisplayName", "season", "articleType", "image_sha256"])
def test_a_change_of_any_described_value_is_a_change(name: str) -> None:
    value: object = 2012 if name == "year" else "other"
    for before, after in ((None, value), (value, None), (value, 2013 if name == "year" else "third")):
        if name == "image_sha256" and None in (before, after):
            continue
        one, two = base(product("a") | {name: before}), base(product("a") | {name: after})
        assert summarize(one, two) == {"added": 0, "changed": 1, "removed": 0, "unchanged": 0}
        assert summarize(one, one)["unchanged"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_sums_are_right_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"p{number}" for number in range(200)]
    before = base(*(product(name, f"old-{name}", rng.choice(["Ties", None])) for name in rng.sample(names, 120)))
    ids = rng.sample(names, 80)
    feed = found(
        *(
            product(
                name,
                rng.choice([f"old-{name}", "new"]),
                rng.choice(["Ties", None]),
                reason=rng.choice([None, None, "too_small"]),
            )
            for name in ids[:60]
        )
    )
    for delta in (True, False):
        coming = merge(feed, before, said(), ids[60:] if delta else [], delta=delta)
        summary = summarize(before, coming)
        assert before.num_rows == summary["unchanged"] + summary["changed"] + summary["removed"]
        assert coming.num_rows == summary["unchanged"] + summary["changed"] + summary["added"]
        assert len(set(coming["product_id"].to_pylist())) == coming.num_rows
