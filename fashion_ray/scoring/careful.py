"""Decoding in a process of its own, for pictures that may kill it. In: encoded pictures. Out: pixels, or which one did it.

A decoder that crashes takes its process along. When an actor has died over a file, the file's pictures are decoded here, one
by one in a child: the one that it dies or hangs over is known and set aside, and a new child goes on with the next.
"""

from __future__ import annotations

import importlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from fashion_ray.catalog.pictures import BadPicture

PATIENCE_S = 60.0
"""A picture that takes longer is taken to hang."""

START_S = 600.0
"""A child may take so long to import its decoder; a busy machine needs minutes, for which no picture is to blame."""

DECODER = "fashion_ray.catalog.pictures:decode"
"""Module and function (content, height, width) -> pixels, or BadPicture raised."""

READY = b"."
"""What a child says first."""

_HEADER = struct.Struct("<QII")


def decode_carefully(
    contents: list[bytes], height: int, width: int, *, decoder: str = DECODER, patience_s: float = PATIENCE_S
) -> tuple[np.ndarray, dict[int, BadPicture]]:
    """What pictures.decode_many gives, whatever the pictures do to the process that decodes them.

    A picture is set aside when it has ended two children: the first may have died of something else, for want of memory, say.
    """
    pixels = np.full((len(contents), height, width, 3), 255, dtype=np.uint8)
    bad: dict[int, BadPicture] = {}
    row, suspect = 0, -1
    while row < len(contents):
        with _child(decoder) as child:
            while row < len(contents):
                try:
                    found = _ask(child, contents[row], height, width, patience_s)
                except (EOFError, BrokenPipeError):
                    child.kill()
                    if row == suspect:
                        bad[row] = BadPicture("decode_failed", f"its decoder died or hung twice ({_ending(child)})")
                        row += 1
                    else:
                        suspect = row
                    break
                if isinstance(found, BadPicture):
                    bad[row] = found
                else:
                    pixels[row] = found
                row += 1
    return pixels, bad


def load_decoder(decoder: str) -> Callable[[bytes, int, int], np.ndarray]:
    """The function that `module:function` names."""
    module, _, name = decoder.partition(":")
    found: Callable[[bytes, int, int], np.ndarray] = getattr(importlib.import_module(module), name)
    return found


@contextmanager
def _child(decoder: str) -> Iterator[subprocess.Popen[bytes]]:
    root = str(Path(__file__).resolve().parents[2])  # inside a submitted job nothing is installed
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(
        [sys.executable, "-m", "fashion_ray.scoring.careful", decoder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    try:
        _await_start(child)
        yield child
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _await_start(child: subprocess.Popen[bytes]) -> None:
    """Wait until a child is ready for pictures. Raises RuntimeError if it never is."""
    assert child.stdout is not None
    alarm = threading.Timer(START_S, child.kill)
    alarm.start()
    try:
        _exactly(child.stdout, len(READY))
    except EOFError:
        raise RuntimeError(f"scores: the process that decodes with care did not start ({_ending(child)})") from None
    finally:
        alarm.cancel()


def _ask(child: subprocess.Popen[bytes], content: bytes, height: int, width: int, patience_s: float) -> np.ndarray | BadPicture:
    """The answer of a child about one picture. Raises EOFError or BrokenPipeError if it does not live to give one."""
    assert child.stdin is not None and child.stdout is not None
    alarm = threading.Timer(patience_s, child.kill)
    alarm.start()
    try:
        child.stdin.write(_HEADER.pack(len(content), height, width) + content)
        child.stdin.flush()
        ok, size = struct.unpack("<?Q", _exactly(child.stdout, 9))
        answer = _exactly(child.stdout, size)
    finally:
        alarm.cancel()
    if ok:
        return np.frombuffer(answer, dtype=np.uint8).reshape(height, width, 3)
    reason, _, detail = answer.decode().partition("\n")
    return BadPicture(reason, detail)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


def _ending(child: subprocess.Popen[bytes]) -> str:
    status = child.wait()
    return f"signal {-status}" if status < 0 else f"status {status}"


def serve(decoder: str, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until there are no more questions."""
    decode = load_decoder(decoder)
    importlib.import_module("torchvision.io")  # pictures.decode imports it late, in minutes on a machine that is busy
    answers.write(READY)
    answers.flush()
    while header := questions.read(_HEADER.size):
        size, height, width = _HEADER.unpack(header)
        try:
            answer, ok = np.ascontiguousarray(decode(questions.read(size), height, width)).tobytes(), True
        except BadPicture as error:
            answer, ok = f"{error.reason}\n{error.detail}".encode(), False
        answers.write(struct.pack("<?Q", ok, len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    sys.stdout, replies = sys.stderr, sys.stdout.buffer  # what a decoder prints must not be taken for an answer
    serve(sys.argv[1], sys.stdin.buffer, replies)
