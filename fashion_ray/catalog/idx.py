"""Fashion-MNIST's files. In: a tree with train- and t10k-, images-idx3-ubyte and labels-idx1-ubyte, .gz or not.
Out: one row a picture, train-00000 and so on, and the pictures as PNG.

The format is http://yann.lecun.com/exdb/mnist: big-endian counts and sizes, then one byte a pixel or label. A picture
that a file promises and does not hold is `no_picture`; a label likewise is `bad_row`.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, cast

import pyarrow as pa
from PIL import Image

from fashion_ray.catalog import feed_rows, schema, trees, zips
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.trees import Tree
from fashion_ray.errors import UserError

LAYOUT = "Fashion-MNIST's train- and t10k-images-idx3-ubyte.gz with their labels"

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""What the labels 0 to 9 mean: https://github.com/zalandoresearch/fashion-mnist#labels."""

NAME = re.compile(r"(?:.*/)?(?P<part>train|t10k)-(?P<what>images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801
MOST_PICTURES = 5_000_000
LONGEST_SIDE = 1024

DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, *zips.UNREADABLE)
"""What a stream raises where it is cut or damaged; OSError also when the storage fails, and then it has an errno."""


@dataclass(frozen=True)
class IdxSource:
    """Fashion-MNIST's files; `parts` are pairs of an images file and its labels file, which may be absent ('')."""

    tree: Tree
    parts: tuple[tuple[str, str], ...]
    label_column: str = "articleType"

    in_order = True

    @property
    def name(self) -> str:
        return self.tree.name

    def fingerprint(self) -> str:
        own = {name for part in self.parts for name in part}
        return trees.fingerprint((file for file in self.tree.files() if file.name in own), "idx", self.label_column)

    def row_files(self) -> list[str]:
        return [images for images, _ in self.parts]

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        labels_of = dict(self.parts)
        tables = [self._rows_of(images, labels_of[images]) for images in row_files]
        return pa.concat_tables([schema.FEED_ROWS.empty_table(), *tables]).combine_chunks()

    def pictures(self) -> pa.Table:
        return schema.PICTURES.empty_table()

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        """PNGs; reading is cheap only forward, since the files are streams."""
        with contextlib.ExitStack() as stack:
            at, position, height, width = "", 0, 0, 0
            stream: IO[bytes] = io.BytesIO()
            for locator in locators:
                images, _, digits = locator.rpartition("#")
                if images != at or int(digits) < position:
                    stack.close()
                    stream = stack.enter_context(self._open(images))
                    at, position = images, 0
                    _, height, width = self._image_header(stream, images)
                gap = (int(digits) - position) * height * width
                pixels = _take(stream, height * width) if _skip(stream, gap) else b""
                position = int(digits) + 1
                if len(pixels) < height * width:
                    yield BadPicture("no_picture", f"{images} ends before picture {digits}")
                else:
                    yield _png(pixels, height, width)

    def _rows_of(self, images: str, labels: str) -> pa.Table:
        with self._open(images) as stream:
            count, height, width = self._image_header(stream, images)
        promised, codes = self._labels(labels) if labels else (0, b"")
        part = images.rpartition("/")[2].partition("-")[0]
        rows = []
        for number in range(max(count, promised)):
            place = {"source_row": number + 1, "locator": f"{images}#{number}", "size_bytes": height * width}
            product_id = f"{part}-{number:05d}"
            if number < len(codes) and codes[number] < len(CLASSES):
                rows.append({"product_id": product_id, self.label_column: CLASSES[codes[number]], "withdrawn": False, **place})
            elif not labels:
                rows.append({"product_id": product_id, "withdrawn": False, **place})
            else:
                wrong = f"label {codes[number]}, expected 0 to 9" if number < len(codes) else "the labels end before this one"
                rows.append({**feed_rows.refused("bad_row", wrong, product_id), **place})
        return feed_rows.table(rows)

    def _labels(self, name: str) -> tuple[int, bytes]:
        """How many labels a file promises, and those that it holds."""
        with self._open(name) as stream:
            magic, count = struct.unpack(">II", _take(stream, 8).ljust(8, b"\0"))
            if magic != LABELS_MAGIC or count > MOST_PICTURES:
                raise self._odd(name, f"magic number {magic:#x} and {count} labels", f"{LABELS_MAGIC:#x} and {MOST_PICTURES}")
            return count, _take(stream, count)

    def _image_header(self, stream: IO[bytes], name: str) -> tuple[int, int, int]:
        """Count, height and width; nothing is taken on their word before they are checked."""
        magic, count, height, width = struct.unpack(">IIII", _take(stream, 16).ljust(16, b"\0"))
        if magic != IMAGES_MAGIC or count > MOST_PICTURES or not (0 < height <= LONGEST_SIDE and 0 < width <= LONGEST_SIDE):
            got = f"magic number {magic:#x} and {count} pictures of {height} x {width}"
            raise self._odd(name, got, f"{IMAGES_MAGIC:#x} and {MOST_PICTURES} of {LONGEST_SIDE} x {LONGEST_SIDE}")
        return count, height, width

    def _odd(self, name: str, got: str, most: str) -> UserError:
        return UserError(f"--source: {name} of {self.name!r} has {got}, expected {most} at most; pass {LAYOUT}")

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        with self.tree.open(name) as opened:
            yield cast(IO[bytes], gzip.GzipFile(fileobj=opened, mode="rb")) if name.endswith(".gz") else opened


def recognise(tree: Tree, label_column: str) -> IdxSource | None:
    """Fashion-MNIST's files in a tree; of several copies the one nearest to the top. None if there are no images."""
    found: dict[tuple[str, str], str] = {}
    for file in sorted(tree.files(), key=lambda file: (file.name.count("/"), file.name)):
        match = NAME.fullmatch(file.name)
        if match:
            found.setdefault((match["part"], match["what"]), file.name)
    parts = [
        (found[part, "images"], found.get((part, "labels"), "")) for part in ("train", "t10k") if (part, "images") in found
    ]
    return IdxSource(tree, tuple(parts), label_column) if parts else None


def _take(stream: IO[bytes], size_bytes: int) -> bytes:
    """The next bytes of a stream, fewer where it ends or is damaged. Raises OSError if the storage fails."""
    taken = bytearray()
    try:
        while len(taken) < size_bytes:
            piece = stream.read(min(size_bytes - len(taken), 1 << 16))
            if not piece:
                break
            taken += piece
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
    return bytes(taken)


def _skip(stream: IO[bytes], size_bytes: int) -> bool:
    """Go forward; false where the stream ends before."""
    while size_bytes > 0:
        gone = len(_take(stream, min(size_bytes, 1 << 20)))
        if not gone:
            return False
        size_bytes -= gone
    return True


def _png(pixels: bytes, height: int, width: int) -> bytes:
    out = io.BytesIO()
    Image.frombytes("L", (width, height), pixels).save(out, format="PNG", compress_level=1)
    return out.getvalue()
