"""Training on a cluster: two workers, cached and streamed stages, exact validation, continuing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from fashion_ray import snapshots, tracking
from fashion_ray.catalog.pictures import decode_many
from fashion_ray.catalog.splits import SPLITS
from fashion_ray.cluster import Resources
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.models import bundle
from fashion_ray.storage import Store
from fashion_ray.training import feeding, publish, vocabulary
from fashion_ray.training import run as training
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.training.run import TrainResult
from tests.cluster.conftest import CHOICE

pytestmark = pytest.mark.timeout(600)  # whichever is first trains for all

Trained = tuple[TrainResult, tracking.TrackedRun]

NEAR_TIE = 0.01
"""Logits that differ by less may change places between two engines."""


def test_every_stage_ran_and_the_bundle_answers(trained: Trained, store: Store) -> None:
    result, _ = trained
    assert list(result.history["stage"]) == ["heads", "heads", "top1", "all"]
    assert list(result.history["epoch"]) == [1, 2, 3, 4]
    card, network = bundle.load(result.files, name="test")
    assert store.read_bytes("models", card.model_version, bundle.CARD) == result.files[bundle.CARD]
    embeddings, *logits = network(torch.zeros(2, *card.decoded_size, 3, dtype=torch.uint8))
    assert embeddings.shape == (2, card.embedding_dim)
    assert [tuple(values.shape) for values in logits] == [(2, len(card.classes[target])) for target in card.targets]
    assert 0 < card.temperatures["articleType"] < 20


def test_validation_over_two_workers_is_the_plain_figure(
    trained: Trained, store: Store, catalog: snapshots.Snapshot, options: TrainOptions
) -> None:
    """The best epoch's accuracies, recomputed here over every validation row once, in one process."""
    result, _ = trained
    table = store.read_table(catalog.folder, columns=["image", "split", *options.targets])
    labels = {name: table[name].to_pylist() for name in [*options.targets, "split"]}
    words = vocabulary.build(options.targets, labels, labels["split"], minimum=options.min_class_count)
    rows = [row for row, split in enumerate(labels["split"]) if split == "validation"]
    card, network = bundle.load(result.files, name="test")
    images = table["image"].to_pylist()
    pixels, bad = decode_many([images[row] for row in rows], *card.decoded_size)
    assert not bad
    best = result.history.set_index("epoch").loc[result.card.provenance["best_epoch"]]
    assert best["score"] == result.history["score"].max()
    open_blocks = {"heads": 0, "top1": 1, "all": len(network.trunk.blocks)}[best["stage"]]
    with torch.inference_mode():
        inputs = network.trunk.lower(network.preprocess(torch.from_numpy(pixels)), open_blocks)
        if best["stage"] == "heads":
            inputs = inputs.mean((2, 3))
        if best["stage"] != "all":
            inputs = inputs.bfloat16().float()  # as activations are cached
        logits = network.answers(network.trunk.upper(inputs, open_blocks))
    for target, values in zip(card.targets, logits, strict=True):
        wanted = words.encode(target, [labels[target][row] for row in rows])
        known = torch.from_numpy(wanted[wanted >= 0])
        values = values[torch.from_numpy(wanted >= 0)]
        chosen = values.gather(1, known[:, None])[:, 0]
        ahead = chosen - values.scatter(1, known[:, None], -torch.inf).amax(1)
        # a near tie may fall either way: the engine's activations are the same to 1e-5 only, and are cached in bfloat16
        surely, perhaps = (ahead > NEAR_TIE).float().mean().item(), (ahead > -NEAR_TIE).float().mean().item()
        assert perhaps - surely < 0.2, "too many near ties to tell anything"
        assert surely - 1e-6 <= best[f"validation_accuracy/{target}"] <= perhaps + 1e-6


def test_every_epoch_is_in_mlflow_under_the_same_names(trained: Trained) -> None:
    result, run = trained
    history = run.tracking.client().get_metric_history(run.run_id, "validation_accuracy/articleType")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
    assert len(result.history) == history[-1].step, "the report's history ends with the last epoch, not with the best"
    assert [metric.value for metric in history] == pytest.approx(list(result.history["validation_accuracy/articleType"]))
    final = run.tracking.client().get_run(run.run_id).data.metrics
    assert final["test/articleType/accuracy"] == pytest.approx(result.evaluations["test"]["articleType"].accuracy)


