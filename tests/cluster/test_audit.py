"""The loop, once: labels go wrong, the audit finds them, the CSV goes back through ingest, and the next training sees them."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fashion_ray import snapshots, tracking
from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.sources import DemoSource, NoFeed
from fashion_ray.catalog.tasks import here
from fashion_ray.cluster import Resources
from fashion_ray.insight.audit import CSV, audit, prepare
from fashion_ray.insight.audit_options import AuditOptions
from fashion_ray.insight.embedding import pretrained_features
from fashion_ray.storage import Store
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.run import parameters_of
from tests.cluster.conftest import CHOICE

WRONG = 12


def labels_of(store: Store, catalog: snapshots.Snapshot) -> dict[str, str]:
    """The articleType of every labelled product."""
    table = store.read_table(catalog.folder, columns=["product_id", "articleType"]).to_pandas().dropna()
    return dict(zip(table["product_id"], table["articleType"], strict=True))


def corrected(store: Store, content: bytes) -> snapshots.Snapshot:
    """The catalog after a CSV of labels."""
    return ingest(Request(source=NoFeed(), delta=True, corrected=content), store, run_id="test", each=here).snapshot


@pytest.fixture
def corrupted(tmp_path: Path) -> tuple[Store, dict[str, str], dict[str, str]]:
    """A root whose demo catalog has wrong labels; its true labels, and the wrong ones."""
    store = Store(str(tmp_path / "root"))
    first = ingest(Request(source=DemoSource(seed=1, products=400)), store, run_id="test", each=here)
    truth = labels_of(store, first.snapshot)
    counts = pd.Series(truth).value_counts()
    often = sorted(counts[counts >= 15].index)
    able = sorted(product for product, label in truth.items() if label in often)
    chosen = np.random.default_rng(0).choice(able, WRONG, replace=False)
    wrong = {str(product): often[(often.index(truth[product]) + len(often) // 2) % len(often)] for product in chosen}
    lines = [f"{product},articleType,{label}" for product, label in wrong.items()]
    corrected(store, "\n".join(["product_id,target,label", *lines]).encode())
    return store, truth, wrong


def test_the_loop_closes(corrupted: tuple[Store, dict[str, str], dict[str, str]], resources: Resources, cache: str) -> None:
    store, truth, wrong = corrupted
    before = snapshots.current(store, "catalog")
    assert before is not None and before.manifest["corrections"] == WRONG
    options = AuditOptions(root=store.uri, cache=cache, titles=True, top=80)
    asked = prepare(options, store, before)
    embed = partial(pretrained_features, store=store, catalog=before, cache=cache, choice=CHOICE)
    result = audit(asked, store, embed, "test")
    assert result.snapshot.manifest["books"]["catalog"] == before.manifest["rows"]
    hashes = asked.products["image_sha256"].to_pylist()
    assert (embed(hashes, asked.trunk) == embed(hashes, asked.trunk)).all(), "the cache gives what was computed"

    rows = pd.read_csv(io.BytesIO(store.read_bytes(result.folder, CSV)), dtype=str, keep_default_na=False)
    assert len(rows) <= 80 + result.snapshot.manifest["books"]["catch_all"] and set(rows["label"]) == {""}
    listed = set(wrong) & set(rows["product_id"])
    assert len(listed) >= 0.75 * WRONG, "a list of a fifth of the products has most of the wrong labels"
    rows["label"] = [truth[product] if product in wrong else "" for product in rows["product_id"]]  # as people fill it in
    after = corrected(store, rows.to_csv(index=False).encode())
    now = labels_of(store, after)
    assert all(now[product] == truth[product] for product in listed)
    assert {product: now[product] for product in now if product not in wrong} == {p: truth[p] for p in now if p not in wrong}
    assert after.name != before.name and after.manifest["corrections"] == WRONG

    training = TrainOptions(root=store.uri, cache=cache)
    parameters = parameters_of(training, after, "next")
    assert parameters["catalog_corrections"] == WRONG
    with tracking.run(tracking.locate(store), "train", parameters) as run:
        data = run.tracking.client().get_run(run.run_id).data
    assert data.params["catalog_corrections"] == str(WRONG)
