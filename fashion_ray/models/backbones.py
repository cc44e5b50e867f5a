"""Trunks. In: a name and a place to look for weights. Out: blocks from the picture to the embedding.

A trunk is a sequence of blocks, numbered from the output when layers are unfrozen: the last block is block 1. Whatever
family it is of, the blocks run one after the other give the same features as the original network, which is checked.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from fashion_ray.errors import UserError
from fashion_ray.models import scratch, weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
POOLINGS = ("average", "flatten")
KNOWN = f"efficientnet_lite0, any torchvision or timm name, or one of {', '.join(scratch.NETWORKS)}"


@dataclass(frozen=True, kw_only=True)
class TrunkSpec:
    """What identifies a trunk apart from its weights."""

    name: str
    embedding_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pooling: str = "average"
    """What becomes of the last block's (batch, channels, height, width): the mean of each channel, or every value (flatten)."""


class Trunk(nn.Module):
    """Blocks, then pooling where these give no vectors: (batch, 3, height, width) float to (batch, embedding_dim)."""

    def __init__(self, spec: TrunkSpec, blocks: list[nn.Module], block_names: list[str]) -> None:
        super().__init__()
        self.spec = spec
        self.blocks = nn.ModuleList(blocks)
        self.block_names = block_names

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings of preprocessed pictures."""
        return self.upper(images, len(self.blocks))

    def lower(self, images: Tensor, trainable: int) -> Tensor:
        """Activations at the frozen boundary: what enters the last `trainable` blocks."""
        for block in self.blocks[: len(self.blocks) - trainable]:
            images = block(images)
        return images

    def upper(self, activations: Tensor, trainable: int) -> Tensor:
        """Embeddings from the activations at the frozen boundary."""
        for block in self.blocks[len(self.blocks) - trainable :]:
            activations = block(activations)
        if activations.ndim != 4:
            return activations
        return activations.flatten(1) if self.spec.pooling == "flatten" else activations.mean((2, 3))


def build(name: str, source: str, *, input_size: tuple[int, int] | None = None, pooling: str = "average") -> Trunk:
    """A trunk with its weights: `source` is pretrained, none, or a file or URI, be it of a bundle of the same trunk.

    `input_size` (height, width) is what enters it: networks from scratch and `flatten` have layers of sizes that depend on it.
    Raises UserError for an unknown name, for weights that cannot be had, saying where it looked, and for too small a size.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"--backbone: got {name!r}, expected {KNOWN}{hint}")
    if name in scratch.NETWORKS:
        return _from_scratch(name, source, input_size)
    packaged = name in weights.PACKAGES
    whole, blocks, spec = _construct(name, pretrained=source == "pretrained" and not packaged)
    if source == "pretrained" and packaged:
        weights.load_in_order(whole, weights.packaged(name), source=weights.PACKAGES[name].package)
    trunk = Trunk(spec, [block for _, block in blocks], [label for label, _ in blocks])
    if source not in ("pretrained", "none"):
        state = weights.from_location(source)
        of_bundle = any(key.startswith("trunk.blocks.") for key in state)
        weights.load_in_order(trunk if of_bundle else whole, state, source=source)
    _check_blocks(whole, trunk)
    return _pooled(trunk, pooling, input_size)


def skeleton(name: str, *, input_size: tuple[int, int] | None = None, pooling: str = "average") -> Trunk:
    """A trunk whose weights are still to be loaded; otherwise what `build` gives."""
    if name in scratch.NETWORKS:
        return _from_scratch(name, "none", input_size)
    _, blocks, spec = _construct(name, pretrained=False)
    return _pooled(Trunk(spec, [block for _, block in blocks], [label for label, _ in blocks]), pooling, input_size)


def names() -> list[str]:
    """Every trunk that can be built."""
    import timm  # it and torchvision take two seconds to import, and most jobs build no trunk

    return [*weights.PACKAGES, *scratch.NETWORKS, *_torchvision_families(), *timm.list_models()]


