"""Files below a root: whole writes, one winner of a race, and messages for places that cannot be used."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.errors import UserError
from fashion_ray.storage import Store, Written, to_json


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty root, once in a folder and once on a file system of fsspec's, as object storage is."""
    if request.param == "local":
        yield Store(str(tmp_path / "root"))
        return
    name = f"test-{uuid.uuid4().hex}"
    yield Store(f"memory://{name}/root")
    memory = fsspec.filesystem("memory")
    if memory.exists(f"/{name}"):
        memory.rm(f"/{name}", recursive=True)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """An empty root in a folder."""
    return Store(str(tmp_path / "root"))


def everything(folder: Path) -> set[str]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def race(rivals: int, act: Callable[[int], object]) -> list[object]:
    """What each of several threads got that started at the same moment."""
    barrier = threading.Barrier(rivals)

    def run(number: int) -> object:
        barrier.wait(timeout=20)
        return act(number)

    with ThreadPoolExecutor(rivals) as pool:
        return list(pool.map(run, range(rivals)))


def test_what_is_written_is_read(store: Store) -> None:
    store.write_bytes(b"one", "a", "b", "file.bin")
    assert store.read_bytes("a", "b", "file.bin") == b"one"
    store.write_bytes(b"", "a", "b", "file.bin")
    assert store.read_bytes("a", "b", "file.bin") == b""


def test_a_missing_file_is_an_error_that_can_be_caught(store: Store) -> None:
    store.write_bytes(b"x", "there")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nowhere", "file.bin")
    with pytest.raises(FileNotFoundError):
        store.read_json("missing.json")


def test_json_comes_back_and_is_the_same_bytes_for_the_same_content(store: Store) -> None:
    content = {"b": [1, 2.5, None], "a": {"ä": "Grün", "nested": True}}
    store.write_json(content, "x.json")
    assert store.read_json("x.json") == content
    assert to_json(content) == to_json(dict(reversed(content.items()))) == store.read_bytes("x.json")
    assert "Grün" in to_json(content).decode()


def test_names_lists_a_folder_sorted_and_nothing_for_none(store: Store) -> None:
    assert store.names() == []
    assert store.names("nothing") == []
    for name in ("b.json", "a.json", "folder/c.json"):
        store.write_bytes(b"x", "log", name)
    assert store.names("log") == ["a.json", "b.json", "folder"]
    assert store.names("nothing") == []


def test_names_sees_what_another_store_wrote_since(store: Store) -> None:
    store.write_bytes(b"x", "log", "1")
    assert store.names("log") == ["1"]
    Store(store.uri).write_bytes(b"x", "log", "2")
    assert store.names("log") == ["1", "2"]


def test_exists_and_remove(store: Store) -> None:
    store.write_bytes(b"x", "folder", "deep", "file")
    store.write_bytes(b"x", "other")
    assert store.exists("folder", "deep", "file") and store.exists("folder")
    store.remove("folder")
    assert not store.exists("folder", "deep", "file") and not store.exists("folder")
    store.remove("folder")
    assert store.read_bytes("other") == b"x"


def test_the_root_itself_is_never_removed(store: Store) -> None:
    store.write_bytes(b"x", "file")
    with pytest.raises(AssertionError):
        store.remove()
    assert store.exists("file")


