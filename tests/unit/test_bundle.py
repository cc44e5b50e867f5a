"""The bundle: it comes back as it was, its versions say what changed, and nothing that was tampered with is loaded."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from fashion_ray.errors import UserError
from fashion_ray.models import backbones, bundle
from fashion_ray.models.bundle import CARD, WEIGHTS, Card
from fashion_ray.models.network import Network, build_heads, state_of

CLASSES: dict[str, list[str | None]] = {
    "subCategory": ["Shoes", "Topwear"],
    "articleType": ["Shirts", "Schürzen", None],
    "season": ["Fall", "Summer", "Winter"],
}
OWN: dict[str, list[float | None]] = {
    "subCategory": [0.5, None],
    "articleType": [None, 0.25, 1.1],
    "season": [None, None, None],
}


def card() -> Card:
    """A card before it is sealed."""
    return Card(
        backbone="test_resnet",
        embedding_dim=96,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        decoded_size=(40, 30),
        input_size=(64, 48),
        head="batchnorm",
        dropout=0.3,
        classes=CLASSES,
        levels=("subCategory", "articleType"),
        paths=((0, 2), (1, 0), (1, 1), (1, 2)),
        temperatures={"subCategory": 1.25, "articleType": 0.1 + 0.2, "season": 1.0},
        thresholds={"subCategory": 0.9, "articleType": 1 / 3, "season": 1.0},
        class_thresholds=OWN,
        provenance={"run_name": "night", "metrics": {"accuracy": 0.9}},
    )


@cache
def network() -> Network:
    """The network that the card describes; not to be changed."""
    torch.manual_seed(0)
    trunk = backbones.skeleton("test_resnet")
    assert (trunk.spec.mean, trunk.spec.std) == (card().mean, card().std)
    return Network(card().geometry, trunk, build_heads("batchnorm", 96, CLASSES, 0.3)).eval()


@cache
def files() -> dict[str, bytes]:
    """The bundle of both."""
    return bundle.dump(card(), network())


def versions(sealed: Card) -> tuple[str, str, str]:
    """Trunk, heads, whole."""
    return sealed.trunk_version, sealed.head_version, sealed.model_version


def sealed_by(change: Callable[[dict[str, torch.Tensor]], None]) -> Card:
    """The card sealed over changed weights."""
    weights = {key: value.clone() for key, value in state_of(network()).items()}
    change(weights)
    return bundle.seal(card(), weights)


FIELDS_OF_FORMAT_1 = ("head", "classes", "levels", "paths", "temperatures", "thresholds")

PLAIN = bundle.seal(card(), state_of(network()))


def test_comes_back_as_it_was() -> None:
    loaded, again = bundle.load(files(), name="a bundle")
    assert loaded == PLAIN
    assert loaded.targets == again.targets == list(CLASSES)
    assert (loaded.taxonomy.levels, loaded.taxonomy.paths) == (card().levels, card().paths)
    assert not again.training
    pixels = torch.randint(0, 256, (3, 40, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for one, other in zip(again(pixels), network()(pixels), strict=True):
            assert torch.equal(one, other)
    assert bundle.dump(loaded, again) == files()


def test_the_card_alone_can_be_read() -> None:
    assert bundle.read_card(files()[CARD], name="a bundle") == PLAIN


def test_versions_are_short_names_that_can_be_folders() -> None:
    assert all(len(version) == 16 and set(version) <= set("0123456789abcdef") for version in versions(PLAIN))
    assert len(set(versions(PLAIN))) == 3


def test_versions_do_not_depend_on_the_run_or_on_earlier_versions() -> None:
    stale = replace(card(), trunk_version="1", head_version="2", model_version="3", provenance={"run_name": "other"})
    assert versions(bundle.seal(stale, state_of(network()))) == versions(PLAIN)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"backbone": "test_resnet2"}, "trunk"),
        ({"mean": (0.485, 0.456, 0.406)}, "trunk"),
        ({"std": (0.229, 0.224, 0.225)}, "trunk"),
        ({"decoded_size": (80, 60)}, "trunk"),
        ({"input_size": (96, 72)}, "trunk"),
        ({"pooling": "flatten"}, "trunk"),
        ({"head": "linear"}, "head"),
        ({"classes": {**CLASSES, "season": ["Fall", "Summer", "Spring"]}}, "head"),
        ({"classes": {**CLASSES, "season": ["Summer", "Fall", "Winter"]}}, "head"),
        ({"classes": dict(reversed(CLASSES.items()))}, "head"),
        ({"levels": (), "paths": ()}, "head"),
        ({"paths": ((1, 0), (1, 1), (1, 2))}, "head"),
        ({"temperatures": {"subCategory": 1.25, "articleType": 0.3, "season": 1.0}}, "head"),
        ({"thresholds": {"subCategory": 0.9, "articleType": 0.3, "season": 1.0}}, "head"),
        ({"class_thresholds": {**OWN, "articleType": [None, 0.26, 1.1]}}, "head"),
        ({"class_thresholds": {**OWN, "articleType": [0.25, None, 1.1]}}, "head"),
        ({"class_thresholds": {}}, "head"),
    ],
)
def test_versions_follow_the_fields_that_inference_uses(fields: dict[str, Any], part: str) -> None:
    found = bundle.seal(replace(card(), **fields), state_of(network()))
    assert found.model_version != PLAIN.model_version
    assert (found.trunk_version != PLAIN.trunk_version) == (part == "trunk")
    assert (found.head_version != PLAIN.head_version) == (part == "head")


@pytest.mark.parametrize("entry", ["trunk.blocks.0.0.weight", "trunk.blocks.3.0.0.bn1.running_mean"])
def test_versions_follow_the_trunks_weights(entry: str) -> None:
    names = [key for key in state_of(network()) if key.startswith("trunk.") and key.endswith(entry.rsplit(".", 1)[-1])]

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[names[0]].view(-1)[0] += 1e-3

    found = sealed_by(change)
    assert found.trunk_version != PLAIN.trunk_version
    assert found.head_version == PLAIN.head_version
    assert found.model_version != PLAIN.model_version


def test_new_heads_leave_the_trunks_version_as_it_is() -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        for key in weights:
            if key.startswith("heads."):
                weights[key] = weights[key] + 1

    found = sealed_by(change)
    assert found.trunk_version == PLAIN.trunk_version
    assert found.head_version != PLAIN.head_version
    assert found.model_version != PLAIN.model_version


def test_swapped_weights_are_other_weights() -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        one, other = [key for key in weights if key.endswith("running_mean") and key.startswith("heads.")][:2]
        weights[one], weights[other] = torch.ones(96), torch.zeros(96)

    def change_back(weights: dict[str, torch.Tensor]) -> None:
        one, other = [key for key in weights if key.endswith("running_mean") and key.startswith("heads.")][:2]
        weights[one], weights[other] = torch.zeros(96), torch.ones(96)

    assert sealed_by(change).head_version != sealed_by(change_back).head_version


def flipped(content: bytes, position: int) -> bytes:
    """The same bytes but for one bit."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize("position", [-3, -20_000, -500_000])
