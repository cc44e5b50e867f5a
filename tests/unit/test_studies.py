"""The earlier studies as presets: valid options, the networks that they had, and what --set makes of them."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch

from fashion_ray import cli
from fashion_ray.errors import UserError
from fashion_ray.models import backbones
from fashion_ray.models.network import Geometry, Network, build_heads, count_parameters, freeze_below
from fashion_ray.training.options import TrainOptions, size_of
from fashion_ray.tuning.options import Plan, TuneOptions, plan_of
from fashion_ray.tuning.space import options_of
from fashion_ray.tuning.studies import STUDIES, defaults, way_out
from fashion_ray.tuning.study_table import Entry, Figures, compared, each, markdown, t_interval
from fashion_ray.tuning.trials import nth_point

AT_HAND = "backbone=efficientnet_lite0"


def plan(name: str, *arguments: str) -> Plan:
    """What the command line comes to."""
    presets = {study: defaults(study) for study in STUDIES}
    options = cli.parse(TuneOptions, ["--study", name, *arguments], example="", presets=presets, chooser="--study")
    return plan_of(options, "/r")


def network(options: TrainOptions, outputs: int) -> Network:
    """A training's network, in shapes alone."""
    size = size_of(options.input_size)
    with torch.device("meta"):
        trunk = backbones.skeleton(options.backbone, input_size=size, pooling=options.pooling)
        classes = {options.targets[0]: [str(one) for one in range(outputs)]}
        heads = build_heads(options.head_code, trunk.spec.embedding_dim, classes, options.dropout)
        return Network(Geometry(decoded_size=size, input_size=size), trunk, heads)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_a_search_or_trainings_with_valid_options(name: str) -> None:
    found = plan(name)
    assert found.searches or found.runs
    assert len({run.name for run in found.runs}) == len(found.runs)
    for run in found.runs:
        assert run.options.root == "/r" and run.options.learning_rate_curve in ("constant", "cosine")
    if found.space is not None:
        point = nth_point(found.options.search, found.space, 0, seed=0, earlier=[])
        assert point is not None and options_of(found.base, point).schedule.startswith("heads:")
    assert found.asked()["study"] == name


@pytest.mark.parametrize(
    ("name", "run", "outputs", "parameters", "learning"),
    [
        ("master-vgg16", "vgg16", 7, 15_970_305, 1_255_617),
        ("article-simplecnn", "simplecnn", 70, 5_036_998, 5_036_998),
        ("class30-cnn", "colour", 30, 9_913_278, 9_913_278),
        ("fashion-mnist", "lenet5", 10, 81_194, 81_194),
        ("fashion-mnist", "mlp300", 10, 338_610, 338_610),
        ("fashion-mnist", "resnet50", 10, 23_581_642 - 2 * 26_560, 23_581_642 - 2 * 26_560),
    ],
)
def test_the_networks_of_the_presets_are_as_large_as_in_their_studies(
    name: str, run: str, outputs: int, parameters: int, learning: int
) -> None:
    (found,) = (one for one in plan(name).runs if one.name == run)
    made = network(found.options, outputs)
    freeze_below(made, 0 if found.options.schedule.startswith("heads") else len(made.trunk.blocks))
    assert count_parameters(made) == (parameters, learning)


def test_the_grid_has_24_points_and_as_many_on_the_trunk_at_hand() -> None:
    theirs, ours = plan("article-grid24"), plan("article-grid24", "--set", AT_HAND)
    assert theirs.space is not None and ours.space is not None
    assert theirs.space.size == ours.space.size == 24
    assert {point["backbone"] for point in theirs.space.points()} == {"vgg16", "mobilenet_v2"}
    assert {point["input_size"] for point in ours.space.points()} == {"160x120", "112x84"}
    assert ours.base.backbone == "efficientnet_lite0" and ours.base.schedule == "heads:3"
    assert {(run.options.backbone, run.options.input_size, run.options.head) for run in ours.runs} == {
        ("efficientnet_lite0", size, head) for size in ("160x120", "112x84") for head in ("linear", "batchnorm")
    }  # fmt: skip
    assert all((run.options.optimizer, run.options.heads_learning_rate) == ("sgd", 0.01) for run in theirs.runs)


def test_the_tuned_study_draws_six_points_and_trains_the_winner_for_50_epochs() -> None:
    found = plan("master-vgg16-tuned")
    assert (found.trials, found.options.search, found.options.final_epochs, found.options.retrain) == (6, "random", 50, True)
    assert found.base.schedule == "heads:5" and found.base.pooling == "flatten"
    fewer = plan("master-vgg16-tuned", "--trials", "2", "--final-epochs", "3")
    assert (fewer.trials, fewer.options.final_epochs, fewer.options.search) == (2, 3, "random")


