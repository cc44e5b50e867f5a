"""One trial: training in this process, without Ray Train. In: options, a catalog, features. Out: the figures of each epoch.

What it learns from and how is what a worker of Ray Train that is alone does with the same options. Nothing is kept of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from fashion_ray.errors import UserError
from fashion_ray.models.bundle import empty_network
from fashion_ray.models.network import Network, state_of
from fashion_ray.training.averaging import Averages
from fashion_ray.training.loop import StageLoop
from fashion_ray.training.optimizers import make_optimizer
from fashion_ray.training.preparing import Prepared
from fashion_ray.training.recipe_options import recipe_of, sampling_of
from fashion_ray.training.schedule import Stage, direction, should_stop
from fashion_ray.training.stage_cache import epoch_batches, epoch_seed, is_cached, picture_batches
from fashion_ray.tuning.features import Features

Report = Callable[[dict[str, Any]], None]


def run_trial(prepared: Prepared, features: Features, report: Report, *, threads: int) -> None:
    """Train through all stages and report each epoch's figures. Raises UserError for options that do not fit the rows."""
    options, card = prepared.options, prepared.card
    choice = features.choice
    if prepared.fed.rows < options.batch_size:
        raise UserError(f"batch_size: got {options.batch_size}, but there are {prepared.fed.rows} training rows")
    torch.set_num_threads(threads)
    device = torch.device(choice.device)
    torch.manual_seed(options.seed)
    network = empty_network(card, title_words=len(prepared.title_words))
    network.load_state_dict(state_of(prepared.network))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = recipe_of(options, prepared.fed, card.classes, bf16=choice.precision == "bf16")
    optimizer = make_optimizer(network, recipe)
    averages = Averages(network, recipe.ema_decay) if recipe.ema_decay else None
    sampling = sampling_of(options, prepared.fed, card.classes)
    history: list[dict[str, Any]] = []
    for stage in prepared.stages:
        cached = is_cached(stage, network, options.cached_views)
        if cached:
            train, validation = _features(features, stage, network, prepared, threads, device)
        else:
            train, validation = features.pictures(prepared)
        loop = StageLoop(
            network, optimizer, recipe, stage, cached=cached, steps_per_epoch=max(1, len(train) // options.batch_size),
            classes={target: len(names) for target, names in card.classes.items()}, device=device, averages=averages,
        )  # fmt: skip
        values: list[float] = []
        while len(values) < stage.epochs and not should_stop(values, options.patience):
            seed = epoch_seed(options.seed, len(history), 0)
            batches = (
                epoch_batches(train, options.batch_size, recipe, sampling, seed=seed)
                if cached
                else picture_batches(train, options.batch_size, recipe, sampling, options.augmentation, seed=seed)
            )
            metrics = loop.train_epoch(batches, len(values)) | loop.evaluate(validation.in_order(256))
            history.append({"epoch": len(history) + 1, "stage": stage.name, **metrics})
            values.append(direction(options.monitor) * metrics[options.monitor])
            if math.isnan(values[-1]):
                raise UserError(f"monitor: {options.monitor} is NaN, since no validation row has a label of it")
            report(history[-1])


def _features(
    features: Features, stage: Stage, network: Network, prepared: Prepared, threads: int, device: torch.device
) -> Any:
    """The stage's activations; whatever computing them changed is put back."""
    random = torch.get_rng_state()
    found = features.of(stage, network, prepared)
    network.to(device)
    torch.set_num_threads(threads)  # an engine may have taken more
    torch.set_rng_state(random)
    return found
