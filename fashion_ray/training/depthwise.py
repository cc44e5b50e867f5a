"""Fast gradients of depthwise convolutions in bfloat16 on CPUs. In: any network. Out: the same numbers, sooner.

oneDNN has fast kernels for depthwise convolutions forward, and backward for 3 x 3 weights; the gradient of larger weights,
and that of the input of a strided one, take its reference path, 10 to 100 times slower. Both can be said in terms of the
fast ones: an input's gradient is a convolution of the output's with the flipped weights, zeros between its values where
there was a stride; and the gradient of a 5 x 5 weight is put together from those of its 3 x 3 windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FAST = 3
"""Height and width of the weights whose gradient has a fast kernel."""


class FastDepthwise(TorchFunctionMode):
    """Within it, depthwise convolutions of bfloat16 tensors on a CPU, or under its autocast, have fast gradients."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return (_convolved if func is torch.conv2d else func)(*args, **(kwargs or {}))


def _convolved(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    steps, borders = _pair(stride), padding if isinstance(padding, str) else _pair(padding)
    suits = (
        groups > 1 and groups == inputs.shape[1] == weight.shape[0] and inputs.ndim == 4 and not isinstance(borders, str)
        and _pair(dilation) == (1, 1) and steps[0] == steps[1] and min(weight.shape[2:]) >= FAST
        and all(border < size for border, size in zip(borders, weight.shape[2:], strict=True))
        and inputs.device.type == "cpu" and torch.is_grad_enabled()
    )  # fmt: skip
    autocast = suits and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if not suits or not (autocast or inputs.dtype == weight.dtype == torch.bfloat16):
        return torch.conv2d(inputs, weight, bias, stride, padding, dilation, groups)
    output: Tensor = _Depthwise.apply(inputs.bfloat16(), weight.bfloat16(), steps[0], borders)
    return output if bias is None else output + bias.bfloat16()[None, :, None, None]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(inputs, weight, None, stride, padding, 1, inputs.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_inputs = input_gradient(gradient, inputs, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        of_weight = weight_gradient(gradient, inputs, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return of_inputs, of_weight, None, None


def input_gradient(gradient: Tensor, inputs: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """What the inputs (batch, channels, height, width) get of the gradient of a depthwise convolution's outputs."""
    (height, width), (kernel_height, kernel_width) = inputs.shape[2:], weight.shape[2:]
    size = (height + 2 * padding[0] - kernel_height + 1, width + 2 * padding[1] - kernel_width + 1)
    if stride > 1:
        spread = torch.empty((*inputs.shape[:2], *size), dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    around = (kernel_height - 1 - padding[0], kernel_width - 1 - padding[1])
    return torch.conv2d(gradient, weight.flip(2, 3), None, 1, around, 1, inputs.shape[1])


def weight_gradient(gradient: Tensor, inputs: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """What the weights (channels, 1, kernel height, kernel width) get of it, a window of 3 x 3 of them at a time."""
    (height, width), (kernel_height, kernel_width) = gradient.shape[2:], weight.shape[2:]
    if any(padding):
        inputs = functional.pad(inputs, (padding[1], padding[1], padding[0], padding[0]))
    found, window = torch.empty_like(weight), weight[:, :, :FAST, :FAST].contiguous()
    for row in _offsets(kernel_height):
        for column in _offsets(kernel_width):
            seen = inputs[:, :, row : row + (height - 1) * stride + FAST, column : column + (width - 1) * stride + FAST]
            found[:, :, row : row + FAST, column : column + FAST] = torch.ops.aten.convolution_backward(
                gradient, seen, window, None, [stride, stride], [0, 0], [1, 1], False, [0, 0], inputs.shape[1],
                [False, True, False],
            )[1]  # fmt: skip
    return found


def _offsets(kernel: int) -> list[int]:
    """Where windows begin that cover a kernel's side; the last one ends with it."""
    return sorted({*range(0, kernel - FAST + 1, FAST), kernel - FAST})


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])