def test_three_classes_has_five_folds_of_each_network_and_two_halves() -> None:
    runs = plan("three-classes").runs
    assert len(runs) == 4 * 5 + 2
    assert [run.options.split for run in runs if run.group.name == "vgg16-halves"] == ["fold:1/2", "fold:2/2"]
    ours = plan("three-classes", "--set", AT_HAND).runs
    assert {run.options.backbone for run in ours} == {"efficientnet_lite0", "simplecnn"}
    assert [run.options.weights for run in ours if run.options.backbone == "simplecnn"] == ["none"] * 5
    assert len(ours) == 3 * 5 + 2, "ResNet50 and VGG16 have become the same"


def test_what_is_typed_counts_more_than_the_study() -> None:
    (run,) = plan("article-simplecnn", "--set", "input_size=80x60", "schedule=all:1").runs
    assert (run.options.input_size, run.options.schedule, run.options.backbone) == ("80x60", "all:1", "simplecnn")
    assert [run.name for run in plan("catalog-rgb", "--runs", "lenet5").runs] == ["lenet5"]
    only = plan("article-grid24", "--set", AT_HAND, "--runs", "search")
    assert only.searches and not only.runs
    other = plan("article-grid24", "--set", AT_HAND, "--runs", "vgg16-fc")
    assert not other.searches and other.asked() == only.asked(), "parts of a study may be run one after the other"
    searched = plan("master-vgg16-tuned", "--space", "dropout=0 0.5")
    assert searched.space is not None and searched.space.size == 2 and searched.trials == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--runs", "vgg17"), "--runs: got 'vgg17', expected among search, vgg16-fc"),
        (("--set", "optimiser=sgd"), "did you mean optimizer"),
        (("--set", "backbone=vgg17"), "--backbone: got 'vgg17'"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan("article-grid24", *arguments)


def test_an_unknown_study_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="--study: got 'vgg', expected one of master-vgg16"):
        plan("vgg")
    with pytest.raises(UserError, match="none without --study"):
        TuneOptions(runs=("lenet5",))


def test_weights_that_cannot_be_had_are_answered_with_the_ways_out() -> None:
    found = way_out("--weights: vgg16 cannot be downloaded")
    assert "--set weights=FILE" in found and "--set backbone=efficientnet_lite0" in found
    assert way_out("--schedule: no") == "--schedule: no"


def test_the_t_interval_is_students() -> None:
    low, high = t_interval([0.8, 0.82, 0.84, 0.86, 0.88])
    assert (low, high) == pytest.approx(
        (0.84 - 2.7764 * 0.0316228 / math.sqrt(5), 0.84 + 2.7764 * 0.0316228 / math.sqrt(5)), abs=1e-5
    )
    assert t_interval([0.5, 0.6]) == pytest.approx((0.55 - 12.7062 * 0.05, 0.55 + 12.7062 * 0.05), abs=1e-4)
    assert t_interval([0.5]) == (-math.inf, math.inf)


def figures(run: str, accuracy: float) -> Figures:
    """A training that ended well."""
    return Figures(
        run=run, target="articleType", backbone="lenet5", weights="none", input_size="32x32", accuracy=accuracy, low=0.7,
        high=0.9, weighted_f1=0.8, macro_f1=0.5, majority=0.2, classes=67, balance=0.728,
        parameters=81_194, size_mb=0.33, images_per_second=100.0,
        best_epoch=3, epochs=5,
    )  # fmt: skip


def test_the_comparison_sets_theirs_beside_ours_and_says_what_was_not_run() -> None:
    entries = [
        Entry(group="one", theirs="accuracy 0.86", figures=(figures("a", 0.8),)),
        Entry(group="folds", theirs="", figures=(figures("b", 0.8), figures("c", 0.9), Figures(run="d", error="no | weights"))),
        Entry(group="none", theirs="accuracy 0.9", figures=(Figures(run="e", error="--weights: no"),)),
    ]
    table = compared(entries)
    assert list(table["accuracy"]) == ["0.8000 [0.7000, 0.9000]", "0.8500 [0.2147, 1.4853]", "not run"]
    assert list(table["theirs"]) == ["accuracy 0.86", "none", "accuracy 0.9"]
    assert table["classes"][0] == "67" and table["balance"][1] == "0.728" and table["balance"][2] == ""
    assert "2 of 3 trainings" in table["of"][1] and "lenet5 at 32x32" in table["of"][0] and table["of"][2] == "--weights: no"
    text = markdown(table)
    assert len(text.splitlines()) == 5 and len({line.count("|") for line in text.splitlines()}) == 1
    rows = each(entries)
    assert list(rows["run"]) == ["a", "b", "c", "d", "e"] and rows["error"][3] == "no | weights"
    assert Figures(**asdict(figures("a", 0.8))) == figures("a", 0.8)
