"""Options: defaults and presets are valid, and whatever is wrong is named, all of it at once."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from fashion_ray.catalog import schema
from fashion_ray.config import JobOptions
from fashion_ray.errors import UserError
from fashion_ray.scoring.options import ScoreOptions
from fashion_ray.training.options import PRESETS, TrainOptions, size_of
from fashion_ray.training.schedule import parse


def refused(make: Callable[..., JobOptions], **values: Any) -> str:
    """What the user is told."""
    with pytest.raises(UserError) as caught:
        make(**values)
    message = str(caught.value)
    assert "\n" not in message
    return message


def option(name: str) -> str:
    """A field as the command line has it."""
    return "--" + name.replace("_", "-")


@pytest.mark.parametrize("make", [TrainOptions, ScoreOptions])
def test_defaults_are_valid(make: Callable[..., JobOptions]) -> None:
    options: Any = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.root = "elsewhere"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_and_say_their_name(name: str) -> None:
    options = TrainOptions(**PRESETS[name])
    assert options.preset == name
    assert parse(options.schedule)
    assert min(size_of(options.input_size)) >= 16


def test_the_quick_preset_is_what_no_arguments_mean() -> None:
    assert TrainOptions(**PRESETS["quick"]) == TrainOptions()
    assert set(PRESETS) >= {"quick", "flagship"}


COMMON: list[tuple[str, Any]] = [("root", ""), ("root", "  "), ("cache", "s3://bucket/cache"), ("cpus", 0), ("cpus", -2)]
TRAIN: list[tuple[str, Any]] = [
    ("preset", "slow"),
    ("name", "a run"),
    ("name", "../run"),
    ("name", "x" * 129),
    ("targets", ()),
    ("targets", ("colour",)),
    ("targets", ("season", "season")),
    ("targets", ("masterCategory", "reassigned_articleType")),
    ("split", "half"),
    ("only", ("articleTyp=Shirts",)),
    ("class_rows", ("Skirts",)),
    ("class_rows", ("Skirts=0",)),
    ("class_rows", ("Skirts=many",)),
    ("split", "80/30"),
    ("split", "fold:6/5"),
    ("split_seed", -1),
    ("max_per_class", -1),
    ("oversample_to", -1),
    ("balance_target", "season"),
    ("class_weights", "inverse"),
    ("backbone", "resnet5000"),
    ("backbone", ""),
    ("pooling", "max"),
    ("input_size", "160"),
    ("input_size", "160x"),
    ("input_size", "8x8"),
    ("input_size", "2000x100"),
    ("input_size", "auto"),
    ("input_size", "160 x 120"),
    ("decoded_size", "big"),
    ("decoded_size", "8x80"),
    ("head", "transformer"),
    ("dropout", -0.1),
    ("dropout", 1.0),
    ("dropout", math.nan),
    ("schedule", ""),
    ("schedule", "heads"),
    ("schedule", "heads:0"),
    ("batch_size", 1),
    ("batch_size", 10**6),
    ("learning_rate", 0.0),
    ("learning_rate", -1.0),
    ("learning_rate", math.inf),
    ("learning_rate", math.nan),
    ("heads_learning_rate", 0.0),
    ("layer_decay", 0.0),
    ("layer_decay", 1.5),
    ("weight_decay", -0.1),
    ("label_smoothing", 1.0),
    ("batchnorm", "thawed"),
    ("cached_views", -1),
    ("shift", -1),
    ("patience", -1),
    ("min_class_count", 0),
    ("workers", 0),
    ("min_workers", 0),
    ("cache_limit", -1),
    ("workers", -1),
    ("engine", "tensorrt"),
    ("precision", "int8"),
    ("review_precision", 0.1),
    ("review_precision", 1.1),
    ("seed", -1),
]
SCORE: list[tuple[str, Any]] = [
    ("model", ""), ("model", " "), ("engine", "tensorrt"), ("engine", ""), ("precision", "fp16"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [*COMMON, *TRAIN])
def test_a_bad_value_of_a_training_option_is_named(name: str, value: Any) -> None:
    message = refused(TrainOptions, **{name: value})
    assert message.startswith(f"{option(name)}: got ")
    assert "expected" in message and " | " not in message
    shown = value[0] if name in ("targets", "class_rows") and len(value) == 1 else value
    assert repr(shown) in message


@pytest.mark.parametrize(("name", "value"), [*COMMON, *SCORE])
def test_a_bad_value_of_a_scoring_option_is_named(name: str, value: Any) -> None:
    message = refused(ScoreOptions, **{name: value})
    assert message.startswith(f"{option(name)}: got {value!r}, expected ") and " | " not in message


def test_the_bounds_themselves_are_allowed() -> None:
    TrainOptions(
        dropout=0, batch_size=2, layer_decay=1, label_smoothing=0, cached_views=0, shift=0, patience=0, min_class_count=1
    )
    TrainOptions(review_precision=1, workers=1, seed=2**31, cpus=1, weight_decay=0, input_size="16x1024", decoded_size="80x60")


@pytest.mark.parametrize("schedule", ["heads:1", "heads:3,top2:5,all:1", "all:10"])
def test_good_schedules_are_taken(schedule: str) -> None:
    assert TrainOptions(schedule=schedule).schedule == schedule


def test_all_problems_are_told_at_once() -> None:
    message = refused(
        TrainOptions, targets=("colour", "seasons"), batch_size=0, engine="tpu", root="", schedule="heads", learning_rate=-1.0
    )
    for name in ("root", "targets", "schedule", "engine", "batch_size", "learning_rate"):
        assert f"{option(name)}: got " in message
    assert message.count(" | ") == 6  # two of them are targets
    message = refused(ScoreOptions, model="", engine="tpu", precision="int4", cpus=0)
    assert message.count(" | ") == 3


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("seasons", "season"), ("articletype", "articleType"), ("baseColor", "baseColour"), ("masterCategries", "masterCategory")],
)
def test_an_unknown_target_is_answered_with_the_near_one(wrong: str, near: str) -> None:
    assert f"did you mean {near}?" in refused(TrainOptions, targets=(wrong,))


@pytest.mark.parametrize("target", schema.TARGETS)
def test_every_label_of_the_catalog_may_be_a_target(target: str) -> None:
    assert TrainOptions(targets=(target,), balance_target=target).targets == (target,)


def test_a_floor_above_the_cap_is_refused() -> None:
    TrainOptions(max_per_class=267, oversample_to=267)
    message = refused(TrainOptions, max_per_class=266, oversample_to=267)
    assert message == "--oversample-to: got 267, expected at most --max-per-class, 266"


def test_a_target_like_no_other_is_answered_with_all_of_them() -> None:
    message = refused(TrainOptions, targets=("zzz",))
    assert "did you mean" not in message
    assert "gender, masterCategory, subCategory" in message


def test_an_unknown_backbone_is_answered_with_near_ones() -> None:
    message = refused(TrainOptions, backbone="efficientnet_lit0")
    assert "did you mean" in message and "efficientnet_lite0" in message.split("did you mean")[1]


def test_networks_from_scratch_have_no_pretrained_weights() -> None:
    message = refused(TrainOptions, backbone="lenet5")
    assert message.startswith("--weights: got 'pretrained', expected none for lenet5") and "pass --weights none" in message
    assert TrainOptions(backbone="lenet5", weights="none").weights == "none"
    assert TrainOptions(backbone="lenet5", weights="s3://bucket/weights.safetensors").backbone == "lenet5"
    assert "did you mean" in refused(TrainOptions, backbone="lenet", weights="none")


@pytest.mark.parametrize(("text", "expected"), [("160x120", (160, 120)), ("28x28", (28, 28)), ("1024x16", (1024, 16))])
def test_sizes_are_height_x_width(text: str, expected: tuple[int, int]) -> None:
    assert size_of(text) == expected


def test_roots_and_caches_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_RAY_ROOT", "s3://bucket/prefix")
    monkeypatch.setenv("FASHION_RAY_CACHE", "/scratch/cache")
    assert (ScoreOptions().root, ScoreOptions().cache) == ("s3://bucket/prefix", "/scratch/cache")
    assert ScoreOptions(root="/elsewhere").root == "/elsewhere"
    monkeypatch.delenv("FASHION_RAY_ROOT")
    assert TrainOptions().root == "./workspace"


@pytest.mark.parametrize("make", [TrainOptions, ScoreOptions])
def test_every_option_is_explained(make: type[JobOptions]) -> None:
    source = "".join(inspect.getsource(base) for base in make.__mro__[:-1])
    for field in dataclasses.fields(make):
        after = source.split(f"    {field.name}: ", 1)[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""'), field.name
