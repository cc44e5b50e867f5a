"""Feeds on object storage: few requests, and none that mixes two versions of a zip."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from fashion_ray.catalog.trees import FolderTree
from fashion_ray.catalog.zips import ZipTree
from fashion_ray.errors import UserError
from tests.cluster.s3 import S3
from tests.cluster.s3 import s3 as s3


def test_pictures_of_a_folder_cost_two_requests_each(s3: S3) -> None:
    bucket = s3.bucket()
    for number in range(8):
        s3.put(f"{bucket}/f/{number}.jpg", b"x" * number * 10)
    s3.put(f"{bucket}/f/", b"")
    tree = FolderTree(bucket + "/f")
    names = [file.name for file in tree.files()]
    assert names == [f"{number}.jpg" for number in range(8)]
    s3.seen.clear()
    read = list(tree.read([*names, "gone.jpg"], limit_bytes=65))
    assert read[:7] == [b"x" * number * 10 for number in range(7)] and not isinstance(read[7], bytes)
    assert len(s3.seen) <= 2 * 7 + 1 + 2


def test_a_zip_is_read_in_ranges(s3: S3, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "feed.zip", "w") as opened:
        for number in range(64):
            opened.writestr(f"images/{number:02d}.jpg", np.random.default_rng(number).bytes(100_000))
    bucket = s3.bucket()
    s3.put(f"{bucket}/feed.zip", (tmp_path / "feed.zip").read_bytes())
    s3.seen.clear()
    tree = ZipTree(f"{bucket}/feed.zip")
    assert len(tree.files()) == 64
    (one,) = tree.read(["images/40.jpg"], limit_bytes=200_000)
    assert one == np.random.default_rng(40).bytes(100_000)
    assert sum(seen.answer_bytes for seen in s3.seen) < 1_500_000


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_a_zip_that_is_replaced_while_it_is_read_is_refused_and_read_anew_by_the_next_run(
    place: str, s3: S3, tmp_path: Path
) -> None:
    def write(content: bytes) -> None:
        with zipfile.ZipFile(tmp_path / "new.zip", "w") as opened:
            opened.writestr("images/1.jpg", content)
        if place == "bucket":
            s3.put(f"{bucket}/feed.zip", (tmp_path / "new.zip").read_bytes())
        else:
            (tmp_path / "new.zip").rename(tmp_path / "feed.zip")

    bucket = s3.bucket() if place == "bucket" else str(tmp_path)
    write(b"one")
    tree = ZipTree(f"{bucket}/feed.zip")
    assert list(tree.read(["images/1.jpg"], limit_bytes=99)) == [b"one"]
    kind, arguments = tree.__reduce__()
    write(b"number two")
    elsewhere = kind(arguments[0] + "", arguments[1])
    assert list(ZipTree(f"{bucket}/feed.zip").read(["images/1.jpg"], limit_bytes=99)) == [b"number two"]
    for number in range(3):  # so that this process has forgotten the first one
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w"):
            pass
        ZipTree(str(tmp_path / f"{number}.zip")).files()
    with pytest.raises(UserError, match="was replaced while it was read"):
        list(elsewhere.read(["images/1.jpg"], limit_bytes=99))
