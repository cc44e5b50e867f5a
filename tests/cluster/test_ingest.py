"""Ingest on a cluster: the tables of an ingest without one, errors that cross processes, interrupted and concurrent runs.

What an ingest does to rows and pictures is tested without a cluster, in tests/unit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.catalog.earlier import CORRECTED, REMEMBERED
from fashion_ray.catalog.ingest import IngestResult, ingest
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.plan import id_hashes
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.running import on_cluster
from fashion_ray.catalog.schema import CATALOG
from fashion_ray.catalog.sources import DemoSource, open_source
from fashion_ray.catalog.tasks import Each, here
from fashion_ray.cluster import Resources
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.storage import Store

FEED = DemoFeed(seed=4, products=300)
LABELS = b"product_id,target,label\n10001,season,Winter\nnobody,season,Winter\n"


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks and several files from a feed of a few hundred products."""
    monkeypatch.setattr("fashion_ray.catalog.plan.SHARD_ROWS", 50)


def tables_of(store: Store) -> dict[str, pa.Table]:
    """Everything that an ingest publishes, without what differs from run to run."""
    snapshot = snapshots.current(store, "catalog")
    assert snapshot is not None
    found = {file: store.read_table(file) for file in [*snapshot.files, snapshot.manifest["quarantine"]]}
    found |= {name: store.read_table(snapshot.folder, name) for name in (REMEMBERED, CORRECTED)}
    return {
        name: table.drop_columns(["seen_at"]) if "seen_at" in table.column_names else table for name, table in found.items()
    }


def take_in_turn(root: Path, feed: str, each: Each) -> list[IngestResult]:
    """A zip, then a delta of class folders and corrections."""
    store = Store(str(root))
    return [
        ingest(Request(source=open_source(feed)), store, run_id="r", each=each),
        ingest(Request(source=open_source(f"{feed}-folders"), delta=True, corrected=LABELS), store, run_id="r", each=each),
    ]


def write_class_folders(folder: Path) -> None:
    """Ten pictures of the demo in each of two folders."""
    for number, product_id in enumerate(FEED.picture_ids()[:20]):
        file = folder / ("Ties", "Belts")[number % 2] / f"{product_id}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(FEED.picture(product_id))


def test_on_a_cluster_every_table_is_what_it_is_without_one(tmp_path: Path, resources: Resources, small_portions: None) -> None:
    feed = str(tmp_path / "feed.zip")
    FEED.write_zip(Path(feed))
    write_class_folders(tmp_path / "feed.zip-folders")
    spread, plain = (take_in_turn(tmp_path / each.__name__, feed, each) for each in (on_cluster, here))
    assert [result.books for result in spread] == [result.books for result in plain]
    assert [result.summary for result in spread] == [result.summary for result in plain]
    assert [result.snapshot.manifest["files"] for result in spread] == [result.snapshot.manifest["files"] for result in plain]
    assert len(spread[0].snapshot.files) > 3 and spread[1].summary["added"] > 10, "otherwise this test says little"
    one, other = (tables_of(Store(str(tmp_path / each.__name__))) for each in (on_cluster, here))
    assert one.keys() == other.keys()
    assert [name for name in one if not one[name].equals(other[name])] == []
    assert all(one[file].schema.equals(CATALOG) for file in spread[1].snapshot.files)


def test_what_a_worker_finds_wrong_with_a_feed_is_the_users_error(tmp_path: Path, resources: Resources) -> None:
    for number in range(3):
        pq.write_table(pa.table({"id": ["a", "b"], "image": [b"", b""]}), tmp_path / f"part-{number}.parquet")
    (tmp_path / "part-1.parquet").write_bytes((tmp_path / "part-0.parquet").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"part-1\.parquet .* is no Parquet file, or a damaged one") as raised:
        ingest(Request(source=open_source(str(tmp_path))), Store(str(tmp_path / "root")), run_id="r", each=on_cluster)
    assert "Traceback" not in str(raised.value) and "\n" not in str(raised.value)


