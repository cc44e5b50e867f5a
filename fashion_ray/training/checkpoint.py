"""What a run is continued from. In: a network, its optimizer and progress after an epoch. Out: files, and the same again.

    weights.safetensors   what the epoch was evaluated with and may be published with: the averages, if they are kept
    optimizer.pt          state of the optimizer and of random numbers, and with averages the weights that learn; weights_only
    progress.json         how far the run has come, with the figures of every epoch

An epoch that was cut short left nothing behind and is run again from its start.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from fashion_ray.models.network import Network, state_of
from fashion_ray.training.averaging import Averages

WEIGHTS, OPTIMIZER, PROGRESS = "weights.safetensors", "optimizer.pt", "progress.json"


@dataclass
class Progress:
    """How far a run has come; `stage` and `epoch` (within the stage) are the next to do."""

    stage: int = 0
    epoch: int = 0
    steps: int = 0
    """Steps of the optimizer that led to the weights; those of epochs that were cut short are not among them."""

    history: list[dict[str, Any]] = field(default_factory=list)
    """The finished epochs."""

    rate_curve: list[tuple[float, float]] = field(default_factory=list)
    """Of a learning-rate test: rates and losses."""

    def finish_epoch(self, row: dict[str, Any]) -> None:
        """Note an epoch's figures, `steps` among them."""
        self.epoch += 1
        self.steps += int(row["steps"])
        self.history.append(row)


def save(
    folder: Path, network: Network, optimizer: torch.optim.Optimizer, progress: Progress, averages: Averages | None
) -> None:
    """Write the files of a checkpoint."""
    state: dict[str, Any] = {"optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda_random"] = torch.cuda.get_rng_state()
    if averages is None:
        safetensors.torch.save_file(state_of(network), folder / WEIGHTS)
    else:
        state |= {"learning": state_of(network), "averaged_steps": averages.steps}
        with averages.applied(network):
            safetensors.torch.save_file(state_of(network), folder / WEIGHTS)
    torch.save(state, folder / OPTIMIZER)
    (folder / PROGRESS).write_text(json.dumps(asdict(progress)))


def restore(
    folder: Path,
    network: Network,
    optimizer: torch.optim.Optimizer,
    averages: Averages | None,
    *,
    device: torch.device,
    rank: int,
) -> Progress:
    """Go back to a checkpoint. The first rank also gets its random numbers back; the others start new ones."""
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
    network.load_state_dict(state.get("learning", weights))
    optimizer.load_state_dict(state["optimizer"])
    if averages is not None:
        averages.load(weights, state["averaged_steps"])
    progress = Progress(**json.loads((folder / PROGRESS).read_text()))
    if rank == 0:
        torch.set_rng_state(state["random"])
        if device.type == "cuda" and "cuda_random" in state:
            torch.cuda.set_rng_state(state["cuda_random"], device)
    else:
        torch.manual_seed(torch.initial_seed() + 7919 * len(progress.history))
    assert progress.steps == sum(row["steps"] for row in progress.history), "every step belongs to an epoch of the history"
    taken = steps_of(optimizer)
    assert taken in (None, progress.steps), f"the optimizer took {taken} steps and the history has {progress.steps}"
    return progress


def steps_of(optimizer: torch.optim.Optimizer) -> int | None:
    """How many steps an optimizer took of the heads, which learn in every stage; none if it does not count."""
    heads = [optimizer.state.get(parameter, {}) for parameter in optimizer.param_groups[0]["params"]]
    return max((int(state["step"]) for state in heads if "step" in state), default=None)
