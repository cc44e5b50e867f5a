"""The bundle: what moves from training to scoring. In: a network and its card. Out: two files that nothing unpickles.

    models/<model_version>/weights.safetensors      every weight
    models/<model_version>/card.json                everything else that is needed to answer, and where it came from

`trunk_version`, `head_version` and `model_version` hash weights and the fields that inference uses, not metrics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import safetensors.torch
from torch import Tensor, nn

from fashion_ray.config import NAME_PATTERN
from fashion_ray.errors import UserError
from fashion_ray.models import backbones
from fashion_ray.models.network import Geometry, Network, add_title_head, build_heads, state_of
from fashion_ray.models.taxonomy import Taxonomy

FORMAT = 4
"""Since 2 there are thresholds a class, since 3 a pooling, since 4 mirror images and a threshold of `other`. Older bundles keep
their versions: each class has its target's threshold, channels are averaged, pictures are seen as they are, and `other` is a
class as any."""

READABLE = (1, 2, 3, FORMAT)
LARGEST_SIDE = 4096
"""Of pictures, in pixels: layers of some trunks are as large as the picture that a card names."""

CARD, WEIGHTS = "card.json", "weights.safetensors"

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything about a model but its weights."""

    backbone: str
    embedding_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decoded_size: tuple[int, int]
    input_size: tuple[int, int]
    head: str
    dropout: float
    classes: dict[str, list[str | None]]
    levels: tuple[str, ...]
    paths: tuple[tuple[int, ...], ...]
    temperatures: dict[str, float]
    thresholds: dict[str, float]
    """Of each target, the probability below which an answer needs review, for classes without their own."""

    class_thresholds: dict[str, list[float | None]] = field(default_factory=dict)
    """Their own, of each target, in the order of its classes; null stands for the target's."""

    pooling: str = "average"
    """From the trunk's last feature map to the embedding: one of backbones.POOLINGS."""

    tta_flip: bool = False
    """Whether an embedding is the mean of the picture's and of its mirror image's."""

    other_threshold: float = 0.0
    """The probability of the null class above which it may be the answer."""

    trunk_version: str = ""
    head_version: str = ""
    model_version: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Training run, catalog snapshot, engine that calibrated it, metrics: for people, not for inference."""

    @property
    def targets(self) -> list[str]:
        """The targets, in the order of the network's outputs."""
        return list(self.classes)

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy that answers are decoded with."""
        others = {target: names.index(None) for target, names in self.classes.items() if None in names}
        return Taxonomy(levels=self.levels, paths=self.paths, others=others, other_threshold=self.other_threshold)

    @property
    def geometry(self) -> Geometry:
        """The sizes of pictures."""
        return Geometry(decoded_size=self.decoded_size, input_size=self.input_size)

    def review_thresholds(self, target: str) -> list[float]:
        """The probability of each class, as predicted, below which it needs review."""
        own = self.class_thresholds.get(target, [None] * len(self.classes[target]))
        return [self.thresholds[target] if value is None else value for value in own]


def seal(card: Card, weights: Mapping[str, Tensor]) -> Card:
    """The card with the versions that its fields and these weights have."""
    # What a card of an older format has not is left out, so that its versions stay what they were.
    pooling = [card.pooling] if card.pooling != "average" else []
    mirrored = ["tta_flip, in every engine"] if card.tta_flip else []  # "tta_flip" was of engines that left it out
    trunk = digest(
        [card.backbone, card.mean, card.std, card.decoded_size, card.input_size, *pooling, *mirrored],
        {key: value for key, value in weights.items() if key.startswith("trunk.")},
    )
    own: list[object] = [card.class_thresholds] if card.class_thresholds else []
    own += [{"other_threshold": card.other_threshold}] if card.other_threshold else []
    head = digest(
        [card.head, list(card.classes.items()), card.levels, card.paths, card.temperatures, card.thresholds, *own],
        {key: value for key, value in weights.items() if not key.startswith("trunk.")},
    )
    whole = hashlib.sha256(f"{trunk}{head}".encode()).hexdigest()[:16]
    return replace(card, trunk_version=trunk, head_version=head, model_version=whole)


def dump(card: Card, network: Network) -> dict[str, bytes]:
    """The bundle's files by name; the card is sealed first."""
    assert network.targets == card.targets, "a bundle has the heads of its targets, and no other"
    weights = state_of(network)
    sealed = seal(card, weights)
    content = {"format": FORMAT, **asdict(sealed)}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return {WEIGHTS: safetensors.torch.save(weights), CARD: text.encode()}


