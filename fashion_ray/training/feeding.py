"""Labelled pictures for training, streamed from the catalog by Ray Data. In: a snapshot and a vocabulary. Out: batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from fashion_ray.catalog.pictures import decode_many
from fashion_ray.catalog.reading import READER_CPUS, Rows, read
from fashion_ray.errors import ReconciliationError
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training import titles
from fashion_ray.training.imbalance import repeated
from fashion_ray.training.sides import Scheme, is_on
from fashion_ray.training.vocabulary import Vocabulary, bucket, shuffled

SHUFFLE_ROWS = 4096
"""Rows a worker holds back to shuffle; files are in the order of a hash, so neighbours in them are no kin."""


def labelled(store: Store, snapshot: Snapshot, scheme: Scheme, side: str, targets: list[str]) -> ray.data.Dataset:
    """product_id, encoded image and labels of the rows on one side."""
    only = Rows(columns=scheme.columns, mask=partial(is_on, scheme=scheme, side=side))
    return read(store, snapshot, ["product_id", "image", *targets], only=only)


def encoded(
    rows: ray.data.Dataset,
    vocabulary: Vocabulary,
    *,
    control: tuple[dict[str, np.ndarray], int] | None = None,
    copies: Mapping[str, int] | None = None,
    title_words: Sequence[str] = (),
) -> Any:
    """The same rows with labels as one integer list, the bucket that deals them out to workers, and the number of the copy.

    `control` is a pool of labels and a seed: the control experiment with labels drawn at random. `copies` says how often a
    product is fed if that is not once; its copies have the numbers 0, 1, and so on. Indices of `title_words` come after the
    labels, in the same list.
    """
    control_reference = ray.put(control) if control is not None else None
    copies_reference = ray.put(dict(copies)) if copies else None
    return rows.map_batches(
        _encode,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={
            "vocabulary": vocabulary,
            "control": control_reference,
            "copies": copies_reference,
            "title_words": title_words,
        },
        num_cpus=READER_CPUS,
    )


def decoded(rows: ray.data.Dataset, size: tuple[int, int]) -> ray.data.Dataset:
    """Encoded rows with pixels instead of bytes, decoded by tasks of the cluster."""
    return rows.map_batches(_decode, batch_size=256, batch_format="pyarrow", fn_kwargs={"size": size}, num_cpus=READER_CPUS)


def _encode(table: pa.Table, *, vocabulary: Vocabulary, control: Any, copies: Any, title_words: Sequence[str]) -> pa.Table:
    table, copy = repeated(table, ray.get(copies)) if copies is not None else (table, np.zeros(table.num_rows, dtype=np.int64))
    ids = table["product_id"].to_pylist()
    labels = {target: vocabulary.encode(target, table[target].to_pylist()) for target in vocabulary.classes}
    if control is not None:
        pool, seed = ray.get(control)
        labels = shuffled(labels, ids, pool, seed)
    matrix = np.stack(list(labels.values()), axis=1)
    if title_words:
        matrix = np.hstack([matrix, titles.encode(table[titles.COLUMN].to_pylist(), title_words)])
    return pa.table(
        {
            "image": table["image"],
            "labels": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1]),
            "bucket": pa.array([bucket(product_id) for product_id in ids], type=pa.int64()),
            "copy": pa.array(copy),
        }
    )


def _decode(table: pa.Table, *, size: tuple[int, int]) -> dict[str, np.ndarray]:
    pixels = _pixels(table["image"].to_pylist(), size)
    return {"pixels": pixels, "labels": _matrix(table), "copy": table["copy"].to_numpy()}


def own_rows(shard: ray.data.DataIterator, *, rank: int, world: int, size: tuple[int, int], batch_size: int) -> Iterator[Any]:
    """(pixels, labels, copy) batches of the rows of a whole dataset that are this worker's: each is exactly one worker's."""
    for table in shard.iter_batches(batch_size=1024, batch_format="pyarrow", prefetch_batches=1):
        mine = table.filter(pa.array(table["bucket"].to_numpy() % world == rank))
        for start in range(0, mine.num_rows, batch_size):
            piece = mine.slice(start, batch_size)
            yield _pixels(piece["image"].to_pylist(), size), _matrix(piece), piece["copy"].to_numpy()


def split_rows(shard: ray.data.DataIterator, *, batch_size: int, shuffle_seed: int | None, drop_last: bool) -> Iterator[Any]:
    """(pixels, labels, copy) batches of this worker's share of a split dataset, in another order for another seed."""
    options: Mapping[str, Any] = {}
    if shuffle_seed is not None:
        options = {"local_shuffle_buffer_size": SHUFFLE_ROWS, "local_shuffle_seed": shuffle_seed}
    for batch in shard.iter_batches(
        batch_size=batch_size, batch_format="numpy", prefetch_batches=4, drop_last=drop_last, **options
    ):
        yield batch["pixels"], np.ascontiguousarray(batch["labels"]), batch["copy"]


def _pixels(images: list[bytes], size: tuple[int, int]) -> np.ndarray:
    pixels, bad = decode_many(images, *size)
    if bad:
        raise ReconciliationError(f"{len(bad)} pictures of the catalog cannot be decoded any more: {next(iter(bad.values()))}")
    return pixels


def _matrix(table: pa.Table) -> np.ndarray:
    values = table["labels"].combine_chunks()
    width = values.type.list_size
    return np.asarray(values.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
