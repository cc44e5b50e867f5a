"""What a search may change. In: lines of text or a file, and the options that stay. Out: axes, each with its values.

    learning_rate=1e-4..1e-2:log          any number between, evenly in its logarithm
    batch_size=32 64 128                  one of these
    head_widths=256 50,20 if head=mlp     one of these where another axis has this value; else the option stays as it is

A line is an option of jobs/train.py and its values as the command line has them, tuples with commas. A file is TOML or JSON
with the same: `learning_rate = "1e-4..1e-2:log"`, `batch_size = [32, 64, 128]`. A point is a value, as text, of each axis that
counts.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import json
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fashion_ray.config import without_password
from fashion_ray.errors import UserError
from fashion_ray.models.weights import PACKAGES
from fashion_ray.training.options import PRESETS, TrainOptions
from fashion_ray.training.recipe_options import RecipeOptions

Point = Mapping[str, str]
"""Options and their values as text, such as {"optimizer": "adam", "head_widths": "50,20"}."""

SEARCHABLE = frozenset(field.name for field in dataclasses.fields(RecipeOptions)) - {
    "root", "cache", "address", "cpus", "log_format", "monitor", "target_weights", "find_learning_rate", "compile",
} | {"backbone", "weights", "pooling", "input_size", "decoded_size", "max_per_class", "oversample_to", "seed"}  # fmt: skip
"""Options that leave the validation rows and what they are measured by as they are, so that trials can be compared."""

OWNED = frozenset({"root", "cache", "address", "cpus", "log_format", "name", "preset", "workers", "min_workers"})
"""Options that a search sets itself."""

DEFAULT_SPACE = (
    "head=linear batchnorm mlp",
    "head_widths=64 256 1024 256,64 1024,256 512,256,128 if head=mlp",
    "dropout=0..0.6",
    "optimizer=adamw adam sgd rmsprop",
    "heads_learning_rate=1e-4..3e-2:log",
    "batch_size=32 64 128 256",
    "crop=0 0.15",
    "schedule=heads:6 heads:2,top1:4",
    "learning_rate=1e-5..5e-3:log if schedule=heads:2,top1:4",
    "layer_decay=0.5..0.95 if schedule=heads:2,top1:4",
)
"""Beside the trunk, of which those are tried whose weights are at hand."""

_LINE = re.compile(r"\s*([a-z_0-9-]+)\s*=\s*(.*?)(?:\s+if\s+([a-z_0-9-]+)\s*=\s*(.*?))?\s*")
_RANGE = re.compile(r"([^\s.][^\s]*?)\.\.([^\s:]+)(:log)?")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An option and its values: some choices, or all numbers from `low` to `high`."""

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    """Whether the numbers are integers."""

    only_if: tuple[str, tuple[str, ...]] | None = None
    """An earlier axis, and those of its values with which this one counts; none counts always."""

    def counts(self, point: Point) -> bool:
        """Whether a point with these earlier values has one of this axis."""
        return self.only_if is None or point.get(self.only_if[0]) in self.only_if[1]

    def text(self, value: float) -> str:
        """A number of a range as its point has it: four digits, which people can read and type again."""
        if self.whole:
            return str(int(min(self.high, max(self.low, round(value)))))
        return f"{min(self.high, max(self.low, float(f'{value:.4g}'))):.10g}"


