"""From logits to labels that do not contradict each other. In: logits a target. Out: probabilities and labels.

The category levels are decoded together: a path (master, sub, article) that training has seen gets the product of its
levels' probabilities, normalised over all paths, and each level's probability is the sum over the paths through a
class. The best path gives all three labels. Other targets stand alone.

`other` is no class among others but the answer that it is none of them, so it is given where that is likelier than all of
them together (or than a share that the model's card says), and the likeliest class otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from fashion_ray.catalog.schema import top3_type
from fashion_ray.models.taxonomy import Taxonomy


def log_probabilities(
    logits: Mapping[str, Tensor], taxonomy: Taxonomy, temperatures: Mapping[str, Tensor | float]
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Log-probabilities (rows, classes) of each target, and (rows, paths) of the taxonomy's paths if there is one."""
    scaled = {target: torch.log_softmax(values / temperatures[target], dim=1) for target, values in logits.items()}
    if not taxonomy.paths:
        return scaled, None
    paths = torch.tensor(taxonomy.paths)
    total = sum(scaled[level][:, paths[:, depth]] for depth, level in enumerate(taxonomy.levels))
    assert isinstance(total, Tensor)
    joint = torch.log_softmax(total, dim=1)
    chances = joint.exp()
    for depth, level in enumerate(taxonomy.levels):
        marginal = torch.zeros_like(scaled[level]).index_add(1, paths[:, depth], chances)
        scaled[level] = torch.log(marginal.clamp_min(1e-12))
    return scaled, joint


def fit_temperatures(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], taxonomy: Taxonomy) -> dict[str, float]:
    """The temperature of each target that makes the labels of held-out rows likeliest (Guo et al. 2017, temperature scaling).

    Labels are class indices, negative where there is none. A target without labels keeps 1.
    """
    raw = {target: torch.zeros(1, requires_grad=bool((labels[target] >= 0).any())) for target in logits}
    fitted = [value for value in raw.values() if value.requires_grad]
    if not fitted:
        return dict.fromkeys(logits, 1.0)
    optimizer = torch.optim.LBFGS(fitted, lr=0.5, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        found, _ = log_probabilities(logits, taxonomy, {target: value.exp() for target, value in raw.items()})
        losses = [
            torch.nn.functional.nll_loss(found[target], labels[target], ignore_index=-1)
            for target in logits
            if raw[target].requires_grad
        ]
        loss = torch.stack(losses).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return {target: round(float(value.detach().exp().clamp(0.05, 20.0)), 3) for target, value in raw.items()}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said of each row for one target."""

    predicted: np.ndarray
    """Index of the predicted class, int64 (rows,)."""

    probability: np.ndarray
    """Of the predicted class, float32 (rows,)."""

    top_classes: np.ndarray
    """Indices of the likeliest classes, the predicted one first, int64 (rows, up to 3)."""

    top_probabilities: np.ndarray


def decide(logits: Mapping[str, np.ndarray], taxonomy: Taxonomy, temperatures: Mapping[str, float]) -> dict[str, Answer]:
    """Calibrated, consistent answers for every target."""
    with torch.inference_mode():
        tensors = {target: torch.from_numpy(values) for target, values in logits.items()}
        found, joint = log_probabilities(tensors, taxonomy, temperatures)
        best = {
            target: _best(values, torch.arange(values.shape[1]) == taxonomy.others.get(target, -1), taxonomy)
            for target, values in found.items()
        }  # fmt: skip
        if joint is not None:
            chosen = torch.tensor(taxonomy.paths)[_best(joint, _other_leaves(taxonomy), taxonomy)]
            best |= {level: chosen[:, depth] for depth, level in enumerate(taxonomy.levels)}
        return {target: _answer(values.exp(), best[target]) for target, values in found.items()}


def _other_leaves(taxonomy: Taxonomy) -> Tensor:
    """Which paths, bool (paths,), end in `other` although their parent has classes: where it has none, no choice is lost."""
    other = taxonomy.others.get(taxonomy.levels[-1], -1)
    parents = {path[:-1] for path in taxonomy.paths if path[-1] != other}
    return torch.tensor([path[-1] == other and path[:-1] in parents for path in taxonomy.paths], dtype=torch.bool)


def _best(chances: Tensor, is_other: Tensor, taxonomy: Taxonomy) -> Tensor:
    """The likeliest of each row's columns, among those that are not `other` where these have too little together.

    `chances` (rows, columns) are logarithms, `is_other` (columns,) is bool.
    """
    unlikely = chances[:, is_other].exp().sum(1) <= taxonomy.other_threshold
    barred = unlikely[:, None] & is_other
    return chances.masked_fill(barred, -torch.inf).argmax(1)


def _answer(chances: Tensor, predicted: Tensor) -> Answer:
    ranked = chances.scatter(1, predicted[:, None], 2.0)  # the predicted class comes first, whatever the sums say
    top = ranked.topk(min(3, chances.shape[1]), dim=1).indices
    chances = chances.clamp(0.0, 1.0)
    return Answer(
        predicted=predicted.numpy(),
        probability=chances.gather(1, predicted[:, None])[:, 0].float().numpy(),
        top_classes=top.numpy(),
        top_probabilities=chances.gather(1, top).float().numpy(),
    )


def needs_review(answer: Answer, thresholds: Sequence[float]) -> np.ndarray:
    """Whether each row's probability is below the threshold of its predicted class, bool (rows,)."""
    return np.asarray(answer.probability < np.asarray(thresholds, dtype=np.float32)[answer.predicted])


def columns(target: str, answer: Answer, classes: Sequence[str | None], thresholds: Sequence[float]) -> dict[str, pa.Array]:
    """The scores table's columns of one target; `thresholds` has the probability of each class below which it needs review."""
    names = pa.array(list(classes), type=pa.string())
    rows, width = answer.top_classes.shape
    top = pa.StructArray.from_arrays(
        [names.take(pa.array(answer.top_classes.ravel())), pa.array(answer.top_probabilities.ravel(), type=pa.float32())],
        fields=list(top3_type().value_type),
    )
    offsets = pa.array(np.arange(0, (rows + 1) * width, width, dtype=np.int32))
    return {
        f"{target}_predicted": names.take(pa.array(answer.predicted)),
        f"{target}_probability": pa.array(answer.probability, type=pa.float32()),
        f"{target}_top3": pa.ListArray.from_arrays(offsets, top).cast(top3_type()),
        f"{target}_needs_review": pa.array(needs_review(answer, thresholds)),
    }
