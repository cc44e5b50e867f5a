"""Object storage: the same tables as on a local disk, one winner of a race, nothing stale, and failures that pass."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.catalog.ingest import IngestResult, ingest
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.sources import open_source
from fashion_ray.catalog.tasks import here
from fashion_ray.catalog.trees import FolderTree
from fashion_ray.cluster import Resources
from fashion_ray.errors import UserError
from fashion_ray.storage import Store
from tests.cluster.s3 import S3, SECRET, each
from tests.cluster.s3 import s3 as s3

PROJECT = Path(__file__).parents[2]
PRODUCTS = 300


@pytest.fixture(params=["", "/prefix/of/several levels"])
def store(s3: S3, request: pytest.FixtureRequest) -> Store:
    """A root: a bare bucket, and some levels below one."""
    return Store(s3.bucket() + request.param)


@pytest.fixture(scope="module")
def feed(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder and a bucket, each with the demo feed as `feed.zip` and as `feed/`, and a delta on it as `delta/`."""
    local, bucket = tmp_path_factory.mktemp("feeds"), s3.bucket()
    demo, other = DemoFeed(seed=4, products=PRODUCTS), DemoFeed(seed=5, products=200)
    demo.write_zip(local / "feed.zip")
    demo.write_folder(local / "feed")
    ids, head = demo.picture_ids(), demo.styles_csv().splitlines()[0]
    (local / "delta" / "images").mkdir(parents=True)
    (local / "delta" / "styles.csv").write_bytes(head + b"\n99999999,Women,Apparel,Topwear,Shirts,Red,Fall,2011,Casual,New\n")
    (local / "delta" / "images" / "99999999.jpg").write_bytes(other.picture(other.picture_ids()[0]))
    (local / "delta" / "withdrawn.csv").write_text(f"id\n{ids[3]}\n")
    fsspec.filesystem("s3").put(str(local), bucket.removeprefix("s3://") + "/feeds", recursive=True)
    return local, bucket + "/feeds"


def run(source: str, store: Store, *, delta: bool = False, on_s3: bool = True) -> IngestResult:
    """An ingest; on object storage it runs on the cluster."""
    return ingest(Request(source=open_source(source), delta=delta), store, run_id="r", each=each if on_s3 else here)


def tables(store: Store, result: IngestResult) -> tuple[pa.Table, pa.Table]:
    """The catalog and its quarantine, in an order that no storage decides."""
    quarantine = store.read_table(result.snapshot.manifest["quarantine"]).drop_columns(["run_id", "seen_at"])
    order = [(name, "ascending") for name in ("product_id", "source_row", "stage", "reason", "detail")]
    return store.read_table(result.snapshot.folder).sort_by("product_id"), quarantine.sort_by(order)


@pytest.mark.parametrize("layout", ["feed.zip", "feed"])
def test_an_ingest_gives_the_same_tables_on_object_storage_as_on_disk(
    layout: str, s3: S3, feed: tuple[Path, str], tmp_path: Path, resources: Resources
) -> None:
    disk, remote = Store(str(tmp_path)), Store(s3.bucket() + "/a/root")
    local, bucket = feed
    expected = run(f"{local}/{layout}", disk, on_s3=False)
    result = run(f"{bucket}/{layout}", remote)
    assert result.books == expected.books and result.summary == expected.summary
    for got, wanted in zip(tables(remote, result), tables(disk, expected), strict=True):
        assert wanted.num_rows > 0 and got.equals(wanted)
    readable = pd.read_parquet(remote.show(result.snapshot.folder))
    assert sorted(readable["product_id"]) == sorted(pd.read_parquet(disk.path(expected.snapshot.folder))["product_id"])
    assert not remote.names("catalog", "staging")

    objects = fsspec.filesystem("s3").find(remote.path(), detail=True, refresh=True)
    again = run(f"{bucket}/{layout}", remote)
    assert again.already_current and again.snapshot == result.snapshot
    after = fsspec.filesystem("s3").find(remote.path(), detail=True, refresh=True)
    assert {name: (found["ETag"], found["LastModified"]) for name, found in after.items()} == {
        name: (found["ETag"], found["LastModified"]) for name, found in objects.items()
    }

    expected = run(f"{local}/delta", disk, delta=True, on_s3=False)
    result = run(f"{bucket}/delta", remote, delta=True)
    assert result.summary == expected.summary and result.summary["added"] == result.summary["removed"] == 1
    for got, wanted in zip(tables(remote, result), tables(disk, expected), strict=True):
        assert got.equals(wanted)
    assert snapshots.current(remote, "catalog") == result.snapshot and result.snapshot.sequence == 2


# Storage.