@dataclass(frozen=True, kw_only=True)
class Space:
    """The axes of a search, in their order."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> int | None:
        """How many points there are; none if an axis is a range."""
        return None if any(not axis.choices for axis in self.axes) else len(self.points())

    def points(self) -> list[Point]:
        """Every point of a space without ranges, the last axis changing fastest."""
        found: list[dict[str, str]] = [{}]
        for axis in self.axes:
            if not axis.choices:
                raise UserError(
                    f"--search grid: {axis.name} is the range {axis.low:g}..{axis.high:g}, which has no end of values; "
                    f"expected a list such as {axis.name}={axis.low:g} {axis.high:g}, or --search random or tpe"
                )
            found = [wider for point in found for wider in _with_each(axis, point)]
        return list(found)


def default_lines(settled: Sequence[str]) -> list[str]:
    """The default space without the options that are settled, nor what depends on them; trunks are those with weights here."""
    trunks = [name for name, source in PACKAGES.items() if importlib.util.find_spec(source.module) is not None]
    dropped = {line.partition("=")[0].strip().replace("-", "_") for line in settled}
    found = []
    for line in [*([f"backbone={' '.join(trunks)}"] if len(trunks) > 1 else []), *DEFAULT_SPACE]:
        match = _LINE.fullmatch(line)
        assert match is not None, line
        if match[1] not in dropped and match[3] not in dropped:
            found.append(line)
    return found


def parse(lines: Sequence[str], base: TrainOptions) -> Space:
    """The space of these lines, or of the one file that is named instead. Raises UserError, naming all that is wrong."""
    if len(lines) == 1 and "=" not in lines[0]:
        lines = _read(lines[0])
    axes: list[Axis] = []
    problems: list[str] = []
    for line in lines:
        try:
            axes.append(_axis(line, axes, base))
        except UserError as error:
            problems.append(f"--space {without_password(line)!r}: {error}")
    if problems:
        raise UserError(" | ".join(problems))
    if not axes:
        raise UserError("--space: got nothing to change; expected lines such as 'optimizer=adamw sgd'")
    return Space(axes=tuple(axes))


def _with_each(axis: Axis, point: dict[str, str]) -> list[dict[str, str]]:
    """The point with each value of an axis, or as it is if the axis does not count in it."""
    return [{**point, axis.name: choice} for choice in axis.choices] if axis.counts(point) else [point]


def options_of(base: TrainOptions, point: Point) -> TrainOptions:
    """The options of a trial. Raises UserError for values that do not go together."""
    return dataclasses.replace(base, **{name: value_of(name, text) for name, text in point.items()})


def fixed(settings: Sequence[str], **common: Any) -> TrainOptions:
    """The options that stay as they are, from `name=value` lines; preset=flagship starts from a preset. Raises UserError."""
    given: dict[str, str] = {}
    for line in settings:
        name, equals, text = line.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise UserError(f"--set: got {line!r}, expected NAME=VALUE such as schedule=heads:3")
        if name in OWNED - {"preset"}:
            raise UserError(
                f"--set: {name} is an option of the search itself or has no say in it; expected an option of a trial"
            )
        if name != "preset":
            _known(name, frozenset(_types()) - OWNED)
        given[name] = text.strip()
    preset = given.pop("preset", "quick")
    if preset not in PRESETS:
        raise UserError(f"--set: got preset={preset}, expected one of {', '.join(PRESETS)}")
    return TrainOptions(**{**PRESETS[preset], **common, **{name: value_of(name, text) for name, text in given.items()}})


def value_of(name: str, text: str) -> Any:
    """The value of an option that a text stands for; parts of a tuple that are NAME=VALUE have semicolons between.

    Raises UserError.
    """
    kind = _types()[name]
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        parts = text.split(";" if "=" in text else ",")
        return tuple(_scalar(name, part.strip(), inner) for part in parts if part.strip())
    allowed = typing.get_args(kind) or (kind,)  # int | None
    if type(None) in allowed and text == "none":
        return None
    return _scalar(name, text, next(one for one in allowed if one is not type(None)))


def _scalar(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{name}: got {text!r}, expected true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"{name}: got {text!r}, expected {'a whole number' if kind is int else 'a number'}") from None


def _axis(line: str, earlier: Sequence[Axis], base: TrainOptions) -> Axis:
    match = _LINE.fullmatch(line)
    if match is None or not match[2]:
        raise UserError("expected OPTION=VALUES, such as 'optimizer=adamw sgd' or 'dropout=0.1..0.5'")
    name = match[1].replace("-", "_")
    _known(name, SEARCHABLE)
    if name in {axis.name for axis in earlier}:
        raise UserError(f"{name} is there twice; expected each option once")
    only_if = _condition(match[3].replace("-", "_"), match[4].split(), earlier) if match[3] else None
    bounds = _RANGE.fullmatch(match[2])
    if bounds is not None:
        axis = _range(name, bounds[1], bounds[2], log=bounds[3] is not None, only_if=only_if)
    else:
        axis = Axis(name=name, choices=tuple(dict.fromkeys(match[2].split())), only_if=only_if)
    if any(without_password(choice) != choice for choice in axis.choices):
        raise UserError(
            f"{name} has a password or token in it, which ledgers and tables would show; expected it in the environment"
        )
    when = {only_if[0]: only_if[1][0]} if only_if else {}
    for text in axis.choices or (axis.text(axis.low), axis.text(axis.high)):
        options_of(base, {**_reached(when, earlier), name: text})
    return axis


def _reached(when: dict[str, str], earlier: Sequence[Axis]) -> dict[str, str]:
    """The values that must be set for a condition to hold, those that its own axis asks for among them."""
    for axis in earlier:
        if axis.name in when and axis.only_if is not None:
            return {**_reached({axis.only_if[0]: axis.only_if[1][0]}, earlier), **when}
    return when


def _range(name: str, low: str, high: str, *, log: bool, only_if: tuple[str, tuple[str, ...]] | None) -> Axis:
    bounds = value_of(name, low), value_of(name, high)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in bounds):
        raise UserError(f"{name} has no numbers to range over; expected a list of values")
    if not bounds[0] < bounds[1] or (log and bounds[0] <= 0):
        raise UserError(f"got {low}..{high}, expected the lower end first" + (", above 0 for :log" if log else ""))
    return Axis(
        name=name, low=float(bounds[0]), high=float(bounds[1]), log=log, whole=isinstance(bounds[0], int), only_if=only_if
    )


def _condition(name: str, values: Sequence[str], earlier: Sequence[Axis]) -> tuple[str, tuple[str, ...]]:
    axis = next((axis for axis in earlier if axis.name == name), None)
    if axis is None or not values or not set(values) <= set(axis.choices):
        choices = "; ".join(f"{one.name}={' '.join(one.choices)}" for one in earlier if one.choices)
        raise UserError(f"got the condition {name}={' '.join(values)}, expected values of an earlier list: {choices or 'none'}")
    return name, tuple(values)


def _known(name: str, allowed: frozenset[str]) -> None:
    if name in allowed:
        return
    if name in _types():
        raise UserError(
            f"{name} would change what trials are compared by, or is settled for all of them; expected another option, or "
            f"--set {name}=VALUE for all trials"
        )
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.4)
    raise UserError(f"got the option {name}, expected one of training" + (f"; did you mean {near[0]}?" if near else ""))


@cache
def _types() -> dict[str, Any]:
    return typing.get_type_hints(TrainOptions)


def _read(place: str) -> list[str]:
    try:
        content = Path(place).expanduser().read_text(encoding="utf-8")
        found = json.loads(content) if place.endswith(".json") else tomllib.loads(content)
    except OSError as error:
        raise UserError(
            f"--space: got {place!r}, which is neither OPTION=VALUES nor a file that can be read: {error}"
        ) from error
    except ValueError as error:
        raise UserError(
            f"--space: {place} is no TOML or JSON ({error}); expected lines such as batch_size = [32, 64]"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"--space: {place} holds a {type(found).__name__}, expected options and their values")
    return [f"{name}={_values(value)}" for name, value in found.items()]


def _values(value: object) -> str:
    if isinstance(value, list):
        return " ".join(",".join(map(str, one)) if isinstance(one, list) else _plain(one) for one in value)
    return _plain(value)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
