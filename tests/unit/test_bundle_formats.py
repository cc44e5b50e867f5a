"""Bundles of every format: what later formats added, and that earlier ones keep their versions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from fashion_ray.errors import UserError
from fashion_ray.models import backbones, bundle
from fashion_ray.models.bundle import CARD
from fashion_ray.models.network import Network, build_heads, state_of
from tests.unit.test_bundle import CLASSES, FIELDS_OF_FORMAT_1, PLAIN, card, files, network, versions, with_value


def test_each_class_has_its_own_threshold_or_its_targets() -> None:
    assert PLAIN.review_thresholds("articleType") == [1 / 3, 0.25, 1.1]
    assert PLAIN.review_thresholds("season") == [1.0, 1.0, 1.0]
    assert replace(PLAIN, class_thresholds={}).review_thresholds("subCategory") == [0.9, 0.9]


def test_a_bundle_of_format_1_is_read_and_keeps_its_versions() -> None:
    """As it was written before there were thresholds a class, with the versions that it got then."""
    content = json.loads(bundle.dump(replace(card(), class_thresholds={}), network())[CARD])
    del content["class_thresholds"], content["pooling"], content["tta_flip"], content["other_threshold"]
    weights = state_of(network())
    content["head_version"] = bundle.digest(
        [content[key] if key != "classes" else list(CLASSES.items()) for key in FIELDS_OF_FORMAT_1],
        {key: value for key, value in weights.items() if not key.startswith("trunk.")},
    )
    old = json.dumps({**content, "format": 1}).encode()
    loaded, _ = bundle.load({**files(), CARD: old}, name="an old bundle")
    assert loaded.head_version == content["head_version"] != PLAIN.head_version
    assert loaded.review_thresholds("season") == [1.0, 1.0, 1.0]


def test_a_bundle_of_format_2_is_read_and_keeps_its_versions() -> None:
    """As it was written before trunks could be flattened, with the versions that it got then."""
    content = json.loads(files()[CARD])
    del content["pooling"], content["tta_flip"], content["other_threshold"]
    content["trunk_version"] = bundle.digest(
        [content[key] for key in ("backbone", "mean", "std", "decoded_size", "input_size")],
        {key: value for key, value in state_of(network()).items() if key.startswith("trunk.")},
    )
    loaded, _ = bundle.load({**files(), CARD: json.dumps({**content, "format": 2}).encode()}, name="an old bundle")
    assert versions(loaded) == versions(PLAIN)
    assert loaded.pooling == "average"


def test_a_bundle_of_format_3_is_read_and_keeps_its_versions() -> None:
    """As it was written before there were mirror images and a threshold of `other`."""
    content = json.loads(files()[CARD])
    del content["tta_flip"], content["other_threshold"]
    loaded, read = bundle.load({**files(), CARD: json.dumps({**content, "format": 3}).encode()}, name="an old bundle")
    assert versions(loaded) == versions(PLAIN)
    assert (loaded.tta_flip, read.tta_flip, loaded.taxonomy.other_threshold) == (False, False, 0.0)


def test_the_threshold_of_other_is_part_of_what_a_model_is() -> None:
    loaded, _ = bundle.load(bundle.dump(replace(card(), other_threshold=0.5), network()), name="a bundle")
    assert (loaded.taxonomy.other_threshold, loaded.trunk_version) == (0.5, PLAIN.trunk_version)
    assert loaded.head_version != PLAIN.head_version
    assert {target: CLASSES[target][index] for target, index in loaded.taxonomy.others.items()} == dict.fromkeys(
        loaded.taxonomy.others
    )


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", None])
def test_a_threshold_of_other_is_a_probability(value: object) -> None:
    with pytest.raises(UserError, match=r"a bundle.*`other_threshold` is"):
        bundle.read_card(with_value("other_threshold", value), name="a bundle")


def test_a_bundle_with_mirror_images_answers_by_the_mean_of_both() -> None:
    plain = network()
    mirrored = replace(card(), tta_flip=True)
    loaded, read = bundle.load(bundle.dump(mirrored, plain), name="a bundle")
    pixels = torch.randint(0, 256, (3, 40, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, same = read(pixels), read(pixels.flip(2))
        one, other = plain.eval()(pixels), plain(pixels.flip(2))
    torch.testing.assert_close(found[0], (one[0] + other[0]) / 2)
    torch.testing.assert_close(found[0], same[0])
    assert not torch.allclose(found[0], one[0])
    assert loaded.trunk_version != PLAIN.trunk_version  # embeddings of one are none of the other's
    assert loaded.head_version == PLAIN.head_version


@pytest.mark.parametrize("value", [1, "yes", None])
def test_mirror_images_are_asked_for_by_true_alone(value: object) -> None:
    with pytest.raises(UserError, match=r"a bundle.*`tta_flip` is"):
        bundle.read_card(with_value("tta_flip", value), name="a bundle")


def test_a_flattened_trunk_comes_back_as_one() -> None:
    trunk = backbones.skeleton("test_resnet", input_size=(64, 48), pooling="flatten")
    width = trunk.spec.embedding_dim
    made = Network(card().geometry, trunk, build_heads("mlp:5:relu", width, CLASSES, 0.3)).eval()
    flat = replace(card(), pooling="flatten", head="mlp:5:relu", embedding_dim=width)
    loaded, again = bundle.load(bundle.dump(flat, made), name="a bundle")
    assert (loaded.pooling, again.trunk.spec) == ("flatten", trunk.spec)
    pixels = torch.randint(0, 256, (3, 40, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for one, other in zip(again(pixels), made(pixels), strict=True):
            assert torch.equal(one, other)
    assert width > 96


@pytest.mark.parametrize("field", ["input_size", "decoded_size"])
@pytest.mark.parametrize("size", [[100_000, 100_000], [0, 30], [-1, 30], [30.5, 30], ["30", "30"]])
def test_absurd_sizes_are_refused_before_layers_of_that_size_are_made(field: str, size: list[object]) -> None:
    with pytest.raises(UserError, match=r"a bundle.*sizes are"):
        bundle.read_card(with_value(field, size), name="a bundle")


def test_a_format_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"a bundle.*format 5, expected one of \(1, 2, 3, 4\)"):
        bundle.read_card(with_value("format", 5), name="a bundle")
