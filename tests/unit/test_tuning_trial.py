"""A trial in one process: what it learns from is shared, and what it cannot do is said."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from fashion_ray import snapshots
from fashion_ray.errors import UserError
from fashion_ray.models.engines import EngineChoice
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training.loop import StageLoop
from fashion_ray.training.losses import Batch
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.training.recipe_options import recipe_of
from fashion_ray.training.stage_cache import picture_batches
from fashion_ray.tuning.features import Features, rows_of
from fashion_ray.tuning.trial import run_trial

CHOICE = EngineChoice(name="torch", precision="f32", device="cpu")
SIDE = 32
Trial = Callable[..., list[dict[str, Any]]]


def picture(gender: int, number: int) -> bytes:
    """A grey picture, brighter for one gender."""
    sink = io.BytesIO()
    Image.fromarray(np.full((SIDE, SIDE, 3), 60 + 120 * gender + number % 20, dtype=np.uint8)).save(sink, format="PNG")
    return sink.getvalue()


@pytest.fixture
def catalog(tmp_path: Path) -> tuple[Store, Snapshot]:
    """48 pictures of two genders, in two files."""
    store = Store(str(tmp_path / "root"))
    entries = []
    schema: list[str] = []
    for part in range(2):
        numbers = range(24 * part, 24 * part + 24)
        table = pa.table(
            {
                "product_id": [str(number) for number in numbers],
                "group_id": [str(number) for number in numbers],
                "split": [("train", "train", "validation", "test")[number // 2 % 4] for number in numbers],
                "image": [picture(number % 2, number) for number in numbers],
                "gender": [("Men", "Women")[number % 2] for number in numbers],
            }
        )
        name = f"part-{part}.parquet"
        entries.append(snapshots.file_entry(name, 24, store.write_table(table, "catalog", "snapshots", "one", name)))
        schema = [f"{field.name}: {field.type}" for field in table.schema]
    manifest = {"files": entries, "schema": schema, "picture_sizes": {f"{SIDE}x{SIDE}": 48}, "rows": 48, "source": "test"}
    return store, snapshots.publish(store, "catalog", "one", manifest, base=None)


@pytest.fixture
def trial(catalog: tuple[Store, Snapshot], tmp_path: Path) -> Trial:
    """Runs a trial with these options; the figures that it reported."""

    def run(**changes: Any) -> list[dict[str, Any]]:
        settings = {"schedule": "heads:2,top1:1", "batch_size": 8, "input_size": "32x32", "weights": "none", **changes}
        options = TrainOptions(root=catalog[0].uri, cache=str(tmp_path / "cache"), targets=("gender",), **settings)
        rows: list[dict[str, Any]] = []
        features = Features(store=catalog[0], choice=CHOICE, threads=1)
        run_trial(prepare(options, *catalog), features, rows.append, threads=1)
        return rows

    return run


def entries(tmp_path: Path) -> set[tuple[str, int]]:
    """The files of the cache; one that was computed again is another."""
    return {(path.name, path.stat().st_ino) for path in (tmp_path / "cache" / "activations").glob("*.arrow")}


def test_trials_on_the_same_trunk_share_what_was_computed(trial: Trial, tmp_path: Path) -> None:
    first = trial()
    assert [(row["epoch"], row["stage"]) for row in first] == [(1, "heads"), (2, "heads"), (3, "top1")]
    assert all(0 <= row["score"] <= 1 and row["train_rows"] == 24 for row in first)
    before = entries(tmp_path)
    assert len(before) == 4, "two sides at two boundaries"
    again, other = trial(), trial(head="mlp", head_widths=(8,), dropout=0.1, heads_learning_rate=0.01, optimizer="sgd")
    assert [row["validation_loss"] for row in again] == [row["validation_loss"] for row in first]
    assert [row["validation_loss"] for row in other] != [row["validation_loss"] for row in first]
    assert entries(tmp_path) == before
    trial(schedule="heads:2", crop=0.2)
    assert len(entries(tmp_path) - before) == 1, "another augmentation changes the training rows alone"


def test_a_trial_with_more_rows_a_batch_than_there_are_is_refused(trial: Trial) -> None:
    with pytest.raises(UserError, match="there are 24 training rows"):
        trial(batch_size=64)


FROM_SCRATCH = {
    "backbone": "lenet5", "head": "linear", "schedule": "all:3", "learning_rate": 0.01, "layer_decay": 1.0, "dropout": 0.0
}  # fmt: skip


def test_trials_in_which_every_layer_learns_share_decoded_pictures(trial: Trial, tmp_path: Path) -> None:
    first = trial(**FROM_SCRATCH)
    assert [row["stage"] for row in first] == ["all"] * 3 and all(row["train_rows"] == 24 for row in first)
    before = entries(tmp_path)
    assert len(before) == 2, "two sides"
    again, other = trial(**FROM_SCRATCH), trial(**{**FROM_SCRATCH, "backbone": "mlp300", "rotation": 20.0})
    assert [row["train_loss"] for row in again] == [row["train_loss"] for row in first]
    assert [row["train_loss"] for row in other] != [row["train_loss"] for row in first]
    trial(**{**FROM_SCRATCH, "schedule": "heads:1", "cached_views": 0})
    assert entries(tmp_path) == before, "pictures are the same for every network and augmentation"
    trial(**{**FROM_SCRATCH, "decoded_size": "16x16"})
    assert len(entries(tmp_path) - before) == 2, "another size is other pixels"


@pytest.mark.parametrize("schedule", ["all:3", "heads:3"])
def test_a_trial_learns_from_decoded_pictures_what_training_learns(
    trial: Trial, catalog: tuple[Store, Snapshot], tmp_path: Path, schedule: str
) -> None:
    """With a batch of all rows and no augmentation their order does not matter, so the steps are those of jobs/train.py."""
    same = {**FROM_SCRATCH, "schedule": schedule, "cached_views": 0, "batch_size": 24, "flip": False, "shift": 0}
    found = trial(**same)
    options = TrainOptions(
        root=catalog[0].uri, cache=str(tmp_path), targets=("gender",), input_size="32x32", weights="none", **same
    )
    prepared = prepare(options, *catalog)
    recipe = recipe_of(options, prepared.fed, prepared.card.classes, bf16=False)
    (stage,) = prepared.stages
    sides = {
        side: [Batch(torch.from_numpy(one[0]), torch.from_numpy(one[1])) for one in rows_of(catalog[0], prepared, side, 24)]
        for side in ("train", "validation")
    }
    sides["train"] = [
        Batch(torch.cat([one.inputs for one in sides["train"]]), torch.cat([one.labels for one in sides["train"]]))
    ]
    loop = StageLoop(
        prepared.network, make_optimizer(prepared.network, recipe), recipe, stage, cached=False, steps_per_epoch=1,
        classes={"gender": 2}, device=torch.device("cpu"),
    )  # fmt: skip
    for epoch, row in enumerate(found):
        expected = loop.train_epoch(sides["train"], epoch) | loop.evaluate(sides["validation"])
        for figure in ("train_loss", "validation_loss", "score", "steps"):
            assert row[figure] == pytest.approx(expected[figure], rel=1e-4), (epoch, figure)
    assert found[-1]["train_loss"] < found[0]["train_loss"]


def test_pictures_are_augmented_anew_in_each_epoch_and_the_same_for_the_same_seed(
    catalog: tuple[Store, Snapshot], tmp_path: Path
) -> None:
    options = TrainOptions(
        root=catalog[0].uri, cache=str(tmp_path / "cache"), targets=("gender",), input_size="32x32", noise=20.0, weights="none"
    )
    prepared = prepare(options, *catalog)
    train, validation = Features(store=catalog[0], choice=CHOICE, threads=1).pictures(prepared)
    recipe = recipe_of(options, prepared.fed, prepared.card.classes, bf16=False)

    def epoch(seed: int) -> list[Batch]:
        return list(picture_batches(train, 8, recipe, None, options.augmentation, seed=seed))

    one, again, other = epoch(0), epoch(0), epoch(1)
    assert len(one) == 3 and one[0].inputs.shape == (8, SIDE, SIDE, 3) and one[0].inputs.dtype == torch.uint8
    assert all(torch.equal(first.inputs, second.inputs) for first, second in zip(one, again, strict=True))
    assert not any(torch.equal(first.inputs, second.inputs) for first, second in zip(one, other, strict=True))
    stored = torch.cat([batch.inputs for batch in validation.in_order(5)])
    decoded = np.concatenate([pixels for pixels, _, _ in rows_of(catalog[0], prepared, "validation", 7)])
    assert np.array_equal(stored.numpy(), decoded), "rows that are evaluated are as they are"


def test_rows_are_fed_as_often_as_training_feeds_them(catalog: tuple[Store, Snapshot], tmp_path: Path) -> None:
    options = TrainOptions(root=catalog[0].uri, cache=str(tmp_path), targets=("gender",), oversample_to=20, weights="none")
    prepared = prepare(options, *catalog)
    batches = list(rows_of(catalog[0], prepared, "train", 7))
    labels = np.concatenate([batch[1] for batch in batches])
    assert np.bincount(labels[:, 0]).tolist() == [20, 20] and prepared.fed.rows == 40
    assert np.bincount(np.concatenate([batch[2] for batch in batches])).tolist() == [24, 16], "copies are numbered"
    assert all(len(pixels) == len(names) == len(copies) <= 7 for pixels, names, copies in batches)
    validation = np.concatenate([batch[1] for batch in rows_of(catalog[0], prepared, "validation", 7)])
    assert len(validation) == 12
