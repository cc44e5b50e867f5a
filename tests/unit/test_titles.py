"""Words of titles: which are learned, what guessing them costs, and that no model has them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fashion_ray.catalog.schema import TARGETS
from fashion_ray.models import bundle
from fashion_ray.models.network import TITLE, Network, add_title_head, drop_title_head
from fashion_ray.storage import Store
from fashion_ray.training import titles
from fashion_ray.training.losses import Batch, Loss, masses_of, sums_of, total_of
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import Prepared, prepare
from fashion_ray.tuning.features import rows_of
from tests.unit.networks import ALL, CLASSES, COUNTS, HEADS, RECIPE, batches, stage_loop, tiny, toy
from tests.unit.nights import IDS, Feed, jpeg, row, take

WORDS = 5


def test_words_of_enough_titles_are_learned_however_they_are_written() -> None:
    common = ["Acme Men's T-Shirt", "ACME men's t-shirt!", "acme (Men's) T-Shirt, T-shirt"] * 10
    rare = ["Acme Ångström 501"] * 29
    assert titles.learn([*common, *rare, None, "", "  ", "!?"]) == ("acme", "men's", "t-shirt")
    assert titles.learn([*common, *rare, "ångström-x Ångström"])[-1] == "ångström"
    assert titles.learn(["acme"] * 99) == ()  # a single word can only be guessed right
    assert titles.learn([]) == titles.learn([None] * 99) == ()


def test_words_of_other_scripts_stay_whole() -> None:
    hindi, quoted = "\u0939\u093f\u0928\u094d\u0926\u0940", "Men\u2019s e\u0301toile / \u201cX\u201d"
    assert titles.learn([f"{hindi}, {quoted}"] * 30) == ("men's", "x", "\u00e9toile", hindi)


def test_the_commonest_words_are_kept_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "MOST_WORDS", 2)
    assert titles.learn(["a b c"] * 30 + ["a c"] * 5) == ("a", "c")
    assert titles.learn([" ".join(order) for order in ("dcba", "badc")] * 15) == ("a", "b")  # of equally common ones the first


def test_a_title_is_the_indices_of_its_known_words_each_once() -> None:
    vocabulary = ("acme", "men", "shirt")
    found = titles.encode(["Shirt shirt Acme unknown", None, "", "nothing known"], vocabulary)
    assert found.shape == (4, titles.MOST_A_TITLE) and found.dtype == "int64"
    assert found[0].tolist() == [2, 0, *[-1] * (titles.MOST_A_TITLE - 2)]
    assert (found[1:] == -1).all()


def test_words_beyond_the_most_of_a_title_are_left_out() -> None:
    vocabulary = tuple(sorted(f"w{number}" for number in range(40)))
    found = titles.encode([" ".join(vocabulary)], vocabulary)
    assert found[0].tolist() == list(range(titles.MOST_A_TITLE))


def guessed(rows: int = 6, *, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Logits of the toy's targets and of words, and labels with words after them."""
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(rows, count, generator=generator) for count in (*COUNTS.values(), WORDS)]
    labels = torch.stack([torch.randint(-1, count, (rows,), generator=generator) for count in COUNTS.values()], dim=1)
    words = torch.tensor([[0, 3, 4], [2, -1, -1], [-1, -1, -1], [1, 0, -1], [4, -1, -1], [3, 2, 1]])[:rows]
    return logits, torch.cat([labels, words], dim=1)


def test_the_loss_has_the_mean_cross_entropy_of_all_words() -> None:
    logits, labels = guessed()
    batch = Batch(torch.zeros(0), labels)
    plain = Batch(torch.zeros(0), labels[:, :2])
    without = total_of(sums_of(logits[:2], plain, Loss()), masses_of(plain), Loss())
    weighed = Loss(title_weight=0.25)
    whole = total_of(sums_of(logits, batch, weighed), masses_of(batch), weighed)
    each = [(row, word) for row, words in enumerate(labels[:, 2:].tolist()) for word in words if word >= 0]
    expected = functional.cross_entropy(logits[2][[row for row, _ in each]], torch.tensor([word for _, word in each]))
    assert len(each) == 10
    assert float(whole - without) == pytest.approx(0.25 * float(expected), rel=1e-5)


def test_words_of_mixed_pictures_count_by_their_share() -> None:
    logits, labels = guessed()
    loss = Loss(title_weight=1.0)
    own, other = Batch(torch.zeros(0), labels), Batch(torch.zeros(0), labels.roll(1, 0))
    mixed = Batch(torch.zeros(0), labels, labels.roll(1, 0), 0.7)
    assert masses_of(mixed).tolist() == pytest.approx((0.7 * masses_of(own) + 0.3 * masses_of(other)).tolist())
    found, of_own, of_other = (sums_of(logits, batch, loss)[-1] for batch in (mixed, own, other))
    assert float(found) == pytest.approx(0.7 * float(of_own) + 0.3 * float(of_other), rel=1e-5)


