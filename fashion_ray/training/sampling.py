"""Rows drawn anew in each epoch, those of rare classes more often. In: labels of rows. Out: the rows of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from fashion_ray.training.imbalance import Sampling


def row_weights(sampling: Sampling, labels: Tensor) -> Tensor:
    """How often each row is drawn, float64 (rows,), from labels (rows, targets)."""
    classes = labels[:, sampling.column]
    weights = torch.tensor(sampling.weights, dtype=torch.float64)
    return torch.where(classes >= 0, weights[classes.clamp_min(0)], 1.0)


def drawn(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of `count` rows drawn with replacement, each with a chance in proportion to its weight."""
    edges = weights.cumsum(0)  # multinomial takes no more than 2 ** 24 rows
    return torch.searchsorted(
        edges, torch.rand(count, generator=generator, dtype=torch.float64) * edges[-1], right=True
    ).clamp_max(len(weights) - 1)


def resampled(
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], sampling: Sampling, *, window: int, generator: torch.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """As many batches of a stream of (pixels, labels, copy), drawn with replacement from the last `window` of them."""
    held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for batch in batches:
        held = [*held[-window + 1 :], batch]
        labels = np.concatenate([one[1] for one in held])
        chosen = drawn(row_weights(sampling, torch.from_numpy(labels)), len(batch[1]), generator).numpy()
        starts = np.cumsum([0, *(len(one[1]) for one in held)])
        which = np.searchsorted(starts, chosen, side="right") - 1
        found = [
            np.stack([held[n][part][row] for n, row in zip(which, chosen - starts[which], strict=True)]) for part in range(3)
        ]
        yield found[0], found[1], found[2]
