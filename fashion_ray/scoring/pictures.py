"""The pictures that a night needs, read and decoded a file at a time, on workers. In: actions for its products. Out: pictures.

It does without the network, so that readers need not load what that needs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog.pictures import BadPicture, decode_many
from fashion_ray.scoring.careful import decode_carefully, load_decoder
from fashion_ray.scoring.night import SCORE
from fashion_ray.storage import Store

MOST_ATTEMPTS = 5
"""So often may a run begin a file, each time after its process died, before the run is given up."""

Decode = Callable[..., tuple[np.ndarray, dict[int, BadPicture]]]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a night reads and writes."""

    store: Store
    catalog: str
    """The folder of the catalog's files."""

    before: str
    """The folder of last night's files."""

    folder: str
    """The folder of tonight's."""

    cache: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How pictures are decoded where they are read."""

    size: tuple[int, int]
    """Height and width."""

    decoder: str


def read_pictures(work: pa.Table, *, places: Places, decoding: Decoding | None) -> pa.Table:
    """The work of one file (night.WORK) with the pictures that the network needs, as `image` (on a worker).

    With `decoding` they come as `pixels` instead, null where a picture could not be decoded, and why in `bad`.
    """
    started = time.perf_counter()
    rows = np.flatnonzero(np.asarray(pc.equal(work["action"], SCORE)))
    images: list[bytes] = []
    if len(rows):
        positions = work["position"].take(pa.array(rows)).to_pylist()
        found = places.store.read_rows(places.catalog, work["part"][0].as_py(), columns=["image"], rows=positions)
        images = found["image"].to_pylist()
    read_s = time.perf_counter() - started
    decode_s, added = 0.0, {"image": _placed(images, rows, work.num_rows, pa.binary())}
    if decoding is not None:
        careful = begin(places, work["part"][0].as_py())
        decode: Decode = partial(decode_carefully, decoder=decoding.decoder)
        if not careful:
            decode = partial(decode_many, decode=load_decoder(decoding.decoder))
        pixels, bad = decode(images, *decoding.size)
        decode_s = time.perf_counter() - started - read_s
        reasons = [json.dumps(bad[row].args) if row in bad else None for row in range(len(images))]
        good = [None if row in bad else picture.tobytes() for row, picture in enumerate(pixels)]
        added = {
            "pixels": _placed(good, rows, work.num_rows, pa.binary()), "bad": _placed(reasons, rows, work.num_rows, pa.string())
        }  # fmt: skip
    for name, spent in (("read_s", read_s), ("decode_s", decode_s)):
        added[name] = pa.array([spent] * work.num_rows, type=pa.float64())
    for name, column in added.items():
        work = work.append_column(name, column)
    return work


def _placed(values: Sequence[object], rows: np.ndarray, count: int, kind: pa.DataType) -> pa.Array:
    """A column with these values at these rows, and nulls elsewhere."""
    column = np.full(count, None, dtype=object)
    for row, value in zip(rows.tolist(), values, strict=True):
        column[row] = value
    return pa.array(column, type=kind)


def begin(places: Places, part: str) -> bool:
    """Note that a file's pictures are about to be decoded; whether they were before, so that a process may have died over them.

    Raises RuntimeError if this run has begun the file too often.
    """
    if places.store.create_bytes(b"", places.folder, "_attempts", part, "first"):
        return False
    notes = places.store.names(places.folder, "_attempts", part)
    if sum(name.startswith(f"{places.run_id}.") for name in notes) >= MOST_ATTEMPTS:
        raise RuntimeError(
            f"scores: {part} was begun {MOST_ATTEMPTS} times by this run and never finished; look into the log for what killed "
            "the processes that scored it, and run again"
        )
    places.store.write_bytes(b"", places.folder, "_attempts", part, f"{places.run_id}.{len(notes)}")
    return True
