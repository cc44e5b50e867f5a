"""How training is laid out: clusters from one laptop to a thousand nodes, none of which is needed here."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from fashion_ray.errors import UserError
from fashion_ray.training.topology import WorkerPlan, plan_workers


def plan(asked: int | None, *, nodes: int, cpus: int, gpus: int = 0) -> WorkerPlan:
    """A plan for so many nodes of one kind."""
    return plan_workers(asked, cpus=nodes * cpus, gpus=nodes * gpus, nodes=nodes, cpus_per_node=cpus)


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        # workers, CPUs and GPUs of each, threads
        (1, 2, 0, (1, 1.0, 0, 2)),
        (1, 16, 0, (1, 15.0, 0, 16)),
        (1, 16, 1, (1, 15.0, 1, 16)),
        (8, 64, 8, (64, 7.0, 1, 8)),
        (1000, 16, 0, (1000, 15.0, 0, 16)),
        (1000, 128, 8, (8000, 15.0, 1, 16)),
    ],
)
def test_one_worker_a_gpu_or_a_node(nodes: int, cpus: int, gpus: int, expected: tuple[int, float, int, int]) -> None:
    found = plan(None, nodes=nodes, cpus=cpus, gpus=gpus)
    assert (found.workers, found.cpus_per_worker, found.gpus_per_worker, found.threads) == expected


def test_a_processor_of_its_own_is_not_needed() -> None:
    found = plan(None, nodes=1, cpus=1)
    assert found.workers == 1 and found.threads == 1
    assert 0 < found.cpus_per_worker < 1


def test_as_many_workers_as_asked_for() -> None:
    assert plan(4, nodes=1, cpus=16).workers == 4
    assert plan(4, nodes=1, cpus=16).threads == 4
    assert plan(3, nodes=8, cpus=64, gpus=8).workers == 3


def test_more_workers_than_gpus_are_a_user_error() -> None:
    with pytest.raises(UserError, match=r"--workers: got 65.*64 GPUs"):
        plan(65, nodes=8, cpus=64, gpus=8)
    assert plan(64, nodes=8, cpus=64, gpus=8).workers == 64


@pytest.mark.parametrize(("asked", "nodes", "cpus"), [(100, 1, 2), (10**6, 1000, 16)])
def test_more_workers_than_the_processors_can_bear_are_a_user_error(asked: int, nodes: int, cpus: int) -> None:
    with pytest.raises(UserError, match=f"--workers: got {asked}.*CPUs"):
        plan(asked, nodes=nodes, cpus=cpus)


def test_with_fewer_workers_it_goes_on_only_if_asked() -> None:
    assert plan(3, nodes=3, cpus=4).number == 3

    def elastic(least: int) -> WorkerPlan:
        return plan_workers(3, cpus=12, gpus=0, nodes=3, cpus_per_node=4, least=least)

    assert elastic(2).number == (2, 3)
    assert elastic(3).number == 3
    with pytest.raises(UserError, match=r"--min-workers: got 4, expected at most as many as workers, 3"):
        elastic(4)
    with pytest.raises(UserError, match=r"--min-workers: got 1.*3 workers of a node would share 2 CPUs"):
        plan_workers(3, cpus=3, gpus=0, nodes=1, cpus_per_node=2, least=1)


def test_what_ray_is_asked_to_reserve() -> None:
    assert plan(None, nodes=1, cpus=16).resources() == {"CPU": 15.0}
    assert plan(None, nodes=2, cpus=32, gpus=4).resources() == {"CPU": 7.0, "GPU": 1}


def shapes(most: float) -> Iterator[tuple[WorkerPlan, int, int]]:
    """Plans for many clusters of equal nodes with up to `most` workers a processor, workers a node, processors a node."""
    for nodes in (1, 2, 3, 8, 22, 1000):
        for cpus in (1, 2, 3, 4, 7, 8, 16, 48, 64, 96, 192):
            for gpus in (0, 1, 2, 4, 8):
                top = min(int(most * cpus), gpus) if gpus else int(most * cpus)
                for per_node in {1, 2, 3, top // 2, top - 1, top} if top else set():
                    for asked in {per_node * nodes, per_node * nodes - 1}:
                        if 1 <= per_node <= top and asked >= 1:
                            yield plan(asked, nodes=nodes, cpus=cpus, gpus=gpus), math.ceil(asked / nodes), cpus


def test_the_threads_of_a_node_never_exceed_its_processors() -> None:
    found = list(shapes(1))
    assert len(found) > 1000
    for made, per_node, cpus in found:
        assert made.threads >= 1
        assert made.threads * per_node <= cpus, (made, per_node, cpus)
        assert made.threads * per_node > cpus - per_node, (made, per_node, cpus)  # none lie idle that could be shared out


def test_the_threads_of_a_node_never_exceed_its_processors_with_more_workers_than_those() -> None:
    for workers in range(3, 9):
        try:
            made = plan(workers, nodes=1, cpus=2)
        except UserError:
            continue
        assert made.threads * workers <= 2, made


def test_workers_leave_a_processor_of_each_node_to_the_reader() -> None:
    for made, per_node, cpus in shapes(1):
        assert made.cpus_per_worker > 0
        if cpus >= 2:
            assert made.cpus_per_worker * per_node <= cpus - 1 + 1e-9, (made, per_node, cpus)
        else:
            assert made.cpus_per_worker * per_node < 1, (made, per_node, cpus)


def test_a_worker_has_at_most_one_gpu() -> None:
    for made, per_node, _ in shapes(1):
        assert made.gpus_per_worker in (0, 1)
        assert per_node >= 1


def test_workers_without_gpus_are_spread_over_the_nodes_whose_threads_they_take() -> None:
    assert plan_workers(2, cpus=3, gpus=0, nodes=3, cpus_per_node=1).strategy == "SPREAD"
    assert plan_workers(None, cpus=16, gpus=8, nodes=2, cpus_per_node=8).strategy == "PACK"
