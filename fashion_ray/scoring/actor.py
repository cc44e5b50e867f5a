"""Scoring a file of the catalog at a time, on workers. In: what is to be done for its products. Out: scores, a receipt.

Last night's rows and embeddings are taken from where they lie; only what is new goes through the network.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import BadPicture, decode_many
from fashion_ray.errors import ReconciliationError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring import staging
from fashion_ray.scoring.careful import DECODER, decode_carefully, load_decoder
from fashion_ray.scoring.drift import centroids
from fashion_ray.scoring.inference import Inference, Output
from fashion_ray.scoring.night import ACTIONS, BAD, CARRY, REUSE, SCORE
from fashion_ray.scoring.rows import quarantined, score_rows
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


class ScoringActor:
    """Holds an engine from the first picture on; writes a file of scores for each file of the catalog."""

    def __init__(self, *, places: Places, files: Any, choice: EngineChoice, threads: int, decoder: str = DECODER) -> None:
        self._places, self._choice, self._name = places, choice, uuid.uuid4().hex
        self._inference = Inference(
            ray.get(files), name=places.folder, choice=choice, threads=threads, cache=places.cache, decoder=decoder
        )

    def __call__(self, work: pa.Table) -> pa.Table:
        places, part, began = self._places, work["part"][0].as_py(), time.time()
        again = "image" in work.column_names and begin(places, part)
        if again and (done := staging.receipts(places.store, places.folder, [part], base=places.before).get(part)):
            return pa.table({"receipt": [json.dumps(done)]})  # an equal night has finished it meanwhile
        now = snapshots.now()
        fresh = work.filter(pc.equal(work["action"], SCORE))
        output = self._scored(fresh, careful=again)
        started = time.perf_counter()
        bad = quarantined(fresh, output, run_id=places.run_id, seen_at=now)
        rows = pa.concat_tables([self._rows(fresh, output, now), self._reused(work, now), self._carried(work)])
        answered = time.perf_counter()
        wanted = work.filter(pc.not_equal(work["action"], BAD))["product_id"].to_pylist()
        failed = {str(row["product_id"]) for row in bad}
        order = [product_id for product_id in wanted if product_id not in failed]
        rows = rows.take(pc.index_in(pa.array(order, type=pa.string()), rows["product_id"].combine_chunks()))
        if rows["product_id"].to_pylist() != order or len(order) + len(failed) != len(wanted):
            raise ReconciliationError(f"scores: the rows of {part} are not those of the catalog")
        rows, entry = staging.put_rows(places.store, places.folder, part, rows)
        seconds = {"read": work["read_s"][0].as_py(), **output.seconds, "answer": answered - started}
        receipt = {
            "part": part,
            "base": places.before,
            "file": entry,
            "quarantined": bad,
            "actions": {action: int(pc.sum(pc.equal(work["action"], action)).as_py()) for action in ACTIONS},
            "centroids": {trunk: [one.sum.tolist(), one.count] for trunk, one in centroids(rows).items()},
            "seconds": seconds | {"write": time.perf_counter() - answered},
            "span": {"actor": self._name, "streams": self._inference.streams, "began": began, "ended": time.time()},
        }
        staging.put_receipt(places.store, places.folder, receipt)
        return pa.table({"receipt": [json.dumps(receipt)]})

    def _scored(self, fresh: pa.Table, *, careful: bool) -> Output:
        """What the network says of pictures, or of pixels if they come decoded."""
        if "image" in fresh.column_names:
            return self._inference(fresh["image"].to_pylist(), careful=careful)
        size = self._inference.card.decoded_size
        bad = {row: BadPicture(*json.loads(why)) for row, why in enumerate(fresh["bad"].to_pylist()) if why is not None}
        pixels = np.zeros((fresh.num_rows, *size, 3), dtype=np.uint8)
        for row, picture in enumerate(fresh["pixels"].to_pylist()):
            if picture is not None:
                pixels[row] = np.frombuffer(picture, dtype=np.uint8).reshape(*size, 3)
        output = self._inference.of_pixels(pixels, bad)
        output.seconds["decode"] = fresh["decode_s"][0].as_py() if fresh.num_rows else 0.0
        return output

    def _rows(self, products: pa.Table, output: Output, now: str) -> pa.Table:
        return score_rows(products, output, self._inference.card, self._choice, run_id=self._places.run_id, scored_at=now)

    def _reused(self, work: pa.Table, now: str) -> pa.Table:
        """Rows answered again from last night's embeddings."""
        products = work.filter(pc.equal(work["action"], REUSE))
        flat = self._before(products, ["embedding"])["embedding"].combine_chunks().flatten()
        embeddings = np.asarray(flat, dtype=np.float32).reshape(-1, self._inference.card.embedding_dim)
        output = Output(embeddings=embeddings, logits=self._inference.answer(embeddings), bad={})
        return self._rows(products, output, now)

    def _carried(self, work: pa.Table) -> pa.Table:
        """Last night's rows as they are."""
        card = self._inference.card
        wanted = schema.scores(card.targets, card.embedding_dim)
        return schema.cast(self._before(work.filter(pc.equal(work["action"], CARRY)), wanted.names), wanted)

    def _before(self, products: pa.Table, columns: list[str]) -> pa.Table:
        """Columns of last night's rows of these products, in their order."""
        fields = schema.scores(self._inference.card.targets, self._inference.card.embedding_dim)
        parts = products["old_part"].combine_chunks().dictionary_encode()
        files = [(self._places.before, part) for part in parts.dictionary.to_pylist()]
        wanted = pa.schema([fields.field(name) for name in columns])
        return self._places.store.gather(files, np.asarray(parts.indices), np.asarray(products["old_position"]), wanted)
