"""Mixed batches are those of torchvision, and each label counts by its share, for every target that has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from fashion_ray.training.losses import Batch, Loss, logit_offsets, masses_of, sums_of, total_of
from fashion_ray.training.mixing import blended, box, mixed, pasted
from tests.unit.networks import ALL, HEADS, RECIPE, batches, stage_loop, tiny, toy

LABELS = torch.tensor([[0, 1], [2, 0], [1, 1], [2, 1], [0, 0]])
MISSING = torch.tensor([[0, -1], [2, 0], [-1, 1], [-1, -1], [0, 0]])


def pictures(rows: int = 5) -> Tensor:
    """Noise of 12 x 10 pixels."""
    return torch.randint(0, 256, (rows, 12, 10, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def logits(rows: int = 5) -> list[Tensor]:
    """Answers for three and two classes."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(rows, count, generator=generator) for count in (3, 2)]


def loss_of(batch: Batch, answers: Sequence[Tensor], loss: Loss) -> float:
    """The loss of answers to a batch."""
    return float(total_of(sums_of(answers, batch, loss), masses_of(batch), loss))


def test_mixup_is_torchvisions() -> None:
    torch.manual_seed(0)
    images = pictures().permute(0, 3, 1, 2).float()
    expected, soft = v2.MixUp(alpha=0.8, num_classes=3)(images, LABELS[:, 0])
    share = float(soft[1, 2])  # row 1 is of class 2, row 0 is not
    found = blended(images, share)
    assert torch.allclose(found, expected, atol=1e-3)
    assert torch.equal(blended(pictures(), share), found.permute(0, 2, 3, 1).round().to(torch.uint8))


def test_cutmix_is_torchvisions() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        expected, soft = v2.CutMix(alpha=1.0, num_classes=3)(pictures().permute(0, 3, 1, 2), LABELS[:, 0])
        inputs = pictures()
        differs = (expected.permute(0, 2, 3, 1) != inputs).any(-1)[1]
        rows, columns = differs.any(1).nonzero(), differs.any(0).nonzero()
        area = (0, 0, 0, 0)
        if len(rows):
            area = (int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        found, share = pasted(inputs, area)
        assert torch.equal(found, expected.permute(0, 2, 3, 1))
        assert share == pytest.approx(float(soft[1, 2]), abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7, 1.0])
def test_a_box_has_its_share_of_the_area_where_the_edge_does_not_cut_it(share: float) -> None:
    top, bottom, left, right = box(100, 200, share, row=50, column=100)
    assert (bottom - top) * (right - left) == pytest.approx((1 - share) * 100 * 200, abs=300)
    top, bottom, left, right = box(100, 200, share, row=99, column=0)
    assert 0 <= top <= bottom <= 100 and 0 <= left <= right <= 200


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_the_loss_of_two_labels_is_that_of_their_mixed_distribution(share: float, smoothing: float) -> None:
    batch = Batch(torch.zeros(0), LABELS, LABELS.roll(1, 0), share)
    expected = 0.0
    for column, values in enumerate(logits()):
        one_hot = functional.one_hot(LABELS[:, column], values.shape[1]).float()
        soft = share * one_hot + (1 - share) * one_hot.roll(1, 0)
        expected += float(functional.cross_entropy(values, soft, label_smoothing=smoothing))
    assert loss_of(batch, logits(), Loss(label_smoothing=smoothing)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_missing_label_takes_its_share_away_and_no_more(share: float) -> None:
    others = MISSING.roll(1, 0)
    batch = Batch(torch.zeros(0), MISSING, others, share)
    expected, masses = 0.0, []
    for column, values in enumerate(logits()):
        losses, mass = 0.0, 0.0
        for row in range(len(MISSING)):
            for label, weight in ((int(MISSING[row, column]), share), (int(others[row, column]), 1 - share)):
                if label >= 0:
                    losses += weight * float(functional.cross_entropy(values[row], torch.tensor(label)))
                    mass += weight
        expected += losses / mass
        masses.append(mass)
    assert masses_of(batch).tolist() == pytest.approx(masses)
    assert loss_of(batch, logits(), Loss()) == pytest.approx(expected, rel=1e-5)


def test_a_share_of_1_is_no_mixing_at_all() -> None:
    plain, whole = Batch(torch.zeros(0), MISSING), Batch(torch.zeros(0), MISSING, MISSING.roll(1, 0), 1.0)
    assert loss_of(whole, logits(), Loss()) == pytest.approx(loss_of(plain, logits(), Loss()))
    assert torch.equal(blended(pictures(), 1.0), pictures())


def drawn(
    *, mixup: float = 0.0, cutmix: float = 0.0, inputs: Tensor | None = None, count: int = 40, seed: int = 0
) -> list[Batch]:
    """Batches mixed."""
    plain = Batch(pictures() if inputs is None else inputs, LABELS)
    return list(mixed([plain] * count, mixup=mixup, cutmix=cutmix, random=np.random.default_rng(seed)))


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_batches_keep_their_shape_and_type_and_say_what_they_are(mixup: float, cutmix: float) -> None:
    found = drawn(mixup=mixup, cutmix=cutmix)
    assert all(batch.inputs.shape == (5, 12, 10, 3) and batch.inputs.dtype == torch.uint8 for batch in found)
    assert all(batch.others is not None and torch.equal(batch.others, LABELS.roll(1, 0)) for batch in found)
    assert len({batch.share for batch in found}) > 10 and all(0 <= batch.share <= 1 for batch in found)
    plain = pictures()
    whole = [batch for batch in found if bool(((batch.inputs == plain) | (batch.inputs == plain.roll(1, 0))).all(-1).all())]
    if mixup and cutmix:
        assert 8 < len(whole) < 32  # of cutmix every pixel is one of both
    else:
        assert len(whole) == 40 if cutmix else len(whole) < 15  # some shares are nearly 0 or 1
    again = drawn(mixup=mixup, cutmix=cutmix)
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(found, again, strict=True))
    other_seed = drawn(mixup=mixup, cutmix=cutmix, seed=1)
    assert any(one.share != other.share for one, other in zip(found, other_seed, strict=True))


