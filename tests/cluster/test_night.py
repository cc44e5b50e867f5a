"""A night on a cluster, from the feed to the pager: the books, the same again, a bad feed, a bucket, and the metrics."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import urllib.request
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient

from fashion_ray import metrics, snapshots, tracking
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.cluster import Resources
from fashion_ray.errors import GateRefused, UserError
from fashion_ray.nightly import steps
from fashion_ray.nightly.book import Book
from fashion_ray.nightly.options import NightlyOptions
from fashion_ray.scoring import open_scores
from fashion_ray.scoring.gates import Limits
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.storage import Store
from tests.cluster.conftest import PRODUCTS
from tests.cluster.s3 import S3, SECRET, ToldStore, tell, variables
from tests.cluster.s3 import s3 as s3

OTHER = DemoFeed(seed=9, products=200)
LIMITS = Limits(label_psi=0.5, probability_psi=1.0, accuracy_drop=0.2)
PATIENCE_S = 25.0
"""Ray's processes report their metrics every ten seconds."""


def deliver(folder: Path, ids: list[str], pictures: dict[str, bytes], withdrawn: list[str] | None = None) -> str:
    """A feed: products with their articleType, pictures by product, ids that leave."""
    (folder / "images").mkdir(parents=True)
    lines = [["id", "articleType"], *([each, "Shirts"] for each in ids)]
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    (folder / "styles.csv").write_text(out.getvalue())
    for name, content in pictures.items():
        (folder / "images" / f"{name}.jpg").write_bytes(content)
    if withdrawn:
        (folder / "withdrawn.csv").write_text("\n".join(["id", *withdrawn]))
    return str(folder)


def pictures(count: int, first: int = 0) -> list[bytes]:
    """Pictures of another catalog."""
    ids = [each for each in OTHER.picture_ids() if len(OTHER.picture(each)) > 1000]
    return [OTHER.picture(each) for each in ids[first : first + count]]


def with_catalog(mine: Store, store: Store, catalog: snapshots.Snapshot) -> Store:
    """A root with the shared catalog and all that an ingest builds on."""
    beside = [f"{catalog.folder}/_remembered.parquet", f"{catalog.folder}/_corrections.parquet", catalog.manifest["quarantine"]]
    for file in [*catalog.files, *beside]:
        mine.write_bytes(store.read_bytes(file), file)
    snapshots.publish(mine, "catalog", catalog.name, dict(catalog.manifest), base=None)
    return mine


def with_model(store: Store, model: ResolvedModel) -> str:
    """The model below a root; what --model calls it."""
    for name, content in model.files.items():
        store.write_bytes(content, "models", model.card.model_version, name)
    return model.card.model_version


@pytest.fixture
def tracked(store: Store, monkeypatch: pytest.MonkeyPatch) -> tracking.Tracking:
    """The shared tracking store, also for other roots."""
    found = tracking.locate(store)
    monkeypatch.setenv(tracking.URI_VARIABLE, found.uri)
    return found


def unreachable() -> AbstractContextManager[Resources]:
    pytest.fail("a night that is done needs no cluster")


def held(store: Store, has: Resources, **asked: Any) -> tuple[Book, bool]:
    """A night on the shared cluster."""
    return steps.hold(NightlyOptions(root=store.uri, limits=LIMITS, **asked), store, lambda: nullcontext(has))


def agrees_with_mlflow(told: dict[str, Any], client: MlflowClient) -> None:
    """A night's pages are there, and its runs are finished: the steps' below the night's, which has its figures."""
    assert all(Path(place).exists() for place in told["links"].values())
    assert set(told["links"]) == {"data", "changes", "scores", "similar"}
    runs = {name: client.get_run(run_id) for name, run_id in told["runs"].items()}
    assert set(runs) == {"nightly", "ingest", "score", "similar"} and {run.info.status for run in runs.values()} == {"FINISHED"}
    parents = {runs[name].data.tags["mlflow.parentRunId"] for name in ("ingest", "score", "similar")}
    assert parents == {runs["nightly"].info.run_id}
    assert runs["nightly"].data.metrics["night/scored"] == told["counts"]["scored"]


