"""Picture bytes from outside: one rule for modes and sizes, limits before decoding, and a reason for every refusal."""

from __future__ import annotations

import hashlib
import io
import pickle
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fashion_ray.catalog import pictures
from fashion_ray.catalog.pictures import BadPicture, decode, decode_many, inspect, open_rgb
from fashion_ray.catalog.schema import REASONS
from tests.unit.paintings import EXIF_3, HEIGHT, WHITE, WIDTH, encoded, pixels_of, plain, with_segment


def refusal(content: bytes) -> str:
    """Why bytes are refused, by each way in."""
    found = set()
    for act in (open_rgb, inspect, lambda content: decode(content, HEIGHT, WIDTH)):
        with pytest.raises(BadPicture) as caught:
            act(content)
        assert caught.value.detail and len(caught.value.detail) < 500
        found.add(caught.value.reason)
    assert len(found) == 1 and found <= set(REASONS)
    return found.pop()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    body = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


# Colour modes.


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (plain((10, 20, 30)), [10, 20, 30]),
        (plain(77, "L"), [77, 77, 77]),
        (plain(1, "1"), WHITE),
        (plain(0, "1"), [0, 0, 0]),
        (plain((10, 20, 30)).quantize(4), [10, 20, 30]),
        (plain((10, 20, 30, 255), "RGBA"), [10, 20, 30]),
        (plain((10, 20, 30, 0), "RGBA"), WHITE),
        (plain((0, 0, 0, 51), "RGBA"), [204, 204, 204]),
        (plain((0, 0), "LA"), WHITE),
        (plain((90, 255), "LA"), [90, 90, 90]),
        (plain(0x1234, "I;16"), [0x12] * 3),
        (plain(0xFFFF, "I;16"), WHITE),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value[0]),
)
@pytest.mark.parametrize("height", [HEIGHT, HEIGHT * 3])
def test_every_mode_becomes_rgb_by_one_rule(picture: Image.Image, expected: list[int], height: int) -> None:
    content = encoded(picture)
    assert Image.open(io.BytesIO(content)).mode == picture.mode
    found = decode(content, height, height * WIDTH // HEIGHT)
    assert found.dtype == np.uint8 and found.shape == (height, height * WIDTH // HEIGHT, 3)
    assert (found == expected).all()
    assert open_rgb(content).mode == "RGB"


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_laid_on_white(mode: str) -> None:
    picture = plain((200, 10, 10))
    picture.paste((0, 200, 0), (0, 0, 30, 80))
    picture = picture.quantize(8) if mode == "P" else picture.convert(mode)
    clear = picture.getpixel((0, 0))
    found = decode(encoded(picture, transparency=clear), HEIGHT, WIDTH)
    assert (found[:, :30] == 255).all()
    assert (found[:, 30:] == np.asarray(picture.convert("RGB"))[:, 30:]).all()


def test_cmyk_is_converted_and_not_inverted() -> None:
    content = encoded(plain((0, 200, 200, 20), "CMYK"), "JPEG", quality=100)
    red, green, blue = decode(content, HEIGHT, WIDTH)[40, 30]
    assert red > 200 and green < 80 and blue < 80


def test_grey_jpegs_have_three_equal_channels() -> None:
    grey = pixels_of()[..., 0]
    found = decode(encoded(grey, "JPEG"), HEIGHT, WIDTH)
    assert (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()
    assert np.abs(found[..., 0].astype(int) - grey).mean() < 6


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG"])
def test_every_format_of_the_list_is_decoded(form: str) -> None:
    found = decode(encoded(plain((255, 0, 0)), form), HEIGHT, WIDTH)
    assert np.abs(found.astype(int) - [255, 0, 0]).max() < 8


# Sizes.


def test_at_the_canonical_size_pixels_are_untouched() -> None:
    assert (decode(encoded(pixels_of()), HEIGHT, WIDTH) == pixels_of()).all()


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((60, 20), (30, 50, 0, 60)),
        ((300, 100), (30, 50, 0, 60)),
        ((20, 80), (0, 80, 20, 40)),
        ((30, 40), (0, 80, 0, 60)),
        ((1800, 2400), (0, 80, 0, 60)),
        ((28, 28), (10, 70, 0, 60)),
        ((8, 8), (10, 70, 0, 60)),
        ((8, 2000), (0, 80, 29, 30)),
        ((5000, 8), (39, 40, 0, 60)),
    ],
)
def test_other_sizes_keep_their_aspect_on_white(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    found = decode(encoded(plain((200, 30, 30), size=size)), HEIGHT, WIDTH)
    top, bottom, left, right = box
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[top:bottom, left:right] = True
    assert (found[inside] == [200, 30, 30]).all()
    assert (found[~inside] == 255).all()


@pytest.mark.parametrize("scale", [2, 5, 20])
def test_a_larger_picture_is_the_same_picture(scale: int) -> None:
    small = np.asarray(Image.fromarray(pixels_of(seed=3)).resize((6, 8), Image.Resampling.BOX))
    large = np.kron(small, np.ones((10 * scale, 10 * scale, 1), np.uint8))
    found = decode(encoded(large), HEIGHT, WIDTH)
    middles = found[5::10, 5::10].astype(int)
    assert np.abs(middles - small).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_tags_are_applied(orientation: int) -> None:
    upright = pixels_of(40, 30)
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1), 7: np.rot90(upright.swapaxes(0, 1), 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(np.ascontiguousarray(turned), exif=exif)
    assert (np.asarray(open_rgb(content)) == upright).all()
    facts = inspect(content)
    assert (facts.width, facts.height) == (30, 40)
    jpeg = encoded(np.ascontiguousarray(turned), "JPEG", exif=exif, quality=95)
    assert np.abs(decode(jpeg, 40, 30).astype(int) - upright).mean() < 6


XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'


@pytest.mark.parametrize("where", ["exif", "xmp", "exif after 70 KB"])
def test_an_orientation_is_found_wherever_it_stands_also_at_the_canonical_size(where: str) -> None:
    content = with_segment(encoded(pixels_of(), "JPEG"), 0xE1, XMP if where == "xmp" else EXIF_3)
    if where.endswith("KB"):
        content = with_segment(with_segment(content, 0xFE, b"c" * 60_000), 0xFE, b"c" * 10_000)
    whole = np.asarray(open_rgb(content))
    assert np.abs(whole.astype(int) - pixels_of()[::-1, ::-1]).mean() < 8
    assert (decode(content, HEIGHT, WIDTH) == whole).all()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "entry", [(0x011A, 2, 1, 8), (0x011A, 7, 3, 8), (0x0100, 2, 1, 8), (0x010E, 2, 0xFFFFF, 0xFFFFFF), (0x8769, 4, 1, 0xFFFFFF)]
)
def test_damaged_metadata_does_not_cost_the_picture(entry: tuple[int, int, int, int]) -> None:
    exif = EXIF_3[:14] + b"\x02\0" + EXIF_3[16:28] + struct.pack("<HHII", *entry) + b"\0\0\0\0"
    content = with_segment(encoded(pixels_of(), "JPEG"), 0xE1, exif)
    assert np.abs(decode(content, HEIGHT, WIDTH).astype(int) - pixels_of()[::-1, ::-1]).mean() < 8


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0junk that is no metadata", EXIF_3[:20]])
def test_metadata_that_is_none_is_ignored(exif: bytes) -> None:
    content = with_segment(encoded(pixels_of(), "JPEG"), 0xE1, exif)
    assert np.abs(decode(content, HEIGHT, WIDTH).astype(int) - pixels_of()).mean() < 8


# Refusals.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_an_image"),
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "not_an_image"),
        (random.Random(0).randbytes(900), "not_an_image"),
        (b"\xff\xd8", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 80\nshowpage\n", "not_an_image"),
        (b"P6 60 80 255 " + bytes(60 * 80 * 3), "not_an_image"),
        (encoded(plain(0, "L"), "ICO"), "not_an_image"),
        (encoded(plain((1, 2, 3)), "PDF"), "not_an_image"),
        (encoded(pixels_of(), "JPEG")[:-200], "truncated"),
        (encoded(pixels_of(400, 300), "JPEG")[:9000], "truncated"),
        (encoded(pixels_of())[:4000], "truncated"),
        (png_header(60, 80), "truncated"),
        (png_header(8000, 8000), "truncated"),
        (png_header(60_000, 60_000), "too_large"),
        (png_header(8001, 8000), "too_large"),
        (png_header(2**31 - 1, 8), "too_large"),
        (encoded(plain((1, 2, 3), size=(7, 100))), "too_small"),
        (encoded(plain((1, 2, 3), size=(100, 7))), "too_small"),
        (encoded(plain((1, 2, 3), size=(1, 1)), "JPEG"), "too_small"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_has_a_reason(content: bytes, reason: str) -> None:
    assert refusal(content) == reason


def test_more_bytes_than_allowed_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(pixels_of(50, 50))
    monkeypatch.setattr(pictures, "MAX_BYTES", len(content))
    assert open_rgb(content).size == (50, 50)
    monkeypatch.setattr(pictures, "MAX_BYTES", len(content) - 1)
    assert refusal(content) == "too_large"


def test_bytes_that_were_damaged_anywhere_give_pixels_or_a_reason() -> None:
    rng = random.Random(5)
    whole = [encoded(pixels_of(), form) for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]
    for _ in range(400):
        content = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 3, 20])):
            content[rng.randrange(len(content) if rng.random() < 0.5 else 200)] = rng.randrange(256)
        end = rng.choice([len(content), rng.randrange(len(content))])
        try:
            assert decode(bytes(content[:end]), HEIGHT, WIDTH).shape == (HEIGHT, WIDTH, 3)
        except BadPicture as error:
            assert error.reason in REASONS


