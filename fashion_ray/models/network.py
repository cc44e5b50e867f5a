"""The whole network, from decoded pixels to embeddings and logits. In: uint8 pictures. Out: one answer per target."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fashion_ray.errors import UserError
from fashion_ray.models.backbones import Trunk
from fashion_ray.models.dropout import ByteDropout
from fashion_ray.models.preprocess import Preprocess

HEADS = ("batchnorm", "linear", "mlp")
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
WIDEST, DEEPEST = 65536, 8
TITLE = "title"
"""The head that guesses words of titles. No target is called so, and no bundle has it."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Heights and widths, in pixels: of decoded pictures, and of what enters the trunk."""

    decoded_size: tuple[int, int]
    input_size: tuple[int, int]


class Network(nn.Module):
    """Preprocessing, trunk, and one head a target.

    With `tta_flip` an answer's embedding is the mean of those of the picture and of its mirror image (test-time augmentation);
    linear heads then give the mean of both logits. Training sees one of the two at a time.
    """

    def __init__(self, geometry: Geometry, trunk: Trunk, heads: Mapping[str, nn.Module], *, tta_flip: bool = False) -> None:
        super().__init__()
        self.geometry, self.tta_flip = geometry, tta_flip
        self.preprocess = Preprocess(
            decoded_size=geometry.decoded_size, input_size=geometry.input_size, mean=trunk.spec.mean, std=trunk.spec.std
        )
        self.trunk = trunk
        self.heads = nn.ModuleDict(dict(heads))

    @property
    def targets(self) -> list[str]:
        """The targets, in the order of the outputs."""
        return list(self.heads)

    def forward(self, pixels_BHWC: Tensor) -> tuple[Tensor, ...]:
        """Embeddings (batch, embedding_dim), then the logits (batch, classes) of each target, all float32."""
        embeddings = self.embeddings(pixels_BHWC)
        return (embeddings.float(), *self.answers(embeddings))

    def embeddings(self, pixels_BHWC: Tensor) -> Tensor:
        """What the heads answer from, (batch, embedding_dim)."""
        images = self.preprocess(pixels_BHWC)
        found: Tensor = self.trunk(images)
        return (found + self.trunk(images.flip(3))) / 2 if self.tta_flip else found

    def answers(self, embeddings: Tensor) -> list[Tensor]:
        """The logits of each target from embeddings."""
        return [head(embeddings).float() for head in self.heads.values()]


class EmbeddingNetwork(nn.Module):
    """A network without its heads, as scoring runs it: pixels to the embeddings that the heads answer from, float32."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        """Embeddings (batch, embedding_dim)."""
        return self.network.embeddings(pixels_BHWC).float()


class LowerNetwork(nn.Module):
    """Preprocessing and the frozen blocks: pixels to what enters the last `trainable` blocks, or to embeddings if 0.

    Those are of the picture alone, as training sees it, also where a network answers by mirror images too.
    """

    def __init__(self, network: Network, trainable: int) -> None:
        super().__init__()
        self.preprocess = network.preprocess
        self.trunk = network.trunk
        self.trainable = trainable

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        """The activations at the frozen boundary, float32."""
        images = self.preprocess(pixels_BHWC)
        if not self.trainable:
            embeddings: Tensor = self.trunk(images)
            return embeddings.float()
        return self.trunk.lower(images, self.trainable).float()


def head_code(kind: str, widths: Sequence[int] = (), activation: str = "relu") -> str:
    """How a card names heads: their kind, and for an mlp its hidden widths and activation, such as mlp:50,20:relu."""
    return f"mlp:{','.join(map(str, widths))}:{activation}" if kind == "mlp" else kind


def parse_head(code: str) -> tuple[str, tuple[int, ...], str]:
    """(kind, widths, activation) of a head's code. Raises UserError for one that nothing can be built from."""
    match = re.fullmatch(r"mlp:(\d+(?:,\d+)*):([a-z]+)", code)
    if match is not None and match[2] in ACTIVATIONS:
        widths = tuple(int(width) for width in match[1].split(","))
        if len(widths) <= DEEPEST and all(1 <= width <= WIDEST for width in widths):
            return "mlp", widths, match[2]
    if code not in HEADS or code == "mlp":
        raise UserError(
            f"--head: got {code!r}, expected linear, batchnorm, or an mlp with 1 to {DEEPEST} widths of 1 to {WIDEST} and an "
            f"activation among {', '.join(ACTIVATIONS)}, such as mlp:50,20:relu"
        )
    return code, (), ""


def build_heads(
    code: str, embedding_dim: int, classes: Mapping[str, Sequence[str | None]], dropout: float
) -> dict[str, nn.Module]:
    """A head for each target: `linear`, `batchnorm` (batch normalisation, dropout, linear), or such as `mlp:50,20:relu`.

    An mlp has, for each width, a linear layer, its activation and dropout, and a linear layer at the end.
    """
    kind, widths, activation = parse_head(code)
    found: dict[str, nn.Module] = {}
    for target, names in classes.items():
        layers: list[nn.Module] = [nn.BatchNorm1d(embedding_dim), ByteDropout(dropout)] if kind == "batchnorm" else []
        width = embedding_dim
        for wanted in widths:
            layers += [nn.Linear(width, wanted), ACTIVATIONS[activation](), ByteDropout(dropout)]
            width = wanted
        last = _last_layer(width, len(names))
        found[target] = nn.Sequential(*layers, last) if layers else last
    return found


def add_title_head(network: Network, code: str, words: int, dropout: float) -> None:
    """A last head for training alone, built as the others are, with an output a word."""
    network.heads.update(build_heads(code, network.trunk.spec.embedding_dim, {TITLE: [""] * words}, dropout))


def drop_title_head(network: Network) -> None:
    """Leave the heads of the targets, which are what a model is."""
    if TITLE in network.heads:
        del network.heads[TITLE]


def _last_layer(width: int, classes: int) -> nn.Linear:
    linear = nn.Linear(width, classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


def freeze_below(network: Network, trainable: int) -> list[list[nn.Parameter]]:
    """Let only the heads and the last `trainable` blocks learn; their parameters by depth, heads first.

    Frozen blocks are put in evaluation mode, so their batch-norm statistics stay as they are.
    """
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    open_blocks = list(network.trunk.blocks)[len(network.trunk.blocks) - trainable :]
    groups = []
    for part in [network.heads, *reversed(open_blocks)]:
        parameters = list(part.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        groups.append(parameters)
    return groups


def set_training(network: Network, trainable: int, *, batchnorm_learns: bool) -> None:
    """Training mode for the heads and the last `trainable` blocks; batch norm of the blocks only if asked for."""
    network.eval()
    network.heads.train()
    for block in list(network.trunk.blocks)[len(network.trunk.blocks) - trainable :]:
        block.train()
        if not batchnorm_learns:
            for module in block.modules():
                if is_batch_norm(module):
                    module.eval()


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a layer has the statistics of a batch norm, which --batchnorm is about."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """(all, trainable) parameters, buffers not counted."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return sum(count for count, _ in counts), sum(count for count, learns in counts if learns)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights as contiguous tensors in main memory, ready to be saved."""
    return {
        key: value.detach().to("cpu", memory_format=torch.contiguous_format).contiguous()
        for key, value in network.state_dict().items()
    }
