"""Figures of an epoch. In: logits, labels and losses of batches. Out: mean losses and accuracies over all workers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fashion_ray.errors import UserError

if TYPE_CHECKING:
    from torchmetrics import Metric


class Meters:
    """Loss and accuracy over an epoch, reduced exactly over all workers whatever the order and number of their rows."""

    def __init__(self, classes: Mapping[str, int], device: torch.device, target_weights: Sequence[float] = ()) -> None:
        from torchmetrics import MeanMetric  # two seconds, which only workers need to spend
        from torchmetrics.classification import MulticlassAccuracy

        self._weights = dict(zip(classes, target_weights or [1.0] * len(classes), strict=True))
        self._finite = MeanMetric(nan_strategy="ignore").to(device)
        self._losses = {target: MeanMetric(nan_strategy="ignore").to(device) for target in classes}
        self._accuracy: dict[str, Metric] = {
            target: MulticlassAccuracy(count, average="micro", ignore_index=-1).to(device) for target, count in classes.items()
        }

    def update(self, loss: Tensor, sums: Sequence[Tensor], masses: Tensor, logits: Sequence[Tensor], labels: Tensor) -> None:
        """Count a batch: its loss, each target's sum of losses over `masses` labels, and whether the answers are `labels`."""
        self._finite.update(loss.detach().isfinite().float())
        for column, (target, values) in enumerate(zip(self._accuracy, logits, strict=True)):
            mass = masses[column]
            if mass > 0:
                self._losses[target].update(sums[column].detach() / mass.clamp_min(1), weight=mass)
                self._accuracy[target].update(values.detach(), labels[:, column])

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
        found = {f"{prefix}_loss": sum(self._weights[target] * loss for target, loss in losses.items() if target in labelled)}
        return found | {
            f"{prefix}_accuracy/{target}": value if target in labelled else math.nan for target, value in accuracies.items()
        }