def test_what_people_see_of_a_run_has_every_figure_and_says_of_which_split(
    trained: Trained, store: Store, catalog: snapshots.Snapshot
) -> None:
    result, run = trained
    control = replace(result, card=replace(result.card, provenance={**result.card.provenance, "shuffle_labels": True}))
    assert "not registered" in publish.publish(control, store, catalog, run, "shared")
    one = result.evaluations["test"]["articleType"]
    assert one.leaked_share == 0, "the catalog's own sides tear no group"
    assert one.slices is not None and set(one.slices["by"]) == {"gender", "season", "year", "training rows of the class"}
    tracked = run.tracking.client().get_run(run.run_id).data
    assert tracked.tags["figures_of"].startswith("Split stored. ")
    assert tracked.metrics["test/articleType/macro_f1_low"] <= tracked.metrics["test/articleType/macro_f1_high"]
    assert 0 <= tracked.metrics["test/articleType/roc_auc_micro"] <= 1
    assert any(name.startswith("test/articleType/slice/year/") for name in tracked.metrics)
    assert all(np.isfinite(value) for value in tracked.metrics.values())
    kept = {file.path for folder in ("plots", "tables") for file in run.tracking.client().list_artifacts(run.run_id, folder)}
    assert {"plots/articleType_curves.png", "tables/test_articleType_slices.csv", "tables/figures.json"} <= kept
    page = store.read_bytes("reports", "shared", "training.html").decode()
    assert "Split stored. " in page and "no picture" not in page
    assert "Surest mistakes" in page or one.accuracy == 1


def test_a_finished_run_again_repeats_no_epoch_and_ends_with_the_same_model(
    trained: Trained, store: Store, catalog: snapshots.Snapshot, options: TrainOptions, resources: Resources
) -> None:
    result, run = trained
    again = training.train(prepare(options, store, catalog), store, CHOICE, resources, run, "shared")
    assert again.card.model_version == result.card.model_version
    assert len(again.history) == len(result.history)


def test_a_run_may_go_on_with_other_means(store: Store) -> None:
    tracked = tracking.locate(store)
    with tracking.run(tracked, "train", {"cpus": 2}, name="summer", claim="c1") as first:
        pass
    with tracking.run(tracked, "train", {"cpus": 1}, name="summer", claim="c1") as again:
        assert again.run_id == first.run_id
    with tracking.run(tracked, "train", {"cpus": 1}, name="summer", claim="c2") as another:
        assert another.run_id != first.run_id, "names may be used again, claims are one run's"
    ended = tracked.client().get_run(first.run_id)
    assert (ended.info.status, ended.info.run_name, ended.data.tags["job"]) == ("FINISHED", "summer", "train")
    with pytest.raises(KeyboardInterrupt), tracking.run(tracked, "train", {}) as stopped:
        raise KeyboardInterrupt
    assert tracked.client().get_run(stopped.run_id).info.status == "KILLED"


def test_no_password_is_noted(store: Store, catalog: snapshots.Snapshot, options: TrainOptions) -> None:
    secret = replace(options, weights="https://user:hunter2@host/weights.pth")
    with training.claim(store, secret, catalog, "secret") as noted:
        assert "hunter2" not in str(noted)


def test_a_name_cannot_be_taken_over_by_other_options(store: Store, catalog: snapshots.Snapshot, options: TrainOptions) -> None:
    with (
        training.claim(store, options, catalog, "claimed") as noted,
        pytest.raises(ConflictError, match="at work"),
        training.claim(store, options, catalog, "claimed"),
    ):
        pass
    with training.claim(store, replace(options, workers=1), catalog, "claimed") as again:
        assert again == noted
    with (
        pytest.raises(UserError, match=r"learning_rate was 0\.002 and is 0\.5"),
        training.claim(store, replace(options, learning_rate=0.5), catalog, "claimed"),
    ):
        pass