def test_tampered_weights_are_refused(position: int) -> None:
    content = files()[WEIGHTS]
    with pytest.raises(UserError, match="a bundle"):
        bundle.load({**files(), WEIGHTS: flipped(content, len(content) + position)}, name="a bundle")


def test_missing_and_additional_weights_are_refused() -> None:
    weights = safetensors.torch.load(files()[WEIGHTS])
    first = next(iter(weights))
    fewer = {key: value for key, value in weights.items() if key != first}
    for changed in (fewer, {**weights, "trunk.more": torch.zeros(1)}, {**weights, "heads.more": torch.zeros(1)}, {}):
        with pytest.raises(UserError, match="a bundle"):
            bundle.load({**files(), WEIGHTS: safetensors.torch.save(changed)}, name="a bundle")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbone", "test_resnet2"),
        ("mean", [0.4, 0.5, 0.5]),
        ("decoded_size", [60, 40]),
        ("pooling", "flatten"),
        ("head", "linear"),
        ("classes", {**CLASSES, "season": ["Summer", "Fall", "Winter"]}),
        ("paths", [[0, 2]]),
        ("temperatures", {"subCategory": 9.0, "articleType": 1.0, "season": 1.0}),
        ("thresholds", {"subCategory": 0.0, "articleType": 0.0, "season": 0.0}),
        ("class_thresholds", {**OWN, "subCategory": [0.0, None]}),
        ("class_thresholds", {}),
        ("embedding_dim", 95),
        ("model_version", "0" * 16),
        ("trunk_version", "0" * 16),  # score keys are made of these two
        ("head_version", "0" * 16),
    ],
)
def test_a_tampered_card_is_refused(field: str, value: object) -> None:
    content = json.loads(files()[CARD])
    content[field] = value
    with pytest.raises(UserError, match="a bundle"):
        bundle.load({**files(), CARD: json.dumps(content).encode()}, name="a bundle")