def test_tables_without_rows_are_a_feed_without_pictures(tmp_path: Path, resources: Resources) -> None:
    for number in range(2):
        empty = pa.table({"id": pa.array([], pa.string()), "image": pa.array([], pa.binary())})
        pq.write_table(empty, tmp_path / f"part-{number}.parquet")
    with pytest.raises(UserError, match=r"has no pictures \(0 rows\)"):
        ingest(Request(source=open_source(str(tmp_path))), Store(str(tmp_path / "root")), run_id="r", each=on_cluster)


@dataclass(frozen=True, kw_only=True)
class FailingSource(DemoSource):
    """The demo, of which the storage gives only so many of the pictures that are asked for; a file notes which were."""

    notes: str
    failing: str = ""

    def fingerprint(self) -> str:
        return "the same, failing or not"

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        with Path(self.notes).open("a") as notes:
            for locator, content in zip(locators, DemoSource.read(self, locators), strict=True):
                if locator == self.failing:
                    raise OSError(5, "the storage went away")
                notes.write(f"{locator}\n")
                yield content


def test_a_run_that_died_is_invisible_and_only_its_unfinished_portion_is_read_again(
    tmp_path: Path, resources: Resources, small_portions: None
) -> None:
    notes, root = tmp_path / "notes", Store(str(tmp_path / "root"))
    source = FailingSource(seed=4, products=300, notes=str(notes))
    last = max(FEED.picture_ids(), key=lambda product_id: int(id_hashes([product_id])[0]))  # in the last portion
    failing = FailingSource(seed=4, products=300, notes=str(notes), failing=f"images/{last}.jpg")
    with pytest.raises(Exception, match="the storage went away"):
        ingest(Request(source=failing), root, run_id="r", each=on_cluster)
    assert snapshots.current(root, "catalog") is None
    (staging,) = root.names("catalog", "staging")
    staged = [
        root.read_table("catalog", "staging", staging, name)
        for name in root.names("catalog", "staging", staging)
        if name.endswith(".facts.parquet")
    ]
    finished = {f"images/{product_id}.jpg" for table in staged for product_id in table["product_id"].to_pylist()}
    assert finished, "otherwise this test says little"
    notes.write_text("")
    ingest(Request(source=source), root, run_id="r", each=on_cluster)
    again = notes.read_text().splitlines()
    assert failing.failing in again and len(again) == len(set(again))
    assert set(again) == set(source.pictures()["locator"].to_pylist()) - finished
    assert root.names("catalog", "staging") == []
    other = Store(str(tmp_path / "other"))
    ingest(Request(source=DemoSource(seed=4, products=300)), other, run_id="r", each=here)
    mine, undisturbed = (
        pa.concat_tables([store.read_table(file) for file in found.files]).sort_by("product_id")
        for store in (root, other)
        if (found := snapshots.current(store, "catalog")) is not None
    )
    assert mine.equals(undisturbed)


def test_of_two_ingests_at_once_one_publishes_and_the_other_ends_right_or_is_told_to_run_again(
    tmp_path: Path, resources: Resources
) -> None:
    root = Store(str(tmp_path))
    ended: dict[int, IngestResult | Exception] = {}

    def run(number: int, seed: int) -> None:
        try:
            ended[number] = ingest(
                Request(source=DemoSource(seed=seed, products=200)), root, run_id=f"r{number}", each=on_cluster
            )
        except ConflictError as error:
            ended[number] = error

    threads = [threading.Thread(target=run, args=(number, seed)) for number, seed in enumerate((1, 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    published = snapshots.current(root, "catalog")
    assert published is not None and len(ended) == 2
    refused = [error for error in ended.values() if isinstance(error, ConflictError)]
    assert len(refused) == 1 or published.sequence == 2, "two feeds one after the other, or one of them refused"
    assert all("run the same command again" in str(error) for error in refused)
    for file in published.manifest["files"]:
        assert root.read_table(published.folder, file["name"]).num_rows == file["rows"]
