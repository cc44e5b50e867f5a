"""The fast gradients of depthwise convolutions are those that autograd finds."""

import pytest
import torch
from torch import nn

from fashion_ray.training.depthwise import FastDepthwise, input_gradient, weight_gradient

SHAPES = [
    # channels, height, width, kernel, stride, padding
    (6, 5, 4, 5, 1, 2),
    (6, 13, 11, 5, 2, 0),
    (6, 12, 10, 5, 2, 2),
    (4, 21, 17, 3, 2, 0),
    (4, 20, 16, 3, 2, 1),
    (4, 9, 8, 7, 1, 3),
    (4, 9, 9, 4, 3, 1),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_autograd(shape: tuple[int, ...]) -> None:
    channels, height, width, kernel, stride, padding = shape
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, channels, height, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    outputs = torch.conv2d(inputs, weight, None, stride, padding, 1, channels)
    gradient = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    of_inputs, of_weight = torch.autograd.grad(outputs, [inputs, weight], gradient)
    with torch.no_grad():
        borders = (padding, padding)
        assert torch.allclose(input_gradient(gradient, inputs, weight, stride, borders), of_inputs, atol=1e-12)
        assert torch.allclose(weight_gradient(gradient, inputs, weight, stride, borders), of_weight, atol=1e-12)


def test_a_network_under_autocast_learns_the_same() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding="same", groups=8),
        nn.Conv2d(8, 4, 1),
    ).to(memory_format=torch.channels_last)
    pictures = torch.randn(16, 3, 24, 18).contiguous(memory_format=torch.channels_last)
    found = []
    for mode in (FastDepthwise(), None):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            if mode is None:
                outputs = network(pictures)
            else:
                with mode:
                    outputs = network(pictures)
        names = {type(step).__name__ for step in _steps(outputs)}
        assert ("_DepthwiseBackward" in names) == (mode is not None)
        outputs.float().pow(2).sum().backward()
        found.append([outputs.float(), *(parameter.grad for parameter in network.parameters())])
    for mine, torchs in zip(*found, strict=True):
        assert mine.dtype == torchs.dtype == torch.float32
        assert (mine - torchs).abs().max() <= 0.02 * torchs.abs().max()


def test_float32_and_evaluation_are_left_alone() -> None:
    layer = nn.Conv2d(8, 8, 5, groups=8)
    pictures = torch.randn(2, 8, 9, 9)
    with FastDepthwise():
        plain = layer(pictures)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            evaluated = layer(pictures)
    assert type(plain.grad_fn).__name__ == "ConvolutionBackward0"
    assert torch.equal(plain, layer(pictures))
    assert evaluated.dtype == torch.bfloat16


def _steps(outputs: torch.Tensor) -> list[object]:
    """Every step of the graph behind some outputs."""
    found, waiting = [], [outputs.grad_fn]
    while waiting:
        step = waiting.pop()
        if step is not None and step not in found:
            found.append(step)
            waiting += [before for before, _ in step.next_functions]
    return found
