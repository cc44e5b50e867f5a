"""From a network's output to rows of the scores table. In: logits and a card. Out: tables; pure of any cluster."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.models import decisions
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.inference import Output
from fashion_ray.snapshots import fingerprint


def score_rows(catalog: pa.Table, output: Output, card: Card, choice: EngineChoice, *, run_id: str, scored_at: str) -> pa.Table:
    """The scores of the rows that could be decoded, in the catalog's order (schema.scores)."""
    good = np.array([row for row in range(catalog.num_rows) if row not in output.bad], dtype=np.int64)
    answers = decisions.decide(
        {target: values[good] for target, values in output.logits.items()}, card.taxonomy, card.temperatures
    )
    hashes = catalog["image_sha256"].take(pa.array(good))
    data: dict[str, pa.Array] = {"product_id": catalog["product_id"].take(pa.array(good))}
    for target, answer in answers.items():
        data |= decisions.columns(target, answer, card.classes[target], card.review_thresholds(target))
    flat = pa.array(np.ascontiguousarray(output.embeddings[good], dtype=np.float32).ravel())
    data["embedding"] = pa.FixedSizeListArray.from_arrays(flat, card.embedding_dim)
    data["image_sha256"] = hashes
    data["score_key"] = pa.array([score_key(sha, card, choice) for sha in hashes.to_pylist()], type=pa.string())
    constants = {
        "model_version": card.model_version, "trunk_version": card.trunk_version, "run_id": run_id, "scored_at": scored_at
    }  # fmt: skip
    data |= {name: pa.array([value] * len(good), type=pa.string()) for name, value in constants.items()}
    return schema.cast(pa.table(data), schema.scores(card.targets, card.embedding_dim))


def score_key(image_sha256: str, card: Card, choice: EngineChoice) -> str:
    """What decides a row: the same key means the same answer."""
    return fingerprint(image_sha256, DECODER_VERSION, card.trunk_version, card.head_version, choice.name, choice.precision)


def quarantined(catalog: pa.Table, output: Output, *, run_id: str, seen_at: str) -> list[dict[str, object]]:
    """Quarantine rows for the pictures that could not be decoded."""
    ids, hashes = catalog["product_id"].to_pylist(), catalog["image_sha256"].to_pylist()
    return [
        schema.quarantine_row(
            reason="decode_failed",
            stage="score",
            seen_at=seen_at,
            product_id=ids[row],
            detail=f"{error.reason}: {error.detail}",
            image_sha256=hashes[row],
        )
        | {"run_id": run_id}
        for row, error in sorted(output.bad.items())
    ]
