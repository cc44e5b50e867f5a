"""Nightly scoring with the root in a bucket: the tables of a local run, whatever fails, dies or runs at the same time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.lookup import pictures
from fashion_ray.errors import UserError
from fashion_ray.scoring import open_scores
from fashion_ray.scoring import score as scoring
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.score import ScoreResult
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from tests.cluster.s3 import CUT, LOST, S3, SECRET, SILENT, Hurt, ToldStore, tell, variables
from tests.cluster.s3 import s3 as s3
from tests.cluster.test_score import change_catalog, night

FILES = 4


def with_catalog(mine: Store, store: Store, catalog: Snapshot) -> Store:
    """A root with the shared catalog in a few files."""
    table = schema.cast(store.read_table(catalog.folder), schema.CATALOG)
    rows, files = -(-table.num_rows // FILES), []
    for number in range(FILES):
        name, part = f"part-{number:05d}.parquet", table.slice(number * rows, rows)
        files.append(snapshots.file_entry(name, part.num_rows, mine.write_table(part, catalog.folder, name)))
    snapshots.publish(mine, "catalog", catalog.name, {**catalog.manifest, "files": files}, base=None)
    return mine


@pytest.fixture
def remote(s3: S3, store: Store, catalog: Snapshot) -> Store:
    """A root in a bucket."""
    tell(variables())  # the driver loses its patience as soon as the workers do
    return with_catalog(ToldStore(s3.bucket() + "/a/root"), store, catalog)


@pytest.fixture(scope="module")
def local(store: Store, catalog: Snapshot, model: ResolvedModel, cache: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A local root with the same catalog and its first night."""
    mine = with_catalog(Store(str(tmp_path_factory.mktemp("local"))), store, catalog)
    night(mine, model, cache)
    return mine


@pytest.fixture(scope="module")
def expected(local: Store) -> pa.Table:
    """What a first night gives."""
    return scores(local)


def scores(store: Store) -> pa.Table:
    """The current scores as readers see them, less who wrote them and when."""
    return open_scores(store.uri).to_table().drop_columns(["run_id", "scored_at"]).sort_by("product_id")


def objects(store: Store, folder: str) -> dict[str, tuple[Any, Any]]:
    """What lies below a folder of a bucket, and which version of it."""
    found = store.filesystem.find(store.path(folder), detail=True)
    return {name: (facts["ETag"], facts["LastModified"]) for name, facts in found.items()}


def is_sealed(store: Store, snapshot: Snapshot) -> bool:
    """Whether the files are those of the manifest, bit by bit."""
    return all(
        hashlib.sha256(store.read_bytes(snapshot.folder, file["name"])).hexdigest() == file["sha256"]
        for file in snapshot.manifest["files"]
    )


def test_nights_in_a_bucket_give_the_tables_of_local_ones(
    s3: S3, remote: Store, local: Store, expected: pa.Table, model: ResolvedModel, cache: str, capfd: pytest.CaptureFixture[str]
) -> None:
    s3.seen.clear()
    first = night(remote, model, cache)
    assert len(s3.seen) <= 45 * FILES  # 31 to 34 a file and some for the whole
    assert scores(remote).equals(expected) and is_sealed(remote, first.snapshot)
    before, ids = objects(remote, "scores"), expected["product_id"].to_pylist()
    change_catalog(remote, drop=[], repaint={}, name="the-same")
    s3.seen.clear()
    assert night(remote, model, cache, "r2").already_current
    assert len(s3.seen) <= 21 * FILES  # 16 a file and some for the whole
    assert objects(remote, "scores") == before
    results = []
    for store in (remote, local):
        change_catalog(store, drop=ids[:3], repaint={ids[400]: picture_of(local, ids[8])})
        results.append(night(store, model, cache, "r3"))
    theirs, ours = (one.comparison.changes for one in results if one.comparison is not None)
    assert theirs.equals(ours) and sorted(ours["cause"].to_pylist()) == ["new_picture", *["withdrawn"] * 3]
    assert results[0].books == results[1].books and results[0].books["scored"] == 1
    assert scores(remote).equals(scores(local)) and scores(remote)["product_id"].to_pylist() == ids[3:]
    assert snapshots.roll_back(remote, "scores", None).name == first.snapshot.name and scores(remote).equals(expected)
    remote.write_bytes(b"x", "scores", "snapshots", "refused", "part-00000.parquet")
    assert snapshots.retain(remote, "scores", 1) == [results[0].snapshot.name]
    later = datetime.now(UTC) + timedelta(days=2)
    assert snapshots.retain(remote, "scores", 1, at=later) == ["refused"]
    assert remote.names("scores", "snapshots") == [first.snapshot.name] and scores(remote).equals(expected)
    assert not any(SECRET.encode() in content for content in said(remote, capfd))


def picture_of(store: Store, product_id: str) -> bytes:
    """The bytes of a product's picture."""
    catalog = snapshots.current(store, "catalog")
    assert catalog is not None
    return pictures(store, catalog, [product_id])[product_id]


def said(remote: Store, capfd: pytest.CaptureFixture[str]) -> list[bytes]:
    """All that was written below a root, into Ray's logs and to this process's output."""
    logs = [path for path in Path(ray._private.worker._global_node.get_logs_dir_path()).rglob("*.*") if path.is_file()]
    written = remote.filesystem.find(remote.path(""))
    assert len(logs) > 5 and len(written) > 20
    contents = [*map(Path.read_bytes, logs), *map(remote.filesystem.cat_file, written)]
    return [*contents, *(text.encode() for text in capfd.readouterr())]


