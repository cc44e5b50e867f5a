"""The short way for plain JPEGs: Pillow's pixels, or none; and their frame headers."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fashion_ray.catalog import pictures
from fashion_ray.catalog.pictures import BadPicture, decode, decode_many, jpeg_shape, open_rgb
from tests.unit.paintings import EXIF_3, HEIGHT, WIDTH, encoded, pixels_of, with_segment

VARIANTS: list[dict[str, Any]] = [
    {"quality": quality, "subsampling": subsampling} for quality in (5, 60, 85, 100) for subsampling in (0, 1, 2)
]
VARIANTS += [{"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}, {"keep_rgb": True}, {"comment": b"x" * 9}]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("size", [(80, 60), (77, 59)])
def test_the_short_way_gives_exactly_pillows_pixels(
    options: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(pixels_of(*size), "JPEG", **options)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert (np.asarray(open_rgb(content)) == expected).all()
    monkeypatch.delattr(pictures, "open_rgb")  # the long way is not taken
    assert (decode(content, *size) == expected).all()


def test_damage_inside_a_jpeg_of_the_canonical_size_is_seen_as_pillow_sees_it() -> None:
    whole = encoded(pixels_of(), "JPEG")
    for content in (whole[:-2], whole[:-200] + b"\xff\xd9", whole + b"trailing", whole[:700] + bytes(50) + whole[750:]):
        try:
            expected: np.ndarray | None = np.asarray(open_rgb(content))
        except BadPicture:
            expected = None
        found, bad = decode_many([content], HEIGHT, WIDTH)
        assert (0 in bad) is (expected is None)
        assert expected is None or (found[0] == expected).all()


def test_a_jpeg_that_lies_about_its_size_has_the_canonical_one_all_the_same() -> None:
    fake = b"\xff\xc0\0\x11\x08" + struct.pack(">HHB", HEIGHT, WIDTH, 3) + bytes(20)
    comment = bytearray(b"c" * 0xFFEE)
    comment[0xFEFC : 0xFEFC + len(fake)] = fake  # where a reader lands that takes the fill byte below for a marker
    large = encoded(pixels_of(100, 90), "JPEG")
    content = large[:2] + b"\xff\xff\xfe" + struct.pack(">H", 0xFFF0) + bytes(comment) + large[2:]
    assert open_rgb(content).size == (90, 100)
    found, bad = decode_many([content, encoded(pixels_of())], HEIGHT, WIDTH)
    assert bad == {} and (found[1] == pixels_of()).all()


@pytest.mark.parametrize(("mode", "components"), [("RGB", 3), ("L", 1), ("CMYK", 4)])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_shape_is_height_width_and_components(mode: str, components: int, progressive: bool) -> None:
    content = encoded(Image.fromarray(pixels_of(31, 47)).convert(mode), "JPEG", progressive=progressive)
    assert jpeg_shape(content) == (31, 47, components)
    assert jpeg_shape(with_segment(content, 0xE1, EXIF_3)) == (31, 47, components)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\xd8" + b"\xff" * 50, b"\xff\xd8\xff\xe0" + bytes(60),
     b"\xff\xd8\xff\xe0\xff\xff" + bytes(50), b"<html></html>" * 9, bytes(100), encoded(pixels_of())],
)  # fmt: skip
def test_jpeg_shape_of_anything_else_is_none(content: bytes) -> None:
    assert jpeg_shape(content) is None


def test_jpeg_shape_of_every_beginning_of_a_jpeg_is_right_or_none() -> None:
    whole = encoded(pixels_of(), "JPEG")
    assert {jpeg_shape(whole[:length]) for length in range(len(whole))} == {None, (HEIGHT, WIDTH, 3)}