KINDS = ("Apparel", "Accessories", "Footwear", "Personal Care")
"""Of the demo's masterCategories."""


def test_sides_and_copies_that_are_chosen_reach_every_worker(
    trained: Trained, store: Store, catalog: snapshots.Snapshot, options: TrainOptions, resources: Resources
) -> None:
    _, run = trained
    chosen = replace(
        options,
        split="fold:1/2",
        split_seed=3,
        only=(f"masterCategory={','.join(KINDS)}",),
        class_rows=("Tshirts=17",),
        max_per_class=20,
        oversample_to=12,
        class_weights="sqrt",
        schedule="heads:1,all:1",
        sampling="sqrt",
        head="mlp",
        optimizer="rmsprop",
        accumulate=2,
        ema_decay=0.9,
        mixup=0.2,
        cutmix=0.5,
        title_weight=0.5,
        rotation=10.0,
        monitor="validation_loss",
        find_learning_rate=True,
    )
    prepared = prepare(chosen, store, catalog)
    fed, targets = prepared.fed, list(prepared.words.classes)
    assert fed.dropped > 20 and fed.repeated > 5, "otherwise this test says nothing"
    found = {}
    for side in SPLITS:
        rows = feeding.labelled(store, catalog, prepared.scheme, side, targets)
        found[side] = set(rows.to_pandas()["product_id"])
        assert len(found[side]) == prepared.side_rows[side]
    assert not found["train"] & found["test"] and not found["validation"] & (found["train"] | found["test"])
    wanted = zip(column(store, catalog, "split"), column(store, catalog, "masterCategory"), strict=True)
    assert sum(prepared.side_rows.values()) == sum(side in SPLITS and kind in KINDS for side, kind in wanted)
    assert prepared.card.classes["masterCategory"] == sorted(KINDS)
    assert Counter(fed.classes["articleType"])[prepared.card.classes["articleType"].index("Tshirts")] == 17
    rows = feeding.labelled(store, catalog, prepared.scheme, "train", targets)
    assert "men" in prepared.title_words
    buckets = feeding.encoded(rows, prepared.words, copies=fed.copies).to_pandas()["bucket"]
    times = {vocabulary.bucket(one): fed.copies.get(one, 1) for one in found["train"]}
    assert Counter(buckets) == Counter({number: count for number, count in times.items() if count})

    result = training.train(prepared, store, CHOICE, resources, run, "balanced")
    each = fed.rows // 2 // 16 * 16  # a worker's share, in whole batches
    assert list(result.history["train_rows"]) == [2 * each, 2 * each], "from the cache and from pictures alike"
    assert list(result.history["steps"]) == [each // 16] * 2
    best = result.history.loc[result.history["validation_loss"].idxmin()]
    assert result.card.provenance["best_epoch"] == best["epoch"] and result.card.head == "mlp:256:relu"
    client = run.tracking.client()
    assert "tables/rate_curve.csv" in [file.path for file in client.list_artifacts(run.run_id, "tables")]
    assert "plots/rate_curve.png" in [file.path for file in client.list_artifacts(run.run_id, "plots")]
    assert result.evaluations["test"]["masterCategory"].rows == prepared.side_rows["test"]
    assert result.card.provenance["split"] == "fold:1/2" and result.card.provenance["train_rows"] == fed.rows
    assert result.card.provenance["title_words"] == len(prepared.title_words)
    assert bundle.load(result.files, name="test")[1].targets == targets, "what guessed words of titles is gone"


def column(store: Store, catalog: snapshots.Snapshot, name: str) -> list[str | None]:
    """A column of the catalog."""
    return list(store.read_table(catalog.folder, columns=[name])[name].to_pylist())


def test_a_batch_that_a_worker_cannot_fill_is_the_users_error(
    trained: Trained, store: Store, catalog: snapshots.Snapshot, options: TrainOptions, resources: Resources
) -> None:
    _, run = trained
    large = replace(options, batch_size=4096)
    with pytest.raises(UserError, match="--batch-size: got 4096"):
        training.train(prepare(large, store, catalog), store, CHOICE, resources, run, "large")
    assert not store.exists("runs", "large")
