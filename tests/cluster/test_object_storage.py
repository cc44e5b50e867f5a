"""Object storage: the same tables as on a local disk, one winner of a race, nothing stale, and failures that pass."""

from __future__ import annotations

import functools
import io
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pytest

from fashion_ray.catalog.trees import FolderTree, ZipTree
from fashion_ray.errors import UserError
from fashion_ray.storage import Store
from tests.cluster.s3 import S3
from tests.cluster.s3 import s3 as s3


@pytest.fixture(params=["", "/prefix/of/several levels"])
def store(s3: S3, request: pytest.FixtureRequest) -> Store:
    """A root: a bare bucket, and some levels below one."""
    return Store(s3.bucket() + request.param)


def test_what_is_written_is_read(store: Store) -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    store.check_writable()
    store.write_bytes(b"one", "a", "file.bin")
    store.write_json({"k": 1}, "a", "x.json")
    store.write_table(table, "t", "part.parquet")
    store.write_json({}, "t", "_manifest.json")
    assert store.read_bytes("a", "file.bin") == b"one" and store.read_json("a", "x.json") == {"k": 1}
    assert store.read_table("t", "part.parquet").equals(table) and store.read_table("t", columns=["b"]).equals(table.select(["b"]))
    assert store.read_rows("t", "part.parquet", columns=["a"], rows=[1, 2])["a"].to_pylist() == [2, 3]
    assert pd.read_parquet(store.show("t")).equals(table.to_pandas())
    assert store.names() == ["a", "t"] and store.names("t") == ["_manifest.json", "part.parquet"] and store.names("none") == []
    assert store.size_bytes("a", "file.bin") == 3 and store.size_bytes("none") is None
    assert store.exists("a") and store.exists("a", "file.bin") and not store.exists("none")


def test_of_many_rivals_one_creates_a_file(store: Store, s3: S3) -> None:
    barrier = threading.Barrier(6)

    def create(number: int) -> bool:
        barrier.wait(timeout=20)
        return Store(store.uri).create_bytes(b"%d" % number, "log", "1.json")

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(create, range(6)))
    assert sum(won) == 1 and store.read_bytes("log", "1.json") == b"%d" % won.index(True)
    assert {seen.if_none_match for seen in s3.seen if seen.method == "PUT" and seen.path.endswith("/1.json")} == {"*"}
