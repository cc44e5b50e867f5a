"""Trainings by the normal path inside a search's run: its winner, or those of a study. In: options. Out: figures, a bundle.

runs/<name>/figures.json holds what a training came to, so that it is not run again where a study is continued.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np

from fashion_ray import tracking
from fashion_ray.catalog.statistics import balance
from fashion_ray.cluster import Resources
from fashion_ray.config import without_password
from fashion_ray.models.engines import EngineChoice, make
from fashion_ray.models.network import count_parameters
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training import publish
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import Prepared, prepare
from fashion_ray.training.run import TrainResult, claim, train
from fashion_ray.tuning.study_table import MB, Figures

LEAST_S = 1.0
"""How long the engine's speed is measured at least."""


def train_inside(
    parent: tracking.TrackedRun, name: str, options: TrainOptions, store: Store, catalog: Snapshot, choice: EngineChoice,
    has: Resources, *, study: str = "",
) -> tuple[Figures, list[str]]:  # fmt: skip
    """Train, evaluate and publish as jobs/train.py does, in a run nested in another; what came of it, also in lines.

    What belongs to a study is not registered. Raises UserError for options that do not fit.
    """
    began = time.monotonic()
    options = replace(options, name=name)
    prepared = prepare(options, store, catalog)
    parameters = tracking.flat(options) | {"catalog_snapshot": catalog.name}
    tags = {**tracking.inside(parent), **({"study": study} if study else {})}
    with (
        claim(store, options, catalog, name) as noted,
        tracking.run(parent.tracking, "train", parameters, name=name, tags=tags, claim=noted["claim"]) as own,
    ):
        result = train(prepared, store, choice, has, own, name)
        became = publish.publish(result, store, catalog, own, name, study=study)
        speed = images_per_second(prepared, choice, threads=max(1, int(has.cpus_per_node))) if study else 0.0
        figures = replace(figures_of(prepared, result, own.run_id), images_per_second=speed, seconds=time.monotonic() - began)
        store.write_json(asdict(figures), "runs", name, "figures.json")
    return figures, [
        f"run {name}, best epoch {figures.best_epoch} of {figures.epochs}", publish.summary(result), became,
        f"bundle {store.show('models', result.card.model_version)}", f"report {store.show('reports', name, 'training.html')}",
    ]  # fmt: skip


def finished(store: Store, name: str) -> Figures | None:
    """What a training of this name came to, if it was finished."""
    try:
        return Figures(**store.read_json("runs", name, "figures.json"))
    except FileNotFoundError:
        return None


def figures_of(prepared: Prepared, result: TrainResult, run_id: str) -> Figures:
    """What a training came to, of its finest target."""
    options, target = prepared.options, prepared.fed.target
    one = result.evaluations["test"][target]
    return Figures(
        run=options.name, run_id=run_id, target=target, backbone=options.backbone, weights=without_password(options.weights),
        input_size=options.input_size, split=options.split, classes=len(prepared.words.classes[target]),
        balance=balance([str(code) for code in prepared.fed.classes[target] if code >= 0]),
        train_rows=prepared.fed.rows, test_rows=int(one.rows),
        accuracy=float(one.accuracy), low=float(one.accuracy_low), high=float(one.accuracy_high),
        weighted_f1=float(one.weighted_f1), macro_f1=float(one.macro_f1), majority=float(one.majority_share),
        collapsed=bool(one.collapsed),
        parameters=count_parameters(prepared.network)[0], size_mb=sum(map(len, result.files.values())) / MB,
        best_epoch=int(result.card.provenance["best_epoch"]), epochs=len(result.history),
    )  # fmt: skip


def images_per_second(prepared: Prepared, choice: EngineChoice, *, threads: int) -> float:
    """How many decoded pictures the scoring engine answers a second here, as many side by side as it takes."""
    size = prepared.card.decoded_size
    engine = make(prepared.network, pixel_shape=size, choice=choice, threads=threads)
    pixels = np.random.default_rng(0).integers(0, 256, (engine.batch, *size, 3), dtype=np.uint8)
    calls = engine.streams + 1
    with ThreadPoolExecutor(calls) as pool:
        list(pool.map(engine, [pixels] * calls))  # the first calls of a shape are slow
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < LEAST_S:
            list(pool.map(engine, [pixels] * 4 * calls))
            done += 4 * calls * engine.batch
        return done / (time.perf_counter() - began)
