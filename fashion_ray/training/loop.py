"""One training loop, for pictures and for cached activations alike. In: batches. Out: weights that learned, and metrics.

Pure PyTorch: it runs in one process without Ray, and data-parallel inside Ray Train's workers.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from fashion_ray.errors import UserError
from fashion_ray.models.network import Network, freeze_below, set_training
from fashion_ray.training.schedule import Stage, layer_rates, learning_rate_factor


@dataclass(frozen=True)
class Batch:
    """Inputs, as pixels (rows, height, width, 3) uint8 or activations (rows, ...), and labels (rows, targets), -1 for none."""

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to learn, as plain values."""

    learning_rate: float
    heads_learning_rate: float
    layer_decay: float
    weight_decay: float
    label_smoothing: float
    batchnorm_learns: bool
    bf16: bool
    class_weights: tuple[tuple[float, ...], ...] = ()
    """What a training row of each class counts in the loss, a tuple a target; empty where all count alike."""


class StageNetwork(nn.Module):
    """The part of a network that a stage runs: from pixels, or from the cached activations at the frozen boundary."""

    def __init__(self, network: Network, trainable: int, *, cached: bool) -> None:
        super().__init__()
        self.network = network
        self.trainable = trainable
        self.cached = cached

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """The logits of each target."""
        trunk = self.network.trunk
        if not self.cached:
            images = self.network.preprocess(inputs)
            with torch.no_grad():
                inputs = trunk.lower(images, self.trainable)
        elif inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self.network.answers(trunk.upper(inputs, self.trainable))


