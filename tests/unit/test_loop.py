"""The training loop: it learns, it counts what has a label, and two workers do what one does."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn import functional

from fashion_ray.errors import UserError
from fashion_ray.models.backbones import Trunk, TrunkSpec
from fashion_ray.models.network import Geometry, LowerNetwork, Network, build_heads
from fashion_ray.training.loop import Batch, Meters, Recipe, StageLoop, StageNetwork, loss_of, make_optimizer
from fashion_ray.training.schedule import Stage

CPU = torch.device("cpu")
SIDE = 8
CLASSES: dict[str, list[str | None]] = {"season": ["Fall", "Summer", "Winter"], "usage": ["Casual", "Sports"]}
COUNTS = {target: len(names) for target, names in CLASSES.items()}
RECIPE = Recipe(
    learning_rate=0.02, heads_learning_rate=0.02, layer_decay=0.7, weight_decay=0.01, label_smoothing=0.0,
    batchnorm_learns=False, bf16=False,
)  # fmt: skip
HEADS, TOP, ALL = (
    Stage(name="heads", trainable=0, epochs=4),
    Stage(name="top1", trainable=1, epochs=4),
    Stage(name="all", trainable=3, epochs=4),
)


def block(channels: int, wider: int, stride: int = 2) -> nn.Module:
    """A convolution with all that follows one."""
    return nn.Sequential(nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU())


def tiny(*, head: str = "batchnorm", dropout: float = 0.0, seed: int = 0) -> Network:
    """A network of three blocks for pictures of 8 x 8 pixels."""
    torch.manual_seed(seed)
    spec = TrunkSpec(name="tiny", embedding_dim=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    trunk = Trunk(spec, [block(3, 8), block(8, 16), block(16, 16, 1)], ["one", "two", "three"])
    geometry = Geometry(decoded_size=(SIDE, SIDE), input_size=(SIDE, SIDE))
    network = Network(geometry, trunk, build_heads(head, 16, CLASSES, dropout))
    for module in network.trunk.modules():  # statistics of a network that has seen pictures
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    return network


@cache
def toy(rows: int = 96) -> tuple[Tensor, Tensor]:
    """Pictures whose colour is their season and whose brightness is their usage, and these labels."""
    generator = torch.Generator().manual_seed(7)
    seasons = torch.randint(0, 3, (rows,), generator=generator)
    usages = torch.randint(0, 2, (rows,), generator=generator)
    pixels = torch.randint(0, 40, (rows, SIDE, SIDE, 3), generator=generator) + 60 * usages.view(-1, 1, 1, 1)
    pixels += 120 * functional.one_hot(seasons, 3).view(-1, 1, 1, 3)
    return pixels.to(torch.uint8), torch.stack([seasons, usages], dim=1)


def batches(pixels: Tensor, labels: Tensor, size: int = 16) -> Iterator[Batch]:
    """The rows in order, in batches."""
    for start in range(0, len(labels), size):
        yield Batch(pixels[start : start + size], labels[start : start + size])


def stage_loop(
    network: Network,
    stage: Stage,
    *,
    recipe: Recipe = RECIPE,
    optimizer: torch.optim.Optimizer | None = None,
    cached: bool = False,
    steps: int = 6,
) -> StageLoop:
    """A stage of a network, alone in the world."""
    return StageLoop(
        network, optimizer or make_optimizer(network, recipe), recipe, stage,
        cached=cached, steps_per_epoch=steps, classes=COUNTS, device=CPU,
    )  # fmt: skip


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


def test_a_nan_loss_is_a_user_error_that_says_what_to_do() -> None:
    network = tiny()
    nn.init.constant_(network.heads["season"][2].weight, math.nan)  # type: ignore[index]
    with pytest.raises(UserError, match=r"train loss became NaN.*--learning-rate.*--precision f32"):
        stage_loop(network, HEADS).train_epoch(batches(*toy()), 0)
    with pytest.raises(UserError, match="validation loss became NaN"):
        stage_loop(network, HEADS).evaluate(batches(*toy()))


def test_one_batch_of_nan_among_good_ones_is_found() -> None:
    activations = torch.randn(96, 16, generator=torch.Generator().manual_seed(0))
    activations[50, 3] = math.nan
    with pytest.raises(UserError, match="NaN"):
        stage_loop(tiny(), HEADS, cached=True).evaluate(batches(activations, toy()[1]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_meters_refuse_a_loss_that_is_not_finite(value: float) -> None:
    meters = Meters(COUNTS, CPU)
    logits, labels = [torch.zeros(4, 3), torch.zeros(4, 2)], torch.zeros(4, 2, dtype=torch.long)
    meters.update(torch.tensor(1.0), logits, labels)
    meters.compute("train")
    meters.update(torch.tensor(value), logits, labels)
    with pytest.raises(UserError):
        meters.compute("train")


def test_no_rows_at_all_are_a_user_error() -> None:
    with pytest.raises(UserError, match="no training rows"):
        stage_loop(tiny(), HEADS).train_epoch(iter([]), 0)


def test_loss_is_the_sum_over_targets_of_the_mean_over_labelled_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 3, generator=generator), torch.randn(6, 2, generator=generator)]
    labels = torch.tensor([[0, 1], [-1, 0], [2, -1], [-1, -1], [1, 1], [0, 0]])
    expected = 0.0
    for values, wanted in zip(logits, labels.T, strict=True):
        of_rows = [-float(torch.log_softmax(values[row], 0)[label]) for row, label in enumerate(wanted.tolist()) if label >= 0]
        expected += sum(of_rows) / len(of_rows)
    assert loss_of(logits, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_unlabelled_rows_have_no_say_in_the_loss(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 3, generator=generator, requires_grad=True)]
    labels = torch.tensor([[0], [-1], [2], [-1], [1], [0]])
    loss = loss_of(logits, labels, label_smoothing=smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    kept = labels[:, 0] >= 0
    of_kept = loss_of([logits[0].detach()[kept]], labels[kept], label_smoothing=smoothing)
    assert loss.item() == pytest.approx(of_kept.item(), rel=1e-6)
    assert logits[0].grad is not None
    assert bool((logits[0].grad[~kept] == 0).all()) and bool((logits[0].grad[kept] != 0).all())


def test_weights_of_classes_multiply_the_losses_of_their_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 3, generator=generator), torch.randn(6, 2, generator=generator)]
    labels = torch.tensor([[0, 1], [-1, 0], [2, -1], [-1, -1], [1, 1], [0, 0]])
    weights = [torch.tensor([0.5, 2.0, 3.0]), torch.tensor([1.0, 0.25])]
    for smoothing in (0.0, 0.2):
        expected = 0.0
        for values, wanted, of_classes in zip(logits, labels.T, weights, strict=True):
            rows = [row for row, label in enumerate(wanted.tolist()) if label >= 0]
            losses = [
                float(functional.cross_entropy(values[row], wanted[row], label_smoothing=smoothing) * of_classes[wanted[row]])
                for row in rows
            ]
            expected += sum(losses) / len(rows)
        found = loss_of(logits, labels, label_smoothing=smoothing, class_weights=weights)
        assert found.item() == pytest.approx(expected, rel=1e-5)


def test_weights_of_classes_are_those_of_training_alone() -> None:
    recipe = replace(RECIPE, class_weights=((3.0, 3.0, 3.0), (3.0, 3.0)), learning_rate=1e-12, heads_learning_rate=1e-12)
    one, other = (stage_loop(tiny(), HEADS, recipe=chosen) for chosen in (replace(recipe, class_weights=()), recipe))
    assert one.evaluate(batches(*toy())) == other.evaluate(batches(*toy()))
    plain, weighted = (loop.train_epoch(batches(*toy()), 0)["train_loss"] for loop in (one, other))
    assert weighted == pytest.approx(3 * plain, rel=1e-4)


def test_weighted_classes_are_answered_more_often() -> None:
    pixels, labels = toy()
    answers = []
    for weights in ((1.0, 1.0, 1.0), (2.0, 0.05, 0.05)):
        network = tiny(head="linear")
        loop = stage_loop(network, ALL, recipe=replace(RECIPE, class_weights=(weights, (1.0, 1.0)), learning_rate=0.002))
        loop.train_epoch(batches(pixels, labels), 0)
        with torch.inference_mode():
            answers.append(int((network.eval()(pixels)[1].argmax(1) == 0).sum()))
    assert answers[1] > answers[0]


def test_an_epoch_counts_the_rows_that_it_was_fed() -> None:
    assert stage_loop(tiny(), HEADS).train_epoch(batches(*toy()), 0)["train_rows"] == 96


def test_a_batch_without_labels_teaches_nothing_and_breaks_nothing() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = loss_of([logits], torch.full((4, 1), -1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is None or not bool(logits.grad.any())


def plain_figures(network: Network, pixels: Tensor, labels: Tensor) -> dict[str, float]:
    """Loss and accuracies over all rows at once, by hand."""
    with torch.inference_mode():
        _, *logits = network.eval()(pixels)
    found, total = {}, 0.0
    for target, values, wanted in zip(CLASSES, logits, labels.T, strict=True):
        kept = wanted >= 0
        total += float(functional.cross_entropy(values[kept], wanted[kept]))
        found[f"validation_accuracy/{target}"] = float((values.argmax(1)[kept] == wanted[kept]).float().mean())
    return {"validation_loss": total, **found}


@pytest.mark.parametrize("size", [1, 7, 16, 96, 1000])
def test_meters_equal_a_plain_computation_whatever_the_batches(size: int) -> None:
    network = tiny()
    found = stage_loop(network, HEADS).evaluate(batches(*toy(), size))
    for key, value in plain_figures(network, *toy()).items():
        assert found[key] == pytest.approx(value, rel=1e-5), key


@pytest.mark.parametrize("size", [5, 16, 96])
def test_meters_equal_a_plain_computation_where_labels_are_missing(size: int) -> None:
    pixels, labels = toy()
    labels = labels.clone()
    labels[:40, 0], labels[90:, 1] = -1, -1  # a batch has many labels of a target, few, or none
    network = tiny()
    found = stage_loop(network, HEADS).evaluate(batches(pixels, labels, size))
    for key, value in plain_figures(network, pixels, labels).items():
        assert found[key] == pytest.approx(value, rel=1e-5), key


def test_a_target_without_any_label_has_no_say_in_the_score() -> None:
    pixels, labels = toy()
    labels = labels.clone()
    labels[:, 1] = -1
    found = stage_loop(tiny(), HEADS).evaluate(batches(pixels, labels))
    assert found["score"] == pytest.approx(found["validation_accuracy/season"])


def test_unlabelled_rows_do_not_count_in_accuracy() -> None:
    meters = Meters({"season": 3}, CPU)
    meters.update(torch.tensor(1.0), [5 * torch.eye(3)], torch.tensor([[0], [-1], [0]]))
    meters.update(torch.tensor(1.0), [5 * torch.eye(3)[:2]], torch.tensor([[-1], [1]]))
    assert meters.compute("train")["train_accuracy/season"] == pytest.approx(2 / 3)


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
    optimizer = make_optimizer(network, RECIPE)
    pixels, labels = toy(GLOBAL * STEPS)
    order = [row for row in range(len(labels)) if row % world == rank]
    metrics = []
    for stage in STAGES:
        loop = StageLoop(
            network, optimizer, RECIPE, stage, cached=False, steps_per_epoch=STEPS, classes=COUNTS, device=CPU,
            wrap=nn.parallel.DistributedDataParallel if world > 1 else lambda module: module,
        )  # fmt: skip
        for epoch in range(stage.epochs):
            found = loop.train_epoch(batches(pixels[order], labels[order], GLOBAL // world), epoch)
            metrics.append(found | loop.evaluate(batches(pixels[order], labels[order], 7)))
    return {key: value.detach() for key, value in network.state_dict().items()}, metrics


def in_process(rank: int, world: int, folder: str) -> None:
    """What each spawned process does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        torch.save(worked(rank, world), os.path.join(folder, f"{rank}.pt"))
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
    assert metrics[-1]["train_loss"] < 0.7 * metrics[0]["train_loss"]