def test_a_table_comes_back_as_file_and_as_folder(store: Store) -> None:
    table = pa.table({"id": ["1", "2", "3"], "image": pa.array([b"a", None, b"c"])})
    written = store.write_table(table.slice(0, 2), "t", "part-0.parquet")
    store.write_table(table.slice(2), "t", "part-1.parquet", compression="none", row_group_rows=1)
    content = store.read_bytes("t", "part-0.parquet")
    assert written == Written(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    assert store.read_table("t").sort_by("id").equals(table)
    assert store.read_table("t", "part-1.parquet", columns=["image"]).to_pydict() == {"image": [b"c"]}


def test_create_bytes_creates_once(store: Store) -> None:
    assert store.create_bytes(b"first", "log", "1.json") is True
    assert store.create_bytes(b"second", "log", "1.json") is False
    assert store.read_bytes("log", "1.json") == b"first"
    store.remove("log", "1.json")
    assert store.create_bytes(b"third", "log", "1.json") is True


@pytest.mark.parametrize("entry", range(5))
def test_exactly_one_of_many_rivals_creates(local: Store, tmp_path: Path, entry: int) -> None:
    contents = [bytes([number]) * 5000 for number in range(16)]
    won = race(16, lambda number: local.create_bytes(contents[number], "log", f"{entry}.json"))
    assert won.count(True) == 1 and won.count(False) == 15
    assert local.read_bytes("log", f"{entry}.json") == contents[won.index(True)]
    assert everything(tmp_path) == {f"root/log/{entry}.json"}


def test_a_reader_that_is_at_work_sees_the_old_file_to_its_end(local: Store) -> None:
    local.write_bytes(b"old" * 50_000, "file")
    with open(local.path("file"), "rb") as reader:
        start = reader.read(3)
        local.write_bytes(b"new" * 50_000, "file")
        assert start + reader.read() == b"old" * 50_000
    assert local.read_bytes("file") == b"new" * 50_000


def test_many_writers_of_one_file_leave_the_file_of_one_of_them(local: Store, tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    race(8, lambda number: local.write_bytes(contents[number], "file"))
    assert local.read_bytes("file") in contents
    assert everything(tmp_path) == {"root/file"}


def test_no_temporary_file_is_left(local: Store, tmp_path: Path) -> None:
    local.write_bytes(b"1", "a", "file")
    local.write_bytes(b"2", "a", "file")
    local.create_bytes(b"1", "a", "new")
    local.create_bytes(b"2", "a", "new")
    local.write_json({}, "x.json")
    local.write_table(pa.table({"a": [1]}), "t", "p.parquet")
    local.check_writable()
    assert everything(tmp_path / "root") == {"a/file", "a/new", "x.json", "t/p.parquet"}


@pytest.mark.parametrize("act", ["write_bytes", "create_bytes"])
def test_a_write_that_fails_leaves_the_old_file_and_no_temporary(
    local: Store, tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.write_bytes(b"old", "file")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        getattr(local, act)(b"new", "file")
    assert local.read_bytes("file") == b"old"
    assert everything(tmp_path) == {"root/file"}


@pytest.mark.parametrize("part", ["..", "../x", "a/../../b", "/etc/passwd", "a/.."])
def test_a_path_outside_the_root_is_refused(store: Store, part: str) -> None:
    with pytest.raises(AssertionError):
        store.path("catalog", part)
    with pytest.raises(AssertionError):
        store.write_bytes(b"x", part)


@pytest.mark.parametrize("part", ["a..b", "...", "a/b", ".hidden"])
def test_a_name_with_dots_is_no_way_out(store: Store, part: str) -> None:
    store.write_bytes(b"x", "catalog", part)
    assert store.read_bytes("catalog", part) == b"x"


def test_show_is_what_a_user_would_type(store: Store, local: Store) -> None:
    assert local.show("catalog", "x") == f"{local.uri}/catalog/x"
    assert store.show("catalog", "x") == f"{store.uri}/catalog/x"


def test_a_file_uri_is_the_same_place_as_its_path(tmp_path: Path) -> None:
    assert Store(f"file://{tmp_path}/root").is_local
    Store(f"file://{tmp_path}/root/").write_bytes(b"x", "a")
    assert Store(str(tmp_path / "root")).read_bytes("a") == b"x"


def test_only_folders_of_this_machine_are_local(tmp_path: Path) -> None:
    assert Store(str(tmp_path)).is_local
    assert not Store("memory://somewhere").is_local


def test_a_store_travels_to_other_processes_after_it_was_used(store: Store) -> None:
    store.write_bytes(b"x", "file")
    packed = pickle.dumps(store)
    assert len(packed) < 1000 and b"fsspec" not in packed
    back = pickle.loads(packed)
    assert back == store and back.read_bytes("file") == b"x"


def test_a_root_that_can_be_written_is_left_as_it_was(store: Store) -> None:
    store.write_bytes(b"x", "file")
    store.check_writable()
    assert store.names() == ["file"]


def test_a_root_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for uri in (str(tmp_path / "file"), str(tmp_path / "file" / "below" / "it")):
        with pytest.raises(UserError) as caught:
            Store(uri).check_writable()
        assert "--root" in str(caught.value) and uri in str(caught.value)
    assert everything(tmp_path) == {"file"}


@pytest.mark.parametrize("uri", ["nosuch://bucket/prefix", "nosuch+thing://x"])
def test_a_scheme_without_a_file_system_is_the_users_mistake(uri: str) -> None:
    store = Store(uri)
    with pytest.raises(UserError) as caught:
        store.check_writable()
    assert uri in str(caught.value) and "fashion_ray[s3]" in str(caught.value)


def test_rows_of_several_files_come_in_the_order_asked_for(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    schema = pa.schema([pa.field("id", pa.string(), nullable=False)])
    for name in ("a", "b", "c"):
        store.write_table(pa.table({"id": [f"{name}{row}" for row in range(50)], "x": range(50)}), "f", name, row_group_rows=7)
    files = [("f", "a"), ("f", "b"), ("f", "c")]
    which, rows = np.random.default_rng(0).integers(0, 2, 80), np.random.default_rng(1).integers(0, 50, 80)
    found = store.gather(files, which, rows, schema)
    assert found.schema == schema
    assert found["id"].to_pylist() == [f"{'ab'[file]}{row}" for file, row in zip(which, rows, strict=True)]
    assert store.gather(files, which[:0], rows[:0], schema).equals(schema.empty_table())