@contextmanager
def watched(store: Store) -> Iterator[list[int]]:
    """A reader that looks again and again; the rows that it saw, nothing but whole tables."""
    seen: list[int] = []
    problems: list[Exception] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            try:
                seen.append(open_scores(store.uri).to_table().num_rows)
            except UserError as error:
                assert "no scores below" in str(error)
                seen.append(0)
            except (OSError, pa.ArrowInvalid) as error:
                problems.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join(timeout=30)
    assert not problems


def test_failures_of_the_storage_pass_and_readers_see_all_or_nothing(
    s3: S3, remote: Store, expected: pa.Table, model: ResolvedModel, cache: str
) -> None:
    part, other = "/scores/snapshots/", "/catalog/snapshots/"
    s3.hurts = [
        Hurt("GET", other, 500), Hurt("GET", other, CUT), Hurt("GET", other, SILENT), Hurt("GET", other, LOST),
        Hurt("HEAD", other, 503), Hurt("HEAD", other, LOST),
        Hurt("GET", "list-type", 503), Hurt("GET", "list-type", CUT), Hurt("GET", "list-type", LOST),
        Hurt("PUT", "/_attempts/", 500), Hurt("PUT", "/_attempts/", LOST),
        Hurt("PUT", "part-00000.parquet", 500), Hurt("PUT", "part-00001.parquet", LOST),
        Hurt("PUT", "part-00002.parquet", SILENT),
        Hurt("PUT", "/_receipts/part-00001", 503), Hurt("PUT", "/_receipts/part-00003", LOST),
        Hurt("GET", f"{part}", CUT), Hurt("GET", f"{part}", 500),
        Hurt("PUT", "_manifest.json", LOST), Hurt("PUT", "_manifest.json", 500),
        Hurt("PUT", "/scores/log/", 500), Hurt("PUT", "/scores/log/", LOST),
        Hurt("PUT", "/scores/CURRENT.json", 503), Hurt("PUT", "/scores/CURRENT.json", SILENT), Hurt("PUT", "/quarantine/", 500),
    ]  # fmt: skip
    with watched(remote) as rows:
        result = night(remote, model, cache)
    assert not s3.hurts and set(rows) <= {0, expected.num_rows} and 0 in rows
    assert scores(remote).equals(expected) and is_sealed(remote, result.snapshot)
    assert remote.names("scores", "log") == ["00000001.json"]
    assert remote.read_json("scores", "CURRENT.json")["snapshot"] == f"snapshots/{result.snapshot.name}"


def in_place_of_run(patch: pytest.MonkeyPatch, change: Any) -> list[list[str]]:
    """Let `change(run, pending)` do the work of the actors, which `run(pending)` does; the files of each call."""
    real, asked = scoring._run, []

    def run(one: Any, pending: list[str], *rest: Any) -> Any:
        asked.append(pending)
        return change(lambda parts: real(one, parts, *rest), pending)

    patch.setattr(scoring, "_run", run)
    return asked


def test_a_killed_night_goes_on_in_a_bucket_and_takes_nothing_half_for_whole(
    s3: S3, remote: Store, expected: pa.Table, model: ResolvedModel, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(run: Any, pending: list[str]) -> Any:
        run(pending[:3])
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        in_place_of_run(patch, die)
        night(remote, model, cache)
    (name,) = remote.names("scores", "snapshots")
    folder = snapshots.staging("scores", name)
    names = [f"part-{number:05d}.parquet" for number in range(FILES)]
    before = objects(remote, folder)
    s3.put(remote.show(folder, names[1]), remote.read_bytes(folder, names[1])[:5000])
    s3.put(remote.show(folder, "_receipts", f"{names[2]}.json"), b'{"part": "part-000')
    with monkeypatch.context() as patch:
        asked = in_place_of_run(patch, lambda run, pending: run(pending))
        result = night(remote, model, cache, "r2")
    assert asked == [names[1:]] and is_sealed(remote, result.snapshot) and scores(remote).equals(expected)
    after = objects(remote, folder)
    for whole in (names[0], f"_receipts/{names[0]}.json", names[2]):
        assert after[remote.path(folder, whole)] == before[remote.path(folder, whole)]
    assert set(open_scores(remote.uri).to_table(columns=["run_id"])["run_id"].to_pylist()) == {"r1", "r2"}


def test_two_equal_nights_at_once_in_a_bucket_both_end_right(
    remote: Store, expected: pa.Table, model: ResolvedModel, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals: list[ScoreResult] = []
    published: list[dict[str, tuple[Any, Any]]] = []

    def after_the_rival(run: Any, pending: list[str]) -> Any:
        assert len(pending) == FILES
        if not published:
            published.append({})
            rivals.append(night(remote, model, cache, "rival"))
            published.append(objects(remote, rivals[0].snapshot.folder))
        return run(pending)

    in_place_of_run(monkeypatch, after_the_rival)
    result = night(remote, model, cache, "first")
    assert result.snapshot == rivals[0].snapshot and remote.names("scores", "log") == ["00000001.json"]
    assert is_sealed(remote, result.snapshot) and scores(remote).equals(expected)
    after = objects(remote, result.snapshot.folder)
    files = [name for name in after if name.endswith((".parquet", "_manifest.json"))]
    assert len(files) == FILES + 1 and all(after[name] == published[-1][name] for name in files)
