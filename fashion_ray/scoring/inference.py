"""A bundle at work on a node. In: encoded pictures. Out: embeddings and logits, and which pictures could not be decoded.

Evaluation after training and nightly scoring both come through here, so what is evaluated is what is deployed.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fashion_ray.catalog.pictures import BadPicture, decode_many
from fashion_ray.models import bundle, engines
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import EmbeddingNetwork
from fashion_ray.scoring.careful import DECODER, decode_carefully, load_decoder
from fashion_ray.storage import Store


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """A bundle in memory, so that workers need neither the registry nor its folder."""

    name: str
    files: dict[str, bytes]
    card: Card


@dataclass(kw_only=True)
class Output:
    """What came out for some pictures; rows that could not be decoded are in `bad` and have no meaning in the arrays."""

    embeddings: np.ndarray
    logits: dict[str, np.ndarray]
    bad: dict[int, BadPicture]
    seconds: dict[str, float] = field(default_factory=dict)


class _Meter:
    """Seconds for which the streams of an engine were at work, summed over streams, whoever waited for them meanwhile."""

    def __init__(self, streams: int) -> None:
        self._lock, self._streams, self._inside, self._since = threading.Lock(), streams, 0, time.perf_counter()

    def change(self, by: int) -> float:
        """A call comes (1) or goes (-1); the seconds since the last that did."""
        with self._lock:
            now = time.perf_counter()
            spent = min(self._inside, self._streams) * (now - self._since)
            self._inside, self._since = self._inside + by, now
            return spent


class Inference:
    """A loaded bundle on an engine; made once a process, since loading and compiling take seconds.

    Pictures go through it in batches of the engine, by two threads more than the engine has streams: while each stream has a
    batch, one lies ready for the stream that is free next, and one is being decoded.
    """

    def __init__(
        self, files: dict[str, bytes], *, name: str, choice: EngineChoice, threads: int, cache: str, decoder: str = DECODER
    ) -> None:
        self.card, self._heads = bundle.load_heads(files, name=name)
        self._decoder = decoder
        exported = Path(cache) / "engines" / f"{self.card.trunk_version}.xml"
        exported.parent.mkdir(parents=True, exist_ok=True)
        with open(exported.with_suffix(".lock"), "w") as lock:  # one export a node
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = choice.name == "openvino" and exported.exists()
            trunk = None if known else EmbeddingNetwork(bundle.load(files, name=name)[1])
            self._engine = engines.make(
                trunk, pixel_shape=self.card.decoded_size, choice=choice, threads=threads, exported=exported
            )
        self.streams = self._engine.streams
        self._meter = _Meter(self.streams)
        self._pool = ThreadPoolExecutor(self.streams + 2, thread_name_prefix="inference")

    def __call__(self, images: list[bytes], *, careful: bool = False) -> Output:
        """Answers for encoded pictures; with care they are decoded in another process, which they may kill.

        Several threads may call: while the last batches of one are computed, the first of another are decoded.
        """
        if not careful:
            return self._output(images, {}, {})
        started = time.perf_counter()
        pixels, bad = decode_carefully(images, *self.card.decoded_size, decoder=self._decoder)
        return self._output(pixels, bad, {"decode": time.perf_counter() - started})

    def of_pixels(self, pixels: np.ndarray, bad: dict[int, BadPicture]) -> Output:
        """Answers for decoded pictures, uint8 (rows, height, width, 3), and which of them could not be."""
        return self._output(pixels, bad, {})

    def _output(self, pictures: list[bytes] | np.ndarray, bad: dict[int, BadPicture], seconds: dict[str, float]) -> Output:
        starts = range(0, max(1, len(pictures)), self._engine.batch)
        pieces = list(self._pool.map(self._piece, (pictures[start : start + self._engine.batch] for start in starts)))
        embeddings = np.concatenate([piece.embeddings for piece in pieces])
        found = {start + row: error for start, piece in zip(starts, pieces, strict=True) for row, error in piece.bad.items()}
        spent = Counter(seconds)
        for piece in pieces:
            spent.update(piece.seconds)
        return Output(embeddings=embeddings, logits=self.answer(embeddings), bad=bad | found, seconds=dict(spent))

    def _piece(self, pictures: list[bytes] | np.ndarray) -> Output:
        """One batch; its logits are left for later, when they are computed for all at once."""
        bad: dict[int, BadPicture] = {}
        started = time.perf_counter()
        if isinstance(pictures, list):
            pictures, bad = decode_many(pictures, *self.card.decoded_size, decode=load_decoder(self._decoder))
        decoded = time.perf_counter()
        busy = self._meter.change(1)
        (embeddings,) = self._engine(pictures)
        busy += self._meter.change(-1)
        seconds = {"decode": decoded - started, "wait": time.perf_counter() - decoded - busy, "network": busy}
        return Output(embeddings=embeddings, logits={}, bad=bad, seconds=seconds)

    def answer(self, embeddings: np.ndarray) -> dict[str, np.ndarray]:
        """Logits (rows, classes) of each target from float32 embeddings (rows, embedding_dim).

        The heads run in float32 outside the engine, so they give the same answers from embeddings that were stored.
        """
        with torch.inference_mode():
            found = torch.tensor(embeddings, dtype=torch.float32)  # a copy: what was read from a file cannot be written
            return {target: self._heads[target](found).numpy() for target in self.card.targets}


def read_bundle(store: Store, folder: str) -> dict[str, bytes]:
    """The files of a bundle below the root. Raises FileNotFoundError."""
    return {name: store.read_bytes(folder, name) for name in (bundle.CARD, bundle.WEIGHTS)}


def card_of(files: dict[str, bytes], name: str) -> Card:
    """The card alone, without building the network."""
    return bundle.read_card(files[bundle.CARD], name=name)
