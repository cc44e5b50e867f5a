"""Embeddings of a snapshot as unit vectors on this node. In: a published table. Out: rows of a memory-mapped file.

The file lies in the node-local cache, under a name made of the checksums of what it was made from, and is made again where it
is missing. It is read a tile at a time, so that what a process holds does not grow with the number of products.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fashion_ray import snapshots
from fashion_ray.insight.neighbours import unit
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

KEPT = 3
"""Files of other snapshots that stay in the cache, the last used."""

DIGEST_BYTES = 12


@dataclass(frozen=True, kw_only=True)
class FileUnits:
    """neighbours.Units in a file of float32, row after row; travels to other processes of the node."""

    path: str
    rows: int
    dim: int

    def tile(self, start: int, stop: int) -> np.ndarray:
        """float32 (stop - start, dim), in memory of its own: mapped pages would count for as long as they are mapped."""
        found = np.fromfile(self.path, np.float32, count=(stop - start) * self.dim, offset=4 * start * self.dim)
        return found.reshape(stop - start, self.dim)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32 (rows, dim), of rows in any order."""
        if not self.rows:
            return np.zeros((len(rows), self.dim), np.float32)
        mapped = np.memmap(self.path, np.float32, mode="r", shape=(self.rows, self.dim))
        return np.array(mapped[rows])

    def digests(self) -> np.ndarray:
        """bytes (rows,): a hash of each embedding as it was published; empty for one that is zero or not finite."""
        return np.fromfile(f"{self.path}.digests", f"S{DIGEST_BYTES}")


def open_units(store: Store, source: Snapshot, cache: str) -> FileUnits:
    """The unit vectors of a snapshot's `embedding` column, in its order; made first where this node has none."""
    key = snapshots.fingerprint(*(file["sha256"] for file in source.manifest["files"]))
    folder = Path(cache) / "similar"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{key}.f32"
    with open(folder / f"{key}.lock", "w") as lock:  # one process a node makes it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target.exists() and Path(f"{target}.digests").exists()):
            _make(store, source, target)
            _tidy(folder, keep=target)
    os.utime(target)
    rows = int(source.manifest["rows"])
    return FileUnits(path=str(target), rows=rows, dim=target.stat().st_size // (4 * rows) if rows else 0)


def _make(store: Store, source: Snapshot, target: Path) -> None:
    growing = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    digests = []
    try:
        with open(growing, "wb") as file:
            for entry in source.manifest["files"]:
                column = store.read_table(source.folder, entry["name"], columns=["embedding"])["embedding"].combine_chunks()
                flat = np.asarray(column.flatten(), dtype=np.float32)
                vectors = flat.reshape(len(column), -1) if len(column) else np.zeros((0, 1), np.float32)
                units = unit(vectors)
                file.write(units.tobytes())
                digests += [_digest(vector) if units[row].any() else b"" for row, vector in enumerate(vectors)]
        np.array(digests, f"S{DIGEST_BYTES}").tofile(f"{target}.digests")
        os.replace(growing, target)
    finally:
        growing.unlink(missing_ok=True)


def _digest(vector: np.ndarray) -> bytes:
    """Without zero bytes, which an array of bytes would take for padding."""
    return hashlib.sha256(vector.tobytes()).hexdigest()[:DIGEST_BYTES].encode()


def _tidy(folder: Path, *, keep: Path) -> None:
    """Remove what was not used for longest; a process that has it open keeps it, and one that wants it makes it again."""
    found = sorted((path for path in folder.glob("*.f32") if path != keep), key=lambda path: path.stat().st_mtime)
    for path in found[: max(0, len(found) - KEPT)]:
        for other in (path, Path(f"{path}.digests"), *folder.glob(f"{path.name}.*.ivf")):
            other.unlink(missing_ok=True)