class Meters:
    """Loss and accuracy over an epoch, reduced exactly over all workers whatever the order and number of their rows."""

    def __init__(self, classes: Mapping[str, int], device: torch.device) -> None:
        self._finite = MeanMetric(nan_strategy="ignore").to(device)
        self._losses = {target: MeanMetric(nan_strategy="ignore").to(device) for target in classes}
        self._accuracy: dict[str, Metric] = {
            target: MulticlassAccuracy(count, average="micro", ignore_index=-1).to(device) for target, count in classes.items()
        }

    def update(
        self,
        loss: Tensor,
        logits: Sequence[Tensor],
        labels: Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[Tensor] = (),
    ) -> None:
        """Count a batch whose loss was `loss`; a target's mean is over the rows that have a label for it."""
        self._finite.update(loss.detach().isfinite().float())
        for column, (target, values) in enumerate(zip(self._accuracy, logits, strict=True)):
            wanted = labels[:, column]
            rows = (wanted >= 0).sum()
            if rows:
                weights = class_weights[column : column + 1]
                mean = loss_of([values.detach()], wanted[:, None], label_smoothing=label_smoothing, class_weights=weights)
                self._losses[target].update(mean, weight=rows)
                self._accuracy[target].update(values.detach(), wanted)

    def compute(self, prefix: str) -> dict[str, float]:
        """The figures of all workers. Raises UserError if a loss was not finite."""
        if float(self._finite.compute()) < 1:
            raise UserError(
                f"the {prefix} loss became NaN or infinite; expected a finite one. Lower --learning-rate "
                "and --heads-learning-rate, or pass --precision f32"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a target without labels was never updated
            losses = {target: float(metric.compute()) for target, metric in self._losses.items()}
            accuracies = {target: float(metric.compute()) for target, metric in self._accuracy.items()}
        labelled = {target for target, loss in losses.items() if not math.isnan(loss)}  # of 0 rows the mean is NaN
        found = {f"{prefix}_loss": sum(losses[target] for target in labelled)}
        return found | {
            f"{prefix}_accuracy/{target}": value if target in labelled else math.nan for target, value in accuracies.items()
        }


def loss_of(
    logits: Sequence[Tensor], labels: Tensor, *, label_smoothing: float = 0.0, class_weights: Sequence[Tensor] = ()
) -> Tensor:
    """The sum over targets of the mean cross-entropy of the rows that have a label.

    With weights (classes,) a target, a row counts by the weight of its class; the mean is still over the number of rows, so
    that weights have the same effect in every batch.
    """
    total = torch.zeros((), device=labels.device)
    for column, values in enumerate(logits):
        wanted = labels[:, column]
        # Unlabelled rows have loss 0. The function's own `weight` would also tilt the smoothed share, by other classes.
        losses = functional.cross_entropy(values, wanted, ignore_index=-1, reduction="none", label_smoothing=label_smoothing)
        if class_weights:
            losses = losses * class_weights[column][wanted.clamp_min(0)]
        total = total + losses.sum() / (wanted >= 0).sum().clamp_min(1)
    return total


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW over everything, one group a depth, heads first; frozen layers have no gradient, so it leaves them alone.

    It is made once, so its state outlives the stages.
    """
    parts = [network.heads, *reversed(list(network.trunk.blocks))]
    groups = [{"params": list(part.parameters()), "lr": 0.0} for part in parts if any(True for _ in part.parameters())]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)


class StageLoop:
    """A stage in progress: which layers are open, and how many steps were taken."""

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        stage: Stage,
        *,
        cached: bool,
        steps_per_epoch: int,
        classes: Mapping[str, int],
        device: torch.device,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> None:
        freeze_below(network, stage.trainable)
        self._network, self._optimizer, self._recipe, self._stage = network, optimizer, recipe, stage
        self._bare = StageNetwork(network, stage.trainable, cached=cached)
        self._model = wrap(self._bare)
        self._steps = max(1, steps_per_epoch * stage.epochs)
        self._steps_per_epoch = steps_per_epoch
        self._classes, self._device = classes, device
        self._weights = [torch.tensor(weights, device=device) for weights in recipe.class_weights]
        base = recipe.heads_learning_rate if stage.trainable == 0 else recipe.learning_rate
        self._rates = layer_rates(base, len(optimizer.param_groups), recipe.layer_decay)

    def train_epoch(self, batches: Iterable[Batch], epoch: int) -> dict[str, float]:
        """One pass, `epoch` counting from 0 within the stage; loss, accuracies, rows and images a second of all workers."""
        set_training(self._network, self._stage.trainable, batchnorm_learns=self._recipe.batchnorm_learns)
        meters, smoothing = Meters(self._classes, self._device), self._recipe.label_smoothing
        started, rows, step = time.perf_counter(), 0, epoch * self._steps_per_epoch
        for batch in batches:
            self._set_rates(step)
            labels = batch.labels.to(self._device, non_blocking=True)
            logits = self._forward(self._model, batch)
            loss = loss_of(logits, labels, label_smoothing=smoothing, class_weights=self._weights)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_((p for p in self._network.parameters() if p.grad is not None), 5.0)
            self._optimizer.step()
            meters.update(loss, logits, labels, label_smoothing=smoothing, class_weights=self._weights)
            rows, step = rows + len(batch.labels), step + 1
        if not rows:
            raise UserError("a worker got no training rows; expected at least a batch each. Lower --batch-size or --workers")
        seconds = time.perf_counter() - started
        everywhere = float(rows * _world())  # every worker takes as many steps
        return {**meters.compute("train"), "train_rows": everywhere, "images_per_second": everywhere / max(seconds, 1e-9)}

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Loss and accuracies over the batches of all workers, and `score`, the mean of the accuracies."""
        self._network.eval()
        meters = Meters(self._classes, self._device)
        with torch.inference_mode():
            for batch in batches:
                labels = batch.labels.to(self._device, non_blocking=True)
                logits = self._forward(self._bare, batch)
                meters.update(loss_of(logits, labels), logits, labels)
        found = meters.compute("validation")
        scores = [value for key, value in found.items() if key.startswith("validation_accuracy/") and not math.isnan(value)]
        return {**found, "score": sum(scores) / max(1, len(scores))}

    def _forward(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        inputs = batch.inputs.to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._recipe.bf16):
            if inputs.dtype == torch.bfloat16 and not self._recipe.bf16:
                inputs = inputs.float()
            logits: list[Tensor] = model(inputs)
        return logits

    def _set_rates(self, step: int) -> None:
        factor = learning_rate_factor(step, self._steps)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor


def _world() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_available() and torch.distributed.is_initialized() else 1
