"""Schedules: what the text says, which learning rate each step has, and when a stage ends early."""

from __future__ import annotations

import itertools

import pytest

from fashion_ray.training.schedule import (
    ALL,
    Stage,
    direction,
    layer_rates,
    learning_rate_factor,
    monitors,
    parse,
    settle,
    should_stop,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("heads:3", [("heads", 0, 3)]),
        ("heads:3,top2:5,all:4", [("heads", 0, 3), ("top2", 2, 5), ("all", ALL, 4)]),
        ("  heads:1 ,\ttop12:20 ", [("heads", 0, 1), ("top12", 12, 20)]),
        ("all:1,heads:1", [("all", ALL, 1), ("heads", 0, 1)]),
    ],
)
def test_parse(text: str, expected: list[tuple[str, int, int]]) -> None:
    assert [(stage.name, stage.trainable, stage.epochs) for stage in parse(text)] == expected


@pytest.mark.parametrize(
    "part", ["", "heads", "heads:", "heads:0", "heads:-1", "heads:x", "top:3", "top0:3", "topx:1", "tail:3", "3", "heads:1.5"]
)
def test_a_part_that_is_wrong_is_named(part: str) -> None:
    for text in (part, f"heads:1,{part}"):
        with pytest.raises(ValueError, match="expected heads:EPOCHS") as caught:
            parse(text)
        assert repr(part) in str(caught.value)


def test_settle_counts_all_blocks() -> None:
    settled = settle(parse("heads:1,top2:2,all:3"), 7)
    assert [(stage.name, stage.trainable, stage.epochs) for stage in settled] == [
        ("heads", 0, 1),
        ("top2", 2, 2),
        ("all", 7, 3),
    ]


def test_settle_takes_as_many_blocks_as_there_are_and_no_more() -> None:
    assert settle(parse("top7:1"), 7)[0].trainable == 7
    with pytest.raises(ValueError, match=r"top8.*7 blocks"):
        settle(parse("heads:1,top8:1"), 7)


def test_settled_stages_stay_settled() -> None:
    stages = settle(parse("heads:1,all:3"), 5)
    assert settle(stages, 5) == stages


@pytest.mark.parametrize("steps", [10, 100, 1003])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("floor", [0.0, 0.01, 0.3])
def test_the_learning_rate_rises_linearly_and_falls_to_its_floor(steps: int, warmup: float, floor: float) -> None:
    factors = [learning_rate_factor(step, steps, warmup=warmup, floor=floor) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert abs(top - warmup * steps) <= 1
    rising, falling = factors[:top], factors[top:]
    steps_up = [after - before for before, after in itertools.pairwise(rising)]
    assert all(step > 0 for step in steps_up)
    assert steps_up == pytest.approx([1 / (warmup * steps)] * len(steps_up) if steps_up else [])
    assert all(before > after for before, after in itertools.pairwise(falling))
    assert all(factor >= floor for factor in falling)
    assert max(factors) > 1 - 1.5 / (steps * (warmup or 1))
    assert factors[-1] < floor + 0.1 * (1 - floor)


def test_the_fall_is_a_cosine() -> None:
    factors = [learning_rate_factor(step, 1000, warmup=0.0, floor=0.0) for step in range(1000)]
    assert factors[499] + factors[500] == pytest.approx(1.0, abs=1e-9)
    assert factors[250] == pytest.approx(0.853, abs=2e-3)  # (1 + cos 45 degrees) / 2
    assert factors[750] == pytest.approx(0.146, abs=2e-3)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_shortest_stages_learn_too(steps: int) -> None:
    assert all(0 < learning_rate_factor(step, steps) <= 1 for step in range(max(1, steps)))


def test_steps_past_the_end_stay_at_the_floor() -> None:
    assert learning_rate_factor(10_000, 100, floor=0.02) == pytest.approx(0.02)


def test_layer_rates_fall_from_block_to_block() -> None:
    assert layer_rates(1.0, 4, 0.5) == pytest.approx([1.0, 1.0, 0.5, 0.25])
    assert layer_rates(1e-3, 3, 1.0, heads_factor=3.0) == pytest.approx([3e-3, 1e-3, 1e-3])
    assert layer_rates(0.1, 1, 0.7) == pytest.approx([0.1])


@pytest.mark.parametrize("groups", [1, 2, 8, 18])
def test_there_is_a_rate_for_each_depth(groups: int) -> None:
    assert len(layer_rates(1e-3, groups, 0.7)) == groups


@pytest.mark.parametrize(
    ("scores", "patience", "expected"),
    [
        ([], 3, False),
        ([0.5], 1, False),
        ([0.5, 0.6, 0.7], 1, False),
        ([0.5, 0.4], 1, True),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.4], 2, True),
        ([0.5, 0.4, 0.6], 2, False),
        ([0.5, 0.5, 0.5], 2, True),  # as good is not better
        ([0.1, 0.9, 0.2, 0.3, 0.4], 4, False),
        ([0.1, 0.9, 0.2, 0.3, 0.4, 0.5], 4, True),
        ([0.9, 0.1, 0.2, 0.3, 0.4, 0.91], 4, False),
        ([0.9] + [0.1] * 50, 0, False),
    ],
)
def test_should_stop(scores: list[float], patience: int, expected: bool) -> None:
    assert should_stop(scores, patience) is expected


def test_a_stage_says_what_it_is() -> None:
    assert parse("top3:2") == [Stage(name="top3", trainable=3, epochs=2)]


def test_less_of_a_loss_is_better_and_more_of_everything_else() -> None:
    names = monitors(["articleType", "season"])
    assert {name for name in names if direction(name) < 0} == {"validation_loss", "train_loss"}
    assert {"score", "validation_accuracy/articleType", "train_accuracy/season"} <= set(names)
    falling = [direction("validation_loss") * loss for loss in (1.0, 0.8, 0.6, 0.61, 0.62)]
    assert not should_stop(falling[:4], 2) and should_stop(falling, 2)
