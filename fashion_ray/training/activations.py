"""The cache of activations at a frozen boundary. In: pictures and an engine. Out: batches that need no lower layers.

What is frozen is run once a view of each picture instead of once an epoch. An entry is an Arrow file of the node-local cache,
memory-mapped where it is read, so it may be larger than memory: record batches of CHUNK_ROWS rows, a column of bfloat16 values
a view, and the labels. Where nothing is frozen the values are the decoded pixels, uint8. Entries that were not used for longest
make room for new ones.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from fashion_ray.errors import UserError
from fashion_ray.training.imbalance import Sampling
from fashion_ray.training.losses import Batch
from fashion_ray.training.sampling import drawn, row_weights

log = logging.getLogger(__name__)

CHUNK_ROWS = 256
"""Rows of a record batch."""

PROGRESS_ROWS = 8192
"""Rows between two lines in the log."""

STALE_S = 24 * 3600
SUFFIX = ".arrow"

_REMEDIES = {
    torch.bfloat16: "fewer --cached-views, or --cached-views 0 to train from pictures",
    torch.uint8: "or a smaller --decoded-size",
}

Augment = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Pixels (rows, ...) and the number of the view that is wanted of each row, to pixels; view 0 is the picture as it is."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Cached values of some rows, and their labels (rows, targets)."""

    chunks: list[list[np.ndarray]]
    """Of each chunk of CHUNK_ROWS rows, of each view: bfloat16 values as int16, or pixels as uint8 (rows, values)."""

    shape: tuple[int, ...]
    """Of a row's values."""

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def views(self) -> int:
        """How many views of each row there are."""
        return len(self.chunks[0])

    def shuffled(self, batch_size: int, *, generator: torch.Generator, sampling: Sampling | None = None) -> Iterator[Batch]:
        """Full batches in a new order, each row in a view drawn at random; a last short batch is left out.

        With `sampling`, as many rows are drawn with replacement instead, those of rare classes more often.
        """
        rows = len(self)
        order = (
            torch.randperm(rows, generator=generator)
            if sampling is None
            else drawn(row_weights(sampling, self.labels), rows, generator)
        )
        which = torch.randint(0, self.views, (rows,), generator=generator)
        for start in range(0, rows - batch_size + 1, batch_size):
            index = order[start : start + batch_size]
            view = which[start : start + batch_size] if sampling is not None else which[index]
            yield Batch(self.values(index.tolist(), view.tolist()), self.labels[index])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every row once, in its first view."""
        for start in range(0, len(self), batch_size):
            rows = range(start, min(len(self), start + batch_size))
            yield Batch(self.values(rows, [0] * len(rows)), self.labels[start : start + batch_size])

    def values(self, rows: Iterable[int], views: Iterable[int]) -> Tensor:
        """A copy of these rows, each in its view: bfloat16, or uint8 pixels (rows, ...)."""
        found = np.stack([
            self.chunks[row // CHUNK_ROWS][view][row % CHUNK_ROWS] for row, view in zip(rows, views, strict=True)
        ])  # fmt: skip
        values = torch.from_numpy(found)
        return (values if values.dtype == torch.uint8 else values.view(torch.bfloat16)).view(-1, *self.shape)


def load(place: Path) -> Activations | None:
    """The entry of this file, or none if it was never finished."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(place)))
        os.utime(place)  # it is in use
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    views = reader.schema.names[1:]
    labels = np.concatenate([_matrix(batch["labels"]) for batch in batches])
    return Activations(
        chunks=[[_matrix(batch[view]) for view in views] for batch in batches],
        shape=tuple(json.loads(reader.schema.metadata[b"shape"])),
        labels=torch.from_numpy(labels),
    )


