"""Dropout by bytes: the share, the scale, the gradient, and silence in evaluation."""

from __future__ import annotations

import pytest
import torch

from fashion_ray.models.dropout import ByteDropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(64, 1280), (7, 13), (3,)])
def test_what_is_kept_is_scaled_so_that_means_stay(share: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    found = torch.stack([ByteDropout(share)(torch.ones(shape)) for _ in range(400)])
    rounded = round(256 * share) / 256
    assert found.unique().tolist() == pytest.approx([0.0, 1 / (1 - rounded)])
    rows = found.numel()
    assert float((found == 0).float().mean()) == pytest.approx(rounded, abs=5 * (rounded * (1 - rounded) / rows) ** 0.5)


def test_the_gradient_flows_through_what_was_kept_and_nothing_is_dropped_in_evaluation() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(32, 40, dtype=torch.bfloat16, requires_grad=True)
    layer = ByteDropout(0.5)
    answers = layer(inputs)
    answers.sum().backward()
    assert answers.dtype == torch.bfloat16 and inputs.grad is not None
    assert torch.equal(inputs.grad, 2.0 * (answers != 0))
    assert layer.eval()(inputs) is inputs


def test_a_seed_repeats_it_and_neighbours_are_independent() -> None:
    layer = ByteDropout(0.5)
    torch.manual_seed(3)
    first = layer(torch.ones(1000, 64))
    torch.manual_seed(3)
    assert torch.equal(first, layer(torch.ones(1000, 64)))
    kept = (first > 0).float() - 0.5
    for step in (1, 2, 8, 64):
        flat = kept.flatten()
        assert abs(float((flat[:-step] * flat[step:]).mean())) < 0.25 * 5 / len(flat) ** 0.5
    for share in (0.0, 1.0):
        assert torch.equal(ByteDropout(share)(torch.ones(5)), torch.full((5,), 1.0 - share))
