"""What a catalog costs, worked out by hand; and that the driver's simulation plans every product of what it draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import million, scale
from benchmarks.scale import ScaleOptions, bottleneck, cost, files_of
from fashion_ray.errors import UserError
from fashion_ray.storage import Store

ROUND = ScaleOptions(
    cpus_a_node=10, node_dollars_an_hour=1.0, head_dollars_an_hour=0.5, score_rows_a_second_a_cpu=100.0,
    carry_rows_a_second_a_cpu=1000.0, ingest_rows_a_second_a_cpu=50.0, changed_share=0.1, put_dollars_a_million=0.0,
    storage_dollars_a_gb_month=0.01, picture_bytes=1000.0, score_bytes=500.0, snapshots_kept=2, driver_base_gb=1.0,
    plan_bytes=1000.0, ingest_bytes=2000.0, plan_microseconds=3.6, ingest_microseconds=36.0, ingest_growth=1.0,
)  # fmt: skip


def test_hours_dollars_and_bytes_by_hand() -> None:
    found = cost(3_600_000, 1, ROUND)
    assert found.first_night_hours == pytest.approx(1.0 + 0.0036)
    assert found.ingest_hours == pytest.approx(2.0 + 0.036)
    # A tenth through the network, the rest carried over: 3,600 s and 3,240 s of one processor, of ten.
    assert found.night_hours == pytest.approx((3600 + 3240) / 10 / 3600 + 0.0036)
    assert found.first_night_dollars == pytest.approx(1.5 * 1.0036)
    assert found.driver_gb == pytest.approx(1.0 + 7.2)
    assert found.storage_dollars_a_month == pytest.approx(3.6e6 * 2000 / 1e9 * 0.01)
    assert found.objects == 2 * 1758


def test_more_nodes_shorten_the_work_and_not_the_drivers_part() -> None:
    one, many = (cost(10**9, nodes, replace(ROUND, head_memory_gb=4e3)) for nodes in (1, 1000))
    alone = 10**9 * 3.6 / 3.6e9
    assert many.night_hours - alone == pytest.approx((one.night_hours - alone) / 1000)
    assert one.driver_share < 0.1 < 0.5 < many.driver_share
    assert many.bottleneck.startswith("the driver's time")


def test_the_drivers_part_of_an_ingest_grows_with_its_power() -> None:
    small, large = (cost(products, 10**6, replace(ROUND, ingest_growth=1.5)) for products in (10**6, 10**8))
    assert large.ingest_hours / small.ingest_hours == pytest.approx(1000, rel=1e-3)


def test_files_are_bounded_in_products_and_in_bytes() -> None:
    assert files_of(1, 10.0) == 1 and files_of(2049, 10.0) == 2
    assert files_of(2048, 10 * 64 * 1024**2 / 2048) == 10


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "nothing: nodes take longer to start"),
        ({"first_h": 2.0}, "the network, in the first night"),
        ({"objects": 200_000, "first_h": 2.0}, "objects: larger files"),
        ({"driver": {"a usual night": (0.6, 1.0)}, "objects": 200_000}, "the driver's time: 60% of a usual night"),
        ({"first_h": 30.0, "driver": {"a usual night": (0.6, 1.0)}}, "the network, in the first night: more nodes"),
        ({"memory_gb": 16.0, "first_h": 30.0}, "the driver's memory: a head with 20 GB"),
    ],
)
def test_what_does_not_fit_is_named_before_what_is_slow(facts: dict[str, Any], expected: str) -> None:
    fine: dict[str, Any] = {
        "memory_gb": 1.0,
        "head_gb": 16.0,
        "objects": 10,
        "driver": {"a usual night": (0.1, 0.1)},
        "first_h": 0.1,
    }
    assert bottleneck(**(fine | facts)).startswith(expected)


def test_rates_that_are_none_are_all_told_at_once() -> None:
    with pytest.raises(UserError, match=r"--nodes: got \(0,\).*--score-rows-a-second-a-cpu: got 0.*--changed-share: got 2"):
        replace(ROUND, nodes=(0,), score_rows_a_second_a_cpu=0.0, changed_share=2.0)


def test_the_table_has_a_line_a_size() -> None:
    lines = scale.table([cost(10**6, 1, ROUND), cost(10**8, 8, ROUND)])
    assert len(lines) == 4 and lines[2].startswith("| 1 million | 1 |") and len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("step", million.STEPS)
def test_every_step_of_the_simulation_plans_every_product(step: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    million.draw(store, 5000)
    assert million.STEPS[step](store, 5000)  # each asserts its own counts