def _from_scratch(name: str, source: str, input_size: tuple[int, int] | None) -> Trunk:
    if source == "pretrained":
        raise UserError(f"--weights: got pretrained, expected none for {name}; {scratch.UNTRAINED}")
    assert input_size is not None, f"the layers of {name} depend on the input's size"
    blocks, embedding_dim = scratch.build(name, input_size)
    spec = TrunkSpec(name=name, embedding_dim=embedding_dim, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    trunk = Trunk(spec, [block for _, block in blocks], [label for label, _ in blocks])
    if source != "none":
        weights.load_in_order(trunk, weights.from_location(source), source=source)
    return trunk


def _pooled(trunk: Trunk, pooling: str, input_size: tuple[int, int] | None) -> Trunk:
    """The trunk with this pooling; for `flatten`, its embedding is as wide as what it gives for one picture."""
    if pooling == "average":
        return trunk
    assert pooling in POOLINGS and input_size is not None, (pooling, input_size)
    trunk.spec = replace(trunk.spec, pooling=pooling)
    try:
        with torch.no_grad():
            found = trunk.eval()(torch.zeros(1, 3, *input_size))
    except RuntimeError as error:
        height, width = input_size
        raise UserError(
            f"--input-size: got {height}x{width}, expected a larger one: {trunk.spec.name} leaves nothing of it to flatten"
        ) from error
    trunk.spec = replace(trunk.spec, embedding_dim=int(found.shape[1]))
    return trunk


def _construct(name: str, *, pretrained: bool) -> tuple[nn.Module, list[tuple[str, nn.Module]], TrunkSpec]:
    if name in _torchvision_families():
        return _torchvision(name, pretrained)
    return _timm(name, pretrained)


def _timm(name: str, pretrained: bool) -> tuple[nn.Module, list[tuple[str, nn.Module]], TrunkSpec]:
    import timm

    known = name if name not in weights.PACKAGES else f"tf_{name}"
    try:
        whole = timm.create_model(known, pretrained=pretrained, num_classes=0, global_pool="")
    except (AssertionError, TypeError) as error:  # networks without a pooling that could be left out
        raise UserError(_no_blocks(name)) from error
    except Exception as error:
        if not pretrained:
            raise
        raise UserError(_no_download(name, "timm's model hub", error)) from error
    config: Any = whole.pretrained_cfg
    features: Any = getattr(whole, "head_hidden_size", 0) or whole.num_features
    spec = TrunkSpec(
        name=name,
        embedding_dim=int(features),
        mean=tuple(config.get("mean", IMAGENET_MEAN)),
        std=tuple(config.get("std", IMAGENET_STD)),
    )
    return whole, _join_ends(list(_flatten(whole))), spec


def _torchvision(name: str, pretrained: bool) -> tuple[nn.Module, list[tuple[str, nn.Module]], TrunkSpec]:
    import torchvision.models

    extra = {"aux_logits": pretrained} if name == "inception_v3" else {}
    if name == "inception_v3":
        extra |= {"transform_input": False, **({} if pretrained else {"init_weights": False})}
    try:
        model = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None, **extra)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(_no_download(name, "torchvision's download", error)) from error
    if hasattr(model, "features"):
        whole: nn.Module = model.features
        blocks = list(_vgg_stages(whole)) if name.startswith(("vgg", "alexnet")) else list(whole.named_children())
    else:
        kept = [
            (label, child) for label, child in model.named_children() if label not in ("fc", "avgpool", "dropout", "AuxLogits")
        ]
        whole, blocks = nn.Sequential(OrderedDict(kept)), kept  # under the names that its weights have
    blocks = _join_ends(blocks)
    with torch.no_grad():
        dim = int(whole.eval()(torch.zeros(1, 3, 128, 128)).shape[1])
    mean, std = _torchvision_scaling(name)
    return whole, blocks, TrunkSpec(name=name, embedding_dim=dim, mean=mean, std=std)


def _torchvision_scaling(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation that a network's weights were trained with."""
    import torchvision.models

    if name == "inception_v3":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # its own rescaling of pictures is left out
    used = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return tuple(used.mean), tuple(used.std)


def _torchvision_families() -> list[str]:
    import torchvision.models

    families = (
        "vgg",
        "alexnet",
        "mobilenet_v",
        "resnet",
        "resnext",
        "wide_resnet",
        "inception_v3",
        "efficientnet_",
        "convnext_",
    )
    listed = torchvision.models.list_models(module=torchvision.models)
    return [name for name in listed if name.startswith(families) and not name.startswith("efficientnet_lite")]


def _flatten(whole: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A timm network's parts in order, containers of stages taken apart, the classifier left out."""
    for label, child in whole.named_children():
        if label in ("blocks", "stages", "features", "layers") and isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from ((f"{label}.{number}", stage) for number, stage in child.named_children())
        elif label not in ("classifier", "fc", "global_pool", "head_drop"):
            yield label, child


def _vgg_stages(features: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A VGG's layers, each stage up to and with its pooling as one block."""
    stage: list[nn.Module] = []
    number = 1
    for layer in features.children():
        stage.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            yield f"stage{number}", nn.Sequential(*stage)
            stage, number = [], number + 1
    if stage:
        yield f"stage{number}", nn.Sequential(*stage)


def _join_ends(parts: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Join small parts (a convolution, a norm, an activation) to a stage: at the end to the last one, else to the next."""
    small: Callable[[nn.Module], bool] = lambda part: not any(len(list(child.children())) for child in part.children())  # noqa: E731
    blocks: list[tuple[str, nn.Module]] = []
    waiting: list[tuple[str, nn.Module]] = []
    for label, part in parts:
        waiting.append((label, part))
        if not small(part):
            blocks.append(_one(waiting))
            waiting = []
    if waiting and blocks:
        last = blocks.pop()
        blocks.append(_one([last, *waiting]))
    elif waiting:
        blocks = waiting
    return blocks


def _one(parts: list[tuple[str, nn.Module]]) -> tuple[str, nn.Module]:
    return ("+".join(label for label, _ in parts), nn.Sequential(*(part for _, part in parts)))


def _check_blocks(whole: nn.Module, trunk: Trunk) -> None:
    """Raise UserError unless the blocks compute what the network computes, in channels first."""
    probe = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    whole.eval()
    with torch.no_grad():
        try:
            expected = whole(probe)
            got = trunk.lower(probe, 0)
            tolerance = 1e-4 * float(expected.abs().max())
            same = expected.shape == got.shape and bool(((expected - got).abs() <= tolerance).all())
            same = same and expected.shape[1] == trunk.spec.embedding_dim
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError):
            same = False
    if not same:
        raise UserError(_no_blocks(trunk.spec.name))


def _no_blocks(name: str) -> str:
    return (
        f"--backbone: {name} cannot be taken apart into blocks that run one after the other; expected a convolutional "
        "network such as efficientnet_lite0, resnet50, mobilenet_v2, vgg16, convnext_tiny"
    )


def _no_download(name: str, where: str, error: Exception) -> str:
    return (
        f"--weights: the pretrained weights of {name} could not be had from {where} ({type(error).__name__}); expected a "
        "network connection, --weights FILE_OR_URI of a state dict, or --weights none. "
        f"{', '.join(weights.PACKAGES)} come as Python packages and need no download"
    )