def test_what_is_written_is_read(store: Store) -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    store.check_writable()
    store.write_bytes(b"one", "a", "file.bin")
    store.write_json({"k": 1}, "a", "x.json")
    store.write_table(table, "t", "part.parquet")
    store.write_json({}, "t", "_manifest.json")
    assert store.read_bytes("a", "file.bin") == b"one" and store.read_json("a", "x.json") == {"k": 1}
    assert store.read_table("t", "part.parquet").equals(table)
    assert store.read_table("t", columns=["b"]).equals(table.select(["b"]))
    assert store.read_rows("t", "part.parquet", columns=["a"], rows=[1, 2])["a"].to_pylist() == [2, 3]
    assert pd.read_parquet(store.show("t")).equals(table.to_pandas())
    assert store.names() == ["a", "t"] and store.names("t") == ["_manifest.json", "part.parquet"] and store.names("none") == []
    assert store.size_bytes("a", "file.bin") == 3 and store.size_bytes("none") is None
    assert store.exists("a") and store.exists("a", "file.bin") and not store.exists("none")


def test_a_slash_at_the_end_of_a_root_says_nothing(store: Store) -> None:
    store.write_bytes(b"one", "a", "1")
    slashed = Store(store.uri + "/")
    assert slashed.read_bytes("a", "1") == b"one" and slashed.names("a") == ["1"]
    assert slashed.show("a", "1") == store.show("a", "1") == f"{store.uri}/a/1"


def test_an_empty_object_that_marks_a_folder_is_not_in_that_folder(store: Store, s3: S3) -> None:
    s3.put(store.show("log").replace(" ", "%20") + "/", b"")
    assert store.names("log") == []
    store.write_bytes(b"{}", "log", "1.json")
    assert store.names("log") == ["1.json"]


def test_removing_a_prefix_leaves_its_neighbours(store: Store) -> None:
    for name in ("a/1", "a/b/2", "ab/3", "a.json"):
        store.write_bytes(b"x", *name.split("/"))
    store.remove("a")
    store.remove("never", "there")
    assert store.names() == ["a.json", "ab"] and store.names("ab") == ["3"] and not store.exists("a")


def test_what_another_process_writes_and_removes_is_seen_at_once(store: Store, s3: S3) -> None:
    uri = store.uri.replace(" ", "%20")
    store.write_bytes(b"x", "log", "0")
    looks: list[Callable[[], object]] = [
        lambda: store.names("log"), lambda: store.exists("log", "1"), lambda: store.size_bytes("log", "1"),
        lambda: store.filesystem.find(store.path("log")),
    ]  # fmt: skip
    before = [look() for look in looks]
    assert before[:3] == [["0"], False, None]
    s3.put(f"{uri}/log/1", b"one")
    assert [look() for look in looks][:3] == [["0", "1"], True, 3] and store.read_bytes("log", "1") == b"one"
    s3.put(f"{uri}/log/1", b"three")
    assert store.size_bytes("log", "1") == 5 and store.read_bytes("log", "1") == b"three"
    s3.delete(f"{uri}/log/1")
    assert [look() for look in looks] == before


def test_of_many_rivals_one_creates_a_file(store: Store, s3: S3) -> None:
    barrier = threading.Barrier(6)

    def create(number: int) -> bool:
        barrier.wait(timeout=20)
        return Store(store.uri).create_bytes(b"%d" % number, "log", "1.json")

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(create, range(6)))
    assert sum(won) == 1 and store.read_bytes("log", "1.json") == b"%d" % won.index(True)
    path = store.show("log", "1.json").removeprefix("s3:/").replace(" ", "%20")
    assert [seen.if_none_match for seen in s3.seen if (seen.method, seen.path) == ("PUT", path)] == ["*"] * 6


def test_a_conflict_with_a_put_in_flight_is_tried_again(s3: S3) -> None:
    store = Store(s3.bucket())
    s3.failures.extend([409])
    assert store.create_bytes(b"mine", "1.json") and not store.create_bytes(b"other", "1.json")
    s3.failures.extend([409, 409])
    assert not store.create_bytes(b"other", "1.json")
    assert store.read_bytes("1.json") == b"mine" and not s3.failures


def test_a_commit_whose_answer_was_lost_is_a_commit(s3: S3) -> None:
    store = Store(s3.bucket())
    store.write_json({"files": []}, "catalog", "snapshots", "one", "_manifest.json")
    store.exists("catalog")
    lose_next(s3, "/log/00000001.json")
    published = snapshots.publish(store, "catalog", "one", {"files": []}, base=None)
    assert not s3.lost_path and snapshots.current(store, "catalog") == published and published.sequence == 1
    statuses = [seen.status for seen in s3.seen if seen.method == "PUT" and seen.path.endswith("/log/00000001.json")]
    assert statuses[-1] == 412


def lose_next(s3: S3, path: str) -> None:
    """Let the work of the next put of a path be done and its answer be lost."""
    s3.lost_path = path


