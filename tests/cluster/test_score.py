"""Scoring on a cluster: every product once, bad pictures, crashes, two runs at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.cluster import Resources
from fashion_ray.errors import ConflictError, ReconciliationError
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.score import balance, score
from fashion_ray.storage import Store
from tests.cluster.conftest import CHOICE


def run(store: Store, model: ResolvedModel, cache: str, run_id: str = "r1") -> snapshots.Snapshot:
    catalog = snapshots.current(store, "catalog")
    assert catalog is not None
    return score(store, catalog, model, CHOICE, cache=cache, run_id=run_id).snapshot


def test_every_product_is_scored_once_labelled_or_not(own_store: Store, model: ResolvedModel, cache: str) -> None:
    snapshot = run(own_store, model, cache)
    scores = pd.read_parquet(own_store.path(snapshot.folder))  # as other tools read it: a plain folder
    catalog = snapshots.current(own_store, "catalog")
    assert catalog is not None
    products = own_store.read_table(catalog.folder, columns=["product_id", "image_sha256"]).to_pandas()
    assert sorted(scores["product_id"]) == sorted(products["product_id"])
    assert dict(zip(scores["product_id"], scores["image_sha256"], strict=True)) == dict(products.itertuples(index=False))
    assert own_store.read_table(snapshot.files[0]).schema.equals(schema.scores(model.card.targets, model.card.embedding_dim))
    paths = set(scores[["masterCategory_predicted", "subCategory_predicted", "articleType_predicted"]].itertuples(index=False))
    names = [model.card.classes[level] for level in model.card.levels]
    known = {tuple(names[depth][index] for depth, index in enumerate(path)) for path in model.card.paths}
    assert {tuple(None if pd.isna(name) else name for name in path) for path in paths} <= known
    for target in model.card.targets:
        assert scores[f"{target}_probability"].between(0, 1).all()
    pointer = own_store.read_json("scores", "CURRENT.json")
    assert own_store.exists("scores", pointer["snapshot"], "_manifest.json")
    again = run(own_store, model, cache, "r2")
    assert again.sequence == snapshot.sequence == 1


def damage_one_picture(store: Store) -> str:
    """Publish the catalog with one picture's bytes damaged; the product's id."""
    catalog = snapshots.current(store, "catalog")
    assert catalog is not None
    table = store.read_table(catalog.files[0])
    images = table["image"].to_pylist()
    images[3] = images[3][: len(images[3]) // 2]
    damaged = schema.cast(table.set_column(1, "image", pa.array(images, type=pa.binary())), schema.CATALOG)
    store.write_table(damaged, catalog.files[0])
    return str(table["product_id"][3].as_py())


def test_a_picture_that_cannot_be_decoded_any_more_is_quarantined_and_the_rest_goes_on(
    own_store: Store, model: ResolvedModel, cache: str
) -> None:
    product_id = damage_one_picture(own_store)
    snapshot = run(own_store, model, cache)
    assert snapshot.manifest["books"]["quarantined"] == 1
    quarantine = own_store.read_table(snapshot.manifest["quarantine"]).to_pylist()
    assert [(row["product_id"], row["reason"], row["stage"]) for row in quarantine] == [(product_id, "decode_failed", "score")]
    assert product_id not in own_store.read_table(snapshot.folder, columns=["product_id"])["product_id"].to_pylist()


def test_a_run_that_died_is_invisible_and_what_it_finished_is_not_repeated(
    own_store: Store, model: ResolvedModel, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "publish", lambda *arguments, **options: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            run(own_store, model, cache)
    assert snapshots.current(own_store, "scores") is None and not own_store.exists("scores", "CURRENT.json")
    parts = sorted(Path(own_store.path("scores")).rglob("part-*.parquet"))
    before = [part.stat().st_mtime_ns for part in parts]
    snapshot = run(own_store, model, cache, "r2")
    assert [part.stat().st_mtime_ns for part in parts] == before
    assert snapshot.manifest["books"]["scored"] == snapshot.manifest["books"]["catalog"]


def test_a_receipt_without_its_file_is_no_receipt(own_store: Store, model: ResolvedModel, cache: str) -> None:
    snapshot = run(own_store, model, cache)
    rows = own_store.read_table(snapshot.folder, columns=["product_id"]).num_rows
    own_store.remove(snapshot.files[0])
    again = run(own_store, model, cache, "r2")
    assert own_store.read_table(again.folder, columns=["product_id"]).num_rows == rows
    for file in again.manifest["files"]:
        content = own_store.read_bytes(again.folder, file["name"])
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_a_scoring_that_is_at_work_is_not_joined_by_another(own_store: Store, model: ResolvedModel, cache: str) -> None:
    catalog = snapshots.current(own_store, "catalog")
    assert catalog is not None
    name = snapshots.fingerprint(catalog.name, model.card.model_version, DECODER_VERSION, CHOICE.name, CHOICE.precision)
    with own_store.held("scores", "locks", name) as free:
        assert free
        with pytest.raises(ConflictError, match="wait for it to end"):
            run(own_store, model, cache)
    assert run(own_store, model, cache).sequence == 1


def test_of_two_publishers_on_one_base_the_second_is_refused(own_store: Store, model: ResolvedModel, cache: str) -> None:
    snapshot = run(own_store, model, cache)
    with pytest.raises(ConflictError, match="run the same command again"):
        snapshots.publish(own_store, "scores", "another", snapshot.manifest, base=None)
    assert snapshots.current(own_store, "scores") == snapshot


@pytest.mark.parametrize("lost", ["row", "file"])
def test_books_that_do_not_balance_stop_everything(lost: str, resources: Resources) -> None:
    receipts = {name: {"file": {"rows": 10}, "quarantined": []} for name in ("a", "b")}
    if lost == "file":
        del receipts["b"]
    else:
        receipts["b"]["file"]["rows"] = 9  # type: ignore[index]
    with pytest.raises(ReconciliationError, match="'b'"):
        balance({"a": 10, "b": 10}, receipts)