def read_card(content: bytes, *, name: str) -> Card:
    """The card in a card.json. Raises UserError if it is none, or of another format."""
    try:
        values = json.loads(content)
        if (found := values.pop("format")) not in READABLE:
            raise ValueError(f"format {found}, expected one of {READABLE}")
        for key in ("mean", "std", "decoded_size", "input_size", "levels"):
            values[key] = tuple(values[key])
        values["paths"] = tuple(tuple(path) for path in values["paths"])
        if not isinstance(values["classes"], dict):
            raise ValueError("`classes` is no object")
        card = Card(**values)
        if not all(isinstance(side, int) and 1 <= side <= LARGEST_SIDE for side in (*card.decoded_size, *card.input_size)):
            raise ValueError(f"sizes are {card.decoded_size} and {card.input_size}, expected sides of 1 to {LARGEST_SIDE}")
        if NAME_PATTERN.fullmatch(card.backbone) is None:  # timm takes hf-hub:... and local-dir:... for places to read from
            raise ValueError(f"`backbone` is {card.backbone!r}, expected the name of a trunk")
        if card.pooling not in backbones.POOLINGS:
            raise ValueError(f"`pooling` is {card.pooling!r}")
        if not isinstance(card.tta_flip, bool):
            raise ValueError(f"`tta_flip` is {card.tta_flip!r}, expected true or false")
        if not isinstance(card.other_threshold, int | float) or not 0 <= card.other_threshold <= 1:
            raise ValueError(f"`other_threshold` is {card.other_threshold!r}, expected 0 to 1")
        if any(len(card.review_thresholds(target)) != len(names) for target, names in card.classes.items()):
            raise ValueError("`class_thresholds` has not one entry a class")
        return card
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"bundle {name}: {CARD} cannot be read ({error}); expected one that jobs/train.py wrote") from error


def load(files: Mapping[str, bytes], *, name: str) -> tuple[Card, Network]:
    """The model in a bundle, ready to answer. Raises UserError if its weights are not those that the card was sealed with."""
    card, weights = _opened(files, name)
    network = _loaded(lambda: empty_network(card), weights, name)
    return card, network.eval()


def load_heads(files: Mapping[str, bytes], *, name: str) -> tuple[Card, nn.ModuleDict]:
    """The heads of a bundle without the trunk, which takes longer to build. Raises UserError as `load` does."""
    card, weights = _opened(files, name)
    own = {key.removeprefix("heads."): value for key, value in weights.items() if key.startswith("heads.")}
    heads = _loaded(lambda: nn.ModuleDict(build_heads(card.head, card.embedding_dim, card.classes, card.dropout)), own, name)
    return card, heads.eval()


def _opened(files: Mapping[str, bytes], name: str) -> tuple[Card, dict[str, Tensor]]:
    card = read_card(files[CARD], name=name)
    try:
        weights = safetensors.torch.load(files[WEIGHTS])
    except Exception as error:
        raise UserError(f"bundle {name}: {WEIGHTS} cannot be read ({error}); expected safetensors") from error
    if seal(card, weights) != card:
        raise UserError(
            f"bundle {name}: its weights or inference fields are not those of version {card.model_version}; it was changed or "
            "damaged since it was trained. Train it again or restore it"
        )
    return card, weights


def _loaded(build: Callable[[], Module], weights: Mapping[str, Tensor], name: str) -> Module:
    try:
        module = build()
        module.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"bundle {name}: {WEIGHTS} does not fit the network that {CARD} describes ({error})") from error
    return module


def empty_network(card: Card, *, title_words: int = 0) -> Network:
    """The network that a card describes, its weights still to be loaded; with a head for words of titles if there are any."""
    trunk = backbones.skeleton(card.backbone, input_size=card.input_size, pooling=card.pooling)
    trunk.spec = replace(trunk.spec, mean=card.mean, std=card.std)
    heads = build_heads(card.head, card.embedding_dim, card.classes, card.dropout)
    network = Network(card.geometry, trunk, heads, tta_flip=card.tta_flip)
    if title_words:
        add_title_head(network, card.head, title_words, card.dropout)
    return network


def digest(fields: list[object], weights: Mapping[str, Tensor]) -> str:
    """A short hash of plain fields and tensors."""
    found = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for key in sorted(weights):
        value = weights[key].detach().cpu().contiguous()
        found.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()[:16]
