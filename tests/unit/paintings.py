"""Pictures for tests, and their bytes."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 80, 60
EXIF_3 = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, 3) + b"\0\0\0\0"
WHITE = [255, 255, 255]


def pixels_of(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """A smooth picture without symmetry."""
    rows, columns = np.mgrid[0:height, 0:width] * (160 / max(height, width))
    noise = np.random.default_rng(seed).integers(0, 20, (height, width, 3))
    return (np.stack([rows, columns, (rows * 2 + columns) / 3], axis=2) + 20 + noise).clip(0, 255).astype(np.uint8)


def encoded(picture: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    out = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(out, format=form, **options)
    return out.getvalue()


def plain(colour: Any, mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture of one colour; its size is width, height."""
    return Image.new(mode, size, colour)


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    return jpeg[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]
