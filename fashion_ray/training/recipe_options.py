"""The part of training's options that says how the network learns, and what it comes to as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fashion_ray.config import JobOptions, Problems
from fashion_ray.models.network import ACTIVATIONS, DEEPEST, HEADS, WIDEST, head_code
from fashion_ray.training.augment import Augmentation
from fashion_ray.training.imbalance import CLASS_WEIGHTS, SAMPLINGS, Fed, Sampling, weights
from fashion_ray.training.losses import logit_offsets
from fashion_ray.training.recipe import CURVES, OPTIMIZERS, Recipe
from fashion_ray.training.schedule import monitors, parse

DEFAULT_WIDTHS = (256,)


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(JobOptions):
    """How the network learns."""

    head: str = "batchnorm"
    """The heads: batchnorm (batch normalisation, dropout, linear), linear, or mlp (hidden layers)."""

    head_widths: tuple[int, ...] = ()
    """Hidden layers of --head mlp, such as 50 20; none is one of 256."""

    head_activation: str = "relu"
    """Of --head mlp: relu, gelu, silu or tanh."""

    dropout: float = 0.3
    """Dropout in the heads."""

    target_weights: tuple[str, ...] = ()
    """What targets count in the loss, such as articleType=2 gender=0.5; those that are not named count 1."""

    title_weight: float = 0.0
    """What guessing the words of titles (productDisplayName) counts in the loss, in training alone; 0 guesses none."""

    schedule: str = "heads:2,top2:3"
    """What learns when: stages of heads:EPOCHS, topN:EPOCHS (the last N blocks too), all:EPOCHS."""

    batch_size: int = 64
    """Rows a step, over all workers."""

    accumulate: int = 1
    """Parts that each step's rows are run in, their gradients added up: the same step in less memory."""

    optimizer: str = "adamw"
    """adamw, adam, sgd or rmsprop."""

    momentum: float = 0.9
    """Of sgd and rmsprop."""

    nesterov: bool = True
    """Whether sgd looks ahead (Nesterov's momentum)."""

    learning_rate: float = 2e-3
    """Of the heads and the last block; earlier blocks learn more slowly."""

    heads_learning_rate: float = 3e-3
    """Of the heads while the whole trunk is frozen."""

    learning_rate_curve: str = "cosine"
    """Over the steps of each stage: cosine, constant, step or onecycle, each after a warm-up."""

    warmup_epochs: float | None = None
    """Epochs of each stage in which the rate rises; none is a tenth of the stage, or 0.3 of it for onecycle."""

    step_epochs: int = 3
    """Epochs after which the rate of --learning-rate-curve step falls, again and again."""

    step_factor: float = 0.1
    """What it falls by."""

    layer_decay: float = 0.8
    """The factor by which the learning rate falls from block to block."""

    weight_decay: float = 0.02
    """Decoupled for adamw, a part of the gradient for the others."""

    clip_gradient: float = 5.0
    """The largest norm of a step's gradient; 0 clips none."""

    label_smoothing: float = 0.05
    """Share of the target distribution that goes to all classes alike."""

    logit_adjustment: float = 0.0
    """Tau of the logit-adjusted loss, which favours rare classes (Menon et al. 2021); 1 is the paper's, 0 is none."""

    mixup: float = 0.0
    """Alpha of mixup, of pictures or of cached activations; 0 mixes none. With --cutmix, each batch draws one of them."""

    cutmix: float = 0.0
    """Alpha of cutmix, of stages that train from pictures; 0 mixes none."""

    ema_decay: float = 0.0
    """Of a moving average of the weights, which is evaluated and published instead, such as 0.999; 0 keeps none."""

    batchnorm: str = "learned"
    """Batch-norm statistics of unfrozen blocks: learned, or frozen."""

    cached_views: int = 3
    """Augmented views of each picture in the cache of a stage whose lower blocks are frozen; 0 trains from pictures."""

    flip: bool = True
    """Augmentation: half of the pictures are mirrored."""

    shift: int = 4
    """Augmentation: pictures are moved by up to so many decoded pixels."""

    crop: float = 0.0
    """Augmentation: up to this share of each side is cut away, the rest scaled up."""

    rotation: float = 0.0
    """Augmentation: pictures are turned by up to so many degrees, either way."""

    brightness: float = 0.0
    """Augmentation: brightness is multiplied by 1 minus so much to 1 plus so much."""

    contrast: float = 0.0
    """Augmentation: the same of contrast."""

    saturation: float = 0.0
    """Augmentation: the same of saturation. Colours of pictures change, so of no use where they are a target."""

    erasing: float = 0.0
    """Augmentation: this share of the pictures lose a rectangle."""

    noise: float = 0.0
    """Augmentation: standard deviation of noise, in the 256 levels of a pixel."""

    sampling: str = "shuffled"
    """Rows of an epoch: shuffled (each once), balanced (drawn, classes of the balance target evened out) or sqrt (between)."""

    class_weights: str = "none"
    """Of the training loss, a class of each target: none, balanced (one over its rows) or sqrt (one over the root of that)."""

    patience: int = 4
    """Epochs without a better value of --monitor after which a stage ends; 0 never ends one early."""

    monitor: str = "score"
    """What decides on patience and on the best epoch: score (mean accuracy), validation_loss, validation_accuracy/TARGET."""

    find_learning_rate: bool = False
    """First try rising rates on a copy of the network and say which suits the first stage (Smith 2017); no more."""

    compile: bool = False
    """Compile the network that learns with torch.compile: slow to start, faster on GPUs."""

    @property
    def head_code(self) -> str:
        """The heads as a card names them."""
        return head_code(self.head, self.head_widths or DEFAULT_WIDTHS, self.head_activation)

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training pictures."""
        return Augmentation(
            flip=self.flip, shift=self.shift, crop=self.crop, rotation=self.rotation, brightness=self.brightness,
            contrast=self.contrast, saturation=self.saturation, erasing=self.erasing, noise=self.noise,
        )  # fmt: skip

    def check_recipe(self, found: Problems, targets: Sequence[str]) -> None:
        """Note what is wrong with these options."""
        try:
            parse(self.schedule)
        except ValueError as error:
            found.check(False, "schedule", self.schedule, str(error))
        for field, allowed in _CHOICES.items():
            found.check(getattr(self, field) in allowed, field, getattr(self, field), f"one of {', '.join(allowed)}")
        for field, (low, high) in _RANGES.items():
            value = getattr(self, field)
            found.check(low <= value <= high, field, value, f"{low} to {high}")
        warmup = self.warmup_epochs
        found.check(warmup is None or 0 <= warmup <= 1000, "warmup_epochs", warmup, "0 to 1000, or none")
        widths = self.head_widths
        fits = len(widths) <= DEEPEST and all(1 <= width <= WIDEST for width in widths)
        found.check(fits, "head_widths", widths, f"at most {DEEPEST} widths of 1 to {WIDEST}")
        found.check(self.head == "mlp" or not widths, "head_widths", widths, "none", "only --head mlp has hidden layers")
        found.check(
            self.accumulate <= max(1, self.batch_size // 2), "accumulate", self.accumulate, "at most half of --batch-size",
            "batch normalisation needs 2 rows a part",
        )  # fmt: skip
        for part in self.target_weights:
            found.check(
                _target_weight(part, targets) is not None, "target_weights", part,
                f"TARGET=WEIGHT, such as {'='.join([*targets[:1], '2'])}, a weight above 0 and a target of --targets",
            )  # fmt: skip
        found.check(self.monitor in monitors(targets), "monitor", self.monitor, f"one of {', '.join(monitors(targets))}")


def recipe_of(options: RecipeOptions, fed: Fed, classes: Mapping[str, Sequence[str | None]], *, bf16: bool) -> Recipe:
    """The recipe of a run whose classes and training rows are known."""
    counts = {target: len(names) for target, names in classes.items()}
    named = dict(found for part in options.target_weights if (found := _target_weight(part, list(classes))) is not None)
    tau, rule = options.logit_adjustment, options.class_weights
    return Recipe(
        learning_rate=options.learning_rate, heads_learning_rate=options.heads_learning_rate, layer_decay=options.layer_decay,
        weight_decay=options.weight_decay, label_smoothing=options.label_smoothing,
        batchnorm_learns=options.batchnorm == "learned", bf16=bf16,
        class_weights=tuple(
            weights(fed.classes[target], count, rule=rule) for target, count in counts.items()
        ) if rule != "none" else (),
        target_weights=tuple(named.get(target, 1.0) for target in classes) if named else (),
        title_weight=options.title_weight,
        logit_offsets=tuple(
            logit_offsets(fed.classes[target], count, tau=tau) for target, count in counts.items()
        ) if tau else (),
        optimizer=options.optimizer, momentum=options.momentum, nesterov=options.nesterov, curve=options.learning_rate_curve,
        warmup_epochs=options.warmup_epochs, step_epochs=options.step_epochs, step_factor=options.step_factor,
        clip_gradient=options.clip_gradient, accumulate=options.accumulate, ema_decay=options.ema_decay, mixup=options.mixup,
        cutmix=options.cutmix, compiler="inductor" if options.compile else "",
    )  # fmt: skip


def sampling_of(options: RecipeOptions, fed: Fed, classes: Mapping[str, Sequence[str | None]]) -> Sampling | None:
    """How rows are drawn; none where each is fed once an epoch."""
    if options.sampling == "shuffled":
        return None
    targets = list(classes)
    rates = weights(np.asarray(fed.classes[fed.target]), len(classes[fed.target]), rule=options.sampling)
    return Sampling(column=targets.index(fed.target), weights=rates)


def _target_weight(text: str, targets: Sequence[str]) -> tuple[str, float] | None:
    target, _, number = text.partition("=")
    try:
        weight = float(number)
    except ValueError:
        return None
    return (target, weight) if target in targets and 0 < weight <= 1000 else None


_CHOICES: Mapping[str, Sequence[str]] = {
    "head": HEADS,
    "head_activation": tuple(ACTIVATIONS),
    "optimizer": OPTIMIZERS,
    "learning_rate_curve": CURVES,
    "batchnorm": ("frozen", "learned"),
    "sampling": SAMPLINGS,
    "class_weights": CLASS_WEIGHTS,
}

_RANGES: Mapping[str, tuple[float, float]] = {
    "dropout": (0, 0.95),
    "title_weight": (0, 1000),
    "batch_size": (2, 65536),
    "accumulate": (1, 1024),
    "momentum": (0, 0.999),
    "learning_rate": (1e-7, 10),
    "heads_learning_rate": (1e-7, 10),
    "step_epochs": (1, 1000),
    "step_factor": (0.001, 1),
    "layer_decay": (0.01, 1),
    "weight_decay": (0, 1),
    "clip_gradient": (0, 1e6),
    "label_smoothing": (0, 0.9),
    "logit_adjustment": (0, 10),
    "mixup": (0, 10),
    "cutmix": (0, 10),
    "ema_decay": (0, 0.99999),
    "cached_views": (0, 64),
    "shift": (0, 64),
    "crop": (0, 0.9),
    "rotation": (0, 180),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "saturation": (0, 1),
    "erasing": (0, 1),
    "noise": (0, 128),
    "patience": (0, 10_000),
}