def fill(
    place: Path,
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    engine: Callable[[np.ndarray], list[np.ndarray]],
    *,
    views: int,
    augment: Augment,
    expected_rows: int,
    limit: float,
    streams: int = 1,
    kind: torch.dtype = torch.bfloat16,
) -> Activations:
    """Run the engine over (pixels, labels, copy) batches, once a view, and keep the results; replaces what is there as a whole.

    A row that comes in several copies, numbered from 0, gets further views in each of them, not the same ones. Entries beside
    it that were not used for longest are removed as far as all would exceed `limit`, in bytes. `streams` calls of the engine
    run side by side; `kind` is what is kept of what it gives, bfloat16 or uint8. Raises UserError if the limit or the disk
    cannot hold them.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place.parent)
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    writer: _Writer | None = None
    rows = 0
    try:
        for values, labels in _computed(batches, engine, views, augment, streams, kind):
            if writer is None:
                shape = tuple(values[0].shape[1:])
                _make_room(place.parent, expected_rows, views, kind.itemsize * int(np.prod(shape)), limit, _REMEDIES[kind])
                writer = _Writer(temporary, shape, views, labels.shape[1], kind)
            writer.add(values, labels)
            rows += len(labels)
            if rows // PROGRESS_ROWS > (rows - len(labels)) // PROGRESS_ROWS:
                log.info("cached %d of about %d rows", rows, expected_rows)
        if writer is None:
            raise UserError(
                "a worker got no rows of a split; expected at least one each. Lower --workers, or ingest a larger feed"
            )
        writer.finish()
        temporary.replace(place)
    except BaseException as error:
        if writer is not None:
            writer.close()
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise UserError(
                f"--cache: the disk of {place.parent} is full; pass --cache on another, or --cached-views 0"
            ) from error
        raise
    loaded = load(place)
    if loaded is None:
        raise OSError(f"--cache: {place} could not be put in place")
    return loaded


def _computed(
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    engine: Callable[[np.ndarray], list[np.ndarray]],
    views: int,
    augment: Augment,
    streams: int,
    kind: torch.dtype,
) -> Iterator[tuple[list[Tensor], np.ndarray]]:
    """The values of each view, and the labels, of each batch in turn; further ones are computed meanwhile."""
    waiting: deque[tuple[list[Future[list[np.ndarray]]], np.ndarray]] = deque()
    ahead = -(-(streams + 2) // views)

    def first() -> tuple[list[Tensor], np.ndarray]:
        futures, labels = waiting.popleft()
        return [torch.from_numpy(future.result()[0]).to(kind) for future in futures], labels

    with ThreadPoolExecutor(streams + 1, thread_name_prefix="activations") as pool:
        try:
            for pixels, labels, copy in batches:
                waiting.append(
                    ([pool.submit(engine, augment(pixels, copy * views + number)) for number in range(views)], labels)
                )
                if len(waiting) > ahead:
                    yield first()
            while waiting:
                yield first()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Writer:
    """Batches of any size into an Arrow file of whole chunks."""

    def __init__(self, place: Path, shape: tuple[int, ...], views: int, targets: int, kind: torch.dtype) -> None:
        self._width, self._views, self._targets = int(np.prod(shape)), views, targets
        self._stored, arrow = (torch.uint8, pa.uint8()) if kind == torch.uint8 else (torch.int16, pa.int16())
        self._schema = pa.schema(
            {
                "labels": pa.list_(pa.int64(), targets),
                **{f"view_{number}": pa.list_(arrow, self._width) for number in range(views)},
            },
            metadata={"shape": json.dumps(shape), "values": str(kind).removeprefix("torch.")},
        )
        self._sink = pa.OSFile(str(place), "wb")
        self._file = pa.ipc.new_file(self._sink, self._schema)
        self._values: list[list[np.ndarray]] = []
        self._labels: list[np.ndarray] = []
        self._waiting = 0

    def add(self, values: list[Tensor], labels: np.ndarray) -> None:
        """Write what is a whole chunk, and keep the rest for the next."""
        self._values.append([view.contiguous().view(self._stored).flatten(1).numpy() for view in values])
        self._labels.append(labels)
        self._waiting += len(labels)
        if self._waiting >= CHUNK_ROWS:
            self._write(self._waiting // CHUNK_ROWS * CHUNK_ROWS)

    def finish(self) -> None:
        """Write the rest, and what makes the file whole."""
        if self._waiting:
            self._write(self._waiting)
        self._file.close()
        self._sink.close()

    def close(self) -> None:
        """Give up."""
        with contextlib.suppress(OSError):  # what is still buffered may not fit either
            self._sink.close()

    def _write(self, rows: int) -> None:
        columns = [np.concatenate(self._labels)]
        columns += [np.concatenate([values[view] for values in self._values]) for view in range(self._views)]
        for start in range(0, rows, CHUNK_ROWS):
            arrays = [
                pa.FixedSizeListArray.from_arrays(
                    pa.array(column[start : min(rows, start + CHUNK_ROWS)].ravel()), column.shape[1]
                )
                for column in columns
            ]
            self._file.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._labels, self._values = [columns[0][rows:]], [[column[rows:] for column in columns[1:]]]
        self._waiting -= rows


def _matrix(column: pa.FixedSizeListArray) -> np.ndarray:
    """(rows, values), without a copy."""
    return np.asarray(column.flatten().to_numpy(zero_copy_only=True)).reshape(-1, column.type.list_size)


def _sweep(folder: Path) -> None:
    """Remove what runs that were killed a day ago or earlier left half-filled."""
    for left in folder.glob(".*.*"):
        with contextlib.suppress(FileNotFoundError):  # another process may finish or sweep it meanwhile
            if time.time() - left.stat().st_mtime > STALE_S and left.is_file():
                left.unlink()


def _make_room(folder: Path, rows: int, views: int, row_bytes: int, limit: float, remedy: str) -> None:
    """Say what an entry will need, and remove others, those first that were not used for longest, until it fits."""
    needed = rows * views * row_bytes
    log.info("caching %d rows x %d views of %.1f KB: %.2f GB", rows, views, row_bytes / 1e3, needed / 1e9)
    if needed > limit:
        raise UserError(
            f"--cache-limit: the activations need {needed / 1e9:.2f} GB and the limit is {limit / 1e9:.2f} GB; "
            f"expected more. Pass a higher --cache-limit, {remedy}"
        )
    entries = _entries(folder)
    used, free = sum(size for _, size, _ in entries), shutil.disk_usage(folder).free
    for used_last, size, entry in entries:
        if used + needed <= limit and needed <= 0.9 * free:
            break
        log.info("removing %s of %.2f GB from the cache, unused for %s", entry.name, size / 1e9, _age(used_last))
        entry.unlink(missing_ok=True)  # a reader that has it mapped keeps it
        used, free = used - size, free + size
    if needed > 0.9 * free:
        raise UserError(
            f"--cache: the activations need {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; "
            f"expected more. Pass --cache on another disk, {remedy}"
        )


def _entries(folder: Path) -> list[tuple[float, int, Path]]:
    """When each entry was last used, and its size, longest unused first; without those that go meanwhile."""
    found = []
    for entry in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            facts = entry.stat()
            found.append((facts.st_mtime, facts.st_size, entry))
    return sorted(found)


def _age(used_last: float) -> str:
    minutes = max(0.0, time.time() - used_last) / 60
    return f"{minutes / 60:.0f} hours" if minutes > 90 else f"{minutes:.0f} minutes"
