"""Scoring a file of the catalog at a time, on workers. In: its products' pictures and actions. Out: scores, a receipt.

Last night's rows and embeddings are taken from where they lie; only what is new goes through the network.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.errors import ReconciliationError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring import staging
from fashion_ray.scoring.careful import DECODER
from fashion_ray.scoring.drift import centroids
from fashion_ray.scoring.inference import Inference, Output
from fashion_ray.scoring.night import ACTIONS, BAD, CARRY, REUSE, SCORE
from fashion_ray.scoring.pictures import Places, begin
from fashion_ray.scoring.rows import quarantined, score_rows


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
