"""Features of a catalog's pictures on Ray. In: a catalog, a pretrained trunk. Out: a vector a product, in the catalog's order.

What the cache of the driver's node has is not computed again; the rest comes from one engine a node, a file at a time.
"""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import cluster
from fashion_ray.catalog.reading import Rows, read
from fashion_ray.errors import UserError
from fashion_ray.insight import features
from fashion_ray.models import engines
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.answering import answered
from fashion_ray.scoring.inference import Output, card_of
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

log = logging.getLogger(__name__)


def features_of(
    hashes: list[str],
    files: dict[str, bytes],
    *,
    store: Store,
    catalog: Snapshot,
    cache: str,
    engine: str = "auto",
    precision: str = "auto",
    address: str | None = None,
    cpus: int | None = None,
) -> np.ndarray:
    """As `pretrained_features`, on a cluster that is joined or started only if the cache has not everything."""
    alone = engines.choose(engine, precision, gpus=0, **engines.of_this_node())
    found = features.load(features.place(cache, card_of(files, "pretrained").trunk_version, alone), hashes)
    if len(found) == len(set(hashes)):
        log.info("features of %d pictures are cached", len(found))
        return features.stacked(found, hashes)
    with cluster.connect(address, cpus=cpus) as has:
        choice = engines.choose(engine, precision, gpus=has.gpus, **engines.of_this_node())
        return pretrained_features(hashes, files, store=store, catalog=catalog, cache=cache, choice=choice)


def pretrained_features(
    hashes: list[str], files: dict[str, bytes], *, store: Store, catalog: Snapshot, cache: str, choice: EngineChoice
) -> np.ndarray:
    """float32 (products, dimensions) for the picture hashes of a catalog's products, by a bundle without heads.

    Raises UserError if a picture cannot be decoded any more.
    """
    folder = features.place(cache, card_of(files, "pretrained").trunk_version, choice)
    found = features.load(folder, hashes)
    missing = set(hashes) - set(found)
    if missing:
        log.info("features of %d pictures are cached, %d are to be computed", len(found), len(missing))
        found |= _computed(store, catalog, missing, files, choice, cache)
    lost = set(hashes) - set(found)
    if lost:
        raise UserError(
            f"{len(lost)} pictures of the catalog {catalog.name} cannot be decoded; run python jobs/ingest.py again"
        )
    return features.stacked(found, hashes)


def _computed(
    store: Store, catalog: Snapshot, missing: set[str], files: dict[str, bytes], choice: EngineChoice, cache: str
) -> dict[str, np.ndarray]:
    """The vectors of these pictures, kept as they come."""
    folder = features.place(cache, card_of(files, "pretrained").trunk_version, choice)
    wanted = pa.array(sorted(missing), type=pa.string())
    only = Rows(columns=("image_sha256",), mask=partial(_is_wanted, wanted=wanted))
    rows = read(store, catalog, ["image", "image_sha256"], only=only)
    found: dict[str, np.ndarray] = {}
    for table in answered(rows, _vectors, files=files, name="pretrained", choice=choice, cache=cache, work=len(catalog.files)):
        names, vectors = table["image_sha256"].to_pylist(), features.matrix(table["features"])
        features.keep(folder, names, vectors)
        found |= dict(zip(names, vectors, strict=True))
        log.info("features of %d of %d pictures", len(found), len(missing))
    return found


def _is_wanted(table: pa.Table, *, wanted: pa.Array) -> pa.Array:
    """Whether a row's picture is to be computed, as a mask."""
    return pc.is_in(table["image_sha256"], wanted).combine_chunks()


def _vectors(table: pa.Table, output: Output) -> pa.Table:
    """Vectors in the place of pictures; a picture that cannot be decoded any more has none."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(output.embeddings.ravel()), output.embeddings.shape[1])
    good = pa.array([row not in output.bad for row in range(table.num_rows)], type=pa.bool_())
    return pa.table({"image_sha256": table["image_sha256"], "features": column}).filter(good)
