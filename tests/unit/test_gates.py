"""A gate refuses exactly what is over its limit, says by how much, and does not apply where there is nothing to compare."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pytest

from fashion_ray.errors import UserError
from fashion_ray.scoring.drift import Drift, TargetDrift
from fashion_ray.scoring.gates import Accuracy, Facts, Limits, accuracy, accuracy_pairs, judge, verdicts
from tests.unit.test_changes import row, table

CALM = TargetDrift(label_psi=0.0, probability_psi=0.0, changed_share=0.0)
OFF = Limits(
    label_psi=None, probability_psi=None, centroid_shift=None, changed_share=None, withdrawn_share=None, bad_share=None,
    coverage=None, accuracy_drop=None,
)  # fmt: skip
GOOD = {"catalog": 1000, "scored": 100, "carried_over": 900, "quarantined": 0}


def facts(**changed: Any) -> Facts:
    return Facts(**({**GOOD, "before": 1000} | changed))


def drifted(shift: float | None = 0.0, **changed: float | None) -> Drift:
    moved = TargetDrift(**({"label_psi": 0.0, "probability_psi": 0.0, "changed_share": 0.0} | changed))  # type: ignore[arg-type]
    return Drift(targets={"gender": CALM, "articleType": moved}, centroid_shift=shift, products_in_both=1000)


def pairs(old: int, new: int, rows: int = 1000) -> dict[str, tuple[Accuracy, Accuracy]]:
    return {"articleType": (Accuracy(rows=rows, right=old), Accuracy(rows=rows, right=new))}


def test_a_calm_night_is_published() -> None:
    assert judge(facts(drift=drifted(), accuracy_pairs=pairs(900, 900)), Limits()) == []


def test_a_first_night_is_judged_by_its_books_alone() -> None:
    first = Facts(**GOOD)
    applied = {one.name for one in verdicts(first, Limits()) if one.value is not None and one.limit is not None}
    assert judge(first, Limits()) == []
    assert applied == {"bad_share", "coverage"}


@pytest.mark.parametrize(
    ("name", "changed", "value"),
    [
        ("label_psi", {"drift": drifted(label_psi=0.2)}, 0.2),
        ("probability_psi", {"drift": drifted(probability_psi=0.5)}, 0.5),
        ("centroid_shift", {"drift": drifted(shift=0.5)}, 0.5),
        ("withdrawn_share", {"withdrawn": 400}, 0.4),
        ("bad_share", {"carried_over": 870, "quarantined": 30}, 0.03),
        ("accuracy_drop", {"accuracy_pairs": pairs(900, 850)}, 0.05),
    ],
)
def test_each_default_limit_refuses_on_its_own(name: str, changed: dict[str, Any], value: float) -> None:
    refusals = judge(facts(**changed), Limits())
    assert [one.name for one in refusals] == [name]
    assert refusals[0].value == pytest.approx(value)
    assert refusals[0].limit == getattr(Limits(), name)


def test_coverage_is_a_lowest_value() -> None:
    poor = facts(carried_over=800, quarantined=100)
    assert [one.name for one in judge(poor, Limits(bad_share=None))] == ["coverage"]
    assert judge(poor, Limits(bad_share=None, coverage=0.9)) == []


def test_the_share_of_changed_labels_is_limited_only_if_asked_for() -> None:
    moved = facts(drift=drifted(changed_share=0.9))
    assert judge(moved, Limits()) == []
    assert [(one.name, one.target) for one in judge(moved, Limits(changed_share=0.1))] == [("changed_share", "articleType")]


def test_the_sentence_says_which_gate_the_value_the_limit_and_by_how_much() -> None:
    (refusal,) = judge(facts(drift=drifted(label_psi=0.31)), Limits(label_psi=0.25))
    assert refusal.sentence == (
        "label_psi: the population stability index of articleType, labels is 0.31, highest allowed 0.25, 0.06 too high"
    )


def test_a_value_at_its_limit_passes_and_one_that_is_no_number_does_not() -> None:
    assert judge(facts(drift=drifted(label_psi=0.1)), Limits(label_psi=0.1)) == []
    assert [one.name for one in judge(facts(drift=drifted(label_psi=math.nan)), Limits())] == ["label_psi"]


def test_gates_that_are_off_refuse_nothing_and_are_still_listed() -> None:
    awful = facts(drift=drifted(shift=2.0, label_psi=9.0), withdrawn=1000, quarantined=1000, accuracy_pairs=pairs(1000, 0))
    assert judge(awful, OFF) == []
    assert {one.name for one in verdicts(awful, OFF)} == {
        field.name for field in fields(Limits) if field.name not in ("accuracy_floor", "least_labelled")
    }


def test_another_trunk_has_no_centroid_to_compare_with() -> None:
    assert judge(facts(drift=drifted(shift=None)), Limits(centroid_shift=0.0)) == []


def test_an_accuracy_floor_holds_for_its_target_also_on_the_first_night() -> None:
    first = Facts(**GOOD, accuracy={"articleType": Accuracy(rows=1000, right=700), "gender": Accuracy(rows=1000, right=10)})
    refusals = judge(first, Limits(accuracy_floor={"articleType": 0.8}))
    assert [(one.name, one.target, one.value) for one in refusals] == [("accuracy_floor", "articleType", 0.7)]
    assert judge(first, Limits(accuracy_floor={"articleType": 0.7})) == []


def test_a_floor_of_a_target_that_is_not_scored_does_not_apply() -> None:
    assert judge(facts(), Limits(accuracy_floor={"season": 0.9})) == []


def test_few_labelled_products_say_nothing() -> None:
    few = facts(accuracy_pairs=pairs(100, 0, rows=199), accuracy={"articleType": Accuracy(rows=199, right=0)})
    limits = Limits(accuracy_floor={"articleType": 0.9})
    assert judge(few, limits) == []
    assert "too few labelled" in next(one.sentence for one in verdicts(few, limits) if one.name == "accuracy_floor")
    assert len(judge(few, Limits(accuracy_floor={"articleType": 0.9}, least_labelled=199))) == 2


def test_a_better_model_is_no_drop() -> None:
    assert judge(facts(accuracy_pairs=pairs(800, 900)), Limits(accuracy_drop=0.0)) == []


def test_an_empty_catalog_is_judged_without_dividing_by_it() -> None:
    assert judge(Facts(catalog=0, scored=0, carried_over=0, quarantined=0, before=0), Limits()) == []


def test_wrong_limits_are_all_reported_at_once() -> None:
    with pytest.raises(UserError) as raised:
        Limits(label_psi=-1.0, coverage=1.5, accuracy_floor={"gender": 80.0}, least_labelled=0)
    for said in (
        "--limits.label-psi: got -1.0",
        "coverage: got 1.5",
        "accuracy-floor of gender: got 80.0",
        "least-labelled: got 0",
    ):
        assert said in str(raised.value)


LABELS = pa.table(
    {
        "product_id": ["a", "b", "c", "d", "not scored"],
        "articleType": ["Tops", "Tops", "Kajal", None, "Tops"],
        "gender": ["Men", "Unknown", None, None, "Men"],
    }
)
CLASSES: dict[str, list[str | None]] = {"articleType": ["Shirts", "Tops", None], "gender": ["Men", "Women"]}


def test_accuracy_counts_labelled_products_and_leaves_out_article_types_the_model_does_not_know() -> None:
    scores = table(row("d"), row("c", None), row("b", "Shirts"), row("a", "Tops"), row("unlabelled"))
    found = accuracy(scores, LABELS, classes=CLASSES)
    assert found["articleType"] == Accuracy(rows=2, right=1)
    assert found["gender"] == Accuracy(rows=2, right=1), "an unknown class of another target is a miss"
    assert found["articleType"].share == 0.5


def test_an_article_type_answered_as_too_rare_is_a_miss_where_it_is_known() -> None:
    assert accuracy(table(row("a", None)), LABELS, classes=CLASSES)["articleType"] == Accuracy(rows=1, right=0)


def test_accuracy_without_labelled_products_is_no_number() -> None:
    found = accuracy(table(row("x")), LABELS, classes=CLASSES)
    assert found["articleType"] == Accuracy(rows=0, right=0)
    assert math.isnan(found["articleType"].share)


def test_two_nights_are_compared_on_the_products_and_article_types_that_both_have() -> None:
    before = table(row("a", "Tops"), row("b", "Shirts"), row("c", None))
    after = table(row("c", "Kajal"), row("b", "Tops"), row("d"))
    newer = {"articleType": ["Kajal", "Shirts", "Tops"], "season": ["Fall"]}
    found = accuracy_pairs(before, after, LABELS, classes=(CLASSES, newer))
    assert found == {"articleType": (Accuracy(rows=1, right=0), Accuracy(rows=1, right=1))}