def test_nothing_is_mixed_unless_asked_for() -> None:
    assert all(batch.others is None and torch.equal(batch.inputs, pictures()) for batch in drawn())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_mixed_by_mixup_alone(dtype: torch.dtype) -> None:
    activations = torch.randn(5, 7).to(dtype)
    assert all(batch.others is None for batch in drawn(cutmix=1.0, inputs=activations))
    for batch in drawn(mixup=0.4, cutmix=1.0, inputs=activations):
        assert batch.inputs.dtype == dtype
        wanted = batch.share * activations.float() + (1 - batch.share) * activations.roll(1, 0).float()
        assert torch.allclose(batch.inputs.float(), wanted, atol=0.05)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
def test_mixed_batches_teach(mixup: float, cutmix: float) -> None:
    loop = stage_loop(tiny(), replace(ALL, epochs=5), recipe=replace(RECIPE, accumulate=2))
    random = np.random.default_rng(0)
    for epoch in range(5):
        loop.train_epoch(mixed(batches(*toy()), mixup=mixup, cutmix=cutmix, random=random), epoch)
    assert loop.evaluate(batches(*toy()))["score"] > 0.75


def test_targets_count_in_the_loss_by_their_weights() -> None:
    batch = Batch(torch.zeros(0), LABELS)
    one, other = (loss_of(batch, logits(), Loss(target_weights=weights)) for weights in ((1.0, 1e-9), (1e-9, 1.0)))
    assert loss_of(batch, logits(), Loss()) == pytest.approx(one + other, rel=1e-6)
    assert loss_of(batch, logits(), Loss(target_weights=(2.0, 0.5))) == pytest.approx(2 * one + 0.5 * other, rel=1e-6)
    loop = stage_loop(tiny(), HEADS, recipe=replace(RECIPE, target_weights=(2.0, 0.5)))
    plain = stage_loop(tiny(), HEADS).evaluate(batches(*toy()))
    weighted = loop.evaluate(batches(*toy()))
    assert weighted["score"] == plain["score"] and weighted["validation_loss"] != plain["validation_loss"]
    assert loop.train_epoch(batches(*toy()), 0)["train_loss"] > 2 * 0.9  # log 3 twice and log 2 half


def test_logit_adjustment_is_that_of_the_paper() -> None:
    classes = np.array([0] * 90 + [1] * 9 + [2] * 1 + [-1] * 50)
    offsets = logit_offsets(classes, 4, tau=1.5)
    assert offsets == pytest.approx(1.5 * np.log(np.array([90, 9, 1, 1]) / 101))  # class 3 counts as if it had a row
    values, wanted = logits()[0], LABELS[:, :1]
    adjusted = Loss(logit_offsets=(torch.tensor(offsets[:3]),))
    priors = torch.tensor([90, 9, 1]) / 101
    # Menon et al. 2021, equation 10: log(1 + sum over others of (prior' / prior) ** tau * exp(f' - f)).
    expected = 0.0
    for row, label in enumerate(wanted[:, 0].tolist()):
        ratios = (priors / priors[label]) ** 1.5 * torch.exp(values[row] - values[row, label])
        expected += float(torch.log(ratios.sum())) / len(wanted)
    assert loss_of(Batch(torch.zeros(0), wanted), [values], adjusted) == pytest.approx(expected, rel=1e-5)


def test_logit_adjustment_answers_rare_classes_more_often_and_leaves_evaluation_alone() -> None:
    pixels, labels = toy()
    noise = torch.randint_like(pixels, 0, 256)  # nothing to learn but how common classes are
    rare = torch.where(torch.arange(96) % 8 == 0, 1, 0)
    wanted = torch.stack([rare, labels[:, 1]], dim=1)
    offsets = tuple(logit_offsets(column.numpy(), count, tau=1.0) for column, count in zip(wanted.T, (3, 2), strict=True))
    found = []
    for chosen in ((), offsets):
        network = tiny(head="linear")
        loop = stage_loop(network, replace(HEADS, epochs=8), recipe=replace(RECIPE, logit_offsets=chosen))
        for epoch in range(8):
            loop.train_epoch(batches(noise, wanted), epoch)
        with torch.inference_mode():
            found.append(float(network.eval()(noise)[1].softmax(1)[:, 1].mean()))
    assert found[0] == pytest.approx(1 / 8, abs=0.06)
    assert found[1] > 2 * found[0]
