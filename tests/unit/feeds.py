"""Feeds for tests. In: files by name. Out: the same files as a zip, as a folder and as objects of a bucket in memory."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from fashion_ray.catalog import schema, zips
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.sources import Source, open_source, product_id_of

Files = Mapping[str, bytes]
Maker = Callable[[Path, Files], str]

DAY = (1_700_000_000, 1_700_000_000)


def picture(shade: int = 0) -> bytes:
    """A small JPEG."""
    out = io.BytesIO()
    Image.new("RGB", (12, 16), (shade, 0, 0)).save(out, format="JPEG")
    return out.getvalue()


def zip_of(path: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> str:
    """Files as a zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression=compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    zips.forget()
    return str(path)


def deflated_of(path: Path, files: Files) -> str:
    """Files as a zip that is compressed."""
    return zip_of(path, files, zipfile.ZIP_DEFLATED)


def folder_of(path: Path, files: Files) -> str:
    """Files in a folder; they are of one day, whenever they were written."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
        os.utime(path / name, DAY)
    return str(path)


def bucket_of(path: Path, files: Files) -> str:
    """Files as objects in memory, read as those of S3 are: through fsspec, concurrently."""
    filesystem = fsspec.filesystem("memory")
    location = f"memory:/{path}"
    filesystem.makedirs(str(path), exist_ok=True)
    for name, content in files.items():
        filesystem.pipe_file(f"{path}/{name}", content)
    return location


MAKERS: dict[str, Maker] = {"zip": zip_of, "deflated": deflated_of, "folder": folder_of, "bucket": bucket_of}
kinds = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def bad(found: bytes | BadPicture) -> BadPicture:
    """What must be a refusal."""
    assert isinstance(found, BadPicture) and found.reason in schema.REASONS
    return found


def rows_of(source: Source) -> pa.Table:
    """All rows of a source, read one file at a time as workers do; the same as all at once."""
    names = source.row_files()
    assert len(set(names)) == len(names)
    parts = [source.read_rows([name]) for name in names]
    together = source.read_rows(names)
    assert together.schema == schema.FEED_ROWS and pa.concat_tables(parts).equals(together)
    return together


def usable(rows: pa.Table) -> pa.Table:
    """The rows without a reason."""
    return rows.filter(pc.is_null(rows["reason"]))


def reasons(rows: pa.Table) -> list[tuple[str | None, str]]:
    """Id and reason of the rows that cannot be used."""
    found = rows.filter(pc.is_valid(rows["reason"]))
    assert set(found["reason"].to_pylist()) <= set(schema.REASONS)
    return list(zip(found["product_id"].to_pylist(), found["reason"].to_pylist(), strict=True))


def contents_of(source: Source) -> dict[str, bytes | BadPicture]:
    """The picture of every usable row and every picture beside the rows, by product."""
    rows = usable(rows_of(source))
    named = {
        i: locator for i, locator in zip(rows["product_id"].to_pylist(), rows["locator"].to_pylist(), strict=True) if locator
    }
    beside = {product_id_of(locator): locator for locator in reversed(source.pictures()["locator"].to_pylist())}
    located = {**beside, **named}
    return dict(zip(located, source.read(list(located.values())), strict=True))


def opened(make: Maker, path: Path, files: Files, label_column: str = "articleType") -> Source:
    """The source that these files are."""
    return open_source(make(path, files), label_column=label_column)
