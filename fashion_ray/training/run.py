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
import uuid
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
from fashion_ray.models import bundle
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.models.network import drop_title_head, state_of
from fashion_ray.pages import plots
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training import checkpoint, feeding, titles, worker
from fashion_ray.training.calibrate import calibrate, evaluate
from fashion_ray.training.deployed import predict, training_side
from fashion_ray.training.epoch_logger import EpochLogger
from fashion_ray.training.evaluation import TargetEvaluation
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import Prepared
from fashion_ray.training.rates import suggested
from fashion_ray.training.recipe_options import recipe_of, sampling_of
from fashion_ray.training.schedule import direction
from fashion_ray.training.topology import WorkerPlan, plan_workers

log = logging.getLogger(__name__)

IDENTITY = ("root", "cache", "cache_limit", "address", "cpus", "log_format", "preset", "name", "workers", "min_workers")
"""Options that may differ when a run is continued."""

KEEP_MEMORY = {"MALLOC_TOP_PAD_": str(2**28), "MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
"""For glibc in workers: what a step frees is kept for the next one, which would else get every page from the kernel anew."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained, calibrated and evaluated bundle."""

    card: Card
    files: dict[str, bytes]
    history: pd.DataFrame
    evaluations: dict[str, dict[str, TargetEvaluation]]
    """Split to target to evaluation."""


def parameters_of(options: TrainOptions, catalog: Snapshot, name: str) -> dict[str, object]:
    """What MLflow is told of a run before it starts, the catalog's corrections by people among it."""
    corrections = catalog.manifest.get("corrections", 0)
    return tracking.flat(options) | {"name": name, "catalog_snapshot": catalog.name, "catalog_corrections": corrections}


@contextmanager
def claim(store: Store, options: TrainOptions, catalog: Snapshot, name: str) -> Iterator[dict[str, Any]]:
    """Hold a run's name while the block runs; yields what is noted of it, its claim on a run of MLflow among that.

    Raises UserError if a run of this name was asked for something else, ConflictError if it is at work now.
    """
    asked = {key: value for key, value in tracking.flat(options).items() if key not in IDENTITY}
    asked["weights"] = without_password(options.weights)
    asked = json.loads(json.dumps({**asked, "catalog_snapshot": catalog.name}))
    with store.held("runs", name, "start", ".lock") as free:
        new = {"asked": asked, "claim": uuid.uuid4().hex}
        try:
            noted = new | store.read_json("runs", name, "start", "run.json")
        except FileNotFoundError:
            noted = new
        different = sorted(key for key in asked if noted["asked"].get(key) != asked[key])
        if different:
            shown = ", ".join(f"{key} was {noted['asked'].get(key)!r} and is {asked[key]!r}" for key in different)
            raise UserError(
                f"--name: the run {name!r} was started with other options ({shown}); expected the same, or another --name"
            )
        if not free:
            raise ConflictError(f"--name: the run {name!r} is at work in another process; wait for it, or pass another --name")
        store.write_json(noted, "runs", name, "start", "run.json")
        yield noted


def train(
    prepared: Prepared, store: Store, choice: EngineChoice, has: Resources, run: tracking.TrackedRun, name: str
) -> TrainResult:
    """Train, calibrate, evaluate and write the bundle. Raises UserError if the cluster cannot hold the workers."""
    fitted = fit(prepared, store, choice, has, EpochLogger(run), name)
    if fitted.rate_curve:
        _keep_rate_curve(fitted.rate_curve, run)
    prepared.network.load_state_dict(fitted.weights)
    drop_title_head(prepared.network)
    return _finish(prepared, store, choice, fitted, run, name)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What Ray Train came to."""

    best_epoch: int
    """Of equal ones the last."""

    weights: dict[str, torch.Tensor]
    """Of the best epoch."""

    history: pd.DataFrame
    """Every epoch's figures."""

    rate_curve: list[tuple[float, float]]
    """Learning rates and losses, if rates were tried first."""


def fit(prepared: Prepared, store: Store, choice: EngineChoice, has: Resources, watcher: UserCallback, name: str) -> Fitted:
    """Train alone, or go on where that stopped. Raises UserError if the cluster cannot hold the workers."""
    options = prepared.options
    plan = plan_workers(
        options.workers, cpus=has.cpus, gpus=has.gpus if choice.device == "cuda" else 0, nodes=has.nodes,
        cpus_per_node=has.cpus_per_node, least=options.min_workers,
    )  # fmt: skip
    rows = prepared.fed.rows
    if rows < options.batch_size:
        raise UserError(f"--batch-size: got {options.batch_size}, but there are {rows} training rows; expected at most so many")
    if not store.exists("runs", name, "start", checkpoint.WEIGHTS):
        store.write_bytes(safetensors.torch.save(state_of(prepared.network)), "runs", name, "start", checkpoint.WEIGHTS)
    settings = _settings(prepared, store, choice, plan.threads, name)
    log.info(
        "run %s: %d training and %d validation rows, %d workers of %d threads, %s %s on %s",
        name, settings.train_rows, settings.validation_rows, plan.workers, plan.threads, choice.name, choice.precision,
        choice.device,
    )  # fmt: skip
    return _fit(prepared, store, settings, plan, watcher, name)


def _settings(prepared: Prepared, store: Store, choice: EngineChoice, threads: int, name: str) -> worker.Settings:
    options, classes, fed = prepared.options, prepared.words.classes, prepared.fed
    return worker.Settings(
        store=store, start=f"runs/{name}/start", card=prepared.card, stages=prepared.stages,
        recipe=recipe_of(options, fed, classes, bf16=choice.precision == "bf16"), sampling=sampling_of(options, fed, classes),
        choice=choice, batch_size=options.batch_size, cached_views=options.cached_views,
        augmentation=options.augmentation, patience=options.patience, monitor=options.monitor,
        find_learning_rate=options.find_learning_rate, seed=options.seed, threads=threads, cache=options.cache,
        cache_limit=options.cache_limit * 1e9, data_key=prepared.data_key,
        train_rows=fed.rows, validation_rows=prepared.side_rows["validation"], title_words=len(prepared.title_words),
    )  # fmt: skip


def _scaling(plan: WorkerPlan) -> ScalingConfig:
    return ScalingConfig(
        num_workers=plan.number, use_gpu=plan.gpus_per_worker > 0, resources_per_worker=plan.resources(),
        placement_strategy=plan.strategy,
    )  # fmt: skip


def _fit(
    prepared: Prepared, store: Store, settings: worker.Settings, plan: WorkerPlan, watcher: UserCallback, name: str
) -> Fitted:
    """Run Ray Train."""
    sign = direction(settings.monitor)
    order = "max" if sign > 0 else "min"
    trainer = TorchTrainer(
        worker.train_worker,
        train_loop_config={"settings": settings},
        scaling_config=_scaling(plan),
        datasets=datasets_of(prepared, store),
        dataset_config=DataConfig(datasets_to_split=["train"]),
        run_config=RunConfig(
            name=name,
            storage_path=store.path("runs"),
            storage_filesystem=store.arrow_filesystem(),
            failure_config=FailureConfig(max_failures=2, controller_failure_limit=2),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=settings.monitor, checkpoint_score_order=order
            ),
            callbacks=[watcher],
            worker_runtime_env={"env_vars": KEEP_MEMORY},
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    result = _result(trainer)
    kept = sorted(
        ((sign * metrics[settings.monitor], metrics["epoch"], place) for place, metrics in result.best_checkpoints),
        key=lambda k: k[:2],
    )
    progress = json.loads(_read(result.checkpoint, checkpoint.PROGRESS))  # of the latest, which may not be among the best
    history = progress["history"]
    score, best_epoch, place = kept[-1]
    log.info("best epoch %d of %d, %s %.4f", best_epoch, len(history), settings.monitor, sign * score)
    return Fitted(
        best_epoch=int(best_epoch), weights=safetensors.torch.load(_read(place, checkpoint.WEIGHTS)),
        history=pd.DataFrame(history), rate_curve=progress["rate_curve"],
    )  # fmt: skip


def datasets_of(prepared: Prepared, store: Store) -> dict[str, ray.data.Dataset]:
    """What the workers read, as plans."""
    words, fed = prepared.words, prepared.fed
    guessed = [titles.COLUMN] if prepared.title_words else []
    rows = {
        side: feeding.labelled(store, prepared.catalog, prepared.scheme, side, [*words.classes, *more])
        for side, more in (("train", guessed), ("validation", []))
    }
    control = (fed.classes, prepared.options.seed) if prepared.options.shuffle_labels else None
    train = feeding.encoded(rows["train"], words, control=control, copies=fed.copies, title_words=prepared.title_words)
    return {
        "train": feeding.decoded(train, prepared.card.decoded_size),
        "validation": feeding.encoded(rows["validation"], words),
    }


def _result(trainer: TorchTrainer) -> ray.train.Result:
    """Train to the end. Raises KeyboardInterrupt, and UserError if that was what ended a worker."""
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
    return result


def _keep_rate_curve(curve: list[tuple[float, float]], run: tracking.TrackedRun) -> None:
    run.file("learning_rate,loss\n" + "".join(f"{rate:.6g},{loss:.6g}\n" for rate, loss in curve), "tables/rate_curve.csv")
    rates, losses = zip(*curve, strict=True)
    run.file(plots.rate_curve(rates, losses, suggested(rates, losses)), "plots/rate_curve.png")


def _read(kept: ray.train.Checkpoint, name: str) -> bytes:
    with kept.filesystem.open_input_stream(f"{kept.path}/{name}") as stream:
        return bytes(stream.read())


def _finish(
    prepared: Prepared, store: Store, choice: EngineChoice, fitted: Fitted, run: tracking.TrackedRun, name: str
) -> TrainResult:
    """Calibrate and evaluate through the engine that will score, then write the bundle."""
    options, catalog, words = prepared.options, prepared.catalog, prepared.words
    card, network = prepared.card, prepared.network
    targets = list(words.classes)
    candidate = bundle.dump(card, network)
    found = {
        side: predict(store, catalog, prepared.scheme, side, targets, files=candidate, choice=choice, cache=options.cache)
        for side in ("validation", "test")
    }
    card = calibrate(card, found["validation"], words, review_precision=options.review_precision)
    learned = training_side(store, catalog, prepared.scheme, targets)
    evaluations = {split: evaluate(card, rows, words, learned) for split, rows in found.items()}
    metrics = {
        key: value
        for split, targets_ in evaluations.items()
        for one in targets_.values()
        for key, value in one.metrics(split).items()
    }
    provenance = {
        "run_id": run.run_id, "run_name": name, "catalog_snapshot": catalog.name, "best_epoch": fitted.best_epoch,
        "engine": choice.name, "precision": choice.precision, "schedule": options.schedule,
        "weights": without_password(options.weights), "shuffle_labels": options.shuffle_labels,
        "split": options.split, "split_seed": options.split_seed, "only": list(options.only),
        "class_rows": list(options.class_rows), "side_rows": prepared.side_rows,
        "train_rows": prepared.fed.rows, "max_per_class": options.max_per_class, "oversample_to": options.oversample_to,
        "balance_target": prepared.fed.target, "class_weights": options.class_weights,
        "title_weight": options.title_weight, "title_words": len(prepared.title_words),
        "metrics": {key: round(value, 6) for key, value in metrics.items() if np.isfinite(value)},
    }  # fmt: skip
    files = bundle.dump(replace(card, provenance=provenance), network)
    sealed = bundle.read_card(files[bundle.CARD], name=name)
    for file, content in files.items():
        store.write_bytes(content, "models", sealed.model_version, file)
    run.metrics(metrics | {"best_epoch": float(fitted.best_epoch)})
    return TrainResult(card=sealed, files=files, history=fitted.history, evaluations=evaluations)


def new_name() -> str:
    """A name for a run that was given none."""
    return f"train-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
