"""Figures of an epoch. In: logits, labels and losses of batches. Out: mean losses and accuracies over all workers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fashion_ray.errors import UserError

TOTALS = ("losses", "masses", "hits", "labels")
"""Of each target, over an epoch. In float64: counts are exact, and so are shares of them."""


class Meters:
    """Loss and accuracy over an epoch, reduced exactly over all workers whatever the order and number of their rows."""

    def __init__(self, classes: Mapping[str, int], device: torch.device, target_weights: Sequence[float] = ()) -> None:
        self._weights = dict(zip(classes, target_weights or [1.0] * len(classes), strict=True))
        self._totals = {name: torch.zeros(len(classes), dtype=torch.float64, device=device) for name in TOTALS}
        self._not_finite = torch.zeros((), dtype=torch.float64, device=device)

    def update(self, loss: Tensor, sums: Sequence[Tensor], masses: Tensor, logits: Sequence[Tensor], labels: Tensor) -> None:
        """Count a batch: its loss, each target's sum of losses over `masses` labels, and whether the answers are `labels`."""
        self._not_finite += ~loss.detach().isfinite()
        self._totals["losses"] += torch.stack([value.detach() for value in sums])
        self._totals["masses"] += masses
        answers = torch.stack([values.detach().argmax(1) for values in logits], dim=1)
        self._totals["hits"] += (answers == labels).sum(0)  # no answer is -1, as what has no label is
        self._totals["labels"] += (labels >= 0).sum(0)

    def compute(self, prefix: str) -> dict[str, float]:
        """The figures of all workers. Raises UserError if a loss was not finite."""
        if _of_all_workers(self._not_finite):
            raise UserError(
                f"the {prefix} loss became NaN or infinite; expected a finite one. Lower --learning-rate "
                "and --heads-learning-rate, or pass --precision f32"
            )
        columns = {name: [_of_all_workers(value) for value in values] for name, values in self._totals.items()}
        losses = _means(columns["losses"], columns["masses"])
        accuracies = _means(columns["hits"], columns["labels"])
        labelled = [(weight, loss) for weight, loss in zip(self._weights.values(), losses, strict=True) if not math.isnan(loss)]
        return {
            f"{prefix}_loss": float(sum(weight * loss for weight, loss in labelled)),
            **{f"{prefix}_accuracy/{target}": value for target, value in zip(self._weights, accuracies, strict=True)},
        }


def _of_all_workers(value: Tensor) -> float:
    from torchmetrics import SumMetric  # two seconds, which only workers need to spend

    metric = SumMetric().to(value.device).set_dtype(torch.float64)  # in this order: a move makes it float32 again
    metric.update(value)
    return float(metric.compute())


def _means(sums: Sequence[float], counts: Sequence[float]) -> list[float]:
    """NaN where nothing was counted."""
    return [total / count if count else math.nan for total, count in zip(sums, counts, strict=True)]
