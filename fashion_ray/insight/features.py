"""Features of a pretrained trunk that has seen none of the catalog's labels, cached by content. In: hashes. Out: an array.

The cache is node-local: `features/<key>/<name>.parquet` of picture hashes and vectors, each file written as a whole, so what a
killed run has computed is there for the next one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.errors import ReconciliationError
from fashion_ray.models import backbones, bundle
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import Geometry, Network
from fashion_ray.snapshots import fingerprint

Array = np.ndarray

BACKBONE, INPUT_SIZE = "efficientnet_lite0", (160, 120)
"""The default trunk, whose weights need no download, at the size that training uses."""

SUFFIX = ".parquet"


def raw_bundle(backbone: str, weights: str, decoded_size: tuple[int, int]) -> dict[str, bytes]:
    """A bundle of a pretrained trunk without heads, which inference runs like any other. Raises UserError as backbones do."""
    trunk = backbones.build(backbone, weights, input_size=INPUT_SIZE)
    card = Card(
        backbone=backbone, pooling=trunk.spec.pooling, embedding_dim=trunk.spec.embedding_dim, mean=trunk.spec.mean,
        std=trunk.spec.std, decoded_size=decoded_size, input_size=INPUT_SIZE, head="linear", dropout=0.0, classes={}, levels=(),
        paths=(), temperatures={}, thresholds={},
    )  # fmt: skip
    return bundle.dump(card, Network(Geometry(decoded_size=decoded_size, input_size=INPUT_SIZE), trunk, {}))


def place(cache: str, trunk_version: str, choice: EngineChoice) -> Path:
    """The folder of the features that a trunk gives on an engine."""
    return Path(cache) / "features" / fingerprint(trunk_version, choice.name, choice.precision, DECODER_VERSION)


def load(folder: Path, hashes: Sequence[str]) -> dict[str, Array]:
    """The cached vectors, as float32, of those of the pictures that are there; a damaged file is as none."""
    wanted = pa.array(sorted(set(hashes)), type=pa.string())
    found: dict[str, Array] = {}
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            table = pq.read_table(file, columns=["image_sha256", "features"])
        except (OSError, pa.ArrowInvalid):
            continue
        table = table.filter(pc.is_in(table["image_sha256"], wanted)).combine_chunks()
        if table.num_rows:
            vectors = matrix(table["features"])
            found |= dict(zip(table["image_sha256"].to_pylist(), vectors, strict=True))
    return found


def keep(folder: Path, hashes: Sequence[str], vectors: Array) -> None:
    """Add vectors float32 (pictures, dimensions) to the cache, as one file."""
    folder.mkdir(parents=True, exist_ok=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).ravel()), vectors.shape[1])
    temporary = folder / f".{uuid.uuid4().hex}"
    pq.write_table(pa.table({"image_sha256": list(hashes), "features": column}), temporary)
    os.replace(temporary, folder / f"{fingerprint(*hashes)}{SUFFIX}")


def stacked(found: dict[str, Array], hashes: Sequence[str]) -> Array:
    """The vectors (pictures, dimensions) in the order of their pictures. Raises ReconciliationError if one is missing."""
    missing = [one for one in hashes if one not in found]
    if missing:
        raise ReconciliationError(f"features: {len(missing)} of {len(hashes)} pictures have none, the first {missing[0]}")
    return np.stack([found[one] for one in hashes]) if hashes else np.empty((0, 0), dtype=np.float32)


def matrix(column: pa.ChunkedArray | pa.Array) -> Array:
    """A column of vectors of one length as float32 (rows, dimensions)."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(whole.flatten(), dtype=np.float32).reshape(len(whole), whole.type.list_size)