@pytest.mark.parametrize("status", [500, 503])
def test_a_few_failures_of_the_storage_are_survived(status: int, s3: S3) -> None:
    store, table = Store(s3.bucket()), pa.table({"a": list(range(100))})
    acts: list[Callable[[], object]] = [
        lambda: store.write_table(table, "t.parquet"), lambda: store.read_table("t.parquet", columns=["a"]),
        lambda: store.read_bytes("t.parquet"), lambda: store.create_bytes(b"1", "1"), lambda: store.names(),
        lambda: list(FolderTree(store.uri).read(["1"], limit_bytes=10)),
    ]  # fmt: skip
    for act in acts:
        s3.failures.append(status)
        act()
        assert not s3.failures
    assert store.read_table("t.parquet").equals(table) and store.read_bytes("1") == b"1"


def test_a_storage_that_keeps_failing_fails_the_reading(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket()
    Store(bucket).write_bytes(b"x", "1.jpg")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    tree = FolderTree(bucket)
    s3.failures.extend([500] * 50)
    try:
        with pytest.raises(OSError, match="Internal Server Error"):
            list(tree.read(["1.jpg"], limit_bytes=10))
    finally:
        s3.failures.clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_some_rows_of_a_large_file_cost_a_few_requests_and_their_own_bytes(s3: S3) -> None:
    store, noise = Store(s3.bucket()), np.random.default_rng(0)
    images = [noise.bytes(10_000) for _ in range(2048)]
    table = pa.table({"id": list(range(2048)), "image": images, "width": [1] * 2048, "height": [2] * 2048})
    size = store.write_table(table, "t.parquet", row_group_rows=256).size_bytes
    for read, rows, most_bytes in (
        (lambda: store.read_rows("t.parquet", columns=["id", "image"], rows=[5, 300]), 2, 0.3 * size),
        (lambda: store.read_rows("t.parquet", columns=["id", "width"], rows=[5, 2000]), 2, 100_000),
        (lambda: store.read_table("t.parquet", columns=["id", "height"]), 2048, 150_000),
        (lambda: store.read_bytes("t.parquet"), size, size),
    ):
        s3.seen.clear()
        assert len(read()) == rows
        assert sum(seen.answer_bytes for seen in s3.seen) <= most_bytes
        assert len(s3.seen) <= 20
    assert [seen.method for seen in s3.seen] == ["GET"]


@pytest.mark.parametrize("uri", ["s3://", "s3:///"])
def test_a_root_without_a_bucket_is_refused(uri: str, s3: S3) -> None:
    with pytest.raises(UserError, match=r"expected a path or a URI such as s3://bucket/prefix"):
        Store(uri).check_writable()


def test_a_root_that_cannot_be_written_says_why_and_shows_no_secret(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cannot be written \(.*bucket"):
        Store("s3://there-is-no-such-bucket/a").check_writable()
    cases = [
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        {"AWS_ENDPOINT_URL": "http://someone:hunter2@127.0.0.1:9"},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    ]
    bucket = s3.bucket()
    for case in cases:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_MAX_ATTEMPTS", "1")
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            for name, value in case.items():
                patch.setenv(name, value)
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            with pytest.raises(UserError, match="cannot be written") as caught:
                Store(bucket).check_writable()
            assert "hunter2" not in str(caught.value) and SECRET not in str(caught.value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_the_job_runs_from_bucket_to_bucket_and_shows_no_secret(s3: S3, feed: tuple[Path, str], tmp_path: Path) -> None:
    root, source = s3.bucket() + "/root", feed[1] + "/feed.zip"

    def job(**more: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "FASHION_RAY_"))}
        kept["PYTHONPATH"] = str(PROJECT)  # a folder of the job's own: this tracking store puts its artifacts there
        command = [sys.executable, str(PROJECT / "jobs" / "ingest.py"), "--root", root, "--source", source, "--cpus", "2"]
        return subprocess.run(
            command, env=kept | more, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
        )  # fmt: skip

    refused = job()
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("error: MLFLOW_TRACKING_URI is not set")
    assert not Store(root).names()

    done = job(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db")
    assert done.returncode == 0, done.stderr
    store = Store(root)
    snapshot = snapshots.current(store, "catalog")
    assert snapshot is not None and snapshot.manifest["source"] == source and root in done.stdout
    assert store.read_json("catalog", "CURRENT.json")["snapshot"] == f"snapshots/{snapshot.name}"
    said = [done.stdout.encode(), done.stderr.encode(), refused.stderr.encode()]
    tracked = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written = [store.filesystem.cat_file(name) for name in store.filesystem.find(store.path())]
    assert any(source.encode() in content for content in tracked) and len(written) >= 5
    assert not any(SECRET.encode() in content for content in [*said, *tracked, *written])
