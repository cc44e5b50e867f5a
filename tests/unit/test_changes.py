"""Every product that is not carried over is in the changes, once, with the right cause and both answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.scoring.changes import (
    CAUSES,
    cause_counts,
    changes,
    changes_schema,
    class_counts,
    columns,
    most_telling,
    target_changed,
)

TARGETS = ("articleType", "gender")


def row(product: str, label: str | None = "Shirts", probability: float = 0.9, **changed: Any) -> dict[str, Any]:
    """One row of scores; both targets have the same probability."""
    values = {
        "product_id": product, "image_sha256": f"sha-{product}", "score_key": f"key-{product}", "model_version": "m1",
        "articleType_predicted": label, "articleType_probability": probability,
        "gender_predicted": "Men", "gender_probability": probability,
    }  # fmt: skip
    return values | changed


def table(*rows: Mapping[str, Any], targets: Sequence[str] = TARGETS) -> pa.Table:
    """Rows as the columns of a scores table that are read, in two chunks as from two files."""
    kinds = pa.schema([schema.scores(targets, 4).field(name) for name in columns(targets)])
    whole = pa.Table.from_pylist([dict(one) for one in rows], schema=kinds)
    half = whole.num_rows // 2
    return pa.concat_tables([whole.slice(0, half), whole.slice(half)])


def by_id(found: pa.Table) -> dict[str, dict[str, Any]]:
    return {one["product_id"]: one for one in found.to_pylist()}


BEFORE = table(*(row(name) for name in ("same", "picture", "model", "engine", "gone", "bad", "both")))
AFTER = table(
    row("both", "Tops", image_sha256="other", model_version="m2", score_key="k5"),
    row("engine", score_key="k1"),
    row("model", model_version="m2", score_key="k2"),
    row("picture", image_sha256="other", score_key="k3"),
    row("same", scored_at="later"),
    row("fresh"),
)


def test_every_cause_is_told_from_the_hashes() -> None:
    found = changes(BEFORE, AFTER, targets=TARGETS, quarantined=["bad", "never seen"])
    assert {one: by_id(found)[one]["cause"] for one in by_id(found)} == {
        "fresh": "new_product", "gone": "withdrawn", "bad": "quarantined", "picture": "new_picture", "both": "new_picture",
        "model": "new_model", "engine": "new_engine",
    }  # fmt: skip
    assert found.schema == changes_schema(TARGETS)
    assert cause_counts(found) == dict(zip(CAUSES, (1, 1, 1, 2, 1, 1), strict=True))


def test_rows_are_sorted_by_product_whatever_the_order_of_the_files() -> None:
    found = changes(BEFORE, AFTER, targets=TARGETS)
    shuffled = changes(BEFORE.take([3, 1, 0, 2, 6, 5, 4]), AFTER.take([5, 0, 4, 1, 3, 2]), targets=TARGETS)
    assert found["product_id"].to_pylist() == sorted(found["product_id"].to_pylist())
    assert found.equals(shuffled)


def test_both_answers_stand_beside_each_other_and_are_null_where_there_is_no_row() -> None:
    found = by_id(
        changes(table(row("a"), row("gone", "Belts", 0.5)), table(row("a", None, 0.25, score_key="k")), targets=TARGETS)
    )
    assert (found["a"]["articleType_old"], found["a"]["articleType_new"]) == ("Shirts", None)
    assert found["a"]["articleType_new_probability"] == 0.25
    assert (found["gone"]["articleType_old"], found["gone"]["articleType_old_probability"]) == ("Belts", 0.5)
    assert (found["gone"]["articleType_new"], found["gone"]["articleType_new_probability"]) == (None, None)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("Shirts", "Tops", True),
        ("Shirts", "Shirts", False),
        ("Shirts", None, True),
        (None, "Shirts", True),
        (None, None, False),
    ],
)
def test_too_rare_is_a_label_like_the_others(old: str | None, new: str | None, changed: bool) -> None:
    found = changes(table(row("a", old)), table(row("a", new, score_key="k")), targets=TARGETS)
    assert found["label_changed"].to_pylist() == [changed]
    assert target_changed(found, "articleType").to_pylist() == [changed]
    assert target_changed(found, "gender").to_pylist() == [False]


def test_products_on_one_side_only_have_no_changed_label() -> None:
    found = changes(table(row("gone")), table(row("new")), targets=TARGETS)
    assert found["label_changed"].to_pylist() == [False, False]


def test_on_the_first_night_everything_is_new() -> None:
    found = changes(None, AFTER, targets=TARGETS)
    assert cause_counts(found)["new_product"] == found.num_rows == AFTER.num_rows
    assert found["articleType_old_probability"].null_count == AFTER.num_rows


def test_the_same_scores_have_no_changes() -> None:
    assert changes(BEFORE, BEFORE, targets=TARGETS).num_rows == 0
    empty = BEFORE.slice(0, 0)
    assert changes(empty, empty, targets=TARGETS).num_rows == 0
    assert changes(BEFORE, empty, targets=TARGETS).num_rows == BEFORE.num_rows


@pytest.mark.parametrize("newer", [True, False])
def test_a_target_of_one_model_only_is_null_on_the_other_side_and_changes_nothing(newer: bool) -> None:
    both, one = table(row("a", score_key="k")), table(row("a"), targets=("gender",))
    found = changes(one, both, targets=TARGETS) if newer else changes(both, one, targets=TARGETS)
    has, lacks = ("new", "old") if newer else ("old", "new")
    row_of_a = found.to_pylist()[0]
    assert (row_of_a[f"articleType_{has}"], row_of_a[f"articleType_{lacks}"]) == ("Shirts", None)
    assert row_of_a[f"articleType_{lacks}_probability"] is None
    assert row_of_a["label_changed"] is False


def test_a_target_that_neither_table_has_is_refused() -> None:
    with pytest.raises(ValueError, match="season"):
        changes(BEFORE, AFTER, targets=["season"])


def test_a_product_with_two_rows_is_refused() -> None:
    with pytest.raises(AssertionError, match="two rows"):
        changes(BEFORE, table(row("a"), row("a")), targets=TARGETS)


def test_a_whole_scores_table_is_taken_as_it_is() -> None:
    whole = pa.Table.from_pylist(
        [
            row("a") | {"articleType_top3": [], "articleType_needs_review": False, "gender_top3": [], "embedding": [1.0] * 4}
            | {"gender_needs_review": False, "trunk_version": "t", "run_id": "r", "scored_at": "s"}
        ],
        schema=schema.scores(TARGETS, 4),
    )  # fmt: skip
    assert changes(whole, table(row("a", "Tops", score_key="k")), targets=TARGETS)["label_changed"].to_pylist() == [True]


def test_classes_are_counted_on_both_nights_the_largest_movement_first() -> None:
    before = table(row("a", "Tops"), row("b", "Tops"), row("c", None), row("d", "Belts"))
    after = table(row("a", "Shirts"), row("b", "Shirts"), row("c", "Shirts"), row("d", "Belts"), row("e", None))
    found = class_counts(before, after, "articleType")
    assert found.values.tolist() == [["Shirts", 0, 3, 3], ["Tops", 2, 0, -2], ["Belts", 1, 1, 0], [None, 1, 1, 0]]
    assert found.columns.tolist() == ["class", "before", "after", "difference"]


def test_classes_of_a_first_night_or_of_a_new_target_come_from_nothing() -> None:
    after = table(row("a", "Tops"))
    for before in (None, table(row("a"), targets=("gender",))):
        assert class_counts(before, after, "articleType").values.tolist() == [["Tops", 0, 1, 1]]


def test_the_most_telling_products_are_those_where_two_sure_answers_contradict_each_other() -> None:
    before = table(row("sure", "Tops", 0.9), row("unsure", "Tops", 0.2), row("kept", "Tops", 0.99), row("gone", "Tops", 0.999))
    after = table(
        row("sure", "Belts", 0.8, score_key="k"),
        row("unsure", "Belts", 1.0, score_key="k"),
        row("kept", "Tops", 0.99, score_key="k"),
    )
    found = changes(before, after, targets=TARGETS)
    assert most_telling(found, targets=TARGETS, most=9)["product_id"].to_pylist() == ["sure", "unsure", "gone", "kept"]
    assert most_telling(found, targets=TARGETS, most=2).num_rows == 2
    assert most_telling(found.slice(0, 0), targets=TARGETS, most=2).num_rows == 0


def test_a_sure_answer_for_a_target_that_did_not_change_tells_nothing() -> None:
    before = table(row("a", "Tops", 0.5), row("b", "Tops", 0.4, gender_probability=1.0))
    after = table(row("a", "Belts", 0.5, score_key="k"), row("b", "Belts", 0.4, gender_probability=1.0, score_key="k"))
    assert most_telling(changes(before, after, targets=TARGETS), targets=TARGETS, most=2)["product_id"].to_pylist() == [
        "a",
        "b",
    ]


def test_random_nights_are_compared_as_a_loop_would() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        nights = [
            {
                str(n): row(
                    str(n), rng.choice(["A", "B"]), score_key=f"k{rng.integers(3)}", model_version=f"m{rng.integers(2)}"
                )
                for n in rng.permutation(12)[: rng.integers(13)]
            }
            for _ in range(2)
        ]
        old, new = nights
        found = by_id(changes(table(*old.values()), table(*new.values()), targets=TARGETS))
        expected = {
            name
            for name in {*old, *new}
            if name not in old or name not in new or old[name]["score_key"] != new[name]["score_key"]
        }
        assert set(found) == expected
        for name in expected & set(old) & set(new):
            assert found[name]["label_changed"] == (old[name]["articleType_predicted"] != new[name]["articleType_predicted"])
