"""What is settled before training: a catalog that lacks a column is the user's to mend."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from fashion_ray.errors import UserError
from fashion_ray.models.bundle import empty_network
from fashion_ray.models.taxonomy import Taxonomy
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import first_network, prepare
from fashion_ray.training.vocabulary import Vocabulary
from tests.unit.nights import IDS, Feed, jpeg, row, take

CATALOG = Snapshot(table="catalog", name="new", sequence=1, manifest={"picture_sizes": {"80x60": 9, "60x60": 2}})
WORDS = Vocabulary(classes={"season": ["Fall", "Summer", "Winter"]}, paths=Taxonomy(levels=(), paths=()), rare=frozenset())


def test_a_catalog_of_an_earlier_layout_is_refused_for_derived_targets(tmp_path: Path) -> None:
    columns = ["product_id: string", "group_id: string", "split: string", "articleType: string"]
    catalog = Snapshot(table="catalog", name="old", sequence=1, manifest={"schema": columns})
    options = TrainOptions(root=str(tmp_path), targets=("articleType", "joined_category"))
    with pytest.raises(UserError, match=r"has no column joined_category, .* Run python jobs/ingest.py again"):
        prepare(options, Store(str(tmp_path)), catalog)


@pytest.mark.parametrize("asked", [(), ("--targets",)])
def test_of_the_default_targets_those_without_any_label_are_left_out(asked: tuple[str, ...], tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    unlabelled = {"masterCategory": None, "subCategory": None}
    snapshot = take(store, Feed([row(each, **unlabelled) for each in IDS], {each: jpeg(each) for each in IDS})).snapshot
    targets = {"targets": ("subCategory", "articleType")} if asked else {}
    options = TrainOptions(backbone="test_resnet", weights="none", input_size="32x24", min_class_count=1, **targets)
    if asked:
        with pytest.raises(UserError, match="--targets: subCategory has 0 classes with training rows"):
            prepare(options, store, snapshot)
    else:
        prepared = prepare(options, store, snapshot)
        assert prepared.card.targets == ["articleType"] and prepared.options.targets == ("articleType",)


def test_the_first_network_is_what_its_card_describes() -> None:
    options = TrainOptions(
        backbone="test_resnet", weights="none", pooling="flatten", input_size="64x48", head="linear", batchnorm="learned",
        tta_flip=True, other_threshold=0.25,
    )  # fmt: skip
    card, network = first_network(options, WORDS, CATALOG)
    again = empty_network(card)
    again.load_state_dict(network.state_dict())
    assert again.trunk.spec == network.trunk.spec
    assert (card.pooling, card.embedding_dim, card.decoded_size) == ("flatten", network.trunk.spec.embedding_dim, (64, 48))
    assert network.tta_flip and card.taxonomy.other_threshold == 0.25
    pixels = torch.randint(0, 256, (2, 64, 48, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(again.eval()(pixels), network.eval()(pixels), strict=True))


@pytest.mark.parametrize(
    ("backbone", "batchnorm", "told"),
    [("class30cnn", "frozen", True), ("class30cnn", "learned", False), ("lenet5", "frozen", False)],
)
def test_batch_norm_that_would_never_see_a_picture_is_told(
    backbone: str, batchnorm: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    options = TrainOptions(backbone=backbone, weights="none", input_size="32x32", batchnorm=batchnorm)
    with caplog.at_level(logging.WARNING):
        first_network(options, WORDS, CATALOG)
    assert ("pass --batchnorm learned" in caplog.text) == told


def test_pictures_too_small_for_a_network_from_scratch_are_refused() -> None:
    options = TrainOptions(backbone="simplecnn", weights="none", input_size="80x40")
    with pytest.raises(UserError, match="--input-size: got 80x40, expected at least 48x48 for simplecnn"):
        first_network(options, WORDS, CATALOG)
