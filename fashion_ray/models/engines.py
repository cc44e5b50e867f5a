"""Inference engines. In: a network and a choice of engine. Out: something that maps batches of pixels to arrays, fast.

OpenVINO on CPUs, in bfloat16 where the CPU has it; PyTorch on GPUs and as the fallback. The choice is made once, on the
driver; a node that cannot comply refuses.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from fashion_ray.errors import UserError

log = logging.getLogger(__name__)

ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "bf16", "f32")


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """An engine and how it computes, settled."""

    name: str
    precision: str
    device: str


class Engine(Protocol):
    """Maps uint8 pixels (rows, height, width, 3) to float32 arrays (rows, ...), one for each output of the network."""

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]: ...


def choose(engine: str, precision: str, *, gpus: float, cpu_has_bf16: bool, has_openvino: bool = True) -> EngineChoice:
    """Settle `auto` by what the cluster has. Raises UserError for a combination that cannot be."""
    if engine == "openvino" and not has_openvino:
        raise UserError(
            "--engine: got openvino, which is not installed here; expected `pip install openvino` or --engine torch"
        )
    device = "cuda" if gpus > 0 and engine in ("auto", "torch") else "cpu"
    name = engine if engine != "auto" else ("torch" if device == "cuda" or not has_openvino else "openvino")
    if precision == "auto":
        precision = "bf16" if device == "cuda" or cpu_has_bf16 else "f32"
    return EngineChoice(name=name, precision=precision, device=device)


@cache
def openvino_installed() -> bool:
    """Whether OpenVINO can be imported on this node."""
    import importlib.util

    return importlib.util.find_spec("openvino") is not None


@cache
def cpu_has_bf16() -> bool:
    """Whether this node's CPU computes in bfloat16 rather than emulating it."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def of_this_node() -> dict[str, bool]:
    """What `choose` asks of the node that it runs on."""
    return {"cpu_has_bf16": cpu_has_bf16(), "has_openvino": openvino_installed()}


def make(
    network: nn.Module,
    *,
    pixel_shape: tuple[int, int],
    batch: int,
    choice: EngineChoice,
    threads: int,
    exported: Path | None = None,
) -> Engine:
    """An engine for a network that takes pixels. With `exported`, the exported form is kept there for the next time."""
    if choice.name == "torch":
        return TorchEngine(network, choice, threads)
    return OpenVinoEngine(network, pixel_shape=pixel_shape, batch=batch, choice=choice, threads=threads, exported=exported)


class OpenVinoEngine:
    """The network as an OpenVINO graph of a fixed batch; tail batches are padded, so every row is computed alike."""

    def __init__(
        self,
        network: nn.Module,
        *,
        pixel_shape: tuple[int, int],
        batch: int,
        choice: EngineChoice,
        threads: int,
        exported: Path | None,
    ) -> None:
        import openvino

        if choice.precision == "bf16" and not cpu_has_bf16():
            raise UserError(
                f"this node ({os.uname().nodename}) has no bfloat16 instructions, but the run was settled on bf16; "
                "pass --precision f32, or score on nodes of one kind"
            )
        graph = _graph(network, pixel_shape, exported)
        graph.reshape([batch, *pixel_shape, 3])
        self._batch = batch
        self._compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": choice.precision,
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._request = self._compiled.create_infer_request()

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        pieces: list[list[np.ndarray]] = []
        for start in range(0, len(pixels), self._batch):
            piece = pixels[start : start + self._batch]
            rows = len(piece)
            if rows < self._batch:
                piece = np.concatenate([piece, np.zeros((self._batch - rows, *piece.shape[1:]), dtype=np.uint8)])
            found = self._request.infer([np.ascontiguousarray(piece)], share_inputs=True)
            pieces.append([np.array(found[port][:rows]) for port in self._compiled.outputs])
        if not pieces:
            return [np.zeros((0, *list(port.shape)[1:]), dtype=np.float32) for port in self._compiled.outputs]
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


class TorchEngine:
    """The network in PyTorch, channels last, under bfloat16 autocast if so settled."""

    def __init__(self, network: nn.Module, choice: EngineChoice, threads: int, batch: int = 64) -> None:
        if choice.device == "cuda" and not torch.cuda.is_available():
            raise UserError(
                f"this node ({os.uname().nodename}) has no GPU, but the run was settled on one; pass --engine openvino"
            )
        torch.set_num_threads(threads)
        self._device = torch.device(choice.device)
        self._network = network.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._bf16 = choice.precision == "bf16"
        self._batch = batch if choice.device == "cpu" else 8 * batch

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        pieces = []
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            for start in range(0, max(1, len(pixels)), self._batch):
                piece = torch.from_numpy(np.ascontiguousarray(pixels[start : start + self._batch])).to(self._device)
                found = self._network(piece)
                outputs = found if isinstance(found, tuple) else (found,)
                pieces.append([output.float().cpu().numpy() for output in outputs])
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def _graph(network: nn.Module, pixel_shape: tuple[int, int], exported: Path | None) -> Any:
    import openvino

    if exported is not None and exported.exists():
        return openvino.Core().read_model(str(exported))
    example = torch.zeros(2, *pixel_shape, 3, dtype=torch.uint8)
    with _quiet_tracing():
        graph = openvino.convert_model(network.eval().cpu(), example_input=example)
    if exported is not None:
        exported.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=exported.parent) as temporary:
            openvino.save_model(graph, str(Path(temporary) / "graph.xml"), compress_to_fp16=False)
            os.replace(
                Path(temporary) / "graph.bin", exported.with_suffix(".bin")
            )  # the weights first: the .xml says it is whole
            os.replace(Path(temporary) / "graph.xml", exported)
        return openvino.Core().read_model(str(exported))  # the same graph, to the last bit, as the next process reads
    return graph


@contextlib.contextmanager
def _quiet_tracing() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
