"""The space of a search: every way to say it, and every way to get it wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fashion_ray.errors import UserError
from fashion_ray.training.options import TrainOptions
from fashion_ray.tuning import space
from fashion_ray.tuning.space import Axis

BASE = TrainOptions(schedule="heads:3")
LINES = ("optimizer=adamw sgd", "head=linear mlp", "head_widths=256 50,20 if head=mlp", "flip=true false if head=linear")


def refused(*lines: str) -> str:
    """What the user is told."""
    with pytest.raises(UserError) as caught:
        space.parse(lines, BASE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lists_ranges_and_conditions_are_axes() -> None:
    found = space.parse(["learning-rate=1e-4..1e-2:log", "batch_size=16..128", *LINES], BASE)
    assert found.axes[0] == Axis(name="learning_rate", low=1e-4, high=1e-2, log=True)
    assert found.axes[1] == Axis(name="batch_size", low=16, high=128, whole=True)
    assert found.axes[2] == Axis(name="optimizer", choices=("adamw", "sgd"))
    assert found.axes[4] == Axis(name="head_widths", choices=("256", "50,20"), only_if=("head", ("mlp",)))
    assert found.size is None


def test_a_grid_has_every_point_once_and_no_value_that_does_not_count() -> None:
    points = space.parse(LINES, BASE).points()
    assert len(points) == len({json.dumps(point) for point in points}) == 2 * (2 + 2)
    assert points[0] == {"optimizer": "adamw", "head": "linear", "flip": "true"}
    assert points[-1] == {"optimizer": "sgd", "head": "mlp", "head_widths": "50,20"}


def test_a_point_becomes_the_options_of_a_trial() -> None:
    point = {"head": "mlp", "head_widths": "50,20", "dropout": "0.25", "flip": "false", "warmup_epochs": "none", "shift": "3"}
    found = space.options_of(BASE, point)
    wanted = dataclasses.replace(BASE, head="mlp", head_widths=(50, 20), dropout=0.25, flip=False, warmup_epochs=None, shift=3)
    assert found == wanted


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_file_says_the_same_as_lines(tmp_path: Path, suffix: str) -> None:
    place = tmp_path / f"space{suffix}"
    values = {"head": ["linear", "mlp"], "head_widths": "256 50,20 if head=mlp", "batch_size": [32, 64], "flip": [True, False]}
    toml = "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
    place.write_text(json.dumps(values) if suffix == ".json" else toml)
    lines = ["head=linear mlp", "head_widths=256 50,20 if head=mlp", "batch_size=32 64", "flip=true false"]
    assert space.parse([str(place)], BASE) == space.parse(lines, BASE)


def test_hidden_widths_in_a_file_may_be_lists(tmp_path: Path) -> None:
    place = tmp_path / "space.json"
    place.write_text(json.dumps({"head_widths": [[256], [50, 20]]}))
    found = space.parse([str(place)], dataclasses.replace(BASE, head="mlp"))
    assert found.axes[0].choices == ("256", "50,20")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("learing_rate=0.1 0.2", ["learing_rate", "did you mean learning_rate?"]),
        ("targets=gender season", ["compared", "--set targets=VALUE"]),
        ("optimizer=adamv", ["adamv", "adamw, adam, sgd, rmsprop"]),
        ("dropout=0.5..0.1", ["0.5..0.1", "lower end first"]),
        ("dropout=0..2", ["2.0", "0 to 0.95"]),
        ("learning_rate=0..1:log", ["above 0 for :log"]),
        ("optimizer=a..b", ["no numbers to range over"]),
        ("batch_size=many", ["'many'", "a whole number"]),
        ("flip=yes", ["true or false"]),
        ("head_widths=256", ["only --head mlp"]),
        ("head_widths=256 if head=mlp", ["earlier list"]),
        ("schedule=heads", ["heads:EPOCHS"]),
        ("optimizer=", ["OPTION=VALUES"]),
    ],
)
def test_what_no_trial_can_have_is_refused_with_a_remedy(line: str, words: list[str]) -> None:
    message = refused(line, "dropout=0.1 0.2" if not line.startswith("dropout") else "shift=0 4")
    assert message.startswith(f"--space {line!r}: ")
    assert [word for word in words if word not in message] == []


def test_everything_that_is_wrong_is_said_at_once() -> None:
    message = refused("optimiser=adam", "dropout=7", "dropout=0.1", "dropout=0.2")
    assert "did you mean optimizer?" in message and "7.0" in message and "there twice" in message


def test_a_space_of_nothing_or_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "neither OPTION=VALUES nor a file" in refused(str(tmp_path / "none.toml"))
    (tmp_path / "empty.toml").write_text("")
    assert "nothing to change" in refused(str(tmp_path / "empty.toml"))
    (tmp_path / "broken.json").write_text("{")
    assert "no TOML or JSON" in refused(str(tmp_path / "broken.json"))


def test_a_range_is_no_grid() -> None:
    with pytest.raises(UserError, match=r"dropout is the range 0\.1\.\.0\.5.*--search random"):
        space.parse(["dropout=0.1..0.5"], BASE).points()


def test_the_default_space_is_valid_for_what_it_was_given() -> None:
    found = space.parse(space.default_lines([]), space.fixed([]))
    names = {axis.name for axis in found.axes}
    assert names >= {"head", "head_widths", "dropout", "optimizer", "batch_size", "crop", "schedule", "layer_decay"}
    settled = space.parse(
        space.default_lines(["schedule=heads:2", "head=linear"]), space.fixed(["schedule=heads:2", "head=linear"])
    )
    left = {axis.name for axis in settled.axes}
    assert names - left == {"schedule", "learning_rate", "layer_decay", "head", "head_widths"}


def test_what_stays_is_read_as_the_space_is() -> None:
    found = space.fixed(["preset=flagship", "targets=articleType,gender", "learning-rate=0.01"], cache="/c")
    assert found.preset == "flagship" and found.targets == ("articleType", "gender") and found.learning_rate == 0.01
    assert found.layer_decay == 0.8 and found.cache == "/c"
    classes = space.fixed(["only=articleType=Dresses,Sports Shoes;gender=Women"])
    assert classes.only == ("articleType=Dresses,Sports Shoes", "gender=Women")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("schedule", ["NAME=VALUE"]),
        ("root=/elsewhere", ["root", "search itself"]),
        ("preset=slow", ["slow", "flagship"]),
        ("target=gender", ["did you mean targets?"]),
        ("dropout=high", ["'high'", "a number"]),
    ],
)
def test_what_cannot_stay_is_refused(line: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        space.fixed([line])
    assert [word for word in words if word not in str(caught.value)] == []


def test_numbers_of_a_range_can_be_typed_again_and_stay_inside() -> None:
    axis = Axis(name="learning_rate", low=1.23456e-4, high=0.0123456, log=True)
    assert axis.text(0.00123456) == "0.001235"
    assert float(axis.text(1e-9)) == 1.23456e-4 and float(axis.text(1.0)) == 0.0123456
    assert Axis(name="shift", low=0, high=8, whole=True).text(7.6) == "8"


def test_a_password_is_refused_and_not_shown() -> None:
    said = refused("weights=none https://user:hunter2@host/weights.pth")
    assert "expected it in the environment" in said and "hunter2" not in said
