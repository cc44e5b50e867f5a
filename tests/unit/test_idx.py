"""Fashion-MNIST's files: names for the labels, PNGs for the pictures, and books that balance when a file is cut."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashion_ray.catalog import idx
from fashion_ray.catalog.idx import CLASSES, IdxSource
from fashion_ray.errors import UserError
from tests.unit.feeds import Maker, bad, contents_of, kinds, opened, reasons, rows_of, usable, zip_of

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
LABELS = bytes([9, 0, 0, 3, 1, 2, 7, 5, 4, 6, 8, 9])


def images(pixels: np.ndarray = PIXELS, **header: int) -> bytes:
    """An images file."""
    count, height, width = pixels.shape
    said = {"magic": 0x803, "count": count, "height": height, "width": width, **header}
    return struct.pack(">IIII", said["magic"], said["count"], said["height"], said["width"]) + pixels.tobytes()


def labels(codes: bytes = LABELS, **header: int) -> bytes:
    """A labels file."""
    return struct.pack(">II", header.get("magic", 0x801), header.get("count", len(codes))) + codes


def feed(packed: bool = True, **changes: bytes) -> dict[str, bytes]:
    """The four files; `train_images` and so on replace one of them."""
    files = {
        "train-images-idx3-ubyte": changes.get("train_images", images()),
        "train-labels-idx1-ubyte": changes.get("train_labels", labels()),
        "t10k-images-idx3-ubyte": changes.get("t10k_images", images(PIXELS[:4, :20, :24])),
        "t10k-labels-idx1-ubyte": changes.get("t10k_labels", labels(LABELS[:4])),
    }
    return {f"{name}.gz" if packed else name: gzip.compress(content) if packed else content for name, content in files.items()}


@kinds
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("wrapping", ["", "FashionMNIST/raw/"])
def test_labels_have_names_and_pictures_are_pngs(wrapping: str, packed: bool, make: Maker, tmp_path: Path) -> None:
    source = opened(make, tmp_path / "feed", {f"{wrapping}{name}": content for name, content in feed(packed).items()})
    assert isinstance(source, IdxSource) and source.in_order
    rows = rows_of(source)
    ids = [f"train-{number:05d}" for number in range(12)] + [f"t10k-{number:05d}" for number in range(4)]
    assert rows["product_id"].to_pylist() == ids and reasons(rows) == [] and source.pictures().num_rows == 0
    assert rows["articleType"].to_pylist() == [CLASSES[code] for code in LABELS + LABELS[:4]]
    found = [np.asarray(Image.open(io.BytesIO(content))) for content in contents_of(source).values()]  # type: ignore[arg-type]
    assert all(np.array_equal(one, other) for one, other in zip(found[:12], PIXELS, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(found[12:], PIXELS[:4, :20, :24], strict=True))


def test_pictures_come_in_the_order_asked_for(tmp_path: Path) -> None:
    source = opened(zip_of, tmp_path / "feed.zip", feed())
    locators = rows_of(source)["locator"].to_pylist()
    contents = dict(zip(locators, source.read(locators), strict=True))
    wanted = [locators[number] for number in (5, 6, 11, 2, 2, 15, 0, 12, 13)]
    assert list(source.read(wanted)) == [contents[locator] for locator in wanted]


@kinds
@pytest.mark.parametrize("packed", [True, False])
def test_pictures_that_a_cut_file_does_not_hold_are_missing(packed: bool, make: Maker, tmp_path: Path) -> None:
    files = feed(packed)
    name = "train-images-idx3-ubyte" + (".gz" if packed else "")
    files[name] = files[name][: len(files[name]) * 2 // 3]
    source = opened(make, tmp_path / "feed", files)
    assert usable(rows_of(source)).num_rows == 16
    found = contents_of(source)
    lost = [product_id for product_id, content in found.items() if not isinstance(content, bytes)]
    assert 3 <= len(lost) <= 6 and lost == [f"train-{number:05d}" for number in range(12 - len(lost), 12)]
    assert {bad(found[product_id]).reason for product_id in lost} == {"no_picture"}


def test_a_stream_that_is_damaged_inside_loses_what_follows(tmp_path: Path) -> None:
    files = feed()
    content = bytearray(files["train-images-idx3-ubyte.gz"])
    content[len(content) // 2] ^= 0xFF
    files["train-images-idx3-ubyte.gz"] = bytes(content)
    found = contents_of(opened(zip_of, tmp_path / "feed.zip", files))
    assert len(found) == 16 and isinstance(found["train-00000"], bytes) and isinstance(found["t10k-00000"], bytes)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (labels(LABELS[:10]), {}),
        (labels(LABELS[:10], count=12), {"train-00010": "bad_row", "train-00011": "bad_row"}),
        (labels(LABELS[:11] + b"\x0a"), {"train-00011": "bad_row"}),
        (labels(LABELS + b"\1\1"), {}),
    ],
    ids=["fewer", "cut", "unknown", "more"],
)
def test_every_picture_and_every_label_is_one_row(codes: bytes, expected: dict[str, str], tmp_path: Path) -> None:
    source = opened(zip_of, tmp_path / "feed.zip", feed(train_labels=codes))
    rows = rows_of(source)
    if codes == labels(LABELS[:10]):
        expected = {"train-00010": "bad_row", "train-00011": "bad_row"}
    assert dict(reasons(rows)) == expected
    more = codes == labels(LABELS + b"\1\1")
    assert rows.num_rows == (18 if more else 16)
    missing = [product_id for product_id, content in contents_of(source).items() if not isinstance(content, bytes)]
    assert missing == (["train-00012", "train-00013"] if more else [])


def test_pictures_without_a_labels_file_are_unlabelled(tmp_path: Path) -> None:
    files = {name: content for name, content in feed().items() if "t10k-labels" not in name and "train" not in name}
    rows = rows_of(opened(zip_of, tmp_path / "feed.zip", files))
    assert rows.num_rows == 4 and reasons(rows) == [] and rows["articleType"].null_count == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": images(magic=0x804)},
        {"train_images": images(count=2**32 - 1)},
        {"train_images": images(height=2**31)},
        {"train_images": images(width=0)},
        {"train_images": b""},
        {"train_images": b"<html>"},
        {"train_labels": labels(magic=0x803)},
        {"train_labels": labels(count=2**32 - 1)},
        {"train_labels": b""},
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_header_that_cannot_be_is_the_users_mistake(changes: dict[str, bytes], packed: bool, tmp_path: Path) -> None:
    source = opened(zip_of, tmp_path / "feed.zip", feed(packed, **changes))
    with pytest.raises(UserError, match=r"train-(images|labels)-idx"):
        rows_of(source)


def test_a_gzip_bomb_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = feed(train_images=images(count=20) + bytes(30_000_000))
    source = opened(zip_of, tmp_path / "feed.zip", files)
    longest, read = 0, gzip.GzipFile.read

    def watched(stream: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal longest
        content = read(stream, size)
        longest = max(longest, len(content))
        return content

    monkeypatch.setattr(gzip.GzipFile, "read", watched)
    assert rows_of(source).num_rows == 24 and len(list(source.read(["train-images-idx3-ubyte.gz#19"]))) == 1
    assert 0 < longest <= 1 << 16


def test_of_two_copies_the_one_nearest_to_the_top_counts(tmp_path: Path) -> None:
    files = {**feed(), **{f"raw/{name}": content for name, content in feed(False).items()}}
    source = opened(zip_of, tmp_path / "feed.zip", files)
    assert source.row_files() == ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"]
    assert idx.NAME.fullmatch("raw/train-images.idx3-ubyte") and not idx.NAME.fullmatch("my-train-images-idx3-ubyte")


def test_the_fingerprint_heeds_the_label_column_and_the_files(tmp_path: Path) -> None:
    one = opened(zip_of, tmp_path / "1.zip", feed())
    same = opened(zip_of, tmp_path / "2.zip", {**feed(), "readme.md": b"x"})
    column = opened(zip_of, tmp_path / "4.zip", feed(), label_column="usage")
    other = opened(zip_of, tmp_path / "3.zip", feed(t10k_labels=labels(LABELS[4:8])))
    assert one.fingerprint() == same.fingerprint()
    assert len({one.fingerprint(), column.fingerprint(), other.fingerprint()}) == 3
    assert rows_of(column)["usage"].to_pylist()[0] == "Ankle boot"
