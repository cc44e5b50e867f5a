"""Whatever a feed holds, an ingest neither crashes nor loses a row: rows in = catalog + missing + quarantined, always."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.schema import CATALOG, FEED_COLUMNS, REASONS
from fashion_ray.catalog.sources import open_source
from fashion_ray.catalog.tasks import here
from fashion_ray.errors import UserError
from fashion_ray.storage import Store

FEW_IDS = [str(number) for number in range(8)]
MODES = ("RGB", "L", "P", "CMYK", "I;16", "RGBA", "LA", "1")


def picture(mode: str, seed: int, side: int, form: str) -> bytes:
    """A picture of a colour mode, in a format that has it."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    sink = io.BytesIO()
    image.save(sink, format="TIFF" if mode == "CMYK" and form == "PNG" else form if mode in ("RGB", "L", "CMYK") else "PNG")
    return sink.getvalue()


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """The bytes of a picture: good, damaged, or nothing of the kind."""
    good = picture(
        draw(st.sampled_from(MODES)), draw(st.integers(0, 5)), draw(st.sampled_from([1, 7, 8, 20])),
        draw(st.sampled_from(["PNG", "JPEG"])),
    )  # fmt: skip
    kind = draw(st.sampled_from(["good", "good", "cut", "flipped", "rubbish", "header"]))
    if kind == "cut":
        return good[: draw(st.integers(0, len(good)))]
    if kind == "flipped":
        damaged = bytearray(good)
        for place in draw(st.lists(st.integers(0, len(good) - 1), max_size=12)):
            damaged[place] ^= draw(st.integers(1, 255))
        return bytes(damaged)
    if kind == "header":
        return good[:24] + draw(st.binary(max_size=60))
    return draw(st.binary(max_size=60)) if kind == "rubbish" else good


cells = st.one_of(
    st.sampled_from(
        ["", "NA", "Shirts", "Apparel", "2011", "2011.0", "-5", "(other)", '"', '"a"b', "=1+1", "é", "﻿", "\0", " "]
    ),
    st.text(max_size=12),
)
ids = st.one_of(
    st.sampled_from(FEW_IDS), st.sampled_from(["", "../../etc", "a b", ".x", "x" * 200, "007"]), st.text(max_size=6)
)


@st.composite
def lines(draw: st.DrawFn, delimiter: str) -> str:
    """A line of styles.csv, in order or not."""
    kind = draw(st.sampled_from(["row", "row", "row", "surplus", "short", "text"]))
    if kind == "text":
        return draw(st.text(max_size=40))
    row = [draw(ids), *(draw(cells) for _ in FEED_COLUMNS[1:])]
    row += [draw(cells)] if kind == "surplus" else []
    row = row[: draw(st.integers(1, 9))] if kind == "short" else row
    return delimiter.join(f'"{cell}"' if draw(st.booleans()) and '"' not in cell else cell for cell in row)


@st.composite
def feeds(draw: st.DrawFn) -> tuple[bytes, dict[str, bytes]]:
    """A styles.csv with the published header and the pictures beside it."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    header = delimiter.join(draw(st.permutations(FEED_COLUMNS)) if draw(st.booleans()) else FEED_COLUMNS)
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = newline.join([header, *draw(st.lists(lines(delimiter), max_size=10))]) + draw(st.sampled_from(["", newline]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    names = st.builds("{}{}".format, st.sampled_from([*FEW_IDS, "bad id", "é"]), st.sampled_from([".jpg", ".png", ".JPG"]))
    return text.encode(encoding, errors="replace"), draw(st.dictionaries(names, contents(), max_size=8))


def rows_in(styles: bytes) -> int:
    """How many rows a styles.csv has: its lines but the header and the blank ones."""
    for encoding in ("utf-16", "utf-8-sig", "cp1252"):
        if encoding == "utf-16" and styles[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        try:
            text = styles.decode(encoding, errors="replace" if encoding == "cp1252" else "strict")
            break
        except UnicodeDecodeError:
            continue
    found = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return sum(bool(line.replace("\0", "").strip()) for line in found) - 1


def write(folder: Path, styles: bytes, pictures: dict[str, bytes], *, zipped: bool) -> Path:
    """The feed as a zip or a folder."""
    if zipped:
        with zipfile.ZipFile(folder / "feed.zip", "w") as archive:
            archive.writestr("styles.csv", styles)
            for name, content in pictures.items():
                archive.writestr(f"images/{name}", content)
        return folder / "feed.zip"
    (folder / "feed" / "images").mkdir(parents=True)
    (folder / "feed" / "styles.csv").write_bytes(styles)
    for name, content in pictures.items():
        (folder / "feed" / "images" / name).write_bytes(content)
    return folder / "feed"


@given(feed=feeds(), zipped=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_no_row_and_no_picture_is_lost(feed: tuple[bytes, dict[str, bytes]], zipped: bool) -> None:
    styles, pictures = feed
    with tempfile.TemporaryDirectory() as temporary:
        source = open_source(str(write(Path(temporary), styles, pictures, zipped=zipped)))
        store = Store(f"{temporary}/root")
        try:
            result = ingest(Request(source=source), store, run_id="r", each=here)
        except UserError as error:
            assert any(words in str(error) for words in ("has no pictures", "no product in the catalog"))
            return
        books = result.books
        catalog = pd.read_parquet(store.path(result.snapshot.folder))
        quarantine = pd.read_parquet(store.path(result.snapshot.manifest["quarantine"]))
    assert (
        books["rows"]
        == rows_in(styles)
        == sum(books[f"rows_{part}"] for part in ("labelled", "missing_picture", "quarantined", "withdrawn"))
    )
    assert books["pictures"] == len(pictures) == len(catalog) + books["pictures_quarantined"]
    assert list(catalog.columns) == CATALOG.names and catalog["product_id"].is_unique
    assert set(catalog["product_id"]) <= {name.rsplit(".", 1)[0] for name in pictures}
    assert set(quarantine["reason"]) <= set(REASONS)
    lost = books["rows_missing_picture"] + books["rows_quarantined"] + books["pictures_quarantined"]
    assert len(quarantine) <= lost <= len(quarantine) + books["rows_quarantined"]
    groups = catalog.groupby("group_id")["split"].nunique()
    assert groups.max() <= 1


@given(styles=st.binary(max_size=300), content=contents())
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_catalog_or_a_readable_refusal(styles: bytes, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = write(Path(temporary), styles, {"1.jpg": content}, zipped=True)
        try:
            result = ingest(Request(source=open_source(str(place))), Store(f"{temporary}/root"), run_id="r", each=here)
        except UserError as error:
            assert len(str(error)) > 20 and "\n" not in str(error)
            return
        assert result.books["pictures"] == 1 and result.books["rows"] == rows_in(styles)
