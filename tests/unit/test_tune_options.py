"""The options of a search, and the plan that they come to."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from fashion_ray.errors import UserError
from fashion_ray.tuning.options import TuneOptions, longer, plan_of
from fashion_ray.tuning.slots import Slots, plan_slots


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "a b"), ("name", 97 * "a"), ("search", "genetic"), ("stopping", "patience"), ("trials", 0), ("minutes", 0.0),
     ("finalists", -1), ("parallel", 0), ("final_epochs", 0), ("trial_workers", 0), ("seed", -1), ("root", "")],
)  # fmt: skip
def test_a_value_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"--{field.replace('_', '-')}: got"):
        TuneOptions(**{field: value})


@pytest.mark.parametrize(
    ("options", "trials"),
    [({}, 20), ({"minutes": 5.0}, sys.maxsize), ({"minutes": 5.0, "trials": 3}, 3), ({"search": "grid"}, sys.maxsize)],
)
def test_the_budget_is_in_trials_in_minutes_or_both(options: dict[str, Any], trials: int) -> None:
    assert plan_of(TuneOptions(space=("head=linear mlp",), **options), "/r").trials == trials


def test_a_plan_reads_below_the_root_and_a_grid_of_a_range_is_refused() -> None:
    plan = plan_of(TuneOptions(space=("dropout=0..0.5",), set=("schedule=heads:2",), cache="/c"), "/r")
    assert (plan.base.root, plan.base.cache, plan.base.schedule) == ("/r", "/c", "heads:2")
    with pytest.raises(UserError, match="--search grid"):
        plan_of(TuneOptions(space=("dropout=0..0.5",), search="grid"), "/r")


def test_trials_are_not_compared_by_rows_that_they_have_learned() -> None:
    with pytest.raises(UserError, match=r"got monitor=train_loss, .* expected score, validation_loss or"):
        plan_of(TuneOptions(space=("dropout=0..0.5",), set=("monitor=train_loss",)), "/r")


def test_a_study_without_a_search_has_no_space() -> None:
    with pytest.raises(UserError, match=r"--space: got .* the study class30-cnn has no search"):
        TuneOptions(study="class30-cnn", space=("batch_size=32 64",))


def test_only_what_decides_the_trials_must_be_the_same_when_a_search_is_continued() -> None:
    def asked(**changes: Any) -> object:
        return plan_of(TuneOptions(**{"space": ("dropout=0..0.5",), **changes}), changes.get("root", "/r")).asked()

    assert asked() == asked(trials=5, minutes=3.0, parallel=2, finalists=2, root="/elsewhere", cache="/c", cpus=1)
    for changed in (
        {"seed": 1},
        {"space": ("dropout=0..0.6",)},
        {"set": ("seed=1",)},
        {"search": "tpe"},
        {"stopping": "asha"},
        {"trial_workers": 2},
    ):
        assert asked() != asked(**changed)


def test_finalists_have_their_epochs_in_the_last_stage() -> None:
    assert longer("heads:2,top1:4", 10) == "heads:2,top1:10"
    assert longer("heads:2", 7) == "heads:7" and longer("heads:2,top1:4", None) == "heads:2,top1:4"


@pytest.mark.parametrize(
    ("parallel", "cpus", "gpus", "cpus_per_node", "slots"),
    [
        (None, 2, 0, 2, Slots(count=2, cpus=1.0, gpus=0.0, threads=1, node_threads=2)),
        (1, 2, 0, 2, Slots(count=1, cpus=2.0, gpus=0.0, threads=2, node_threads=2)),
        (3, 2, 0, 2, Slots(count=3, cpus=2 / 3, gpus=0.0, threads=1, node_threads=2)),
        (2, 16, 1, 16, Slots(count=2, cpus=8.0, gpus=0.5, threads=8, node_threads=16)),
        (None, 16, 1, 16, Slots(count=1, cpus=16.0, gpus=1.0, threads=16, node_threads=16)),
        (1, 64, 0, 16, Slots(count=1, cpus=16.0, gpus=0.0, threads=16, node_threads=16)),
    ],
)
def test_trials_side_by_side_fit_the_cluster_all_at_once(
    parallel: int | None, cpus: float, gpus: float, cpus_per_node: float, slots: Slots
) -> None:
    found = plan_slots(parallel, cpus=cpus, gpus=gpus, cpus_per_node=cpus_per_node)
    assert found == slots
    assert found.count * found.cpus <= cpus and found.cpus <= cpus_per_node and found.count * found.gpus <= gpus
