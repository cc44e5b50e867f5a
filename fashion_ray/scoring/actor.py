"""Scoring a file of the catalog at a time, on workers. In: what is to be done for its products. Out: scores, a receipt.

Last night's rows and embeddings are taken from where they lie; only what is new goes through the network.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.errors import ReconciliationError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.careful import DECODER
from fashion_ray.scoring.drift import centroids
from fashion_ray.scoring.inference import Inference, Output
from fashion_ray.scoring.night import ACTIONS, BAD, CARRY, REUSE, SCORE
from fashion_ray.scoring.rows import quarantined, score_rows
from fashion_ray.storage import Store, to_json

MOST_ATTEMPTS = 5
"""So often may a file's actor die before the night is given up."""


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


def read_pictures(work: pa.Table, *, places: Places) -> pa.Table:
    """The work of one file (night.WORK) with the pictures that the network needs (on a worker)."""
    started = time.perf_counter()
    rows = np.flatnonzero(np.asarray(pc.equal(work["action"], SCORE)))
    images = np.full(work.num_rows, None, dtype=object)
    if len(rows):
        positions = work["position"].take(pa.array(rows)).to_pylist()
        found = places.store.read_rows(places.catalog, work["part"][0].as_py(), columns=["image"], rows=positions)
        images[rows] = found["image"].to_pylist()
    work = work.append_column("image", pa.array(images, type=pa.binary()))
    return work.append_column("read_s", pa.array([time.perf_counter() - started] * work.num_rows, type=pa.float64()))


class ScoringActor:
    """Holds an engine from the first picture on; writes a file of scores for each file of the catalog."""

    def __init__(self, *, places: Places, files: Any, choice: EngineChoice, threads: int, decoder: str = DECODER) -> None:
        self._places, self._choice = places, choice
        self._inference = Inference(
            ray.get(files), name=places.folder, choice=choice, threads=threads, cache=places.cache, decoder=decoder
        )

    def __call__(self, work: pa.Table) -> pa.Table:
        places, part = self._places, work["part"][0].as_py()
        careful = self._begin(part)
        now = snapshots.now()
        fresh = work.filter(pc.equal(work["action"], SCORE))
        output = self._inference(fresh["image"].to_pylist(), careful=careful)
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
        size = places.store.write_table(rows, places.folder, part, compression="none")
        digest = hashlib.sha256(places.store.read_bytes(places.folder, part)).hexdigest()
        seconds = {"read": work["read_s"][0].as_py(), **output.seconds, "answer": answered - started}
        receipt = {
            "part": part,
            "file": snapshots.file_entry(part, digest, rows.num_rows, size),
            "quarantined": bad,
            "actions": {action: int(pc.sum(pc.equal(work["action"], action)).as_py()) for action in ACTIONS},
            "centroids": {trunk: [one.sum.tolist(), one.count] for trunk, one in centroids(rows).items()},
            "seconds": seconds | {"write": time.perf_counter() - answered},
        }
        places.store.write_bytes(to_json(receipt), places.folder, "_receipts", f"{part}.json")
        return pa.table({"receipt": [json.dumps(receipt)]})

    def _begin(self, part: str) -> bool:
        """Note that a file was begun; whether an actor has died over it before, so that care is needed."""
        store, folder = self._places.store, self._places.folder
        before = sum(name.startswith(f"{part}.") for name in store.names(folder, "_attempts"))
        if before >= MOST_ATTEMPTS:
            raise RuntimeError(
                f"scores: {part} was begun {before} times and never finished; look into the log for what killed its actor, "
                f"remove {store.show(folder, '_attempts')} and run again"
            )
        store.write_bytes(b"", folder, "_attempts", f"{part}.{before}")
        return before > 0

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
