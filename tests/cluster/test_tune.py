"""A search on a cluster: trials side by side, one that fails, the ledger and MLflow, and the same search again."""

from __future__ import annotations

import time
from dataclasses import replace

from fashion_ray import snapshots, tracking
from fashion_ray.cluster import Resources
from fashion_ray.storage import Store
from fashion_ray.tuning.conducting import conduct
from fashion_ray.tuning.following import MlflowBook
from fashion_ray.tuning.ledger import DONE, FAILED, SEARCH, Ledger
from fashion_ray.tuning.options import TuneOptions, plan_of
from fashion_ray.tuning.search import hold, search
from fashion_ray.tuning.studies import defaults
from tests.cluster.conftest import CHOICE

SETTINGS = ("schedule=heads:1", "input_size=80x64", "min_class_count=15", "cached_views=2", "engine=openvino", "precision=f32")


def test_a_search_runs_every_trial_once_and_survives_one_that_fails(
    store: Store, catalog: snapshots.Snapshot, cache: str, resources: Resources
) -> None:
    options = TuneOptions(
        root=store.uri, cache=cache, space=("batch_size=32 64 60000",), set=SETTINGS, search="grid", parallel=2, final_epochs=3
    )
    plan = plan_of(options, store.uri)
    with (
        hold(plan, store, catalog, "searched"),
        tracking.run(tracking.locate(store), "tune", {"name": "searched"}) as run,
    ):
        found = search(plan, store, catalog, CHOICE, resources, run, "searched")
        records = Ledger(store, "searched").read(SEARCH)
        assert [records[number].state for number in range(3)] == [DONE, DONE, FAILED]
        assert "training rows" in records[2].error and len(records[0].history) == 1
        assert found.winner.value == max(records[0].values + records[1].values)
        assert found.options.schedule == "heads:3" and str(found.options.batch_size) == found.winner.point["batch_size"]
        started = time.monotonic()
        again = search(plan, store, catalog, CHOICE, resources, run, "searched")
        assert Ledger(store, "searched").read(SEARCH) == records and again.winner == found.winner
        assert time.monotonic() - started < 60
    client = run.tracking.client()
    parent = client.get_run(run.run_id)
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.mlflow.parentRunId = '{run.run_id}'", order_by=["attributes.start_time"]
    )
    assert {child.info.run_id: child.info.status for child in children} == {
        records[0].run_id: "FINISHED", records[1].run_id: "FINISHED", records[2].run_id: "FAILED",
    }  # fmt: skip
    best = next(child for child in children if child.info.run_id == found.winner.run_id)
    assert best.data.params["batch_size"] == found.winner.point["batch_size"] and best.data.params["targets"].count(",") == 2
    assert best.data.metrics["score"] == found.winner.figure == parent.data.metrics["best_score"]
    assert store.exists("reports", "searched", "leaderboard.csv") and not store.exists("runs", "searched", "tune")
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"plots", "tables"}
    book = MlflowBook(run, plan.base)
    unnoted = replace(records[0], run_id="")  # as if the search had been killed before the ledger knew of the run
    assert book.begin(unnoted) == records[0].run_id
    book.end(records[0])


def test_a_trial_may_have_several_workers(store: Store, catalog: snapshots.Snapshot, cache: str, resources: Resources) -> None:
    options = TuneOptions(
        root=store.uri, cache=cache, space=("batch_size=32 60000",), set=SETTINGS, search="grid", trial_workers=2
    )
    plan = plan_of(options, store.uri)
    with tracking.run(tracking.locate(store), "tune", {"name": "doubled"}) as run:
        found = search(plan, store, catalog, CHOICE, resources, run, "doubled")
    records = Ledger(store, "doubled").read(SEARCH)
    assert [records[number].state for number in range(2)] == [DONE, FAILED] and "training rows" in records[1].error
    assert [row["epoch"] for row in records[0].history] == [1] and found.winner.figure == records[0].history[0]["score"]
    child = run.tracking.client().get_run(records[0].run_id)
    assert child.data.metrics["train_rows"] == records[0].history[0]["train_rows"] > 0
    assert [folder for folder in store.names("runs") if folder.startswith("doubled")] == ["doubled"]


def test_a_study_sets_theirs_beside_ours_and_repeats_nothing(
    store: Store, catalog: snapshots.Snapshot, cache: str, resources: Resources
) -> None:
    settled = ("schedule=all:1", "min_class_count=15", "engine=openvino", "precision=f32")
    asked = {**defaults("fashion-mnist"), "root": store.uri, "cache": cache, "runs": ("lenet5",), "set": settled}
    plan = plan_of(TuneOptions(**asked), store.uri)  # type: ignore[arg-type]
    with tracking.run(tracking.locate(store), "tune", {"name": "studied"}, tags={"study": "fashion-mnist"}) as run:
        registered = tracking.known_models(run.tracking)
        said = list(conduct(plan, store, catalog, CHOICE, resources, run, "studied"))
        again = list(conduct(plan, store, catalog, CHOICE, resources, run, "studied"))
    assert any("not registered: it belongs to the study fashion-mnist" in line for line in said)
    assert again[0] == "run studied-lenet5 is finished and not run again" and again[1:] == said[-2:]
    text = store.read_bytes("reports", "studied", "study.md").decode()
    assert "| lenet5 | accuracy 0.86 | 0." in text and "lenet5 at 32x32, weights none" in text
    client = run.tracking.client()
    assert {file.path for file in client.list_artifacts(run.run_id, "tables")} == {
        "tables/study.md", "tables/study.csv", "tables/study_runs.csv",
    }  # fmt: skip
    child = client.search_runs([client.get_run(run.run_id).info.experiment_id], "tags.mlflow.runName = 'studied-lenet5'")[0]
    assert child.data.tags["mlflow.parentRunId"] == run.run_id and child.data.tags["study"] == "fashion-mnist"
    assert tracking.known_models(run.tracking) == registered
    assert client.get_run(run.run_id).data.metrics["accuracy/lenet5"] == child.data.metrics["test/articleType/accuracy"]
