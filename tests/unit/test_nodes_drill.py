"""The judgement of the drill on three nodes: it passes what is right and says what is wrong."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from benchmarks import nodes_drill
from benchmarks.nodes_drill import NodesDrillOptions, Outcome
from benchmarks.victims import Nodes
from fashion_ray.errors import UserError


def catalog(**changed: Any) -> pa.Table:
    return pa.table({"product_id": ["1", "2"], "image": [b"a", b"b"], "split": ["train", None]} | changed)


def test_a_catalog_in_another_order_is_the_same() -> None:
    assert nodes_drill.different_catalogs(catalog(), catalog().take([1, 0])) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"product_id": ["1", "3"]}, "other products: 2 expected, 2 found"),
        ({"image": [b"a", b"c"]}, "image differs"),
        ({"split": ["train", "test"]}, "split differs"),
    ],
)
def test_another_catalog_is_told(changed: dict[str, Any], said: str) -> None:
    assert nodes_drill.different_catalogs(catalog(), catalog(**changed)) == [said]


def test_the_most_nodes_that_worked_at_once_are_counted() -> None:
    looks = [[0, 0, 0], [1, 0, 2], [0, 1, 0]]
    looked = threading.Event()

    def spread(title: str) -> list[int]:
        if len(looks) == 1:
            looked.set()
        return looks.pop(0) if len(looks) > 1 else looks[0]

    outcome = Outcome(stage="train", victim="node")
    with nodes_drill.counting(cast(Nodes, SimpleNamespace(spread=spread)), "title", outcome):
        assert looked.wait(30)
    assert outcome.nodes == 2 and outcome.wall_s > 0


def test_a_line_says_the_job_the_nodes_and_the_verdict() -> None:
    assert nodes_drill.line(Outcome(stage="train", victim="node", nodes=2, wall_s=7.0)) == (
        "train, node killed: on 2 nodes, 7 s; ok"
    )
    assert nodes_drill.line(Outcome(stage="score", victim="node", problems=["a", "b"])).endswith("FAILED: a; b")


def test_all_that_is_wrong_with_the_options_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"--only: got \('tune',\).*--products: got 100.*--patience-s: got 0"):
        NodesDrillOptions(only=("tune",), products=100, patience_s=0)
