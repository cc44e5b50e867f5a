"""How scoring is laid out: engines and their threads, for clusters that are not here."""

from __future__ import annotations

import itertools

import pytest

from fashion_ray.scoring.plan import EnginePlan, plan_engines


def plan(*, nodes: int, cpus: int, gpus: int = 0, work: int = 10**6) -> EnginePlan:
    """A plan for so many nodes of one kind."""
    return plan_engines(
        device="cuda" if gpus else "cpu", cpus=nodes * cpus, gpus=nodes * gpus, nodes=nodes, cpus_per_node=cpus, work=work
    )


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        # actors, CPUs and GPUs of each, threads
        (1, 2, 0, (1, 1.0, 0.0, 2)),
        (1, 16, 0, (1, 15.0, 0.0, 16)),
        (1, 16, 1, (1, 1.0, 1.0, 1)),
        (8, 64, 8, (64, 1.0, 1.0, 1)),
        (1000, 16, 0, (1000, 15.0, 0.0, 16)),
        (1000, 64, 8, (8000, 1.0, 1.0, 1)),
    ],
)
def test_one_engine_a_gpu_or_a_node(nodes: int, cpus: int, gpus: int, expected: tuple[int, float, float, int]) -> None:
    found = plan(nodes=nodes, cpus=cpus, gpus=gpus)
    assert (found.actors, found.cpus, found.gpus, found.threads) == expected


@pytest.mark.parametrize(("nodes", "gpus"), [(1, 0), (8, 0), (1000, 0), (8, 8), (1000, 8)])
@pytest.mark.parametrize("work", [0, 1, 3, 7])
def test_never_more_engines_than_pieces_of_work(nodes: int, gpus: int, work: int) -> None:
    assert plan(nodes=nodes, cpus=64, gpus=gpus, work=work).actors == max(1, min(work, nodes * max(1, gpus)))


def test_gpus_that_are_not_used_do_not_count() -> None:
    found = plan_engines(device="cpu", cpus=64, gpus=8, nodes=2, cpus_per_node=32, work=100)
    assert (found.actors, found.gpus, found.threads) == (2, 0.0, 32)


def test_engines_fit_and_leave_room_for_readers() -> None:
    for nodes, cpus, gpus in itertools.product((1, 2, 3, 22, 1000), (1, 2, 3, 4, 8, 48, 192), (0, 1, 2, 4, 8)):
        if gpus > cpus:
            continue
        found = plan(nodes=nodes, cpus=cpus, gpus=gpus)
        engines_a_node = max(1, gpus)
        assert found.actors == nodes * engines_a_node
        assert found.threads >= 1 and found.cpus > 0
        assert found.threads * engines_a_node <= cpus, (found, nodes, cpus, gpus)
        # A reader wants half a processor.
        assert found.cpus * engines_a_node <= cpus - 0.5, (found, nodes, cpus, gpus)


def test_a_node_with_a_few_processors_holds_one_engine_only() -> None:
    for nodes, cpus in itertools.product((2, 8), (3, 4, 16, 192)):
        found = plan(nodes=nodes, cpus=cpus)
        assert int(cpus // found.cpus) * found.threads <= cpus
