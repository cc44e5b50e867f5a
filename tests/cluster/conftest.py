"""One small Ray for all cluster tests, and a catalog and a bundle that they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from fashion_ray import cluster, snapshots, tracking
from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.running import on_cluster
from fashion_ray.catalog.sources import DemoSource
from fashion_ray.cluster import Resources
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.storage import Store
from fashion_ray.training import run as training
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.training.run import TrainResult

PRODUCTS = 600
CHOICE = EngineChoice(name="openvino", precision="f32", device="cpu")


@pytest.fixture(scope="package")
def resources() -> Iterator[Resources]:
    """A Ray of two processors, stopped at the end."""
    with cluster.connect(None, cpus=2, dashboard=True) as has:
        yield has
    assert not ray.is_initialized()


@pytest.fixture(scope="package")
def store(resources: Resources, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A root with the demo catalog in it."""
    store = Store(str(tmp_path_factory.mktemp("root")))
    ingest(Request(source=DemoSource(seed=1, products=PRODUCTS)), store, run_id="test", each=on_cluster)
    return store


@pytest.fixture(scope="package")
def catalog(store: Store) -> snapshots.Snapshot:
    """The shared catalog."""
    found = snapshots.current(store, "catalog")
    assert found is not None
    return found


@pytest.fixture(scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A node-local cache of these tests' own."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="package")
def options(store: Store, cache: str) -> TrainOptions:
    """A short schedule with every kind of stage, on two workers."""
    return TrainOptions(
        root=store.uri, cache=cache, schedule="heads:2,top1:1,all:1", batch_size=32, cached_views=2, workers=2,
        min_class_count=15, engine="openvino", precision="f32", input_size="80x64",
    )  # fmt: skip


@pytest.fixture(scope="package")
def trained(
    store: Store, catalog: snapshots.Snapshot, options: TrainOptions, resources: Resources
) -> tuple[TrainResult, tracking.TrackedRun]:
    """The result of a whole run."""
    with tracking.run(tracking.locate(store), "train", {"name": "shared"}) as run:
        return training.train(prepare(options, store, catalog), store, CHOICE, resources, run, "shared"), run


@pytest.fixture(scope="package")
def model(trained: tuple[TrainResult, tracking.TrackedRun]) -> ResolvedModel:
    """The bundle of that run."""
    result, _ = trained
    return ResolvedModel(name="shared", files=result.files, card=result.card)


@pytest.fixture
def own_store(store: Store, catalog: snapshots.Snapshot, tmp_path: Path) -> Store:
    """A root of the test's own with a copy of the catalog."""
    mine = Store(str(tmp_path / "root"))
    for file in catalog.files:
        mine.write_bytes(store.read_bytes(file), file)
    snapshots.publish(mine, "catalog", catalog.name, dict(catalog.manifest), base=None)
    return mine
