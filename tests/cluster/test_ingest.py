"""Ingest on a cluster: the books, running twice, running again after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.schema import CATALOG, REASONS
from fashion_ray.catalog.sources import DemoSource, open_source
from fashion_ray.cluster import Resources
from fashion_ray.errors import UserError
from fashion_ray.storage import Store

FEED = DemoFeed(seed=4, products=300)


@pytest.mark.parametrize("layout", ["zip", "folder"])
def test_every_row_and_picture_of_a_feed_is_accounted_for(layout: str, tmp_path: Path, resources: Resources) -> None:
    place = tmp_path / ("feed.zip" if layout == "zip" else "feed")
    (FEED.write_zip if layout == "zip" else FEED.write_folder)(place)
    store = Store(str(tmp_path / "root"))
    result = ingest(open_source(str(place)), store, run_id="r1")
    books = result.books
    assert books["rows"] == len(FEED.styles_csv().decode().strip().splitlines()) - 1
    assert books["pictures"] == len(FEED.picture_ids())
    catalog = pd.read_parquet(store.path(result.snapshot.folder))
    assert list(catalog.columns) == CATALOG.names
    assert catalog["product_id"].is_unique and len(catalog) == books["pictures_in_catalog"]
    quarantine = pd.read_parquet(store.path(result.snapshot.manifest["quarantine"]))
    reasons = Counter(quarantine["reason"])
    assert set(reasons) <= set(REASONS)
    assert reasons["no_picture"] == books["rows_missing_picture"]
    assert reasons["bad_id"] >= 1 and reasons["duplicate_id"] >= 1 and reasons["bad_row"] >= 1 and reasons["truncated"] >= 1
    assert set(quarantine["run_id"]) == {"r1"}
    assert (catalog["split"].isna() == catalog["articleType"].isna()).all()
    assert books["pictures_without_row"] == catalog["articleType"].isna().sum() > 0
    assert catalog.groupby("group_id")["split"].nunique().max() == 1
    picture = catalog.iloc[0]
    assert picture["image"] == FEED.picture(picture["product_id"])


def test_the_same_feed_again_changes_nothing(tmp_path: Path, resources: Resources) -> None:
    store = Store(str(tmp_path))
    first = ingest(DemoSource(seed=4, products=300), store, run_id="r1")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = ingest(DemoSource(seed=4, products=300), store, run_id="r2")
    assert again.already_current and again.snapshot.name == first.snapshot.name and again.books == first.books
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


@dataclass(frozen=True, kw_only=True)
class OneTimeSource(DemoSource):
    """The demo, whose pictures can be read while a marker file is absent."""

    marker: str

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        if Path(self.marker).exists():
            raise OSError("read a second time")
        yield from DemoSource.read(self, locators)


def test_a_crash_before_publishing_leaves_nothing_to_see_and_no_picture_is_read_twice(
    tmp_path: Path, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = OneTimeSource(seed=4, products=300, marker=str(tmp_path / "marker"))
    store = Store(str(tmp_path / "root"))

    def crash(*arguments: object, **options: object) -> None:
        raise RuntimeError("the machine went away")

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "publish", crash)
        with pytest.raises(RuntimeError, match="went away"):
            ingest(source, store, run_id="r1")
    assert snapshots.current(store, "catalog") is None
    (tmp_path / "marker").touch()
    result = ingest(source, store, run_id="r2")
    undisturbed = ingest(DemoSource(seed=4, products=300), Store(str(tmp_path / "other")), run_id="r3")
    assert result.books == undisturbed.books
    assert not store.names("catalog", "staging")
    tables = [Store(root).read_table(result.snapshot.folder) for root in (store.uri, str(tmp_path / "other"))]
    assert tables[0].sort_by("product_id").equals(tables[1].sort_by("product_id"))


class EmptySource(DemoSource):
    """A feed with rows and no pictures."""

    def pictures(self) -> list[str]:
        return []


class RubbishSource(DemoSource):
    """A feed whose pictures are all rubbish."""

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        yield from (b"rubbish" for _ in locators)


@pytest.mark.parametrize(("source", "message"), [(EmptySource, "has no pictures"), (RubbishSource, "can be decoded")])
def test_a_feed_without_pictures_is_refused(
    source: type[DemoSource], message: str, tmp_path: Path, resources: Resources
) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(UserError, match=message):
        ingest(source(seed=0, products=200), store, run_id="r")
    assert snapshots.current(store, "catalog") is None


def test_shards_are_small_tables_with_the_declared_schema(store: Store, catalog: snapshots.Snapshot) -> None:
    for file in catalog.files:
        assert store.read_table(file).schema.equals(CATALOG)
    assert isinstance(store.read_table(catalog.files[0]), pa.Table)
