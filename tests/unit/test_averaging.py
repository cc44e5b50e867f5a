"""The moving average of the weights: what it is after so many steps, what is evaluated, and what frozen layers have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fashion_ray.training import checkpoint
from fashion_ray.training.averaging import Averages
from fashion_ray.training.optimizers import make_optimizer
from tests.unit.networks import ALL, HEADS, RECIPE, TOP, batches, stage_loop, tiny, toy

WEIGHT = "heads.season.weight"


def test_the_average_is_the_recurrence_written_out() -> None:
    network = tiny(head="linear")
    averages = Averages(network, 0.6)
    stage_loop(network, HEADS, averages=averages)
    live, expected = network.state_dict()[WEIGHT], network.state_dict()[WEIGHT].clone()
    for step in range(8):
        live.fill_(float(step))
        averages.update(network)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert torch.allclose(averages.state[WEIGHT], expected, atol=1e-5)
    assert averages.steps == 8


def test_the_average_is_evaluated_and_the_network_learns_on() -> None:
    network, plain = tiny(), tiny()
    averages = Averages(network, 0.9)
    loop, without = stage_loop(network, ALL, averages=averages), stage_loop(plain, ALL)
    for epoch in range(2):
        assert (
            loop.train_epoch(batches(*toy()), epoch)["train_loss"] == without.train_epoch(batches(*toy()), epoch)["train_loss"]
        )
    learning = {key: value.clone() for key, value in network.state_dict().items()}
    found = loop.evaluate(batches(*toy()))
    assert all(torch.equal(learning[key], value) for key, value in network.state_dict().items())
    averaged = tiny()
    averaged.load_state_dict(averages.state)
    assert found == stage_loop(averaged, ALL).evaluate(batches(*toy()))
    assert found["validation_loss"] != without.evaluate(batches(*toy()))["validation_loss"]


def test_an_evaluation_that_fails_leaves_the_network_as_it_was() -> None:
    network = tiny()
    averages = Averages(network, 0.9)
    before = network.state_dict()[("heads.season.2.weight")].clone()
    averages.state["heads.season.2.weight"].fill_(7)
    with pytest.raises(ZeroDivisionError), averages.applied(network):
        assert float(network.state_dict()["heads.season.2.weight"].mean()) == 7
        raise ZeroDivisionError
    assert torch.equal(network.state_dict()["heads.season.2.weight"], before)


def test_what_is_frozen_is_its_own_average() -> None:
    network = tiny()
    optimizer = make_optimizer(network, RECIPE)
    averages = Averages(network, 0.99)
    stage_loop(network, ALL, optimizer=optimizer, averages=averages).train_epoch(batches(*toy()), 0)
    names = [f"trunk.blocks.{number}.0.weight" for number in range(3)]
    assert not any(torch.equal(averages.state[name], network.state_dict()[name]) for name in names)
    # From here on the lower blocks' activations may be cached, and those are the network's.
    stage_loop(network, TOP, optimizer=optimizer, averages=averages).train_epoch(batches(*toy()), 0)
    assert [torch.equal(averages.state[name], network.state_dict()[name]) for name in names] == [True, True, False]


def test_the_average_is_what_is_published(tmp_path: Path) -> None:
    network = tiny()
    optimizer, averages, progress = make_optimizer(network, RECIPE), Averages(network, 0.9), checkpoint.Progress()
    loop = stage_loop(network, ALL, optimizer=optimizer, averages=averages)
    progress.finish_epoch(loop.train_epoch(batches(*toy()), 0))
    checkpoint.save(tmp_path, network, optimizer, progress, averages)
    published = safetensors.torch.load_file(tmp_path / checkpoint.WEIGHTS)
    assert all(torch.equal(published[key], value) for key, value in averages.state.items())
    assert not torch.equal(published["heads.season.2.weight"], network.state_dict()["heads.season.2.weight"])


def test_averages_learn() -> None:
    network = tiny()
    averages = Averages(network, 0.9)
    loop = stage_loop(network, replace(ALL, epochs=6), averages=averages)
    for epoch in range(6):
        loop.train_epoch(batches(*toy()), epoch)
    assert loop.evaluate(batches(*toy()))["score"] > 0.85
