"""A bundle at work on a node. In: encoded pictures. Out: embeddings and logits, and which pictures could not be decoded.

Evaluation after training and nightly scoring both come through here, so what is evaluated is what is deployed.
"""

from __future__ import annotations

import fcntl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fashion_ray.catalog.pictures import BadPicture, decode_many
from fashion_ray.models import bundle, engines
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import LowerNetwork
from fashion_ray.scoring.careful import DECODER, decode_carefully, load_decoder
from fashion_ray.storage import Store

BATCH = 64
"""Rows a call of the engine; the throughput is flat from 32 to 128."""


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


class Inference:
    """A loaded bundle on an engine; made once a process, since loading and compiling take seconds."""

    def __init__(
        self, files: dict[str, bytes], *, name: str, choice: EngineChoice, threads: int, cache: str, decoder: str = DECODER
    ) -> None:
        self.card, network = bundle.load(files, name=name)
        self._decoder, self._at_work = decoder, threading.Lock()
        size = self.card.decoded_size
        self._heads = network.heads.eval()
        exported = Path(cache) / "engines" / f"{self.card.trunk_version}.xml"
        exported.parent.mkdir(parents=True, exist_ok=True)
        with open(exported.with_suffix(".lock"), "w") as lock:  # one export a node
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._engine = engines.make(
                LowerNetwork(network, 0), pixel_shape=size, batch=BATCH, choice=choice, threads=threads, exported=exported
            )

    def __call__(self, images: list[bytes], *, careful: bool = False) -> Output:
        """Answers for encoded pictures; with care they are decoded in another process, which they may kill.

        Several threads may call: one decodes while another has the engine.
        """
        started = time.perf_counter()
        if careful:
            pixels, bad = decode_carefully(images, *self.card.decoded_size, decoder=self._decoder)
        else:
            pixels, bad = decode_many(images, *self.card.decoded_size, decode=load_decoder(self._decoder))
        asked = time.perf_counter()
        with self._at_work:
            decoded = time.perf_counter()
            (embeddings,) = self._engine(pixels)
            ended = time.perf_counter()
        return Output(
            embeddings=embeddings,
            logits=self.answer(embeddings),
            bad=bad,
            seconds={"decode": asked - started, "wait": decoded - asked, "network": ended - decoded},
        )

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
