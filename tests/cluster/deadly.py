"""A decoder that a certain picture kills, process and all."""

from __future__ import annotations

import os
import signal

import numpy as np

from fashion_ray.catalog import pictures

POISON = b"poison" * 20


def decode(content: bytes, height: int, width: int) -> np.ndarray:
    """pictures.decode, but for the poison."""
    if content == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return pictures.decode(content, height, width)
