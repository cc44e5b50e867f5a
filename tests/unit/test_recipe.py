"""From options to a recipe, and a small problem that is learned with each setting."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from fashion_ray import tracking
from fashion_ray.errors import UserError
from fashion_ray.training.imbalance import Fed
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.options import PRESETS, TrainOptions
from fashion_ray.training.recipe import Recipe
from fashion_ray.training.recipe_options import RecipeOptions, recipe_of, sampling_of
from tests.unit.networks import ALL, CLASSES, RECIPE, batches, stage_loop, tiny, toy

FED = Fed(target="season", copies={}, classes={"season": np.array([0] * 8 + [1, 2]), "usage": np.array([0, 1] * 5)})
TARGETS = ("season", "usage")


def recipe(**values: Any) -> Recipe:
    """The recipe of these options."""
    return recipe_of(TrainOptions(targets=TARGETS, **values), FED, CLASSES, bf16=False)


def test_the_default_recipe_is_what_its_figures_were_seen_with() -> None:
    expected = Recipe(
        learning_rate=2e-3, heads_learning_rate=3e-3, layer_decay=0.8, weight_decay=0.02, label_smoothing=0.05,
        batchnorm_learns=True, bf16=False,
    )  # fmt: skip
    assert recipe() == expected
    assert sampling_of(TrainOptions(targets=TARGETS), FED, CLASSES) is None
    assert TrainOptions().augmentation.__dict__ == {
        "flip": True, "shift": 4, "crop": 0.0, "rotation": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0,
        "erasing": 0.0, "noise": 0.0,
    }  # fmt: skip
    assert TrainOptions().head_code == "batchnorm"


def test_every_option_reaches_the_recipe() -> None:
    chosen: dict[str, Any] = {
        "learning_rate": 0.1, "heads_learning_rate": 0.2, "layer_decay": 0.3, "weight_decay": 0.4, "label_smoothing": 0.5,
        "optimizer": "sgd", "momentum": 0.6, "nesterov": False, "warmup_epochs": 7.0, "step_epochs": 8, "step_factor": 0.9,
        "clip_gradient": 1.5, "accumulate": 2, "ema_decay": 0.11, "mixup": 0.12, "cutmix": 0.13, "title_weight": 0.14,
    }  # fmt: skip
    found = recipe(**chosen, batchnorm="frozen", learning_rate_curve="step", compile=True)
    assert {name: getattr(found, name) for name in chosen} == chosen
    assert not found.batchnorm_learns and found.curve == "step" and found.compiler == "inductor"
    changed = {field.name for field in fields(Recipe) if getattr(found, field.name) != getattr(recipe(), field.name)}
    rest = {"bf16", "class_weights", "target_weights", "logit_offsets"}
    assert changed == {field.name for field in fields(Recipe)} - rest


def test_weights_and_offsets_are_of_the_rows_that_are_fed() -> None:
    assert recipe(target_weights=("usage=0.5",)).target_weights == (1.0, 0.5)
    assert recipe(logit_adjustment=2.0).logit_offsets[0] == pytest.approx(2 * np.log([0.8, 0.1, 0.1]))
    assert recipe(class_weights="balanced").class_weights[0] == pytest.approx([10 / 24, 10 / 3, 10 / 3])
    sampling = sampling_of(TrainOptions(targets=TARGETS, sampling="balanced"), FED, CLASSES)
    assert sampling is not None and sampling.column == 0
    assert sampling.weights == pytest.approx([10 / 24, 10 / 3, 10 / 3])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"head_widths": (50,)}, "--head-widths: got (50,), expected none"),
    ({"head": "mlp", "head_widths": (0,)}, "--head-widths: got (0,)"),
    ({"head": "mlp", "head_activation": "sine"}, "--head-activation: got 'sine', expected one of relu"),
    ({"target_weights": ("gender=2",)}, "--target-weights: got 'gender=2', expected TARGET=WEIGHT"),
    ({"target_weights": ("season",)}, "--target-weights: got 'season'"),
    ({"target_weights": ("season=-1",)}, "--target-weights: got 'season=-1'"),
    ({"target_weights": ("season=nan",)}, "--target-weights: got 'season=nan'"),
    ({"optimizer": "lion"}, "--optimizer: got 'lion', expected one of adamw, adam, sgd, rmsprop"),
    ({"learning_rate_curve": "linear"}, "--learning-rate-curve: got 'linear'"),
    ({"warmup_epochs": -1.0}, "--warmup-epochs: got -1.0"),
    ({"accumulate": 40}, "--accumulate: got 40, expected at most half of --batch-size"),
    ({"sampling": "random"}, "--sampling: got 'random', expected one of shuffled, balanced, sqrt"),
    ({"monitor": "validation_accuracy/gender"}, "--monitor: got 'validation_accuracy/gender', expected one of score"),
    *(({name: -0.1}, f"--{name.replace('_', '-')}: got -0.1") for name in (
        "momentum", "clip_gradient", "logit_adjustment", "mixup", "cutmix", "ema_decay", "crop", "rotation", "brightness",
        "contrast", "saturation", "erasing", "noise", "step_factor",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        TrainOptions(targets=TARGETS, **values)
    assert str(caught.value).startswith(message)


def test_parameters_of_a_run_are_flat() -> None:
    flat = tracking.flat(TrainOptions(head="mlp", head_widths=(50, 20), target_weights=("articleType=2",)))
    assert (flat["head_widths"], flat["target_weights"]) == ("50,20", "articleType=2")
    assert all(isinstance(value, str | int | float | bool | None) for value in flat.values())
    assert {field.name for field in fields(RecipeOptions)} <= set(flat)
    assert all(set(preset) <= set(flat) for preset in PRESETS.values())


LEARNS: list[dict[str, Any]] = [
    {"optimizer": "adam"},
    {"optimizer": "sgd", "learning_rate": 0.1},
    {"optimizer": "rmsprop", "learning_rate": 0.002},
    {"curve": "constant"},
    {"curve": "step", "step_epochs": 2, "step_factor": 0.5},
    {"curve": "onecycle"},
    {"warmup_epochs": 1.0},
    {"clip_gradient": 0.0},
    {"accumulate": 4},
    {"label_smoothing": 0.1},
    {"logit_offsets": ((-1.0, -1.0, -1.0), (-0.5, -0.8)), "target_weights": (2.0, 0.5)},
    {"batchnorm_learns": True},
]


@pytest.mark.parametrize("setting", LEARNS, ids=lambda setting: ",".join(f"{key}={value}" for key, value in setting.items()))
def test_a_small_problem_is_learned(setting: dict[str, Any]) -> None:
    loop = stage_loop(tiny(), ALL, recipe=replace(RECIPE, **setting))
    before = loop.evaluate(batches(*toy()))
    for epoch in range(ALL.epochs):
        loop.train_epoch(batches(*toy()), epoch)
    after = loop.evaluate(batches(*toy()))
    assert after["score"] > 0.7 and after["validation_loss"] < 0.8 * before["validation_loss"]


@pytest.mark.parametrize("head", ["linear", "mlp:16:relu", "mlp:24,12:gelu", "mlp:16:silu", "mlp:16:tanh"])
def test_a_small_problem_is_learned_by_each_head(head: str) -> None:
    loop = stage_loop(tiny(head=head), ALL)
    for epoch in range(ALL.epochs):
        loop.train_epoch(batches(*toy()), epoch)
    assert loop.evaluate(batches(*toy()))["score"] > 0.65  # by chance 0.42


def test_a_compiled_network_learns_what_a_plain_one_learns() -> None:
    figures = []
    for compiler in ("", "aot_eager"):  # inductor takes a minute
        network, chosen = tiny(), replace(RECIPE, compiler=compiler)
        loop = stage_loop(network, ALL, recipe=chosen, optimizer=make_optimizer(network, chosen))
        found = loop.train_epoch(batches(*toy()), 0) | loop.evaluate(batches(*toy(), 33))
        figures.append(found)
        assert not any(key.startswith("_orig_mod") for key in network.state_dict())
    for key in ("train_loss", "validation_loss"):
        assert figures[1][key] == pytest.approx(figures[0][key], rel=1e-3)
