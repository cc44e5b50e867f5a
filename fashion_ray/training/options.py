"""The options of jobs/train.py and their presets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fashion_ray.catalog.schema import CATEGORY_LEVELS, TARGETS
from fashion_ray.config import NAME_PATTERN, JobOptions, Problems
from fashion_ray.models import scratch
from fashion_ray.models.backbones import KNOWN, POOLINGS, names
from fashion_ray.models.engines import ENGINES, PRECISIONS
from fashion_ray.models.taxonomy import levels_among
from fashion_ray.training import sides
from fashion_ray.training.recipe_options import RecipeOptions


@dataclass(frozen=True, kw_only=True)
class SubjectOptions(JobOptions):
    """What is learned, from which rows, by which trunk."""

    preset: str = "quick"
    """Named defaults: quick, or flagship."""

    name: str = ""
    """Name of the run; the same name again continues it where it stopped. None makes up a new one."""

    targets: tuple[str, ...] = CATEGORY_LEVELS
    """Label columns to predict, each with a head of its own: those of the feed, joined_category, or the reassigned_ levels."""

    split: str = "stored"
    """Sides: stored (the catalog's), 72/18/10 or 80/20 (groups by hash), fold:2/5, random:80/10/10 (leaks), year:2016."""

    split_seed: int = 0
    """Of the hash that deals groups or products out to the sides; stored has none."""

    only: tuple[str, ...] = ()
    """Train and evaluate on rows of these classes alone, such as articleType=Dresses,Shirts; several must all hold."""

    backbone: str = "efficientnet_lite0"
    """The trunk: efficientnet_lite0, _lite1, _lite2, any torchvision or timm name, or simplecnn, class30cnn, lenet5, mlp300."""

    weights: str = "pretrained"
    """The trunk's weights: pretrained, none, or a file or URI of a state dict; simplecnn and its kin have none."""

    pooling: str = "average"
    """From the trunk's last feature map to the embedding: average (of each channel), or flatten (every value)."""

    tta_flip: bool = False
    """Whether the model's answers are of the mean embedding of a picture and its mirror image; scoring takes twice as long."""

    input_size: str = "160x120"
    """Height x width that pictures are scaled to inside the network, in pixels."""

    decoded_size: str = "auto"
    """Height x width that pictures are decoded to, in pixels; auto takes the catalog's commonest, if it is no larger."""

    min_class_count: int = 50
    """articleTypes with fewer labelled pictures are left out as classes; their products are still scored."""

    other_threshold: float = 0.5
    """Probability of being of none of the classes above which that (null) may be the answer; 0 lets it compete as a class."""

    max_per_class: int = 0
    """Training rows of a class of the balance target; further ones are left out of training, 0 none. All are evaluated."""

    oversample_to: int = 0
    """Training rows of rarer classes of the balance target are repeated, augmented anew, up to this count; 0 repeats none."""

    class_rows: tuple[str, ...] = ()
    """Training rows of single classes of the balance target, left out or repeated to make so many, such as Skirts=200."""

    balance_target: str = ""
    """The target that these counts and --sampling are about; none is the finest category level, or the first target."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RecipeOptions, SubjectOptions):
    """Fine-tune a pretrained network on the catalog and register the bundle."""

    workers: int | None = None
    """Data-parallel workers; none takes one a GPU, or one a node without GPUs."""

    min_workers: int | None = None
    """While nodes are missing a run goes on with so many workers, and with all once they are back; none waits for all."""

    engine: str = "auto"
    """Engine of frozen layers and of the evaluation: auto, openvino or torch."""

    cache_limit: float = 50.0
    """GB of activations that are kept in --cache; those that were not used for longest make room."""

    precision: str = "auto"
    """Of the engine and of training: auto, bf16 or f32."""

    review_precision: float = 0.95
    """Predictions below the probability that reaches this precision on validation are marked for review."""

    seed: int = 0
    """Of weights, shuffling and augmentation."""

    shuffle_labels: bool = False
    """Control experiment: train on labels drawn at random, which must end near chance."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(self.preset in PRESETS, "preset", self.preset, f"one of {', '.join(PRESETS)}")
        found.check(
            not self.name or NAME_PATTERN.fullmatch(self.name) is not None, "name", self.name, "letters, digits, '.', '_', '-'"
        )
        found.check(bool(self.targets), "targets", self.targets, "at least one label column")
        for target in self.targets:
            near = difflib.get_close_matches(target, TARGETS, n=1) if target not in TARGETS else []
            hint = f"did you mean {near[0]}?" if near else ""
            hint = "separate them by spaces" if "," in target else hint
            found.check(target in TARGETS, "targets", target, f"columns among {', '.join(TARGETS)}", hint)
        found.check(len(set(self.targets)) == len(self.targets), "targets", self.targets, "each column once")
        self._check_sides_and_balance(found)
        trunks = names()
        near = difflib.get_close_matches(self.backbone, trunks, n=3) if self.backbone not in trunks else []
        found.check(
            self.backbone in trunks, "backbone", self.backbone, KNOWN,
            f"did you mean {', '.join(near)}?" if near else "",
        )  # fmt: skip
        found.check(bool(self.weights.strip()), "weights", self.weights, "pretrained, none, or a file or URI")
        untrained = self.weights == "pretrained" and self.backbone in scratch.NETWORKS
        found.check(not untrained, "weights", self.weights, f"none for {self.backbone}", scratch.UNTRAINED)
        for size in ("input_size", "decoded_size"):
            value = getattr(self, size)
            fits = size == "decoded_size" and value == "auto"
            found.check(fits or _size(value) is not None, size, value, "height x width, 16 to 1024, such as 160x120")
        self.check_recipe(found, self.targets)
        for field, allowed in _CHOICES.items():
            found.check(getattr(self, field) in allowed, field, getattr(self, field), f"one of {', '.join(allowed)}")
        for field, (low, high) in _RANGES.items():
            value = getattr(self, field)
            found.check(low <= value <= high, field, value, f"{low} to {high}")
        for number in ("workers", "min_workers"):
            value = getattr(self, number)
            found.check(value is None or value >= 1, number, value, "at least 1")
        found.raise_if_any()

    def _check_sides_and_balance(self, found: Problems) -> None:
        try:
            levels_among(self.targets)
        except ValueError as error:
            found.check(False, "targets", self.targets, str(error))
        try:
            scheme = sides.parse(self.split)
        except ValueError as error:
            found.check(False, "split", self.split, str(error))
            scheme = sides.parse("stored")
        try:
            sides.limited(scheme, self.only)
        except ValueError as error:
            found.check(False, "only", self.only, str(error))
        for text in self.class_rows:
            found.check(
                re.fullmatch(r".+=[1-9]\d{0,5}", text) is not None, "class_rows", text,
                "CLASS=ROWS, such as Skirts=200, from 1 to 999999 rows",
            )  # fmt: skip
        found.check(
            self.balance_target in ("", *self.targets), "balance_target", self.balance_target,
            f"one of --targets, {', '.join(self.targets)}",
        )  # fmt: skip
        found.check(
            self.max_per_class <= 0 or self.oversample_to <= self.max_per_class, "oversample_to", self.oversample_to,
            f"at most --max-per-class, {self.max_per_class}",
        )  # fmt: skip


_CHOICES = {"pooling": POOLINGS, "engine": ENGINES, "precision": PRECISIONS}

_RANGES: Mapping[str, tuple[float, float]] = {
    "min_class_count": (1, 1_000_000),
    "other_threshold": (0, 1),
    "max_per_class": (0, 10**9),
    "oversample_to": (0, 10**6),
    "split_seed": (0, 2**31),
    "review_precision": (0.5, 1),
    "cache_limit": (0, 1e6),
    "seed": (0, 2**31),
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {},
    "flagship": {
        "preset": "flagship", "schedule": "heads:2,top5:6", "cached_views": 6, "input_size": "192x144", "mixup": 0.2,
        "label_smoothing": 0.1, "title_weight": 1.0,
    },
}  # fmt: skip


def class_rows_of(options: SubjectOptions) -> dict[str, int]:
    """Class to rows."""
    return {name: int(rows) for name, _, rows in (text.rpartition("=") for text in options.class_rows)}


def size_of(text: str) -> tuple[int, int]:
    """(height, width) of `160x120`."""
    found = _size(text)
    assert found is not None, text
    return found


def _size(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None:
        return None
    height, width = int(match[1]), int(match[2])
    return (height, width) if min(height, width) >= 16 and max(height, width) <= 1024 else None
