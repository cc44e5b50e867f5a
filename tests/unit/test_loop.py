"""The training loop: it learns, it counts what has a label, and two workers do what one does."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn

from fashion_ray.models.network import LowerNetwork
from fashion_ray.training.averaging import Averages
from fashion_ray.training.loop import StageLoop, StageNetwork
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.schedule import Stage
from tests.unit.networks import ALL, COUNTS, CPU, HEADS, RECIPE, TOP, batches, stage_loop, tiny, toy


@pytest.mark.parametrize("stage", [HEADS, TOP, ALL])
@pytest.mark.parametrize("bf16", [False, True])
def test_learns_from_pictures(stage: Stage, bf16: bool) -> None:
    stage = replace(stage, epochs=12)
    loop = stage_loop(tiny(), stage, recipe=replace(RECIPE, bf16=bf16))
    before = loop.evaluate(batches(*toy()))
    history = [loop.train_epoch(batches(*toy()), epoch) for epoch in range(stage.epochs)]
    after = loop.evaluate(batches(*toy()))
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert after["validation_loss"] < 0.5 * before["validation_loss"]
    assert after["validation_accuracy/season"] > 0.95 and after["validation_accuracy/usage"] > 0.85
    assert after["score"] == pytest.approx((after["validation_accuracy/season"] + after["validation_accuracy/usage"]) / 2)


@pytest.mark.parametrize("stage", [HEADS, TOP])
def test_learns_from_cached_activations_what_it_learns_from_pictures(stage: Stage) -> None:
    pixels, labels = toy()
    by_pictures, by_cache = tiny(), tiny()
    loop = stage_loop(by_pictures, stage)
    with torch.no_grad():
        activations = LowerNetwork(by_cache, stage.trainable).eval()(pixels)
    cached_loop = stage_loop(by_cache, stage, cached=True)
    for epoch in range(stage.epochs):
        from_pictures = loop.train_epoch(batches(pixels, labels), epoch)
        from_cache = cached_loop.train_epoch(batches(activations, labels), epoch)
    for key in ("train_loss", "train_accuracy/season", "train_accuracy/usage"):
        assert from_cache[key] == pytest.approx(from_pictures[key], abs=1e-3)
    for key, value in by_pictures.state_dict().items():
        assert torch.allclose(by_cache.state_dict()[key].float(), value.float(), atol=1e-3), key
    assert cached_loop.evaluate(batches(activations, labels))["score"] == pytest.approx(
        loop.evaluate(batches(pixels, labels))["score"], abs=0.02
    )


def test_takes_activations_in_bfloat16() -> None:
    pixels, labels = toy()
    network = tiny()
    with torch.no_grad():
        activations = LowerNetwork(network, 1).eval()(pixels).to(torch.bfloat16)
    for bf16 in (False, True):
        loop = stage_loop(tiny(), TOP, cached=True, recipe=replace(RECIPE, bf16=bf16))
        found = [loop.train_epoch(batches(activations, labels), epoch)["train_loss"] for epoch in range(3)]
        assert found[-1] < found[0]


@pytest.mark.parametrize(("stage", "narrow", "exact"), [(HEADS, 16, True), (HEADS, 15, False), (TOP, 16, False)])
def test_heads_alone_over_narrow_cached_embeddings_learn_in_float32(
    stage: Stage, narrow: int, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fashion_ray.training.loop.NARROW", narrow)  # embeddings here are 16 wide
    pixels, labels = toy()
    ended = []
    for bf16 in (False, True):
        network = tiny()
        with torch.no_grad():
            activations = LowerNetwork(network, stage.trainable).eval()(pixels).to(torch.bfloat16)
        loop = stage_loop(network, stage, cached=True, recipe=replace(RECIPE, bf16=bf16))
        ended.append(loop.train_epoch(batches(activations, labels), 0)["train_loss"])
    assert (ended[0] == ended[1]) == exact


def test_frozen_layers_stay_as_they_are() -> None:
    network = tiny()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    loop = stage_loop(network, TOP)
    loop.train_epoch(batches(*toy()), 0)
    after = network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert not any(key.startswith(("trunk.blocks.0.", "trunk.blocks.1.")) for key in moved)
    assert {"trunk.blocks.2.0.weight", "heads.season.2.weight", "heads.usage.2.weight"} <= moved
    assert not any("running" in key and key.startswith("trunk.") for key in moved)


@pytest.mark.parametrize("learns", [False, True])
def test_batch_norm_of_open_blocks_learns_only_if_asked(learns: bool) -> None:
    network = tiny()
    before = {key: value.clone() for key, value in network.state_dict().items() if "running" in key}
    stage_loop(network, TOP, recipe=replace(RECIPE, batchnorm_learns=learns)).train_epoch(batches(*toy()), 0)
    moved = {key for key, value in before.items() if not torch.equal(value, network.state_dict()[key])}
    assert bool({key for key in moved if key.startswith("trunk.blocks.2.")}) == learns
    assert not any(key.startswith(("trunk.blocks.0.", "trunk.blocks.1.")) for key in moved)


def test_evaluation_changes_nothing_and_leaves_dropout_out() -> None:
    network = tiny(dropout=0.5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    loop = stage_loop(network, ALL)
    assert loop.evaluate(batches(*toy())) == loop.evaluate(batches(*toy()))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_training_goes_on_with_dropout_after_an_evaluation() -> None:
    network = tiny(dropout=0.5)
    loop = stage_loop(network, HEADS)
    loop.evaluate(batches(*toy()))
    loop.train_epoch(batches(*toy()), 0)
    assert network.heads.training and not network.trunk.training


def test_label_smoothing_is_of_training_and_not_of_evaluation() -> None:
    plain, smooth = (stage_loop(tiny(), HEADS, recipe=replace(RECIPE, label_smoothing=share)) for share in (0.0, 0.5))
    assert plain.evaluate(batches(*toy())) == smooth.evaluate(batches(*toy()))
    for epoch in range(4):
        plain.train_epoch(batches(*toy()), epoch)
        smoothed = smooth.train_epoch(batches(*toy()), epoch)
    assert smoothed["train_loss"] > plain.train_epoch(batches(*toy()), 3)["train_loss"] + 0.1


def test_optimizer_state_outlives_stages_that_freeze_and_open_layers() -> None:
    network = tiny()
    optimizer = make_optimizer(network, RECIPE)
    head, top, bottom = network.heads["season"][2].weight, network.trunk.blocks[2][0].weight, network.trunk.blocks[0][0].weight  # type: ignore[index]

    def steps(parameter: Tensor) -> int:
        return int(optimizer.state[parameter]["step"]) if parameter in optimizer.state else 0

    taken = []
    for stage in (HEADS, TOP, HEADS, ALL):
        kept = {id(p): (p.detach().clone(), optimizer.state[p]["exp_avg"].clone()) for p in (head, top) if steps(p)}
        loop = stage_loop(network, stage, optimizer=optimizer)
        for parameter in (head, top):  # opening a stage forgets nothing
            if id(parameter) in kept:
                assert torch.equal(optimizer.state[parameter]["exp_avg"], kept[id(parameter)][1])
        loop.train_epoch(batches(*toy()), 0)
        if stage is HEADS and id(top) in kept:  # a frozen layer rests: neither its weights nor its momentum moves
            assert torch.equal(top, kept[id(top)][0])
            assert torch.equal(optimizer.state[top]["exp_avg"], kept[id(top)][1])
        taken.append((steps(head), steps(top), steps(bottom)))
    assert taken == [(6, 0, 0), (12, 6, 0), (18, 6, 0), (24, 12, 6)]


def test_optimizer_state_can_be_saved_and_loaded(tmp_path: Path) -> None:
    network = tiny()
    optimizer = make_optimizer(network, RECIPE)
    stage_loop(network, TOP, optimizer=optimizer).train_epoch(batches(*toy()), 0)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    again = tiny(seed=1)
    again.load_state_dict(network.state_dict())
    other = make_optimizer(again, RECIPE)
    other.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    for which, state in ((network, optimizer), (again, other)):
        stage_loop(which, TOP, optimizer=state).train_epoch(batches(*toy()), 1)
    for key, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_deeper_blocks_learn_more_slowly_and_every_rate_follows_the_schedule() -> None:
    network = tiny()
    optimizer = make_optimizer(network, RECIPE)
    loop = stage_loop(network, replace(ALL, epochs=10), optimizer=optimizer)
    rates = []
    for epoch in range(10):
        loop.train_epoch(batches(*toy()), epoch)
        rates.append([group["lr"] for group in optimizer.param_groups])
    heads, *blocks = zip(*rates, strict=True)
    assert len(blocks) == 3
    assert heads == pytest.approx(blocks[0])
    assert blocks[1] == pytest.approx([0.7 * rate for rate in blocks[0]])
    assert blocks[2] == pytest.approx([0.49 * rate for rate in blocks[0]])
    assert max(heads) <= RECIPE.learning_rate
    assert heads[-1] == pytest.approx(0.01 * RECIPE.learning_rate, rel=0.05)  # the floor, after the last of all steps
    assert heads[1:] == tuple(sorted(heads[1:], reverse=True))


def test_the_heads_alone_have_a_rate_of_their_own() -> None:
    recipe = replace(RECIPE, heads_learning_rate=0.5, learning_rate=0.001)
    rates = {}
    for stage in (HEADS, TOP):
        network = tiny()
        optimizer = make_optimizer(network, recipe)
        stage_loop(network, stage, recipe=recipe, optimizer=optimizer).train_epoch(batches(*toy()), 0)
        rates[stage.name] = optimizer.param_groups[0]["lr"]
    assert rates["heads"] == pytest.approx(500 * rates["top1"])


def test_a_stage_network_is_the_network() -> None:
    pixels, _ = toy()
    network = tiny().eval()
    with torch.inference_mode():
        _, *expected = network(pixels)
        for trainable in range(4):
            for one, other in zip(StageNetwork(network, trainable, cached=False)(pixels), expected, strict=True):
                assert torch.allclose(one, other, atol=1e-5)


def test_counts_images_a_second() -> None:
    assert stage_loop(tiny(), HEADS).train_epoch(batches(*toy()), 0)["images_per_second"] > 0


# Two workers: the same 20 global batches of 16 rows, half of each batch a worker.

GLOBAL = 16
STEPS = 5
STAGES = (Stage(name="top1", trainable=1, epochs=2), Stage(name="all", trainable=3, epochs=2))


def worked(rank: int, world: int) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights and metrics after 20 steps of one worker of so many, float32, without dropout, batch norm frozen."""
    network = tiny(head="linear")
    recipe = replace(RECIPE, accumulate=world)  # a worker's rows in parts, which are only reduced at the end of a step
    optimizer = make_optimizer(network, recipe)
    pixels, labels = toy(GLOBAL * STEPS)
    labels[::6, 0] = -1  # all of them rows of the first of two workers
    labels[2:GLOBAL, 0] = -1  # the first batch has one label left, of the second worker
    order = [row for row in range(len(labels)) if row % world == rank]
    metrics = []
    for stage in STAGES:
        loop = StageLoop(
            network, optimizer, recipe, stage, cached=False, steps_per_epoch=STEPS, classes=COUNTS, device=CPU,
            wrap=nn.parallel.DistributedDataParallel if world > 1 else lambda module: module,
        )  # fmt: skip
        for epoch in range(stage.epochs):
            found = loop.train_epoch(batches(pixels[order], labels[order], GLOBAL // world), epoch)
            metrics.append(found | loop.evaluate(batches(pixels[order], labels[order], 7)))
    return {key: value.detach() for key, value in network.state_dict().items()}, metrics


def worked_with_statistics(rank: int, world: int) -> tuple[dict[str, Tensor], dict[str, Tensor], list[dict[str, float]]]:
    """Weights, averages and metrics where batch norm learns from rows that differ by worker."""
    network = tiny()
    recipe = replace(RECIPE, batchnorm_learns=True)
    averages, optimizer = Averages(network, 0.9), make_optimizer(network, recipe)
    pixels, labels = toy(GLOBAL * STEPS)
    pixels = pixels * (rank + 1) // world  # the second worker's pictures are brighter
    metrics = []
    for stage in STAGES:
        loop = StageLoop(
            network, optimizer, recipe, stage, cached=False, steps_per_epoch=STEPS, classes=COUNTS, device=CPU,
            wrap=nn.parallel.DistributedDataParallel, averages=averages,
        )  # fmt: skip
        loop.train_epoch(batches(pixels, labels, GLOBAL // world), 0)
        metrics.append(loop.evaluate(batches(*toy(GLOBAL))))
    return {key: value.detach() for key, value in network.state_dict().items()}, averages.state, metrics


def in_process(rank: int, world: int, folder: str) -> None:
    """What each spawned process does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        torch.save(worked(rank, world), os.path.join(folder, f"{rank}.pt"))
        torch.save(worked_with_statistics(rank, world), os.path.join(folder, f"statistics-{rank}.pt"))
    finally:
        torch.distributed.destroy_process_group()


def test_two_workers_learn_what_one_learns(tmp_path: Path) -> None:
    start = tiny(head="linear").state_dict()
    weights, metrics = worked(0, 1)
    # Fresh processes as when spawned, but the imports, which take seconds, are done once for both.
    multiprocessing.set_forkserver_preload([__name__])
    torch.multiprocessing.start_processes(in_process, args=(2, str(tmp_path)), nprocs=2, start_method="forkserver")
    for rank in range(2):
        other_weights, other_metrics = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for key, value in weights.items():
            assert float((other_weights[key].double() - value.double()).abs().max()) <= 1e-5, key
        for one, other in zip(metrics, other_metrics, strict=True):
            assert one.keys() == other.keys()
            for key, figure in one.items():
                if "accuracy" in key or key == "score":
                    assert other[key] == figure, key
                elif "loss" in key:
                    assert other[key] == pytest.approx(figure, rel=1e-5), key
    # They did learn, so the agreement says something.
    assert any(float((weights[key] - start[key]).abs().max()) > 0.05 for key in weights if key.endswith("weight"))
    assert metrics[-1]["train_loss"] < 0.9 * metrics[0]["train_loss"]
    # Nor do batch-norm statistics, which each worker takes from its own rows, differ when an epoch ends.
    first, second = (torch.load(tmp_path / f"statistics-{rank}.pt", weights_only=True) for rank in range(2))
    for mine, theirs in zip(first[:2], second[:2], strict=True):
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []
    assert first[2] == second[2]
