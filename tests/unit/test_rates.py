"""Learning-rate curves are torch's own, and a learning-rate test finds where the loss falls."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, StepLR

from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.rates import factor, one_cycle, ramp, suggested
from fashion_ray.training.recipe import CURVES
from tests.unit.networks import ALL, RECIPE, batches, stage_loop, tiny, toy

EPOCH_STEPS, EPOCHS = 7, 10
STEPS = EPOCH_STEPS * EPOCHS


def curve(name: str, *, warmup: float | None = 0.0, steps: int = STEPS, step_epochs: int = 3) -> list[float]:
    """The factor of every step of a stage."""
    recipe = replace(RECIPE, curve=name, warmup_epochs=warmup, step_epochs=step_epochs, step_factor=0.5)
    return [factor(recipe, step, steps, EPOCH_STEPS) for step in range(steps)]


def torchs(scheduler: type[torch.optim.lr_scheduler.LRScheduler], steps: int, **named: object) -> list[float]:
    """The rates that a scheduler of torch gives from 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = scheduler(optimizer, **named)  # type: ignore[arg-type]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_cosine_is_torchs_read_in_the_middle_of_each_step() -> None:
    halves = torchs(CosineAnnealingLR, 2 * STEPS, T_max=2 * STEPS, eta_min=0.01)
    assert curve("cosine") == pytest.approx(halves[1::2], abs=1e-6)


def test_step_is_torchs() -> None:
    assert curve("step") == pytest.approx(torchs(StepLR, STEPS, step_size=3 * EPOCH_STEPS, gamma=0.5))
    assert curve("step", step_epochs=1)[-1] == pytest.approx(0.5**9)


def test_constant_is_constant() -> None:
    assert curve("constant") == [1.0] * STEPS


@pytest.mark.parametrize("warmup", [None, 1.0, 5.0])
def test_one_cycle_is_torchs(warmup: float | None) -> None:
    share = 0.3 if warmup is None else warmup / EPOCHS
    expected = torchs(OneCycleLR, STEPS - 1, max_lr=1.0, total_steps=STEPS, pct_start=share)
    assert curve("onecycle", warmup=warmup)[:-1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_warm_up_is_linear_over_its_epochs(name: str) -> None:
    found = curve(name, warmup=2.0)
    rising = found[: 2 * EPOCH_STEPS]
    assert rising == pytest.approx([(step + 0.5) / (2 * EPOCH_STEPS) for step in range(2 * EPOCH_STEPS)])
    ends = torchs(LinearLR, 2 * EPOCH_STEPS, start_factor=rising[0], end_factor=rising[-1], total_iters=2 * EPOCH_STEPS - 1)
    assert rising == pytest.approx(ends)
    assert found[2 * EPOCH_STEPS] > 0.99


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("warmup", [None, 0.0, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 70])
def test_every_factor_is_above_0_and_at_most_1(name: str, warmup: float | None, steps: int) -> None:
    found = curve(name, warmup=warmup, steps=steps)
    assert all(0 < value <= 1 for value in found), found
    assert one_cycle(steps + 5, steps, warmup=0.3) <= 1  # a stream may have a batch more than was reckoned with


def test_without_a_wish_the_warm_up_is_a_share_of_the_stage() -> None:
    assert curve("cosine", warmup=None).index(max(curve("cosine", warmup=None))) == STEPS // 10
    assert curve("onecycle", warmup=None).index(1.0) == round(0.3 * STEPS) - 1


def test_a_ramp_grows_by_the_same_factor() -> None:
    rates = ramp(50, 1e-6, 10.0)
    assert (rates[0], rates[-1], len(rates)) == (pytest.approx(1e-6), pytest.approx(10), 50)
    assert {round(after / before, 6) for before, after in itertools.pairwise(rates)} == {round(1e7 ** (1 / 49), 6)}
    assert ramp(1, 0.1, 1.0) == [0.1]


def test_the_rate_is_where_the_loss_falls_fastest() -> None:
    rates = ramp(200)
    # A loss that falls around a rate of 0.01, by the logarithm, and rises without bounds above 1.
    losses = [3 - 2 / (1 + math.exp(-3 * math.log(rate / 0.01))) + (rate**2 if rate > 1 else 0) for rate in rates]
    found = suggested(rates, losses, smoothing=0.5)
    assert found is not None and 0.005 < found < 0.03
    later = suggested(rates, losses)
    assert later is not None and 0.005 < later < 0.1  # smoothing is late
    assert suggested(rates, [*losses[:150], *[math.nan] * 50]) == later


@pytest.mark.parametrize("losses", [[], [1.0], [1.0] * 50, [float(step) for step in range(50)], [math.nan] * 50])
def test_a_loss_that_never_falls_suggests_nothing(losses: list[float]) -> None:
    assert suggested(ramp(50), losses) is None


def test_a_sweep_finds_a_rate_that_learns_and_blows_up_above_it() -> None:
    rates = ramp(40, 1e-4, 100.0)
    loop = stage_loop(tiny(), ALL, recipe=replace(RECIPE, optimizer="sgd", clip_gradient=0.0))
    losses = loop.sweep((batch for _ in range(8) for batch in batches(*toy())), rates)
    assert len(losses) == 40 and losses[0] == pytest.approx(math.log(6), abs=0.2)
    found = suggested(rates, losses)
    assert found is not None and 1e-4 < found < 1
    learned = stage_loop(tiny(), replace(ALL, epochs=3), recipe=replace(RECIPE, optimizer="sgd", learning_rate=found))
    figures = [learned.train_epoch(batches(*toy()), epoch)["train_loss"] for epoch in range(3)]
    assert figures[-1] < 0.7 * figures[0]


def test_a_sweep_gives_every_depth_its_share_of_the_rate() -> None:
    network = tiny()
    recipe = replace(RECIPE, layer_decay=0.5, learning_rate=0.123)
    optimizer = make_optimizer(network, recipe)
    stage_loop(network, ALL, recipe=recipe, optimizer=optimizer).sweep(batches(*toy()), [1e-4, 1e-3])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])
