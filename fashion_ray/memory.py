"""Peak memory of a job on this machine. In: nothing. Out: bytes, of all its processes together, shared pages counted once.

The measure is the sum of the proportional set sizes (PSS) of this process and all of its descendants, a Ray of its own and
its object store included; where a system does not know them, of the resident sizes. What a job uses on other nodes is not seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SAMPLE_S = 1.0


class Peak:
    """The highest figure seen so far."""

    size_bytes: int = 0

    def sample(self) -> None:
        """Look once."""
        self.size_bytes = max(self.size_bytes, used_bytes())


@contextmanager
def peak() -> Iterator[Peak]:
    """Samples once a second while the block runs."""
    found, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            found.sample()

    watcher = threading.Thread(target=watch, name="peak-memory", daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()
        found.sample()


def used_bytes(pid: int | None = None) -> int:
    """PSS of a process (none: this one) and its descendants; those that end meanwhile count as nothing."""
    root = psutil.Process(pid)
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            found = process.memory_full_info()
            total += getattr(found, "pss", found.rss)  # only Linux knows the proportional size
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            continue
    return total
