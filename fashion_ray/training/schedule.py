"""What learns when, and how fast. In: a schedule as text. Out: stages and learning rates, as plain numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

ALL = -1
"""Stands for every block of the trunk until the trunk is known."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Some epochs with the same layers open."""

    name: str
    trainable: int
    """How many blocks learn, counted from the output; 0 is the heads alone, ALL is every block."""

    epochs: int


def parse(text: str) -> list[Stage]:
    """Stages from `heads:3, top2:5, all:4`. Raises ValueError with the part that is wrong."""
    stages = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(heads|all|top(\d+)):(\d+)\s*", part)
        if match is None or int(match[3]) < 1 or match[2] == "0":
            raise ValueError(
                f"stage {part.strip()!r}, expected heads:EPOCHS, topN:EPOCHS or all:EPOCHS, such as heads:3,top2:5"
            )
        trainable = {"heads": 0, "all": ALL}.get(match[1])
        stages.append(Stage(name=match[1], trainable=int(match[2]) if trainable is None else trainable, epochs=int(match[3])))
    return stages


def settle(stages: list[Stage], blocks: int) -> list[Stage]:
    """The stages for a trunk of so many blocks. Raises ValueError for one that opens more than there are."""
    for stage in stages:
        if stage.trainable > blocks:
            raise ValueError(f"stage {stage.name}, but the trunk has {blocks} blocks; expected top1 to top{blocks} or all")
    return [
        Stage(name=stage.name, trainable=blocks if stage.trainable == ALL else stage.trainable, epochs=stage.epochs)
        for stage in stages
    ]


def learning_rate_factor(step: int, steps: int, *, warmup: float = 0.1, floor: float = 0.01) -> float:
    """Linear warm-up over the first share of a stage's steps, then a cosine down to `floor` (Loshchilov and Hutter 2017)."""
    done = (step + 0.5) / max(1, steps)
    if done < warmup or warmup >= 1:
        return min(1.0, done / warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))


def layer_rates(base: float, groups: int, decay: float, *, heads_factor: float = 1.0) -> list[float]:
    """The learning rate of each depth, heads first: it falls by `decay` from block to block."""
    return [base * heads_factor] + [base * decay**depth for depth in range(groups - 1)]


def should_stop(scores: list[float], patience: int) -> bool:
    """Whether the last `patience` epochs of a stage brought no better score than those before; never if patience is 0."""
    if not patience or len(scores) <= patience:
        return False
    return max(scores[:-patience]) >= max(scores[-patience:])


def direction(metric: str) -> int:
    """1 if more of a metric is better, -1 if less is, which is so of losses."""
    return -1 if metric.endswith("_loss") else 1


def monitors(targets: Sequence[str]) -> list[str]:
    """The figures of an epoch that may decide when a stage ends and which epoch is the best."""
    accuracies = [f"{side}_accuracy/{target}" for side in ("validation", "train") for target in targets]
    return ["score", "validation_loss", "train_loss", *accuracies]
