"""A training run, from the driver's side. In: options, a catalog, a tracked run. Out: a registered bundle and its figures.

runs/<name>/      where Ray Train keeps checkpoints; `start/` holds the first weights and what the run was asked to do
models/<version>/ the bundle
"""

from __future__ import annotations

import json
import logging
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import ray.train
import safetensors.torch
import torch
from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer

from fashion_ray import tracking
from fashion_ray.cluster import Resources
from fashion_ray.config import without_password
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.models import backbones, bundle
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import Geometry, Network, build_heads, state_of
from fashion_ray.snapshots import Snapshot, fingerprint
from fashion_ray.storage import Store
from fashion_ray.training import feeding, vocabulary, worker
from fashion_ray.training.calibrate import calibrate, evaluate
from fashion_ray.training.deployed import predict
from fashion_ray.training.evaluation import TargetEvaluation
from fashion_ray.training.loop import Recipe
from fashion_ray.training.options import TrainOptions, size_of
from fashion_ray.training.schedule import Stage, parse, settle
from fashion_ray.training.topology import WorkerPlan, plan_workers

log = logging.getLogger(__name__)

IDENTITY = ("root", "cache", "address", "cpus", "preset", "name", "workers")
"""Options that may differ when a run is continued."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained, calibrated and evaluated bundle."""

    card: Card
    files: dict[str, bytes]
    history: pd.DataFrame
    evaluations: dict[str, dict[str, TargetEvaluation]]
    """Split to target to evaluation."""


