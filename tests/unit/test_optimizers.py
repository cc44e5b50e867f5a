"""Optimizers are torch's own, with a group a depth; parts of a batch make the step of the whole."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fashion_ray.models.network import Network
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.recipe import OPTIMIZERS, Recipe
from tests.unit.networks import ALL, HEADS, RECIPE, TOP, batches, stage_loop, tiny, toy

PLAIN = replace(RECIPE, layer_decay=1.0, curve="constant", warmup_epochs=0.0, clip_gradient=0.0, learning_rate=0.005)
TORCHS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adamw": (torch.optim.AdamW, {}),
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9}),
}


def by_hand(network: Network, optimizer: torch.optim.Optimizer, *, clip: float = 0.0) -> None:
    """An epoch of the toy, everything open, batch norm of the trunk at rest."""
    network.eval()
    for batch in batches(*toy()):
        _, *logits = network(batch.inputs)
        losses = [functional.cross_entropy(values, wanted) for values, wanted in zip(logits, batch.labels.T, strict=True)]
        optimizer.zero_grad()
        sum(losses, torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        if clip:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()


def furthest(one: nn.Module, other: nn.Module) -> float:
    """The largest difference between the weights of two networks."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_epoch_is_that_of_torchs_own_optimizer(name: str, decay: float) -> None:
    recipe = replace(PLAIN, optimizer=name, weight_decay=decay)
    network, expected = tiny(head="linear"), tiny(head="linear")
    kind, named = TORCHS[name]
    by_hand(expected, kind(expected.parameters(), lr=recipe.learning_rate, weight_decay=decay, **named))  # type: ignore[call-arg]
    stage_loop(network, ALL, recipe=recipe).train_epoch(batches(*toy()), 0)
    assert furthest(network, expected) < 2e-5
    assert furthest(network, tiny(head="linear")) > 1e-3


def test_momentum_of_sgd_is_nesterovs_unless_asked_otherwise() -> None:
    groups = [
        make_optimizer(tiny(), replace(RECIPE, optimizer="sgd", momentum=momentum, nesterov=nesterov)).param_groups[0]
        for momentum, nesterov in ((0.9, True), (0.9, False), (0.0, True))
    ]
    assert [(group["momentum"], group["nesterov"]) for group in groups] == [(0.9, True), (0.9, False), (0.0, False)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_outlives_stages_and_files(name: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer=name, learning_rate=0.003, heads_learning_rate=0.003)
    network = tiny()
    optimizer = make_optimizer(network, recipe)
    top = network.trunk.blocks[2][0].weight  # type: ignore[index]
    for stage in (TOP, HEADS):
        before = copy.deepcopy(optimizer.state.get(top, {}))
        stage_loop(network, stage, recipe=recipe, optimizer=optimizer).train_epoch(batches(*toy()), 0)
    assert before and all(
        torch.equal(torch.as_tensor(optimizer.state[top][key]), torch.as_tensor(before[key])) for key in before
    )
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    again = copy.deepcopy(network)
    other = make_optimizer(again, recipe)
    other.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    for which, state in ((network, optimizer), (again, other)):
        stage_loop(which, ALL, recipe=recipe, optimizer=state).train_epoch(batches(*toy()), 1)
    assert furthest(network, again) == 0


@pytest.mark.parametrize("parts", [2, 5, 99])
def test_a_batch_in_parts_makes_the_step_of_the_whole(parts: int) -> None:
    pixels, labels = toy()
    labels = labels.clone()
    labels[::3, 0] = -1  # parts have different numbers of labels
    labels[16:24, 1] = -1
    networks = []
    for accumulate in (1, parts):
        network = tiny(head="linear")
        recipe = replace(RECIPE, accumulate=accumulate, label_smoothing=0.1, optimizer="sgd")
        loop = stage_loop(network, ALL, recipe=recipe)
        figures = loop.train_epoch(batches(pixels, labels), 0)
        networks.append((network, figures))
    (whole, expected), (split, found) = networks
    assert furthest(whole, split) < 1e-6
    assert found["steps"] == expected["steps"] == 6
    for key in ("train_loss", "train_accuracy/season", "train_accuracy/usage"):
        assert found[key] == pytest.approx(expected[key], rel=1e-5)


def moved(recipe: Recipe) -> float:
    """How far one step of plain gradient descent takes all weights together."""
    network, start = tiny(head="linear"), tiny(head="linear")
    loop = stage_loop(network, ALL, recipe=replace(recipe, optimizer="sgd", momentum=0.0, weight_decay=0.0))
    loop.train_epoch(list(batches(*toy()))[:1], 0)
    squares: list[Tensor] = [
        (a - b).detach().square().sum() for a, b in zip(network.parameters(), start.parameters(), strict=True)
    ]
    return float(torch.stack(squares).sum().sqrt())


def test_a_gradient_is_clipped_to_its_norm_or_not_at_all() -> None:
    free = moved(PLAIN)
    assert moved(replace(PLAIN, clip_gradient=1e-3)) == pytest.approx(1e-3 * PLAIN.learning_rate, rel=0.02)
    assert moved(replace(PLAIN, clip_gradient=1e4)) == pytest.approx(free)
    assert free > 0.01 * PLAIN.learning_rate
