"""What the training loop counts: losses and accuracies of what has a label, weighted or not, and what is not finite."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn import functional

from fashion_ray.errors import UserError
from fashion_ray.models.network import Network
from fashion_ray.training.losses import Batch, Loss, masses_of, sums_of, total_of
from fashion_ray.training.meters import Meters
from tests.unit.networks import ALL, CLASSES, COUNTS, CPU, HEADS, RECIPE, batches, stage_loop, tiny, toy


def loss_of(logits: list[Tensor], labels: Tensor, **named: Any) -> Tensor:
    """The loss of rows that are not mixed."""
    batch, loss = Batch(torch.zeros(0), labels), Loss(**named)
    return total_of(sums_of(logits, batch, loss), masses_of(batch), loss)


def count(meters: Meters, loss: Tensor, logits: list[Tensor], labels: Tensor) -> None:
    """Have meters count a batch whose loss is said to be so."""
    batch = Batch(torch.zeros(0), labels)
    meters.update(loss, sums_of(logits, batch, Loss()), masses_of(batch), logits, labels)


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
    count(meters, torch.tensor(1.0), logits, labels)
    meters.compute("train")
    count(meters, torch.tensor(value), logits, labels)
    with pytest.raises(UserError):
        meters.compute("train")


def test_counts_are_exact_beyond_float32() -> None:
    meters = Meters({"season": 2}, CPU)
    rows = 2**24 + 1
    sums, masses, logits = [torch.tensor(0.5)], torch.tensor([1.0]), [torch.zeros(1, 2).expand(rows, 2)]
    meters.update(torch.tensor(0.5), sums, masses, logits, (torch.arange(rows) == 0).long()[:, None])
    assert meters.compute("train")["train_accuracy/season"] == 2**24 / rows != 1


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
        found = loss_of(logits, labels, label_smoothing=smoothing, class_weights=tuple(weights))
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
    count(meters, torch.tensor(1.0), [5 * torch.eye(3)], torch.tensor([[0], [-1], [0]]))
    count(meters, torch.tensor(1.0), [5 * torch.eye(3)[:2]], torch.tensor([[-1], [1]]))
    assert meters.compute("train")["train_accuracy/season"] == pytest.approx(2 / 3)
