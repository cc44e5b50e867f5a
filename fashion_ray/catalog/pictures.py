"""Picture bytes. In: the bytes of a file from outside. Out: facts about the picture, its pixels, or a reason why not.

The rule for colour modes, everywhere: orientation tags are applied; transparent pictures are laid on white; palettes,
grey, CMYK and others become 8-bit RGB as Pillow converts them; 16-bit grey keeps its upper 8 bits.
The rule for sizes: a picture is scaled to fit the canonical size, keeping its aspect, and centred on white.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import ExifTags, Image, ImageFile

DECODER_VERSION = "1"
"""Goes into every score key: raise it when the same bytes give other pixels."""

MAX_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 64_000_000
MIN_SIDE = 8
PREVIEW_SIDE = 120
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What may be decoded at all: Pillow knows many more formats, each one more way in."""


DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError,
    EOFError, NotImplementedError, RuntimeError, struct.error,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files, `UnidentifiedImageError` (an OSError) among them."""


BEFORE_FRAME = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Markers that stand before a JPEG's frame: Huffman and quantization tables, restart interval, comment, application data."""


class BadPicture(ValueError):
    """A picture that cannot be used; `reason` is one of schema.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What each orientation of the EXIF standard asks for."""


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """What one full decoding tells."""

    width: int
    height: int
    sha256: str
    perceptual_hash: str


def inspect(content: bytes) -> PictureFacts:
    """Decode a picture once, in full, and say what it is. Raises BadPicture."""
    picture = open_rgb(content)
    return PictureFacts(
        width=picture.width,
        height=picture.height,
        sha256=hashlib.sha256(content).hexdigest(),
        perceptual_hash=str(imagehash.phash(picture, hash_size=16)),
    )


def open_rgb(content: bytes) -> Image.Image:
    """Decode any supported picture to RGB by the rule above; limits are checked before a pixel is. Raises BadPicture."""
    if len(content) > MAX_BYTES:
        raise BadPicture("too_large", f"{len(content)} bytes, at most {MAX_BYTES}")
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadPicture("too_large", str(error)) from error
    except DAMAGED as error:
        raise BadPicture("not_an_image", f"{len(content)} bytes that no decoder knows") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise BadPicture("too_large", f"{picture.width} x {picture.height} pixels, at most {MAX_PIXELS}")
    if min(picture.size) < MIN_SIDE:
        raise BadPicture("too_small", f"{picture.width} x {picture.height} pixels, at least {MIN_SIDE} a side")
    try:
        picture.load()
        return _to_rgb(_upright(picture))
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise BadPicture("truncated", f"{picture.format}: {error}") from error


def preview(content: bytes) -> bytes | None:
    """A PNG of at most PREVIEW_SIDE pixels a side of what can be drawn of an unusable picture; none if nothing can.

    The limits hold here too: what is too large is not drawn.
    """
    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if len(content) > MAX_BYTES or picture.width * picture.height > MAX_PIXELS:
            return None
        ImageFile.LOAD_TRUNCATED_IMAGES = True  # Pillow has no other way to ask for the part that can be decoded
        small = _to_rgb(picture)
        small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        sink = io.BytesIO()
        small.save(sink, format="PNG")
    except (*DAMAGED, Image.DecompressionBombError):
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict
    return sink.getvalue()


def decode(content: bytes, height: int, width: int) -> np.ndarray:
    """Pixels of a picture at the canonical size: uint8, (height, width, 3). Raises BadPicture."""
    quick = _decode_plain_jpeg(content, height, width)
    if quick is not None:
        return quick
    picture = open_rgb(content)
    if picture.size == (width, height):
        return np.asarray(picture)
    scale = min(width / picture.width, height / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if picture.size != inner:
        picture = picture.resize(inner, Image.Resampling.BICUBIC, reducing_gap=3.0)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = np.asarray(picture)
    return canvas


def decode_many(
    contents: list[bytes], height: int, width: int, decode: Callable[[bytes, int, int], np.ndarray] = decode
) -> tuple[np.ndarray, dict[int, BadPicture]]:
    """Pixels of many pictures, uint8 (rows, height, width, 3), and what was wrong with those rows that stayed white."""
    pixels = np.full((len(contents), height, width, 3), 255, dtype=np.uint8)
    bad: dict[int, BadPicture] = {}
    for row, content in enumerate(contents):
        try:
            pixels[row] = decode(content, height, width)
        except BadPicture as error:
            bad[row] = error
    return pixels, bad


def _upright(picture: Image.Image) -> Image.Image:
    """The picture as its orientation tag wants it; the other tags, damaged or not, are left unread."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except DAMAGED:
        return picture
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _decode_plain_jpeg(content: bytes, height: int, width: int) -> np.ndarray | None:
    """The short way for what nearly every row is, a colour JPEG at the canonical size; none if it is anything else.

    torchvision's decoder and Pillow's are the same libjpeg-turbo, so the pixels are the same, in a third of the time.
    """
    turned = b"Exif\0\0" in content or b"Orientation" in content  # EXIF or XMP, wherever it stands
    if jpeg_shape(content) != (height, width, 3) or turned or content[-2:] != b"\xff\xd9":
        return None
    import torch  # not needed where pictures are only inspected, and slow to import

    try:
        pixels = _jpeg_decoder()(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    except RuntimeError:
        return None  # let Pillow say what is wrong
    if pixels.shape != (3, height, width):
        return None  # its header is not where a plain one is
    return np.asarray(pixels.permute(1, 2, 0))


@functools.cache
def _jpeg_decoder() -> Callable[[Any], Any]:
    """torchvision's decoder of JPEGs to RGB, uint8 bytes to uint8 (3, height, width).

    Its compiled part is loaded by itself where it is found: the package around it takes over a second to import.
    """
    import torch

    package = importlib.util.find_spec("torchvision")
    assert package is not None and package.origin is not None
    for library in Path(package.origin).parent.glob("image*.so"):
        torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        return functools.partial(torch.ops.image.decode_jpeg, mode=3, apply_exif_orientation=False)
    from torchvision.io import ImageReadMode, decode_jpeg

    return functools.partial(decode_jpeg, mode=ImageReadMode.RGB)


def jpeg_shape(content: bytes) -> tuple[int, int, int] | None:
    """(height, width, components) from the frame header of an 8-bit JPEG, without decoding; none if there is none.

    Only segments that every decoder steps over alike may stand before it: bytes that decoders skip in ways of their own could
    hide a frame of another size, which would be decoded before anyone asked how large it is.
    """
    if content[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 < len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker in (0xC0, 0xC1, 0xC2):
            precision, height, width, components = struct.unpack(">BHHB", content[position + 4 : position + 10])
            return (height, width, components) if precision == 8 else None
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        if marker not in BEFORE_FRAME or length < 2:
            return None
        position += 2 + length
    return None
