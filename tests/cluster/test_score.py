"""Scoring on a cluster: every product once, bad pictures, crashes, two runs at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from fashion_ray import snapshots, tracking
from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.cluster import Resources
from fashion_ray.errors import ConflictError, GateRefused, ReconciliationError
from fashion_ray.memory import Peak
from fashion_ray.models import bundle
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring import open_scores
from fashion_ray.scoring.careful import DECODER
from fashion_ray.scoring.describe import score_and_log
from fashion_ray.scoring.gates import Limits
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.score import How, ScoreResult, balance, score
from fashion_ray.storage import Store
from tests.cluster import deadly
from tests.cluster.conftest import CHOICE

TORCH = EngineChoice(name="torch", precision="f32", device="cpu")
OPEN = Limits(
    label_psi=None, probability_psi=None, centroid_shift=None, withdrawn_share=None, bad_share=None, accuracy_drop=None
)


def run(store: Store, model: ResolvedModel, cache: str, run_id: str = "r1") -> snapshots.Snapshot:
    return night(store, model, cache, run_id).snapshot


def night(
    store: Store,
    model: ResolvedModel,
    cache: str,
    run_id: str = "r1",
    *,
    limits: Limits = OPEN,
    full: bool = False,
    publish_anyway: bool = False,
    decoder: str = DECODER,
    choice: EngineChoice = CHOICE,
) -> ScoreResult:
    """A night of scoring, with the gates open unless it is about them."""
    catalog = snapshots.current(store, "catalog")
    assert catalog is not None
    how = How(
        choice=choice, cache=cache, run_id=run_id, limits=limits, full=full, publish_anyway=publish_anyway, decoder=decoder
    )
    return score(store, catalog, model, how)


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
    name = snapshots.fingerprint(catalog.name, model.card.model_version, DECODER_VERSION, CHOICE.name, CHOICE.precision, "")
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
    actions = {"score": 10, "carry": 0, "reuse": 0, "bad": 0}
    receipts = {name: {"file": {"rows": 10}, "quarantined": [], "actions": actions} for name in ("a", "b")}
    if lost == "file":
        del receipts["b"]
    else:
        receipts["b"]["file"]["rows"] = 9  # type: ignore[index]
    with pytest.raises(ReconciliationError, match="'b'"):
        balance({"a": 10, "b": 10}, receipts)


def scores_of(store: Store) -> pd.DataFrame:
    """The current scores by product_id, as users read them."""
    return open_scores(store.uri).to_table().to_pandas().set_index("product_id").sort_index()


def change_catalog(store: Store, *, drop: list[str], repaint: dict[str, bytes], name: str = "changed") -> None:
    """Publish the catalog without some products and with other pictures for some."""
    base = snapshots.current(store, "catalog")
    assert base is not None
    files = []
    for entry in base.manifest["files"]:
        table = store.read_table(base.folder, entry["name"])
        table = table.filter(pc.invert(pc.is_in(table["product_id"], pa.array(drop, type=pa.string()))))
        ids, images, hashes = (table[name].to_pylist() for name in ("product_id", "image", "image_sha256"))
        images = [repaint.get(each, image) for each, image in zip(ids, images, strict=True)]
        hashes = [
            hashlib.sha256(image).hexdigest() if each in repaint else old
            for each, image, old in zip(ids, images, hashes, strict=True)
        ]
        table = table.set_column(1, "image", pa.array(images, type=pa.binary())).set_column(2, "image_sha256", pa.array(hashes))
        written = store.write_table(schema.cast(table, schema.CATALOG), f"catalog/snapshots/{name}", entry["name"])
        files.append(snapshots.file_entry(entry["name"], table.num_rows, written))
    manifest = {**base.manifest, "files": files, "rows": sum(entry["rows"] for entry in files)}
    snapshots.publish(store, "catalog", name, manifest, base=base)


def test_a_quiet_night_publishes_nothing_and_a_changed_one_scores_what_changed(
    own_store: Store, model: ResolvedModel, cache: str
) -> None:
    first = night(own_store, model, cache)
    before = scores_of(own_store)
    ids = list(before.index)
    assert night(own_store, model, cache, "r2").already_current
    catalog = snapshots.current(own_store, "catalog")
    assert catalog is not None
    table = own_store.read_table(catalog.folder, columns=["product_id", "image"])
    other = dict(zip(table["product_id"].to_pylist(), table["image"].to_pylist(), strict=True))[ids[9]]
    change_catalog(own_store, drop=ids[:3], repaint={ids[5]: other})
    result = night(own_store, model, cache, "r3")
    assert result.books == {
        "catalog": len(ids) - 3, "scored": 1, "carried_over": len(ids) - 4, "quarantined": 0, "from_embeddings": 0,
    }  # fmt: skip
    after = scores_of(own_store)
    kept = [each for each in ids[3:] if each != ids[5]]
    pd.testing.assert_frame_equal(after.loc[kept], before.loc[kept])
    assert after.loc[ids[5], "run_id"] == "r3" and list(after.index) == ids[3:]
    assert np.allclose(after.loc[ids[5], "embedding"], before.loc[ids[9], "embedding"], atol=1e-4)
    assert result.comparison is not None
    causes = dict(zip(*(result.comparison.changes[name].to_pylist() for name in ("product_id", "cause")), strict=True))
    assert causes == {**dict.fromkeys(ids[:3], "withdrawn"), ids[5]: "new_picture"}
    assert own_store.exists("reports", f"scores-{result.snapshot.name}", "changes.html")
    everything = night(own_store, model, cache, "r4", full=True)
    assert everything.books["scored"] == len(ids) - 3 and set(scores_of(own_store)["run_id"]) == {"r4"}
    assert snapshots.roll_back(own_store, "scores", first.snapshot.name).sequence == 4
    pd.testing.assert_frame_equal(scores_of(own_store), before)
    assert snapshots.retain(own_store, "scores", 1) and snapshots.current(own_store, "scores").name == first.snapshot.name  # type: ignore[union-attr]
    pd.testing.assert_frame_equal(scores_of(own_store), before)


def with_other_heads(model: ResolvedModel) -> ResolvedModel:
    """The same trunk under heads that answer otherwise."""
    card, network = bundle.load(model.files, name=model.name)
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.mul_(-1.0 if parameter.ndim == 2 else 1.0)
    files = bundle.dump(card, network)
    return ResolvedModel(name="other", files=files, card=bundle.read_card(files[bundle.CARD], name="other"))


def test_new_heads_on_the_same_trunk_run_no_network_and_answer_as_if_they_had(
    own_store: Store, model: ResolvedModel, cache: str, tmp_path: Path
) -> None:
    run(own_store, model, cache)
    other = with_other_heads(model)
    assert other.card.trunk_version == model.card.trunk_version != other.card.head_version
    result = night(own_store, other, cache, "r2")
    assert result.books["from_embeddings"] == result.books["scored"] == result.books["catalog"]
    reused = scores_of(own_store)
    night(own_store, other, cache, "r3", full=True)
    computed = scores_of(own_store)
    same = ["articleType_predicted", "score_key", "model_version", "articleType_needs_review"]
    assert reused[same].equals(computed[same])
    assert np.allclose(reused["articleType_probability"], computed["articleType_probability"], atol=1e-4)


def test_a_gate_refuses_to_publish_and_publishing_anyway_scores_nothing_again(
    own_store: Store, model: ResolvedModel, cache: str
) -> None:
    first = run(own_store, model, cache)
    other = with_other_heads(model)
    tracked, catalog = tracking.locate(own_store), snapshots.current(own_store, "catalog")
    assert catalog is not None
    how = How(choice=CHOICE, cache=cache, run_id="r2", limits=Limits(label_psi=0.01))
    with pytest.raises(GateRefused, match="label"), tracking.run(tracked, "score", {}) as logged:
        score_and_log(logged, own_store, catalog, other, how, Peak())
    assert snapshots.current(own_store, "scores") == first
    assert [file.path for file in tracked.client().list_artifacts(logged.run_id)] == ["changes.html"]
    assert "label" in tracked.client().get_run(logged.run_id).data.tags["refused_by_gates"]
    result = night(own_store, other, cache, "r3", limits=Limits(label_psi=0.01), publish_anyway=True)
    assert result.snapshot.sequence == 2 and result.snapshot.manifest["refused_by_gates"]
    assert set(scores_of(own_store)["run_id"]) == {"r2"}


@pytest.mark.parametrize("choice", [CHOICE, TORCH], ids=["decoded by the actor", "decoded by readers"])
def test_a_picture_that_kills_its_process_is_found_and_quarantined(
    own_store: Store, model: ResolvedModel, cache: str, choice: EngineChoice
) -> None:
    catalog = snapshots.current(own_store, "catalog")
    assert catalog is not None
    killer, garbage = own_store.read_table(catalog.files[0], columns=["product_id"])["product_id"][5:7].to_pylist()
    change_catalog(own_store, drop=[], repaint={killer: deadly.POISON, garbage: b"garbage"})
    result = night(own_store, model, cache, decoder="tests.cluster.deadly:decode", choice=choice)
    assert result.books["quarantined"] == 2 and result.books["scored"] == result.books["catalog"] - 2
    found = {row["product_id"]: row for row in own_store.read_table(result.snapshot.manifest["quarantine"]).to_pylist()}
    assert found.keys() == {killer, garbage} and all(row["image_sha256"] for row in found.values())
    assert "died" in found[killer]["detail"] and "not_an_image" in found[garbage]["detail"]
    assert result.timing["decode_s"] > 0
    assert night(own_store, model, cache, "r2", choice=choice).already_current
