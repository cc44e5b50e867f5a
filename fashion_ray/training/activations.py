"""The cache of activations at a frozen boundary. In: pictures and an engine. Out: batches that need no lower layers.

What is frozen is run once a view of each picture instead of once an epoch. The values lie in bfloat16 in files of the
node-local cache, one a view, memory-mapped where they are read, so they may be larger than memory.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fashion_ray.errors import UserError
from fashion_ray.training.imbalance import Sampling, drawn
from fashion_ray.training.losses import Batch

log = logging.getLogger(__name__)

PROGRESS_ROWS = 8192
"""Rows between two lines in the log."""

STALE_S = 24 * 3600

Augment = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Pixels (rows, ...) and the number of the view that is wanted of each row, to pixels; view 0 is the picture as it is."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Cached values of some rows: one tensor (rows, ...) a view, and the rows' labels (rows, targets)."""

    views: list[Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def shuffled(self, batch_size: int, *, generator: torch.Generator, sampling: Sampling | None = None) -> Iterator[Batch]:
        """Full batches in a new order, each row in a view drawn at random; a last short batch is left out.

        With `sampling`, as many rows are drawn with replacement instead, those of rare classes more often.
        """
        rows = len(self)
        order = (
            torch.randperm(rows, generator=generator)
            if sampling is None
            else drawn(sampling.of_rows(self.labels), rows, generator)
        )
        which = torch.randint(0, len(self.views), (rows,), generator=generator)
        for start in range(0, rows - batch_size + 1, batch_size):
            index = order[start : start + batch_size]
            view = which[start : start + batch_size] if sampling is not None else which[index]
            inputs = torch.empty((batch_size, *self.views[0].shape[1:]), dtype=self.views[0].dtype)
            for number, values in enumerate(self.views):
                chosen = view == number
                inputs[chosen] = values[index[chosen]]
            yield Batch(inputs, self.labels[index])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every row once, in its first view."""
        for start in range(0, len(self), batch_size):
            yield Batch(self.views[0][start : start + batch_size].clone(), self.labels[start : start + batch_size])


def load(folder: Path) -> Activations | None:
    """Cached activations, or none if they were never finished."""
    try:
        facts = json.loads((folder / "facts.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    shape = (facts["rows"], *facts["shape"])
    size = int(np.prod(shape))
    views = [
        torch.from_file(str(folder / f"view-{number}.bin"), shared=False, size=size, dtype=torch.bfloat16).view(shape)
        for number in range(facts["views"])
    ]
    return Activations(views=views, labels=torch.from_numpy(np.load(folder / "labels.npy")))


def fill(
    folder: Path,
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    engine: Callable[[np.ndarray], list[np.ndarray]],
    *,
    views: int,
    augment: Augment,
    expected_rows: int,
) -> Activations:
    """Run the engine over (pixels, labels, copy) batches, once a view, and keep the results; replaces what is there as a whole.

    A row that comes in several copies, numbered from 0, gets further views in each of them, not the same ones. Raises UserError
    if the disk cannot hold them.
    """
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    _sweep(folder.parent)
    files = [open(temporary / f"view-{number}.bin", "wb") for number in range(views)]  # noqa: SIM115
    labels: list[np.ndarray] = []
    shape: tuple[int, ...] = (0,)
    rows = 0
    try:
        for pixels, wanted, copy in batches:
            for number, file in enumerate(files):
                values = torch.from_numpy(engine(augment(pixels, copy * views + number))[0])
                if not rows and number == 0:
                    shape = tuple(values.shape[1:])
                    _announce(temporary, expected_rows, views, 2 * int(np.prod(shape)))
                file.write(values.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
            labels.append(wanted)
            rows += len(wanted)
            if rows // PROGRESS_ROWS > (rows - len(wanted)) // PROGRESS_ROWS:
                log.info("cached %d of about %d rows", rows, expected_rows)
        for file in files:
            file.close()
        if not rows:
            raise UserError(
                "a worker got no rows of a split; expected at least one each. Lower --workers, or ingest a larger feed"
            )
        np.save(temporary / "labels.npy", np.concatenate(labels))
        (temporary / "facts.json").write_text(json.dumps({"rows": rows, "shape": list(shape), "views": views}))
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run may have been as far in the meantime
            temporary.rename(folder)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what is still buffered may not fit either
            for file in files:
                file.close()
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise UserError(
                f"--cache: the disk of {folder.parent} is full; pass --cache on another, or --cached-views 0"
            ) from error
        raise
    shutil.rmtree(temporary, ignore_errors=True)
    loaded = load(folder)
    if loaded is None:
        raise OSError(f"--cache: {folder} could not be put in place")
    return loaded


def _sweep(place: Path) -> None:
    """Remove what runs that were killed a day ago or earlier left half-filled."""
    for left in place.glob(".*.*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def _announce(folder: Path, rows: int, views: int, row_bytes: int) -> None:
    needed, free = rows * views * row_bytes, shutil.disk_usage(folder).free
    log.info("caching %d rows x %d views of %.1f KB: %.2f GB", rows, views, row_bytes / 1e3, needed / 1e9)
    if needed > 0.9 * free:
        raise UserError(
            f"--cache: the activations need {needed / 1e9:.1f} GB and {folder.parent} has {free / 1e9:.1f} GB free; "
            "expected more. Pass --cache on another disk, fewer --cached-views, or --cached-views 0 to train from pictures"
        )
