"""Inference engines. In: a network and a choice of engine. Out: something that maps batches of pixels to arrays, fast.

OpenVINO on CPUs, in bfloat16 where the CPU has it; PyTorch on GPUs and as the fallback. The choice is made once, on the
driver; a node that cannot comply refuses.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from fashion_ray.errors import UserError

log = logging.getLogger(__name__)

OPENVINO_BATCH, TORCH_BATCH, CUDA_BATCH = 32, 64, 512
"""Rows a call, where they are fastest: benchmarks/bare_engine.py measures the first."""

ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "bf16", "f32")


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """An engine and how it computes, settled."""

    name: str
    precision: str
    device: str


class Engine(Protocol):
    """Maps uint8 pixels (rows, height, width, 3) to float32 arrays (rows, ...), one for each output of the network.

    It may be called with any number of rows, and by several threads.
    """

    batch: int
    """Rows that it computes at once; a call with so many is one computation."""

    streams: int
    """Such calls that it computes side by side. One more may be handed in, and begins as soon as a stream is free."""

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
    network: nn.Module | None,
    *,
    pixel_shape: tuple[int, int],
    choice: EngineChoice,
    threads: int,
    batch: int | None = None,
    exported: Path | None = None,
) -> Engine:
    """An engine for a network that takes pixels; without `batch`, of the size that is fastest for it.

    With `exported`, the exported form is kept there for the next time, when the network need not be given.
    """
    if choice.name == "torch":
        assert network is not None, "PyTorch runs the network itself"
        return TorchEngine(network, choice, threads, batch=batch)
    return OpenVinoEngine(
        network, pixel_shape=pixel_shape, batch=batch or OPENVINO_BATCH, choice=choice, threads=threads, exported=exported
    )


class OpenVinoEngine:
    """The network as an OpenVINO graph of a fixed batch; tail batches are padded, so every row is computed alike.

    Each thread is a stream of its own with a batch of its own: what else a processor has to do then delays one batch, not
    all threads of it, and a row's answer does not depend on how many threads there are.
    """

    def __init__(
        self,
        network: nn.Module | None,
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
        self.batch, self.streams = batch, threads
        self._compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": choice.precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(threads + 1):
            self._requests.put(self._compiled.create_infer_request())
        self._pool = ThreadPoolExecutor(threads + 1, thread_name_prefix="openvino")
        # Once by one thread alone: two that make OpenVINO's first call at the same time can lock each other out for ever.
        self._infer(np.zeros((1, *pixel_shape, 3), dtype=np.uint8))

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        if not len(pixels):
            return [np.zeros((0, *list(port.shape)[1:]), dtype=np.float32) for port in self._compiled.outputs]
        pieces = [pixels[start : start + self.batch] for start in range(0, len(pixels), self.batch)]
        if len(pieces) == 1:
            return self._infer(pieces[0])
        return [np.concatenate(parts) for parts in zip(*self._pool.map(self._infer, pieces), strict=True)]

    def _infer(self, piece: np.ndarray) -> list[np.ndarray]:
        rows = len(piece)
        if rows < self.batch:
            piece = np.concatenate([piece, np.zeros((self.batch - rows, *piece.shape[1:]), dtype=np.uint8)])
        request = self._requests.get()
        try:
            found = request.infer([np.ascontiguousarray(piece)], share_inputs=True, share_outputs=True)
            return [np.array(found[port][:rows]) for port in self._compiled.outputs]
        finally:
            self._requests.put(request)


class TorchEngine:
    """The network in PyTorch, channels last, under bfloat16 autocast if so settled."""

    streams = 1

    def __init__(self, network: nn.Module, choice: EngineChoice, threads: int, *, batch: int | None = None) -> None:
        if choice.device == "cuda" and not torch.cuda.is_available():
            raise UserError(
                f"this node ({os.uname().nodename}) has no GPU, but the run was settled on one; pass --engine openvino"
            )
        torch.set_num_threads(threads)
        self._device = torch.device(choice.device)
        self._network = network.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._bf16 = choice.precision == "bf16"
        self._alone = threading.Lock()  # two calls at once would each take all threads
        self.batch = batch or (TORCH_BATCH if choice.device == "cpu" else CUDA_BATCH)

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        pieces = []
        precision = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)
        with self._alone, torch.inference_mode(), precision:
            for start in range(0, max(1, len(pixels)), self.batch):
                piece = torch.from_numpy(np.ascontiguousarray(pixels[start : start + self.batch])).to(self._device)
                found = self._network(piece)
                outputs = found if isinstance(found, tuple) else (found,)
                pieces.append([output.float().cpu().numpy() for output in outputs])
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def _graph(network: nn.Module | None, pixel_shape: tuple[int, int], exported: Path | None) -> Any:
    import openvino

    if exported is not None and exported.exists():
        return openvino.Core().read_model(str(exported))
    assert network is not None, f"{exported} is not there, and nothing to make it of"
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
