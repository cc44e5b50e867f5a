"""The networks of earlier studies: as large as their studies' tables say, and trunks like all others."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from fashion_ray.errors import UserError
from fashion_ray.models import backbones, bundle, engines, scratch
from fashion_ray.models.bundle import Card
from fashion_ray.models.network import Geometry, LowerNetwork, Network, build_heads, count_parameters, freeze_below, state_of
from fashion_ray.training.losses import Batch
from fashion_ray.training.schedule import Stage
from tests.unit.networks import CLASSES, RECIPE, batches, stage_loop, toy

SMALLEST = {"simplecnn": (48, 48), "class30cnn": (16, 12), "lenet5": (10, 12), "mlp300": (8, 8)}
NAMES = list(scratch.NETWORKS)


def small_size(name: str) -> tuple[int, int]:
    """A size of pictures at which a network is small."""
    return SMALLEST[name.split("_")[0]]


def make(name: str) -> Network:
    """A small one for the pictures of `toy`, which it scales up."""
    torch.manual_seed(0)
    trunk = backbones.build(name, "none", input_size=small_size(name))
    geometry = Geometry(decoded_size=(8, 8), input_size=small_size(name))
    return Network(geometry, trunk, build_heads("linear", trunk.spec.embedding_dim, CLASSES, 0.0))


def make_whole(
    name: str, input_size: tuple[int, int], outputs: int, *, head: str = "linear", pooling: str = "average"
) -> Network:
    """A network as a study had it, with one target; shapes alone, since some have millions of weights."""
    with torch.device("meta"):
        trunk = backbones.skeleton(name, input_size=input_size, pooling=pooling)
        heads = build_heads(head, trunk.spec.embedding_dim, {"articleType": [str(one) for one in range(outputs)]}, 0.5)
        return Network(Geometry(decoded_size=input_size, input_size=input_size), trunk, heads)


def count_with_statistics(network: Network) -> int:
    """Parameters, and means and variances of batch norms, as Keras counts them."""
    return sum(value.numel() for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("name", "input_size", "outputs", "counted", "learning"),
    [
        ("simplecnn", (224, 224), 70, 5_036_998, 5_036_998),
        ("class30cnn", (80, 60), 30, 9_914_686, 9_913_278),
        ("lenet5", (32, 32), 10, 81_194, 81_194),
        ("mlp300", (32, 32), 10, 338_610, 338_610),
        # In other colours the first layer alone differs: two channels of weights more or less.
        ("simplecnn_grey", (224, 224), 70, 5_036_998 - 2 * 25 * 32, 5_036_998 - 2 * 25 * 32),
        ("class30cnn_grey", (80, 60), 30, 9_914_686 - 2 * 9 * 32, 9_913_278 - 2 * 9 * 32),
        ("lenet5_rgb", (32, 32), 10, 81_194 + 2 * 9 * 6, 81_194 + 2 * 9 * 6),
        ("mlp300_rgb", (32, 32), 10, 338_610 + 2 * 1024 * 300, 338_610 + 2 * 1024 * 300),
        ("resnet50", (32, 32), 10, 23_581_642, 23_581_642 - 2 * 26_560),
    ],
)
def test_networks_are_as_large_as_in_their_studies(
    name: str, input_size: tuple[int, int], outputs: int, counted: int, learning: int
) -> None:
    network = make_whole(name, input_size, outputs)
    assert count_with_statistics(network) == counted
    freeze_below(network, len(network.trunk.blocks))
    assert count_parameters(network) == (learning, learning)


def test_vgg16_flattened_under_50_and_20_is_as_large_as_in_its_study() -> None:
    network = make_whole("vgg16", (224, 224), 7, head="mlp:50,20:relu", pooling="flatten")
    assert network.trunk.spec.embedding_dim == 512 * 7 * 7
    freeze_below(network, 0)
    assert count_parameters(network) == (15_970_305, 1_255_617)
    assert count_with_statistics(network) == 15_970_305


def test_every_network_is_counted_by_a_test() -> None:
    assert set(SMALLEST) == {name.split("_")[0] for name in NAMES} and len(NAMES) == 8
    assert set(NAMES) <= set(backbones.names())


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_learns_in_a_step(name: str) -> None:
    network, (pixels, labels) = make(name), toy()
    before = copy.deepcopy(network.state_dict())
    every = Stage(name="all", trainable=len(network.trunk.blocks), epochs=1)
    loop = stage_loop(network, every, recipe=replace(RECIPE, batchnorm_learns=True), steps=1)
    found = loop.train_epoch([Batch(pixels, labels)], 0)
    assert math.isfinite(found["train_loss"]) and found["steps"] == 1
    after = network.state_dict()
    still = {key for key, value in after.items() if torch.equal(before[key], value)}
    assert still == set()


@pytest.mark.parametrize("name", ["lenet5_rgb", "mlp300_rgb"])
def test_learns_colours_from_scratch(name: str) -> None:
    network = make(name)
    stage = Stage(name="all", trainable=len(network.trunk.blocks), epochs=15)
    recipe = replace(RECIPE, batchnorm_learns=True, layer_decay=1.0, learning_rate=0.01)
    loop = stage_loop(network, stage, recipe=recipe)
    for epoch in range(stage.epochs):
        loop.train_epoch(batches(*toy()), epoch)
    assert loop.evaluate(batches(*toy()))["validation_accuracy/season"] > 0.9


@pytest.mark.parametrize("name", ["lenet5", "mlp300_rgb"])
@pytest.mark.parametrize("trainable", [0, 1, 2])
def test_learns_from_cached_activations_what_it_learns_from_pictures(name: str, trainable: int) -> None:
    pixels, labels = toy()
    by_pictures, by_cache = make(name), make(name)
    stage = Stage(name="top", trainable=trainable, epochs=2)
    loop = stage_loop(by_pictures, stage)
    with torch.no_grad():
        activations = LowerNetwork(by_cache, trainable).eval()(pixels)
    cached_loop = stage_loop(by_cache, stage, cached=True)
    for epoch in range(stage.epochs):
        from_pictures = loop.train_epoch(batches(pixels, labels), epoch)
        from_cache = cached_loop.train_epoch(batches(activations, labels), epoch)
    assert from_cache["train_loss"] == pytest.approx(from_pictures["train_loss"], abs=1e-4)
    frozen = len(by_cache.trunk.blocks) - trainable
    first, still = make(name).state_dict(), set()
    for key, value in by_pictures.state_dict().items():
        assert torch.allclose(by_cache.state_dict()[key], value, atol=1e-4), key
        still |= {key} if torch.equal(first[key], value) else set()
    assert still == {key for key in first for number in range(frozen) if key.startswith(f"trunk.blocks.{number}.")}


def card_of(network: Network) -> Card:
    """A card of a network of `make`."""
    spec = network.trunk.spec
    return Card(
        backbone=spec.name, pooling=spec.pooling, embedding_dim=spec.embedding_dim, mean=spec.mean, std=spec.std,
        decoded_size=network.geometry.decoded_size, input_size=network.geometry.input_size, head="linear", dropout=0.0,
        classes=CLASSES, levels=(), paths=(), temperatures=dict.fromkeys(CLASSES, 1.0), thresholds=dict.fromkeys(CLASSES, 0.5),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_answers_as_the_network_that_it_was_made_of(name: str) -> None:
    network, (pixels, _) = make(name).eval(), toy()
    card, again = bundle.load(bundle.dump(card_of(network), network), name="a bundle")
    assert (card.backbone, again.trunk.spec) == (name, network.trunk.spec)
    with torch.inference_mode():
        for one, other in zip(network(pixels), again(pixels), strict=True):
            assert torch.equal(one, other)


@pytest.mark.skipif(not engines.openvino_installed(), reason="OpenVINO is not installed")
def test_openvino_answers_as_pytorch() -> None:
    network, pixels = make("lenet5").eval(), toy()[0][:5]
    with torch.inference_mode():
        expected = network(pixels)
    choice = engines.choose("openvino", "f32", gpus=0, cpu_has_bf16=False)
    engine = engines.make(network, pixel_shape=(8, 8), choice=choice, threads=1)
    for one, other in zip(engine(pixels.numpy()), expected, strict=True):
        assert torch.allclose(torch.from_numpy(one), other, atol=1e-5)


def test_grey_is_pils_grey_of_pixels_from_0_to_1() -> None:
    network, (pixels, _) = make("lenet5"), toy()
    network.preprocess.rows, network.preprocess.columns = torch.eye(8), torch.eye(8)
    first = network.trunk.blocks[0]
    assert isinstance(first, nn.Sequential)
    found = first[0](network.preprocess(pixels))
    assert found.shape == (len(pixels), 1, 8, 8)
    for picture, grey in zip(pixels, found, strict=True):
        by_pil = torch.tensor(list(Image.fromarray(picture.numpy()).convert("L").getdata())).view(1, 8, 8)
        assert torch.allclose(255 * grey, by_pil.float(), atol=1.01)
    assert "shares" not in "".join(network.state_dict())


def test_grey_networks_do_not_see_colour_and_the_others_do() -> None:
    pixels = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    pixels[0, ..., 0], pixels[1, ..., 1] = 114, 58  # red and green of nearly the same luminance, 34
    for name in NAMES:
        with torch.inference_mode():
            one, other = make(name).eval()(pixels)[0]
        apart = float((one - other).abs().max() / one.abs().max())
        assert (apart < 0.01) == is_grey(name), (name, apart)


def is_grey(name: str) -> bool:
    """Whether a network is grey, by its name."""
    return name in ("lenet5", "mlp300") or name.endswith("_grey")


def test_pretrained_weights_are_refused_and_none_is_named() -> None:
    with pytest.raises(UserError, match=r"--weights: got pretrained, expected none for lenet5; .* pass --weights none"):
        backbones.build("lenet5", "pretrained", input_size=(32, 32))


def test_the_weights_of_a_bundle_are_a_start(tmp_path: Path) -> None:
    network = make("lenet5")
    safetensors.torch.save_file(state_of(network), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    again = backbones.build("lenet5", str(tmp_path / "weights.safetensors"), input_size=small_size("lenet5"))
    assert all(torch.equal(value, network.trunk.state_dict()[key]) for key, value in again.state_dict().items())
    with pytest.raises(UserError, match="expected the weights of the same network"):
        backbones.build("lenet5", str(tmp_path / "weights.safetensors"), input_size=(32, 32))


@pytest.mark.parametrize(
    ("name", "smallest", "short"),
    [
        ("simplecnn", (48, 48), (60, 47)),
        ("simplecnn_grey", (48, 48), (47, 60)),
        ("class30cnn", (4, 4), (3, 4)),
        ("lenet5", (10, 10), (9, 32)),
    ],
)
def test_too_small_pictures_are_refused_with_the_smallest_that_do(
    name: str, smallest: tuple[int, int], short: tuple[int, int]
) -> None:
    trunk = backbones.build(name, "none", input_size=smallest).eval()
    with torch.inference_mode():
        assert trunk(torch.rand(2, 3, *smallest)).shape == (2, trunk.spec.embedding_dim)
    wanted = f"got {short[0]}x{short[1]}, expected at least {smallest[0]}x{smallest[1]} for {name}"
    with pytest.raises(UserError, match=wanted):
        backbones.build(name, "none", input_size=short)


@pytest.mark.parametrize("name", ["simplecnn", "class30cnn_grey", "lenet5"])
@pytest.mark.parametrize("input_size", [(80, 60), (81, 63), (53, 64)])
def test_any_larger_size_goes_through(name: str, input_size: tuple[int, int]) -> None:
    trunk = backbones.build(name, "none", input_size=input_size).eval()
    with torch.inference_mode():
        found = trunk(torch.rand(1, 3, *input_size))
    assert found.shape == (1, trunk.spec.embedding_dim)
