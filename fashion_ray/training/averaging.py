"""The moving average of the weights. In: a network after each step. Out: smoother weights, evaluated and published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from fashion_ray.models.network import Network


class Averages:
    """Exponential moving averages of weights and batch-norm statistics; they outlive the stages, as the optimizer does.

    In the first steps the average follows faster, by (1 + steps) / (10 + steps) where that is less than `decay`, so that the
    first weights are soon forgotten.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self._open: list[str] = []

    def begin(self, network: Network) -> None:
        """Start a stage: what is frozen is its own average, since activations below the boundary are those of the network."""
        learning = [f"heads.{key}" for key in network.heads.state_dict()]
        for number, block in enumerate(network.trunk.blocks):
            if any(parameter.requires_grad for parameter in block.parameters()):
                learning += [f"trunk.blocks.{number}.{key}" for key in block.state_dict()]
        self._open = learning
        kept = set(learning)
        for key, value in network.state_dict().items():
            if key not in kept:
                self.state[key].copy_(value)

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Take in the weights after a step."""
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        live = network.state_dict()
        for key in self._open:
            mine, value = self.state[key], live[key]
            if mine.is_floating_point():
                mine.lerp_(value, share)
            else:
                mine.copy_(value)  # counts of steps

    @contextmanager
    def applied(self, network: Network) -> Iterator[None]:
        """The network has the averages while the block runs."""
        own = {key: value.detach().clone() for key, value in network.state_dict().items()}
        network.load_state_dict(self.state)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go back to averages that were saved."""
        for key, value in state.items():
            self.state[key].copy_(value)
        self.steps = steps
