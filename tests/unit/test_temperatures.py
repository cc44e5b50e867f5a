"""Calibration of decoded answers: temperatures of single targets, and of category levels that are decoded together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fashion_ray.catalog import schema
from fashion_ray.models import decisions
from fashion_ray.models.taxonomy import Taxonomy
from tests.unit.test_taxonomy import CLASSES, ONES, logits, tree


def drawn(rows: int, classes: int, temperature: float, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that are `temperature` times too sure, and labels drawn from what they would say if they were not."""
    generator = torch.Generator().manual_seed(seed)
    honest = 2.0 * torch.randn(rows, classes, generator=generator)
    labels = torch.multinomial(torch.softmax(honest, 1), 1, generator=generator)[:, 0]
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_that_logits_were_made_with(temperature: float) -> None:
    values, labels = drawn(4000, 6, temperature)
    other, _ = drawn(4000, 3, 1.7, seed=1)
    found = decisions.fit_temperatures(
        {"season": values, "usage": other}, {"season": labels, "usage": torch.full((4000,), -1)}, Taxonomy(levels=(), paths=())
    )
    assert found["season"] == pytest.approx(temperature, rel=0.1)
    assert found["usage"] == 1.0


def test_unlabelled_rows_do_not_move_the_temperature() -> None:
    values, labels = drawn(2000, 5, 2.0)
    nonsense = torch.cat([values, 30 * torch.randn(2000, 5, generator=torch.Generator().manual_seed(3))])
    none = Taxonomy(levels=(), paths=())
    plain = decisions.fit_temperatures({"season": values}, {"season": labels}, none)["season"]
    padded = decisions.fit_temperatures({"season": nonsense}, {"season": torch.cat([labels, torch.full((2000,), -1)])}, none)
    assert padded["season"] == pytest.approx(plain, rel=0.01)


def test_finds_the_temperatures_of_levels_that_are_decoded_together() -> None:
    generator = torch.Generator().manual_seed(0)
    learnt, rows, wanted = tree(), 20000, {"masterCategory": 2.0, "subCategory": 0.7, "articleType": 1.5}
    honest = {level: 1.5 * torch.randn(rows, len(CLASSES[level]), generator=generator) for level in learnt.levels}
    paths = torch.tensor(learnt.paths)
    joint = sum(torch.log_softmax(honest[level], 1)[:, paths[:, depth]] for depth, level in enumerate(learnt.levels))
    assert isinstance(joint, Tensor)
    drawn_paths = paths[torch.multinomial(torch.softmax(joint, 1), 1, generator=generator)[:, 0]]
    labels = {level: drawn_paths[:, depth] for depth, level in enumerate(learnt.levels)}
    found = decisions.fit_temperatures({level: honest[level] * wanted[level] for level in learnt.levels}, labels, learnt)
    for level, temperature in wanted.items():
        assert found[level] == pytest.approx(temperature, rel=0.1), level


def test_a_level_without_labels_keeps_1() -> None:
    values = {level: torch.from_numpy(logits(500)[level]) for level in schema.CATEGORY_LEVELS}
    labels = {
        "masterCategory": torch.full((500,), -1),
        "subCategory": values["subCategory"].argmax(1),
        "articleType": values["articleType"].argmax(1),
    }
    assert decisions.fit_temperatures(values, labels, tree())["masterCategory"] == 1.0


def test_without_any_label_every_temperature_is_1() -> None:
    values = {target: torch.from_numpy(array) for target, array in logits(10).items()}
    labels = {target: torch.full((10,), -1) for target in values}
    assert decisions.fit_temperatures(values, labels, tree()) == ONES


def test_temperatures_stay_within_bounds() -> None:
    values = 5 * torch.eye(4).repeat(25, 1)
    none = Taxonomy(levels=(), paths=())
    for labels in (values.argmax(1), values.argmin(1)):  # always right, always wrong
        assert 0.05 <= decisions.fit_temperatures({"season": values}, {"season": labels}, none)["season"] <= 20
