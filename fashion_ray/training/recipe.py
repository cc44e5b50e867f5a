"""How to learn, as plain values: what the options say once classes are counted and the device is known."""

from __future__ import annotations

from dataclasses import dataclass

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop")
CURVES = ("cosine", "constant", "step", "onecycle")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a step but the rows in it."""

    learning_rate: float
    heads_learning_rate: float
    layer_decay: float
    weight_decay: float
    label_smoothing: float
    batchnorm_learns: bool
    bf16: bool
    class_weights: tuple[tuple[float, ...], ...] = ()
    """What a training row of each class counts in the loss, a tuple a target; empty where all count alike."""

    target_weights: tuple[float, ...] = ()
    """What each target's loss counts in the sum; empty where all count alike."""

    title_weight: float = 0.0
    """What the loss of guessing words of titles counts beside those of the targets; 0 guesses none."""

    logit_offsets: tuple[tuple[float, ...], ...] = ()
    """What is added to the logits in training, a tuple a target: the logit adjustment; empty without one."""

    optimizer: str = "adamw"
    momentum: float = 0.9
    nesterov: bool = True
    curve: str = "cosine"
    warmup_epochs: float | None = None
    """Of each stage; none is the curve's own share of its steps."""

    step_epochs: int = 3
    step_factor: float = 0.1
    clip_gradient: float = 5.0
    """The largest norm of a step's gradient; 0 clips none."""

    accumulate: int = 1
    """Parts that a step's rows are run in."""

    ema_decay: float = 0.0
    """Of the moving average of the weights; 0 keeps none."""

    mixup: float = 0.0
    cutmix: float = 0.0
    compiler: str = ""
    """Backend of torch.compile for the network that learns; none runs it as it is."""
