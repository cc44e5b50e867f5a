"""One training loop, for pictures and for cached activations alike. In: batches. Out: weights that learned, and metrics.

Pure PyTorch: it runs in one process without Ray, and data-parallel inside Ray Train's workers. What a step does is decided by
pure functions: losses, learning rates, optimizers, mixing, augmentation.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from fashion_ray.errors import UserError
from fashion_ray.models.network import Network, freeze_below, set_training
from fashion_ray.training.averaging import Averages
from fashion_ray.training.depthwise import FastDepthwise
from fashion_ray.training.losses import Batch, masses_of, of_recipe, sums_of, total_of
from fashion_ray.training.meters import Meters
from fashion_ray.training.optimizers import set_rates
from fashion_ray.training.rates import factor
from fashion_ray.training.recipe import Recipe
from fashion_ray.training.schedule import Stage, layer_rates

NARROW = 4096
"""Values of an embedding: steps of heads alone over no more of them are light: faster without casts and with one thread."""


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


@dataclass(frozen=True)
class Answers:
    """What a batch came to: its loss, and of each target the sum of losses, the number of labels and the logits."""

    loss: Tensor
    sums: Sequence[Tensor]
    masses: Tensor
    logits: Sequence[Tensor]


class StageLoop:
    """A stage in progress: which layers are open, and how fast they learn.

    `light` says whether its steps are so small that bfloat16 and several threads take longer than they save.
    """

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
        averages: Averages | None = None,
    ) -> None:
        freeze_below(network, stage.trainable)
        self._network, self._optimizer, self._recipe, self._stage = network, optimizer, recipe, stage
        self._bare = StageNetwork(network, stage.trainable, cached=cached)
        learner = StageNetwork(network, stage.trainable, cached=cached)  # apart, since evaluation runs other shapes
        if recipe.compiler:
            learner.compile(backend=recipe.compiler)
        self._model = wrap(learner)
        self._steps = max(1, steps_per_epoch * stage.epochs)
        self._steps_per_epoch = steps_per_epoch
        self._classes, self._device = classes, device
        self.light = cached and stage.trainable == 0 and network.trunk.spec.embedding_dim <= NARROW
        self._bf16 = recipe.bf16 and not self.light
        self._loss, self._held_out_loss = of_recipe(recipe, device)
        base = recipe.heads_learning_rate if stage.trainable == 0 else recipe.learning_rate
        self._rates = layer_rates(base, len(optimizer.param_groups), recipe.layer_decay)
        self._parameters = tuple(network.parameters())  # to look for them takes as long as to step
        self._averages = averages
        if averages is not None:
            averages.begin(network)

    def train_epoch(self, batches: Iterable[Batch], epoch: int) -> dict[str, float]:
        """One pass, `epoch` counting from 0 within the stage; figures of all workers, rows and steps among them."""
        set_training(self._network, self._stage.trainable, batchnorm_learns=self._recipe.batchnorm_learns)
        meters = Meters(self._classes, self._device, self._recipe.target_weights)
        started, rows, steps = time.perf_counter(), 0, 0
        for batch in batches:
            step = epoch * self._steps_per_epoch + steps
            set_rates(self._optimizer, self._rates, factor(self._recipe, step, self._steps, self._steps_per_epoch))
            batch = self._moved(batch)
            found = self._step(batch)
            dominant = batch.labels if batch.others is None or batch.share >= 0.5 else batch.others
            meters.update(found.loss, found.sums, found.masses, found.logits, dominant[:, : len(self._classes)])
            rows, steps = rows + len(batch.labels), steps + 1
        if not rows:
            raise UserError("a worker got no training rows; expected at least a batch each. Lower --batch-size or --workers")
        self._agree_on_statistics()
        seconds = time.perf_counter() - started
        everywhere = float(rows * _world())  # every worker takes as many steps
        return {
            **meters.compute("train"),
            "train_rows": everywhere, "images_per_second": everywhere / max(seconds, 1e-9), "steps": float(steps),
        }  # fmt: skip

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Loss and accuracies over the batches of all workers, and `score`, the mean of the accuracies; of averages, if any."""
        with self._averages.applied(self._network) if self._averages is not None else contextlib.nullcontext():
            return self._evaluate(batches)

    def sweep(self, batches: Iterable[Batch], rates: Sequence[float]) -> list[float]:
        """Take a step at each of these learning rates, ever on; the losses before each, averaged over all workers."""
        set_training(self._network, self._stage.trainable, batchnorm_learns=self._recipe.batchnorm_learns)
        losses = []
        own = [rate / self._rates[0] for rate in self._rates]
        for rate, batch in zip(rates, batches, strict=False):
            set_rates(self._optimizer, own, rate)
            losses.append(self._step(self._moved(batch)).loss)
        found = torch.stack(losses)
        if _world() > 1:
            torch.distributed.all_reduce(found)
        return [float(loss) for loss in found / _world()]

    def _agree_on_statistics(self) -> None:
        """Make batch-norm statistics, which differ by worker, their means, so that all evaluate the same network."""
        if _world() == 1:
            return
        buffers = dict(self._network.named_buffers())
        found = list(buffers.values())
        if self._averages is not None:
            found += [self._averages.state[name] for name in buffers if name in self._averages.state]
        for values in found:
            if values.is_floating_point():
                torch.distributed.all_reduce(values)
                values /= _world()

    def _evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        self._network.eval()
        meters, loss = Meters(self._classes, self._device, self._recipe.target_weights), self._held_out_loss
        with torch.inference_mode():
            for batch in batches:
                batch = self._moved(batch)
                logits, masses = self._forward(self._bare, batch.inputs)[: len(self._classes)], masses_of(batch)
                sums = sums_of(logits, batch, loss)
                meters.update(total_of(sums, masses, loss), sums, masses, logits, batch.labels)
        found = meters.compute("validation")
        scores = [value for key, value in found.items() if key.startswith("validation_accuracy/") and not math.isnan(value)]
        return {**found, "score": sum(scores) / max(1, len(scores))}

    def _step(self, batch: Batch) -> Answers:
        """One step of the optimizer, by the gradient of the whole batch in however many parts it is run."""
        masses = masses_of(batch)
        everywhere = _summed(masses)
        losses, sums, logits = [], [], []
        self._optimizer.zero_grad(set_to_none=True)
        for part, last in _parts(batch, self._recipe.accumulate):
            with contextlib.nullcontext() if last else self._unsynchronised():
                of_part = self._forward(self._model, part.inputs)
                sums.append(sums_of(of_part, part, self._loss))
                losses.append(_world() * total_of(sums[-1], everywhere, self._loss))  # gradients are averaged
                losses[-1].backward()  # type: ignore[no-untyped-call]
            logits.append([values.detach() for values in of_part])
        if self._recipe.clip_gradient:
            learning = [parameter for parameter in self._parameters if parameter.grad is not None]
            nn.utils.clip_grad_norm_(learning, self._recipe.clip_gradient)
        self._optimizer.step()
        if self._averages is not None:
            self._averages.update(self._network)
        whole = [torch.cat(values) if len(values) > 1 else values[0] for values in zip(*logits, strict=True)]
        added = [torch.stack([value.detach() for value in values]).sum(0) for values in zip(*sums, strict=True)]
        targets = slice(len(self._classes))  # a guess of words comes after them
        loss = torch.stack([loss.detach() for loss in losses]).sum()
        return Answers(loss, added[targets], masses[targets], whole[targets])

    def _unsynchronised(self) -> contextlib.AbstractContextManager[None]:
        """Gradients are added up over workers in the last part alone."""
        parallel = isinstance(self._model, nn.parallel.DistributedDataParallel)
        return self._model.no_sync() if parallel else contextlib.nullcontext()  # type: ignore[operator]

    def _forward(self, model: nn.Module, inputs: Tensor) -> list[Tensor]:
        convolves = self._device.type == "cpu" and self._stage.trainable and not self._recipe.compiler
        fast = FastDepthwise() if convolves else contextlib.nullcontext()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16), fast:
            if inputs.dtype == torch.bfloat16 and not self._bf16:
                inputs = inputs.float()
            logits: list[Tensor] = model(inputs)
        return logits

    def _moved(self, batch: Batch) -> Batch:
        others = None if batch.others is None else batch.others.to(self._device, non_blocking=True)
        inputs = batch.inputs.to(self._device, non_blocking=True)
        return Batch(inputs, batch.labels.to(self._device, non_blocking=True), others, batch.share)


def _parts(batch: Batch, count: int) -> Iterator[tuple[Batch, bool]]:
    """A batch in so many parts of about the same size, and whether each is the last; never more parts than rows."""
    if count == 1:
        yield batch, True
        return
    pieces = list(zip(batch.inputs.tensor_split(count), batch.labels.tensor_split(count), strict=True))
    others = batch.others.tensor_split(count) if batch.others is not None else [None] * count
    for number, ((inputs, labels), other) in enumerate(zip(pieces, others, strict=True), 1):
        if len(labels):
            yield Batch(inputs, labels, other, batch.share), number == min(count, len(batch.labels))


def _summed(masses: Tensor) -> Tensor:
    """The labels of all workers, which each one's sums are divided by: an unlabelled row of one counts for none."""
    if _world() == 1:
        return masses
    everywhere = masses.clone()
    torch.distributed.all_reduce(everywhere)
    return everywhere


def _world() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_available() and torch.distributed.is_initialized() else 1
