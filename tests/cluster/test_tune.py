"""A search on a cluster: trials side by side, one that fails, the ledger and MLflow, and the same search again."""

from __future__ import annotations

import time

from fashion_ray import snapshots, tracking
from fashion_ray.cluster import Resources
from fashion_ray.storage import Store
from fashion_ray.tuning.ledger import DONE, FAILED, SEARCH, Ledger
from fashion_ray.tuning.options import TuneOptions, plan_of
from fashion_ray.tuning.search import hold, search
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
