"""Files of scores before they are published: created once, whole or nothing."""

from __future__ import annotations

import hashlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from fashion_ray.scoring import staging
from fashion_ray.storage import Store

FOLDER, PART = "scores/snapshots/s", "part-00000.parquet"


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty root, once in a folder and once on a file system of fsspec's."""
    if request.param == "local":
        return Store(str(tmp_path))
    name = f"test-{uuid.uuid4().hex}"
    request.addfinalizer(lambda: fsspec.filesystem("memory").rm(f"/{name}", recursive=True))
    return Store(f"memory://{name}")


def table(run_id: str, *, keys: str = "ab") -> pa.Table:
    """Some rows of scores."""
    return pa.table({"product_id": ["1", "2"], "score_key": list(keys), "run_id": [run_id] * 2})


def put(store: Store, rows: pa.Table, part: str = PART) -> dict[str, Any]:
    """Write a file and its receipt."""
    rows, entry = staging.put_rows(store, FOLDER, part, rows)
    receipt = {"part": part, "file": entry, "quarantined": [], "actions": {}, "centroids": {}, "seconds": {}}
    receipt |= {"span": {}, "base": ""}
    staging.put_receipt(store, FOLDER, receipt)
    return receipt


def there(store: Store) -> tuple[str, list[str]]:
    """The file's checksum and who wrote its rows."""
    content = store.read_bytes(FOLDER, PART)
    return hashlib.sha256(content).hexdigest(), store.read_table(FOLDER, PART)["run_id"].to_pylist()


def test_the_second_of_two_equal_writers_takes_what_is_there(store: Store) -> None:
    first = put(store, table("one"))
    rows, entry = staging.put_rows(store, FOLDER, PART, table("two"))
    assert entry == first["file"] and rows["run_id"].to_pylist() == ["one", "one"]
    assert there(store) == (entry["sha256"], ["one", "one"])
    assert (entry["rows"], entry["size_bytes"]) == (2, store.size_bytes(FOLDER, PART))


@pytest.mark.parametrize("left", ["other keys", "half", "nothing in it", "no Parquet"])
def test_what_is_not_as_good_is_replaced(left: str, store: Store) -> None:
    put(store, table("one", keys="xy" if left == "other keys" else "ab"))
    content = store.read_bytes(FOLDER, PART)
    damaged = {"other keys": content, "half": content[: len(content) // 2], "nothing in it": b"", "no Parquet": b"x" * 500}
    store.write_bytes(damaged[left], FOLDER, PART)
    entry = put(store, table("two"))["file"]
    assert there(store) == (entry["sha256"], ["two", "two"])
    assert staging.receipts(store, FOLDER, [PART], base="")[PART]["file"] == entry


def test_of_many_writers_at_once_all_have_the_receipt_of_one_file(store: Store) -> None:
    barrier = threading.Barrier(4)

    def write(number: int) -> dict[str, Any]:
        barrier.wait(timeout=20)
        return put(store, table(f"run {number}"))

    with ThreadPoolExecutor(4) as pool:
        found = {receipt["file"]["sha256"] for receipt in pool.map(write, range(4))}
    assert found == {there(store)[0]}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"part": "part-00000.parquet"}', b"\xff"])
def test_a_receipt_that_cannot_be_read_is_none(content: bytes, store: Store) -> None:
    assert staging.receipts(store, FOLDER, [PART], base="") == {}
    good = put(store, table("one"))
    put(store, table("one"), "part-00001.parquet")
    store.write_bytes(content, FOLDER, "_receipts", "part-00001.parquet.json")
    store.write_bytes(b"{}", FOLDER, "_receipts", "stranger.json")
    assert staging.receipts(store, FOLDER, [PART, "part-00001.parquet"], base="") == {PART: good}


def test_a_receipt_whose_file_has_another_length_or_is_gone_is_none(store: Store) -> None:
    receipt = put(store, table("one"))
    assert staging.receipts(store, FOLDER, [PART], base="") == {PART: receipt}
    assert staging.receipts(store, FOLDER, [PART], base="another night") == {}
    store.write_bytes(store.read_bytes(FOLDER, PART)[:-1], FOLDER, PART)
    assert staging.receipts(store, FOLDER, [PART], base="") == {}
    store.remove(FOLDER, PART)
    assert staging.receipts(store, FOLDER, [PART], base="") == {}
