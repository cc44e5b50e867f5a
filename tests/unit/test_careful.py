"""Decoding in a process of its own: the same pixels, and a picture that kills its process is known by name."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashion_ray.catalog.pictures import decode_many
from fashion_ray.scoring.careful import decode_carefully
from tests.cluster.deadly import POISON


def jpeg(seed: int) -> bytes:
    """A small picture."""
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 15, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="JPEG")
    return sink.getvalue()


def test_the_pixels_are_those_of_plain_decoding_and_so_are_the_reasons() -> None:
    contents = [jpeg(1), b"rubbish", jpeg(2), jpeg(3)[:-200], b""]
    pixels, bad = decode_carefully(contents, 20, 15)
    expected, reasons = decode_many(contents, 20, 15)
    assert np.array_equal(pixels, expected)
    assert {row: (error.reason, error.detail) for row, error in bad.items()} == {
        row: (error.reason, error.detail) for row, error in reasons.items()
    }


def test_pictures_that_kill_their_process_are_set_aside_and_the_rest_goes_on() -> None:
    contents = [jpeg(1), POISON, POISON, jpeg(2), jpeg(3)]
    pixels, bad = decode_carefully(contents, 20, 15, decoder="tests.cluster.deadly:decode")
    assert {row: error.reason for row, error in bad.items()} == {1: "decode_failed", 2: "decode_failed"}
    assert all("signal 9" in error.detail and "twice" in error.detail for error in bad.values())
    assert np.array_equal(pixels[[0, 3, 4]], decode_many([jpeg(1), jpeg(2), jpeg(3)], 20, 15)[0])


def test_a_picture_that_hangs_its_process_is_given_up() -> None:
    pixels, bad = decode_carefully([b"x", b"y"], 4, 4, decoder="tests.unit.test_careful:sleep", patience_s=2)
    assert list(bad) == [0] and (pixels[1] == 7).all()


def test_a_slow_start_of_the_process_is_not_laid_on_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_decoder.py").write_text(
        "import time\ntime.sleep(3)\nfrom tests.unit.test_careful import sleep as decode\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    pixels, bad = decode_carefully([b"y"], 4, 4, decoder="slow_decoder:decode", patience_s=2)
    assert not bad and (pixels == 7).all()
    with pytest.raises(RuntimeError, match="did not start"):
        decode_carefully([b"y"], 4, 4, decoder="no_such_module:decode")


def test_a_process_that_dies_of_something_else_condemns_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    pixels, bad = decode_carefully([b"a", b"b"], 4, 4, decoder="tests.unit.test_careful:die_once")
    assert (tmp_path / "died").exists() and not bad and (pixels == 7).all()


def die_once(content: bytes, height: int, width: int) -> np.ndarray:
    """Dies the first time that it is called."""
    try:
        Path(os.environ["DIED"]).touch(exist_ok=False)
    except FileExistsError:
        return sleep(content, height, width)
    os.kill(os.getpid(), 9)
    raise AssertionError("dead")


def sleep(content: bytes, height: int, width: int) -> np.ndarray:
    """Hangs over `x`."""
    import time

    time.sleep(3600 if content == b"x" else 0)
    return np.full((height, width, 3), 7, dtype=np.uint8)