def test_a_night_from_the_feed_to_the_pager(
    store: Store, catalog: snapshots.Snapshot, model: ResolvedModel, cache: str, resources: Resources,
    tracked: tracking.Tracking, tmp_path: Path,
) -> None:  # fmt: skip
    own_store = with_catalog(Store(str(tmp_path / "root")), store, catalog)
    ids = own_store.read_table(catalog.folder, columns=["product_id"])["product_id"].to_pylist()
    one, two, three = pictures(3)
    feeds = tmp_path / "feeds"
    first = deliver(feeds / "n1", ["new1", "new2"], {"new1": one, "new2": two, ids[5]: three}, withdrawn=ids[:1])
    pager = tmp_path / "pager.json"
    asked: dict[str, Any] = {
        "feed": str(feeds / "{night}"), "model": with_model(own_store, model), "cache": cache, "status_file": str(pager),
        "engine": "openvino", "precision": "f32",
    }  # fmt: skip

    book, done = held(own_store, resources, **asked, night="n1", delta=True)
    told = json.loads(pager.read_text())
    assert not done and told == book.document == own_store.read_json("reports/nightly/n1.json")
    assert (told["status"], told["exit_status"], told["feed"]) == ("ok", 0, first)
    counts = told["counts"]
    assert (counts["products_added"], counts["products_changed"], counts["products_removed"]) == (2, 1, 1)
    assert counts["catalog"] == counts["scored"] == len(ids) + 1 and counts["carried_over"] == counts["quarantined"] == 0
    scores = open_scores(own_store.uri).to_table(columns=["product_id"])["product_id"].to_pylist()
    assert sorted(scores) == sorted([*ids[1:], "new1", "new2"])
    agrees_with_mlflow(told, tracked.client())

    published = snapshots.current(own_store, "scores")
    _, done = steps.hold(NightlyOptions(root=own_store.uri, **asked, night="n1", delta=True), own_store, unreachable)
    assert done and json.loads(pager.read_text()) == told

    died = json.dumps(told | {"status": "running", "exit_status": None, "counts": {}, "figures": {}})  # just after its commits
    own_store.write_bytes(died.encode(), "reports/nightly/n1.json")
    book, done = held(own_store, resources, **asked, night="n1", delta=True)
    again = book.document
    assert not done and again["status"] == "ok" and again["runs"] == told["runs"] and again["figures"] == told["figures"] != {}
    assert again["counts"] == counts and counts["similar_computed"] == len(ids) + 1

    deliver(feeds / "n2", ids[:9], dict(zip(ids[:9], pictures(9), strict=True)))
    with pytest.raises(GateRefused, match=r"products would leave the catalog"):
        held(own_store, resources, **asked, night="n2")
    assert (
        json.loads(pager.read_text()).items() >= {"status": "gated", "exit_status": 3, "step": "ingest", "night": "n2"}.items()
    )
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as whole:
        whole.writestr("styles.csv", "id,articleType\n" + "x,Shirts\n" * 500)
    (feeds / "n3").write_bytes((tmp_path / "whole.zip").read_bytes()[:300])
    with pytest.raises(UserError, match="zip"):
        held(own_store, resources, **asked, night="n3")
    assert json.loads(pager.read_text())["status"] == "failed" and snapshots.current(own_store, "scores") == published
    assert snapshots.current(own_store, "catalog").name == told["snapshots"]["catalog"]  # type: ignore[union-attr]

    with pytest.raises(UserError, match="nothing at"):
        held(own_store, resources, **asked, night="n4", delta=True)
    book, _ = held(own_store, resources, **asked, night="n4", delta=True, if_missing="score")
    quiet = book.document["counts"]
    assert book.document["feed_missing"] and quiet["carried_over"] == quiet["similar_carried_over"] == len(ids) + 1
    assert snapshots.current(own_store, "scores") == published


def test_a_night_in_a_bucket(
    s3: S3, store: Store, catalog: snapshots.Snapshot, model: ResolvedModel, cache: str, resources: Resources,
    tracked: tracking.Tracking,
) -> None:  # fmt: skip
    tell(variables())
    bucket = s3.bucket()
    remote = with_catalog(ToldStore(bucket + "/root"), store, catalog)
    s3.put(f"{bucket}/feeds/n1/styles.csv", b"id,articleType\nnew1,Shirts\n")
    s3.put(f"{bucket}/feeds/n1/images/new1.jpg", pictures(1)[0])
    asked: dict[str, Any] = {
        "feed": bucket + "/feeds/{night}", "delta": True, "night": "n1", "cache": cache, "engine": "openvino",
        "precision": "f32", "model": with_model(remote, model), "status_file": bucket + "/pager.json",
    }  # fmt: skip
    book, _ = held(remote, resources, **asked)
    rows = catalog.manifest["rows"]
    assert book.document["counts"]["products_added"] == 1 and book.document["counts"]["scored"] == rows + 1
    assert open_scores(remote.uri).count_rows() == rows + 1
    assert Store(bucket).read_json("pager.json") == remote.read_json("reports/nightly/n1.json") == book.document
    _, done = steps.hold(NightlyOptions(root=remote.uri, **asked), remote, unreachable)
    assert done and SECRET not in json.dumps(book.document)


def exported() -> str:
    """What Prometheus would read off this node."""
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


def test_the_metrics_of_a_night_are_on_the_nodes_port(resources: Resources) -> None:
    metrics.add("fashion_ray_rows", {"scored": 3, "carried_over": PRODUCTS, "quarantined": 0})
    metrics.add("fashion_ray_feed_rows", {"labelled": 2})
    metrics.put("fashion_ray_products", {"catalog": 603})
    with pytest.raises(ValueError, match="a bug"), metrics.stage("drill"):
        raise ValueError("a bug")
    with metrics.stage("drill"):
        pass
    wanted = {
        "ray_fashion_ray_rows_total": 'outcome="scored"', "ray_fashion_ray_feed_rows_total": 'outcome="labelled"',
        "ray_fashion_ray_products": 'outcome="catalog"', "ray_fashion_ray_stage_seconds_count": 'stage="drill"',
        "ray_fashion_ray_stage_failures_total": 'stage="drill"', "ray_fashion_ray_stage_ended_seconds": 'stage="drill"',
        "ray_fashion_ray_stage_failed_seconds": 'stage="drill"',
    }  # fmt: skip
    deadline, missing, text = time.monotonic() + PATIENCE_S, dict(wanted), ""
    while missing and time.monotonic() < deadline:
        text = exported()
        missing = {
            name: tag for name, tag in wanted.items() if not re.search(rf"^{name}{{[^}}]*{tag}[^}}]*}} \S+$", text, re.M)
        }
        time.sleep(0.5)
    assert not missing, [line for line in text.splitlines() if "fashion_ray" in line]
    assert {name.removeprefix("ray_").removesuffix("_total").removesuffix("_count") for name in wanted} == set(metrics.METRICS)
