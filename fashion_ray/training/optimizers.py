"""Optimizers. In: a network and a recipe. Out: torch's own optimizer, with a group of parameters a depth."""

from __future__ import annotations

import torch

from fashion_ray.models.network import Network
from fashion_ray.training.recipe import Recipe


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """An optimizer over everything, one group a depth, heads first; frozen layers have no gradient, so it leaves them alone.

    It is made once, so its state outlives the stages. Weight decay is decoupled in AdamW (Loshchilov and Hutter 2019) and a
    part of the gradient in the others.
    """
    parts = [network.heads, *reversed(list(network.trunk.blocks))]
    groups = [{"params": list(part.parameters()), "lr": 0.0} for part in parts if any(True for _ in part.parameters())]
    decay = recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=decay, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=decay, fused=True)
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, weight_decay=decay, momentum=recipe.momentum, nesterov=nesterov)
    assert recipe.optimizer == "rmsprop", recipe.optimizer
    return torch.optim.RMSprop(groups, weight_decay=decay, momentum=recipe.momentum)


def set_rates(optimizer: torch.optim.Optimizer, rates: list[float], factor: float) -> None:
    """The learning rate of each group: its own times a factor of all."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
