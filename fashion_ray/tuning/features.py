"""Inputs of a trial's stage, from the cache that all trials of a node share. In: a prepared run, a stage. Out: activations.

A stage with nothing frozen below it, or with no views in the cache, has the decoded pixels of its rows instead.

What is not there yet is computed by the trial that needs it first, while others that want something computed wait for it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from fashion_ray.catalog.pictures import decode_many
from fashion_ray.errors import ReconciliationError
from fashion_ray.models.engines import EngineChoice, make
from fashion_ray.models.network import LowerNetwork, Network
from fashion_ray.snapshots import fingerprint
from fashion_ray.storage import Store
from fashion_ray.training import activations, titles
from fashion_ray.training.activations import Activations
from fashion_ray.training.augment import views_of
from fashion_ray.training.imbalance import repeated
from fashion_ray.training.preparing import Prepared
from fashion_ray.training.schedule import Stage
from fashion_ray.training.sides import assign
from fashion_ray.training.stage_cache import Entries, frozen_version
from fashion_ray.training.vocabulary import shuffled


@dataclass(frozen=True, kw_only=True)
class Features:
    """Activations of a catalog, with all that is needed to compute them."""

    store: Store
    choice: EngineChoice
    threads: int
    """Of the engine that computes what is not there: all of a node's, since other trials wait."""

    def of(self, stage: Stage, network: Network, prepared: Prepared) -> tuple[Activations, Activations]:
        """Training and validation rows at the stage's boundary. `network` is used as it is, and left on the CPU."""
        entries = self._entries(prepared, prepared.data_key)
        version = frozen_version(network, prepared.card, stage)
        places = {side: entries.place(side, stage, version) for side in ("train", "validation")}
        found = {side: activations.load(place) for side, place in places.items()}
        if None in found.values():
            with alone(places["train"].parent):
                found = {side: activations.load(place) for side, place in places.items()}  # another may have been faster
                for side in [side for side, rows in found.items() if rows is None]:
                    views = entries.views(side, stage)
                    found[side] = self._fill(places[side], side, LowerNetwork(network, stage.trainable), prepared, views)
        train, validation = found["train"], found["validation"]
        assert train is not None and validation is not None
        return train, validation

    def pictures(self, prepared: Prepared) -> tuple[Activations, Activations]:
        """Training and validation rows as uint8 pixels (height, width, 3) of the size that pictures are decoded to."""
        entries = self._entries(prepared, fingerprint(prepared.data_key, prepared.card.decoded_size))
        found = []
        for side in ("train", "validation"):
            place = entries.pictures(side)
            rows = activations.load(place)
            if rows is None:
                with alone(place.parent):
                    rows = activations.load(place) or self._decode(place, side, prepared)
            found.append(rows)
        return found[0], found[1]

    def _entries(self, prepared: Prepared, data_key: str) -> Entries:
        options = prepared.options
        return Entries(
            cache=options.cache, data_key=data_key, choice=self.choice, augmentation=options.augmentation,
            cached_views=options.cached_views, seed=options.seed,
        )  # fmt: skip

    def _decode(self, place: Path, side: str, prepared: Prepared) -> Activations:
        return activations.fill(
            place, rows_of(self.store, prepared, side, activations.CHUNK_ROWS), lambda pixels: [pixels], views=1,
            augment=lambda pixels, view: pixels, kind=torch.uint8,
            expected_rows=prepared.fed.rows if side == "train" else prepared.side_rows[side],
            limit=prepared.options.cache_limit * 1e9,
        )  # fmt: skip

    def _fill(self, place: Path, side: str, lower: nn.Module, prepared: Prepared, views: int) -> Activations:
        options = prepared.options
        engine = make(
            lower.cpu() if self.choice.name == "openvino" else lower,
            pixel_shape=prepared.card.decoded_size, choice=self.choice, threads=self.threads,
        )  # fmt: skip
        return activations.fill(
            place, rows_of(self.store, prepared, side, engine.batch), engine, views=views,
            augment=partial(views_of, seed=options.seed, how=options.augmentation),
            expected_rows=prepared.fed.rows if side == "train" else prepared.side_rows[side],
            limit=options.cache_limit * 1e9, streams=engine.streams,
        )  # fmt: skip


def rows_of(
    store: Store, prepared: Prepared, side: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(pixels, labels, copy) batches of the rows on a side as training is fed them, in the catalog's order."""
    words, fed, options = prepared.words, prepared.fed, prepared.options
    guessed = prepared.title_words if side == "train" else ()
    columns = list(
        dict.fromkeys(["product_id", "image", *words.classes, *prepared.scheme.columns, *([titles.COLUMN] if guessed else [])])
    )
    for entry in prepared.catalog.manifest["files"]:
        table = store.read_table(prepared.catalog.folder, entry["name"], columns=columns)
        mask = [found == side for found in assign(prepared.scheme, table)]
        table = table.filter(pa.array(mask, type=pa.bool_()))
        copy = np.zeros(table.num_rows, dtype=np.int64)
        if side == "train" and fed.copies:
            table, copy = repeated(table, fed.copies)
        ids = table["product_id"].to_pylist()
        labels = {target: words.encode(target, table[target].to_pylist()) for target in words.classes}
        if side == "train" and options.shuffle_labels:
            labels = shuffled(labels, ids, fed.classes, options.seed)
        matrix = np.stack(list(labels.values()), axis=1)
        if guessed:
            matrix = np.hstack([matrix, titles.encode(table[titles.COLUMN].to_pylist(), guessed)])
        images = table["image"].to_pylist()
        for start in range(0, len(ids), batch_size):
            piece = slice(start, start + batch_size)
            pixels, bad = decode_many(images[piece], *prepared.card.decoded_size)
            if bad:
                raise ReconciliationError(f"{len(bad)} pictures of the catalog cannot be decoded: {next(iter(bad.values()))}")
            yield pixels, np.ascontiguousarray(matrix[piece]), copy[piece]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process of this node computes into a folder; one that dies lets go of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "computing.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
