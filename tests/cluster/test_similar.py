"""Similar products on a cluster: every product once, quiet nights, crashes, rivals, other methods and features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fashion_ray import snapshots, tracking
from fashion_ray.cluster import Resources
from fashion_ray.errors import ConflictError
from fashion_ray.insight import similar, spreading
from fashion_ray.insight.neighbours import unit
from fashion_ray.insight.similar import similar_products
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.insight.similar_report import similar_and_log
from fashion_ray.memory import Peak
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

DIM = 24


def publish_scores(store: Store, catalog: Snapshot, *, seed: int = 0, changed: int = 0, left_out: int = 0) -> Snapshot:
    """Embeddings as jobs/score.py publishes them; some of them changed since the seed's, and some products left out."""
    ids = store.read_table(catalog.folder, columns=["product_id"])["product_id"].to_pylist()
    rng = np.random.default_rng(seed)
    vectors = rng.random((len(ids), DIM)).astype(np.float32)
    vectors[:changed] = rng.random((changed, DIM))
    vectors, ids = vectors[left_out:], ids[left_out:]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    rows = pa.table({"product_id": ids, "embedding": lists, "trunk_version": ["t1"] * len(ids)})
    name = snapshots.fingerprint(seed, changed, left_out)
    files = [
        snapshots.file_entry("part-0.parquet", len(ids), store.write_table(rows, f"scores/snapshots/{name}/part-0.parquet"))
    ]
    manifest = {"files": files, "rows": len(ids), "catalog_snapshot": catalog.name, "targets": [], "model_version": "none"}
    return snapshots.publish(store, "scores", name, manifest, base=snapshots.current(store, "scores"))


def table_of(store: Store, snapshot: Snapshot) -> dict[str, list[tuple[str, float]]]:
    """The table as other tools read it."""
    frame = pd.read_parquet(store.path(snapshot.folder))
    assert frame["product_id"].is_unique
    return {
        row.product_id: [(one["product_id"], one["similarity"]) for one in row.similar] for row in frame.itertuples(index=False)
    }


@pytest.fixture
def options(own_store: Store, cache: str, monkeypatch: pytest.MonkeyPatch) -> SimilarOptions:
    """Blocks so small that there are several of them."""
    monkeypatch.setattr(spreading, "BLOCK_ROWS", 150)
    return SimilarOptions(root=own_store.uri, cache=cache, exclude_duplicates=False)


def test_every_product_has_its_neighbours_and_a_quiet_night_changes_what_changed(
    own_store: Store, catalog: Snapshot, resources: Resources, options: SimilarOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = publish_scores(own_store, catalog, left_out=3)
    first = similar_products(options, own_store, run_id="r1")
    count = catalog.manifest["rows"]
    assert first.books["catalog"] == count == first.books["computed"] + 3 and first.books["quarantined"] == 3
    reasons = own_store.read_table(first.snapshot.manifest["quarantine"])
    assert set(reasons["reason"].to_pylist()) == {"no_embedding"} and reasons.num_rows == 3
    rows = own_store.read_table(scores.folder)
    ids = rows["product_id"].to_pylist()
    vectors = unit(np.array(rows["embedding"].to_pylist(), np.float32)).astype(np.float64)
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -1)
    found = table_of(own_store, first.snapshot)
    assert list(found) == ids
    for row in range(0, len(ids), 37):
        nearest = np.argsort(-cosine[row])[:5]
        assert [one for one, _ in found[ids[row]]] == [ids[each] for each in nearest]
        assert [value for _, value in found[ids[row]]] == pytest.approx(cosine[row][nearest].tolist(), abs=1e-6)
    again = similar_products(options, own_store, run_id="r2")
    assert again.already_current and again.snapshot.sequence == 1

    publish_scores(own_store, catalog, changed=5)  # three came, five are others
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "publish", lambda *arguments, **options: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            similar_products(options, own_store, run_id="r3")
    current = snapshots.current(own_store, "similar")
    assert current is not None and table_of(own_store, current) == found, "who dies before the commit leaves nothing to see"
    quiet = similar_products(options, own_store, run_id="r4")
    assert 5 <= quiet.books["computed"] < count / 2 and quiet.books["carried_over"] == count - quiet.books["computed"]
    full = similar_products(replace(options, full=True), own_store, run_id="r5")
    assert full.books["computed"] == count
    assert table_of(own_store, full.snapshot) == table_of(own_store, quiet.snapshot) != found


def test_of_two_runs_at_once_the_second_is_refused(
    own_store: Store, catalog: Snapshot, resources: Resources, options: SimilarOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_scores(own_store, catalog)
    name = similar_products(options, own_store, run_id="r1").snapshot.name
    with own_store.held("similar", "locks", name), pytest.raises(ConflictError, match="another process is at work"):
        similar_products(options, own_store, run_id="r2")

    def slow(*arguments: object, **others: object) -> object:
        """Another run, with other options, publishes while this one searches."""
        monkeypatch.setattr(similar, "_compute", compute)
        similar_products(replace(options, k=2), own_store, run_id="rival")
        return compute(*arguments, **others)  # type: ignore[arg-type]

    compute = similar._compute
    monkeypatch.setattr(similar, "_compute", slow)
    with pytest.raises(ConflictError, match="another run published"):
        similar_products(replace(options, k=4), own_store, run_id="r3")
    current = snapshots.current(own_store, "similar")
    assert current is not None and current.manifest["settings"]["k"] == 2


def test_a_run_leaves_a_page_and_figures_also_with_an_index_and_with_the_classic_features(
    own_store: Store, catalog: Snapshot, resources: Resources, options: SimilarOptions
) -> None:
    publish_scores(own_store, catalog)
    tracked = tracking.locate(own_store)
    with tracking.run(tracked, "similar", {}) as run:
        said = similar_and_log(replace(options, method="approximate", same=("gender",)), own_store, run, Peak())
    current = snapshots.current(own_store, "similar")
    assert current is not None and 0.5 < current.manifest["recall"] <= 1 and "recall at 5" in said
    assert "<h2>Examples</h2>" in own_store.read_bytes(f"reports/similar-{current.name}", "similar.html").decode()
    metrics = tracked.client().get_run(run.run_id).data.metrics
    assert metrics["similar/recall"] == current.manifest["recall"] and metrics["similar/computed"] == catalog.manifest["rows"]
    with tracking.run(tracked, "similar", {}) as run:
        said = similar_and_log(replace(options, compare=True, engine="openvino", precision="f32"), own_store, run, Peak())
    assert "ImageNet class scores" in said and "fine-tuned trunk" in said
    metrics = tracked.client().get_run(run.run_id).data.metrics
    assert metrics["precision_at_5/pretrained_trunk/articleType"] > metrics["precision_at_5/at_random/articleType"]
    with tracking.run(tracked, "similar", {}) as run:
        similar_and_log(replace(options, baseline="classic", engine="openvino", precision="f32"), own_store, run, Peak())
    classic = snapshots.current(own_store, "similar-classic")
    assert classic is not None and classic.manifest["rows"] == catalog.manifest["rows"]
    assert classic.manifest["source"].startswith("features-classic/")