def test_provenance_may_be_added_to() -> None:
    content = json.loads(files()[CARD])
    content["provenance"]["note"] = "reviewed"
    loaded, _ = bundle.load({**files(), CARD: json.dumps(content).encode()}, name="a bundle")
    assert versions(loaded) == versions(PLAIN)
    assert loaded.provenance["note"] == "reviewed"


def without(field: str) -> bytes:
    """The card without one of its fields."""
    return json.dumps({key: value for key, value in json.loads(files()[CARD]).items() if key != field}).encode()


def with_value(field: str, value: object) -> bytes:
    """The card with another value in one of its fields."""
    return json.dumps({**json.loads(files()[CARD]), field: value}).encode()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: b"", id="empty"),
        pytest.param(lambda: b"not json", id="no-json"),
        pytest.param(lambda: b"\xff\xfe\x00", id="no-text"),
        pytest.param(lambda: b"[]", id="list"),
        pytest.param(lambda: b"null", id="null"),
        pytest.param(lambda: b"{}", id="no-fields"),
        pytest.param(lambda: b'{"format": 1}', id="format-alone"),
        pytest.param(lambda: files()[CARD][:-200], id="cut-off"),
        pytest.param(lambda: files()[WEIGHTS], id="weights"),
        pytest.param(lambda: without("format"), id="without-format"),
        pytest.param(lambda: without("paths"), id="without-paths"),
        pytest.param(lambda: without("classes"), id="without-classes"),
        pytest.param(lambda: with_value("format", 5), id="format-5"),
        pytest.param(lambda: with_value("pooling", "max"), id="unknown-pooling"),
        pytest.param(lambda: with_value("pooling", ["average"]), id="pooling-of-a-list"),
        pytest.param(lambda: with_value("class_thresholds", [0.5]), id="thresholds-of-a-list"),
        pytest.param(lambda: with_value("class_thresholds", {**OWN, "season": [0.5]}), id="thresholds-of-too-few-classes"),
        pytest.param(lambda: with_value("surprise", 1), id="more-fields"),
        pytest.param(lambda: with_value("levels", 3), id="levels-of-a-number"),
        pytest.param(lambda: with_value("paths", [1]), id="paths-of-numbers"),
        pytest.param(lambda: with_value("classes", ["season"]), id="classes-of-a-list"),
        pytest.param(lambda: with_value("classes", None), id="classes-of-null"),
    ],
)
def test_a_card_of_garbage_is_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(UserError, match="a bundle"):
        bundle.load({**files(), CARD: make()}, name="a bundle")


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x00" * 100, b"\xff" * 100, pickle.dumps({"a": 1}), (10**9).to_bytes(8, "little") + b"{}"],
)
def test_weights_of_garbage_are_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"a bundle.*safetensors"):
        bundle.load({**files(), WEIGHTS: content}, name="a bundle")


def test_truncated_weights_are_refused() -> None:
    with pytest.raises(UserError, match="a bundle"):
        bundle.load({**files(), WEIGHTS: files()[WEIGHTS][:-1000]}, name="a bundle")


def test_is_safetensors_and_json_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(files()) == {CARD, WEIGHTS}
    (tmp_path / WEIGHTS).write_bytes(files()[WEIGHTS])
    with safetensors.safe_open(tmp_path / WEIGHTS, framework="np") as opened:
        assert set(opened.keys()) == set(network().state_dict())
    text = files()[CARD].decode()
    assert "Schürzen" in text and json.loads(text)["classes"]["articleType"][-1] is None

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    bundle.load(files(), name="a bundle")


def test_an_empty_network_has_the_cards_preprocessing() -> None:
    made = bundle.empty_network(replace(card(), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    white = torch.full((1, 40, 30, 3), 255, dtype=torch.uint8)
    assert torch.allclose(made.preprocess(white), torch.ones(1, 3, 64, 48), atol=1e-5)