def test_a_refusal_travels_between_processes() -> None:
    back = pickle.loads(pickle.dumps(BadPicture("truncated", "JPEG: 3 bytes missing")))
    assert isinstance(back, BadPicture) and (back.reason, back.detail) == ("truncated", "JPEG: 3 bytes missing")


def test_of_many_pictures_the_bad_ones_are_marked_and_the_others_stay_in_their_rows() -> None:
    contents = [encoded(pixels_of(seed=1)), b"", encoded(pixels_of(seed=2)), encoded(pixels_of(), "JPEG")[:-200]]
    found, bad = decode_many(contents, HEIGHT, WIDTH)
    assert found.shape == (4, HEIGHT, WIDTH, 3) and found.dtype == np.uint8
    assert {row: error.reason for row, error in bad.items()} == {1: "not_an_image", 3: "truncated"}
    assert (found[0] == pixels_of(seed=1)).all() and (found[2] == pixels_of(seed=2)).all()
    assert (found[[1, 3]] == 255).all()


def test_facts_of_a_picture() -> None:
    content = encoded(pixels_of(100, 75), "JPEG")
    facts = inspect(content)
    assert (facts.width, facts.height) == (75, 100)
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    again = inspect(encoded(pixels_of(100, 75)))
    assert again.perceptual_hash == inspect(encoded(pixels_of(100, 75), "BMP")).perceptual_hash
    assert again.sha256 != facts.sha256
    assert inspect(encoded(pixels_of(100, 75, seed=1)[::-1])).perceptual_hash != facts.perceptual_hash
