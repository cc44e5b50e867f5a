"""A run that is killed in the middle of an epoch goes on from the last one, and ends as if nothing had happened."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fashion_ray.models.network import Network
from fashion_ray.training import checkpoint
from fashion_ray.training.averaging import Averages
from fashion_ray.training.checkpoint import Progress
from fashion_ray.training.losses import Batch
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.recipe import OPTIMIZERS, Recipe
from tests.unit.networks import ALL, CPU, RECIPE, TOP, batches, stage_loop, tiny, toy

STAGES = (replace(TOP, epochs=1), replace(ALL, epochs=2))


class Killed(Exception):
    """Stands for the end of the process."""


def dying(rows: Iterator[Batch], after: int) -> Iterator[Batch]:
    """Batches until the worker is killed."""
    yield from itertools.islice(rows, after)
    raise Killed


class Run:
    """A worker's state, new or from the last checkpoint, as fashion_ray.training.worker keeps it."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self.network: Network = tiny(dropout=0.4, seed=3)
        torch.manual_seed(5)
        self.optimizer = make_optimizer(self.network, recipe)
        self.averages = Averages(self.network, recipe.ema_decay) if recipe.ema_decay else None
        self.progress = Progress()
        if (folder / checkpoint.PROGRESS).exists():
            self.progress = checkpoint.restore(folder, self.network, self.optimizer, self.averages, device=CPU, rank=0)

    def go(self, *, killed_in: int | None = None) -> None:
        """Train to the end, or until the fourth step of this epoch, counted from 0."""
        for number, stage in enumerate(STAGES):
            if number < self.progress.stage:
                continue
            loop = stage_loop(self.network, stage, recipe=self.recipe, optimizer=self.optimizer, averages=self.averages)
            while self.progress.epoch < stage.epochs:
                rows = batches(*toy())
                if len(self.progress.history) == killed_in:
                    rows = dying(rows, 4)
                row = loop.train_epoch(rows, self.progress.epoch) | loop.evaluate(batches(*toy()))
                self.progress.finish_epoch(row)
                checkpoint.save(self.folder, self.network, self.optimizer, self.progress, self.averages)
            self.progress.stage, self.progress.epoch = number + 1, 0


def figures(progress: Progress) -> list[dict[str, float]]:
    """Of all epochs, without how long they took."""
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in progress.history]


def state(run: Run) -> dict[str, Tensor]:
    """What a run ends with."""
    averages = run.averages.state if run.averages is not None else {}
    return {**run.network.state_dict(), **{f"averages.{key}": value for key, value in averages.items()}}


@pytest.mark.parametrize(
    ("optimizer", "decay"), [*((name, 0.0) for name in OPTIMIZERS), ("adamw", 0.9)], ids=lambda value: str(value)
)
def test_an_epoch_that_was_cut_short_is_run_again_and_no_step_counts_twice(
    optimizer: str, decay: float, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, ema_decay=decay, learning_rate=0.003)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = Run(recipe, tmp_path / "whole")
    whole.go()
    for killed_in in (0, 1, 2):
        with pytest.raises(Killed):
            Run(recipe, tmp_path / "cut").go(killed_in=killed_in)
    cut = Run(recipe, tmp_path / "cut")
    cut.go()
    assert cut.progress.steps == whole.progress.steps == 18
    assert checkpoint.steps_of(cut.optimizer) in (18, None)
    assert (checkpoint.steps_of(cut.optimizer) is None) == (optimizer == "sgd")
    assert figures(cut.progress) == figures(whole.progress)
    expected, found = state(whole), state(cut)
    assert [key for key, value in expected.items() if not torch.equal(found[key], value)] == []


def test_steps_that_are_in_no_epoch_are_noticed(tmp_path: Path) -> None:
    run = Run(RECIPE, tmp_path)
    run.go()
    wrong = replace(run.progress, steps=run.progress.steps + 1)
    checkpoint.save(tmp_path, run.network, run.optimizer, wrong, None)
    with pytest.raises(AssertionError, match="every step belongs to an epoch"):
        Run(RECIPE, tmp_path)
    stage_loop(run.network, ALL, optimizer=run.optimizer).train_epoch(batches(*toy()), 0)
    checkpoint.save(tmp_path, run.network, run.optimizer, run.progress, None)
    with pytest.raises(AssertionError, match="the optimizer took 24 steps and the history has 18"):
        Run(RECIPE, tmp_path)


def test_other_ranks_go_on_with_random_numbers_of_their_own(tmp_path: Path) -> None:
    run = Run(RECIPE, tmp_path)
    run.go()
    drawn = []
    for rank in (0, 1, 2):
        torch.manual_seed(rank)
        checkpoint.restore(tmp_path, run.network, run.optimizer, None, device=CPU, rank=rank)
        drawn.append(float(torch.rand(1)))
    assert len(set(drawn)) == 3