@contextmanager
def claim(store: Store, options: TrainOptions, catalog: Snapshot, name: str) -> Iterator[dict[str, Any]]:
    """Hold a run's name while the block runs; yields what was noted of it, or what there is to note of a new one.

    Raises UserError if a run of this name was asked for something else, ConflictError if it is at work now.
    """
    asked = {key: value for key, value in tracking.flat(options).items() if key not in IDENTITY}
    asked["weights"] = without_password(options.weights)
    asked = json.loads(json.dumps({**asked, "catalog_snapshot": catalog.name}))
    try:
        noted = store.read_json("runs", name, "start", "run.json")
    except FileNotFoundError:
        noted = {"asked": asked}
    different = sorted(key for key in asked if noted["asked"].get(key) != asked[key])
    if different:
        shown = ", ".join(f"{key} was {noted['asked'].get(key)!r} and is {asked[key]!r}" for key in different)
        raise UserError(
            f"--name: the run {name!r} was started with other options ({shown}); expected the same, or another --name"
        )
    with store.held("runs", name, "start", ".lock") as free:
        if not free:
            raise ConflictError(f"--name: the run {name!r} is at work in another process; wait for it, or pass another --name")
        yield noted


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is settled before a cluster is asked for anything."""

    options: TrainOptions
    catalog: Snapshot
    labels: dict[str, list[str | None]]
    words: vocabulary.Vocabulary
    card: Card
    network: Network
    stages: tuple[Stage, ...]


def prepare(options: TrainOptions, store: Store, catalog: Snapshot) -> Prepared:
    """Classes, first weights and stages. Raises UserError for options that do not fit the catalog or the trunk."""
    labels = store_labels(store, catalog, options)
    words = vocabulary.build(options.targets, labels, labels["split"], minimum=options.min_class_count)
    card, network = first_network(options, words, catalog)
    try:
        stages = tuple(settle(parse(options.schedule), len(network.trunk.blocks)))
    except ValueError as error:
        raise UserError(f"--schedule: {error}") from error
    return Prepared(options=options, catalog=catalog, labels=labels, words=words, card=card, network=network, stages=stages)


def train(
    prepared: Prepared, store: Store, choice: EngineChoice, has: Resources, run: tracking.TrackedRun, name: str
) -> TrainResult:
    """Train, calibrate, evaluate and write the bundle. Raises UserError if the cluster cannot hold the workers."""
    options = prepared.options
    plan = plan_workers(
        options.workers, cpus=has.cpus, gpus=has.gpus if choice.device == "cuda" else 0, nodes=has.nodes,
        cpus_per_node=has.cpus_per_node,
    )  # fmt: skip
    rows = prepared.labels["split"].count("train")
    if rows < options.batch_size:
        raise UserError(f"--batch-size: got {options.batch_size}, but there are {rows} training rows; expected at most so many")
    if not store.exists("runs", name, "start", worker.WEIGHTS):
        store.write_bytes(safetensors.torch.save(state_of(prepared.network)), "runs", name, "start", worker.WEIGHTS)
    settings = _settings(prepared, store, choice, plan.threads, name)
    log.info(
        "run %s: %d training and %d validation rows, %d workers of %d threads, %s %s on %s",
        name, settings.train_rows, settings.validation_rows, plan.workers, plan.threads, choice.name, choice.precision,
        choice.device,
    )  # fmt: skip
    best, history = _fit(prepared, store, settings, plan, run, name)
    prepared.network.load_state_dict(best)
    return _finish(prepared, store, choice, history, run, name)


def _settings(prepared: Prepared, store: Store, choice: EngineChoice, threads: int, name: str) -> worker.Settings:
    options, sides = prepared.options, prepared.labels["split"]
    return worker.Settings(
        store=store, start=f"runs/{name}/start", card=prepared.card, stages=prepared.stages,
        recipe=Recipe(
            learning_rate=options.learning_rate, heads_learning_rate=options.heads_learning_rate,
            layer_decay=options.layer_decay, weight_decay=options.weight_decay, label_smoothing=options.label_smoothing,
            batchnorm_learns=options.batchnorm == "learned", bf16=choice.precision == "bf16",
        ),
        choice=choice, batch_size=options.batch_size, cached_views=options.cached_views, shift=options.shift,
        patience=options.patience, seed=options.seed, threads=threads, cache=options.cache,
        data_key=fingerprint(
            prepared.catalog.name, sorted(prepared.words.classes.items()), options.shuffle_labels, options.seed
        ),
        train_rows=sides.count("train"), validation_rows=sides.count("validation"),
    )  # fmt: skip


def _control(prepared: Prepared) -> tuple[dict[str, np.ndarray], int] | None:
    """The labels that rows are given at random in the control experiment."""
    if not prepared.options.shuffle_labels:
        return None
    rows = [row for row, split in enumerate(prepared.labels["split"]) if split == "train"]
    pool = {
        target: prepared.words.encode(target, [prepared.labels[target][row] for row in rows])
        for target in prepared.words.classes
    }
    return pool, prepared.options.seed


def store_labels(store: Store, catalog: Snapshot, options: TrainOptions) -> dict[str, list[str | None]]:
    """The label columns of the whole catalog, and `split`."""
    table = store.read_table(catalog.folder, columns=[*options.targets, "split"])
    return {name: table[name].to_pylist() for name in table.column_names}


def first_network(options: TrainOptions, words: vocabulary.Vocabulary, catalog: Snapshot) -> tuple[Card, Network]:
    """The network before its first step, the same for the same options, and a card without versions."""
    torch.manual_seed(options.seed)
    trunk = backbones.build(options.backbone, options.weights)
    input_size = size_of(options.input_size)
    decoded = decoded_size(options.decoded_size, input_size, catalog.manifest["picture_sizes"])
    heads = build_heads(options.head, trunk.spec.embedding_dim, words.classes, options.dropout)
    network = Network(Geometry(decoded_size=decoded, input_size=input_size), trunk, heads)
    card = Card(
        backbone=options.backbone, embedding_dim=trunk.spec.embedding_dim, mean=trunk.spec.mean, std=trunk.spec.std,
        decoded_size=decoded, input_size=input_size, head=options.head, dropout=options.dropout, classes=words.classes,
        levels=words.paths.levels, paths=words.paths.paths,
        temperatures=dict.fromkeys(words.classes, 1.0), thresholds=dict.fromkeys(words.classes, 0.5),
    )  # fmt: skip
    return card, network


def decoded_size(asked: str, input_size: tuple[int, int], picture_sizes: dict[str, int]) -> tuple[int, int]:
    """The canonical size of pictures: as asked, or the catalog's commonest if it is no larger than the trunk's input."""
    if asked != "auto":
        return size_of(asked)
    commonest = max(picture_sizes, key=lambda size: picture_sizes[size])
    height, width = (int(side) for side in commonest.split("x"))
    return (height, width) if height <= input_size[0] and width <= input_size[1] else input_size


class EpochLogger(UserCallback):  # type: ignore[misc]
    """Sends each epoch's metrics to MLflow from the controller, so the UI shows a run while it trains."""

    def __init__(self, run: tracking.TrackedRun) -> None:
        self._run = run

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Log the first rank's figures; all ranks' are the same."""
        row = metrics[0]
        self._run.metrics({key: value for key, value in row.items() if isinstance(value, float)}, step=row["epoch"])


def _fit(
    prepared: Prepared, store: Store, settings: worker.Settings, plan: WorkerPlan, run: tracking.TrackedRun, name: str
) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """Run Ray Train; the best epoch's weights and every epoch's figures."""
    words, catalog = prepared.words, prepared.catalog
    targets = list(words.classes)
    train_rows = feeding.encoded(feeding.labelled(store, catalog, "train", targets), words, control=_control(prepared))
    datasets = {
        "train": feeding.decoded(train_rows, settings.card.decoded_size),
        "validation": feeding.encoded(feeding.labelled(store, catalog, "validation", targets), words),
    }
    trainer = TorchTrainer(
        worker.train_worker,
        train_loop_config={"settings": settings},
        scaling_config=ScalingConfig(
            num_workers=plan.workers, use_gpu=plan.gpus_per_worker > 0, resources_per_worker=plan.resources()
        ),
        datasets=datasets,
        dataset_config=DataConfig(datasets_to_split=["train"]),
        run_config=RunConfig(
            name=name,
            storage_path=store.path("runs"),
            storage_filesystem=store.arrow_filesystem(),
            failure_config=FailureConfig(max_failures=2, controller_failure_limit=2),
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score"),
            callbacks=[EpochLogger(run)],
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    at_termination = signal.getsignal(signal.SIGTERM)
    try:
        result = trainer.fit()
    except SystemExit as stop:  # what Ray Train makes of Ctrl-C
        raise KeyboardInterrupt from stop
    except ray.train.TrainingFailedError as error:
        mistakes = [cause for cause in getattr(error, "worker_failures", {}).values() if isinstance(cause, UserError)]
        if mistakes:
            raise mistakes[0] from error
        raise
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, at_termination)  # Ray Train leaves another handler behind
    kept = sorted(
        ((metrics["score"], metrics["epoch"], place) for place, metrics in result.best_checkpoints), key=lambda k: k[:2]
    )
    history = json.loads(_read(result.checkpoint, worker.PROGRESS))["history"]  # of the latest, which may not be among the best
    log.info("best epoch %d of %d, validation score %.4f", kept[-1][1], len(history), kept[-1][0])
    return safetensors.torch.load(_read(kept[-1][2], worker.WEIGHTS)), pd.DataFrame(history)


def _read(checkpoint: ray.train.Checkpoint, name: str) -> bytes:
    with checkpoint.filesystem.open_input_stream(f"{checkpoint.path}/{name}") as stream:
        return bytes(stream.read())


def _finish(
    prepared: Prepared, store: Store, choice: EngineChoice, history: pd.DataFrame, run: tracking.TrackedRun, name: str
) -> TrainResult:
    """Calibrate and evaluate through the engine that will score, then write the bundle."""
    options, catalog, words = prepared.options, prepared.catalog, prepared.words
    card, network = prepared.card, prepared.network
    targets = list(words.classes)
    candidate = bundle.dump(card, network)
    found = {
        split: predict(store, catalog, split, targets, files=candidate, choice=choice, cache=options.cache)
        for split in ("validation", "test")
    }
    card = calibrate(card, found["validation"], words, review_precision=options.review_precision)
    evaluations = {split: evaluate(card, rows, words) for split, rows in found.items()}
    metrics = {
        key: value
        for split, targets_ in evaluations.items()
        for one in targets_.values()
        for key, value in one.metrics(split).items()
    }
    best = history.iloc[int(history["score"].to_numpy().argmax())]
    provenance = {
        "run_id": run.run_id, "run_name": name, "catalog_snapshot": catalog.name, "best_epoch": int(best["epoch"]),
        "engine": choice.name, "precision": choice.precision, "schedule": options.schedule,
        "weights": without_password(options.weights), "shuffle_labels": options.shuffle_labels,
        "metrics": {key: round(value, 6) for key, value in metrics.items() if np.isfinite(value)},
    }  # fmt: skip
    files = bundle.dump(replace(card, provenance=provenance), network)
    sealed = bundle.read_card(files[bundle.CARD], name=name)
    for file, content in files.items():
        store.write_bytes(content, "models", sealed.model_version, file)
    run.metrics(metrics | {"best_epoch": float(best["epoch"])})
    return TrainResult(card=sealed, files=files, history=history, evaluations=evaluations)


def new_name() -> str:
    """A name for a run that was given none."""
    return f"train-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
