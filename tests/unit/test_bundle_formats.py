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
    del content["class_thresholds"], content["pooling"]
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
    del content["pooling"]
    content["trunk_version"] = bundle.digest(
        [content[key] for key in ("backbone", "mean", "std", "decoded_size", "input_size")],
        {key: value for key, value in state_of(network()).items() if key.startswith("trunk.")},
    )
    loaded, _ = bundle.load({**files(), CARD: json.dumps({**content, "format": 2}).encode()}, name="an old bundle")
    assert versions(loaded) == versions(PLAIN)
    assert loaded.pooling == "average"


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
    with pytest.raises(UserError, match=r"a bundle.*format 4, expected one of \(1, 2, 3\)"):
        bundle.read_card(with_value("format", 4), name="a bundle")