def test_titles_without_a_known_word_cost_nothing() -> None:
    logits, labels = guessed()
    labels[:, 2:] = -1
    logits[2].requires_grad_()
    loss = Loss(title_weight=3.0)
    batch = Batch(torch.zeros(0), labels)
    total_of(sums_of(logits, batch, loss), masses_of(batch), loss).backward()  # type: ignore[no-untyped-call]
    assert logits[2].grad is not None and not logits[2].grad.any()


def with_titles() -> Network:
    network = tiny()
    add_title_head(network, "batchnorm", WORDS, 0.0)
    return network


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_network_that_guesses_words_learns_them_and_counts_its_targets(mixed: bool, accumulate: int) -> None:
    pixels, labels = toy()
    words = torch.stack([labels[:, 0], labels[:, 1] + 3, torch.full_like(labels[:, 0], -1)], dim=1)  # they name the labels
    told = torch.cat([labels, words], dim=1)
    network = with_titles()
    recipe = replace(RECIPE, title_weight=1.0, accumulate=accumulate)
    loop = stage_loop(network, replace(ALL, epochs=8), recipe=recipe)
    fed = [
        Batch(batch.inputs, batch.labels, batch.labels.roll(1, 0), 0.9) if mixed else batch for batch in batches(pixels, told)
    ]
    found = [loop.train_epoch(fed, epoch) for epoch in range(8)]
    assert {key for key in found[0] if key.startswith("train_accuracy/")} == {f"train_accuracy/{target}" for target in COUNTS}
    assert found[-1]["train_accuracy/season"] > 0.9 and found[-1]["train_loss"] < found[0]["train_loss"]
    assert loop.evaluate(batches(pixels, labels))["validation_accuracy/season"] > 0.9
    guesses = network.answers(network.embeddings(pixels))[-1].topk(2).indices
    assert float((guesses == words[:, :1]).any(1).float().mean()) > 0.9


def test_the_head_of_words_moves_no_other_number() -> None:
    recipe = replace(RECIPE, title_weight=1e-9)
    losses = []
    for network, used, columns in ((tiny(), RECIPE, 2), (with_titles(), recipe, 5)):
        loop = stage_loop(network, HEADS, recipe=replace(used, clip_gradient=0.0))
        labels = torch.cat([toy()[1], toy()[1][:, :1].repeat(1, 3)], dim=1)[:, :columns]
        losses.append([loop.train_epoch(batches(toy()[0], labels), epoch)["train_loss"] for epoch in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def prepared(tmp_path: Path, title: str | None, **options: object) -> tuple[Store, Prepared]:
    """What is settled for a catalog whose products all have this title."""
    store = Store(str(tmp_path))
    rows = [row(each, productDisplayName=title) for each in IDS]
    snapshot = take(store, Feed(rows, {each: jpeg(each) for each in IDS})).snapshot
    asked = TrainOptions(
        backbone="test_resnet", weights="none", input_size="32x24", min_class_count=1, targets=("articleType",),
        **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return store, prepare(asked, store, snapshot)


def test_a_bundle_has_no_head_of_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "LEAST_ROWS", 2)
    _, plain = prepared(tmp_path / "plain", "Acme Shirt")
    store, found = prepared(tmp_path / "words", "Acme Shirt", title_weight=0.5)
    assert found.title_words == ("acme", "shirt") and plain.title_words == () and found.data_key != plain.data_key
    again = bundle.empty_network(found.card, title_words=2)
    again.load_state_dict(found.network.state_dict())
    for side, width in (("train", 1 + titles.MOST_A_TITLE), ("validation", 1)):
        labels = torch.cat([torch.from_numpy(labels) for _, labels, _ in rows_of(store, found, side, 64)])
        assert labels.shape[1] == width
    drop_title_head(again)
    assert list(again.heads) == ["articleType"]
    drop_title_head(again)  # there is none any more
    assert bundle.dump(found.card, again)[bundle.WEIGHTS] == bundle.dump(plain.card, plain.network)[bundle.WEIGHTS]


@pytest.mark.parametrize("title", [None, "...", "Unique"])
def test_without_titles_nothing_is_guessed(title: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        _, found = prepared(tmp_path, title, title_weight=1.0)
    assert found.title_words == () and found.options.title_weight == 0 and TITLE not in found.network.heads
    assert "no --title-weight: no two words stand in the titles (productDisplayName)" in caplog.text


def test_the_control_on_shuffled_labels_is_told_no_titles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "LEAST_ROWS", 2)
    _, found = prepared(tmp_path, "Acme Shirt", title_weight=1.0, shuffle_labels=True)
    assert found.title_words == () and found.options.title_weight == 0


def test_no_target_is_called_as_the_head_of_words_is() -> None:
    assert TITLE not in (*TARGETS, *CLASSES)
