"""The Ray cluster of a job. In: an address, or none. Out: a connection, closed again, and what the cluster has.

Without an address a job starts a Ray of its own on this machine and stops it at the end.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
import ray.data
from ray.util.placement_group import placement_group, remove_placement_group

from fashion_ray.config import inside_submitted_job, needs_of
from fashion_ray.errors import UserError

log = logging.getLogger(__name__)

OWN_RAY = {
    "RAY_idle_worker_killing_time_threshold_ms": "60000",  # Ray Data's next plan finds the processes of the one before
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes this machine away
}
"""Settings of a Ray that is a job's own, unless the user made other ones: every process takes seconds to start."""

NODES_START_S = 900
"""Within so long an autoscaler has started what is needed, or says why it cannot."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a cluster has, as plain numbers, so that plans for it can be made and tested without one."""

    cpus: float
    gpus: float
    nodes: int
    cpus_per_node: float


@contextmanager
def connect(address: str | None, *, cpus: int | None = None, dashboard: bool = False) -> Iterator[Resources]:
    """Join a cluster, or start a local Ray and stop it at the end; yields what it has.

    A cluster that is joined has what FASHION_RAY_NEEDS says first. Raises UserError if no cluster answers at the address, or
    if it does not get that.
    """
    joins = address or os.environ.get("RAY_ADDRESS") or ("auto" if inside_submitted_job() else None)
    _quiet()
    at_termination = signal.getsignal(signal.SIGTERM)
    if joins:
        try:
            ray.init(address=joins, log_to_driver=True, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, ray.exceptions.AuthenticationError) as error:
            raise UserError(
                f"--address: no Ray cluster at {joins!r} ({str(error).splitlines()[0]}); start one with `ray start --head` "
                "(RAY_AUTH_MODE=token for both), or leave --address and RAY_ADDRESS out to use this machine alone"
            ) from error
    else:
        for name, value in OWN_RAY.items():
            os.environ.setdefault(name, value)
        ray.init(
            "local",
            num_cpus=cpus or os.cpu_count(),
            include_dashboard=dashboard,
            logging_level=logging.ERROR,
            log_to_driver=True,
        )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, at_termination)  # ray.init puts its own handler there, which aborts the process
    # Jobs report their own progress in lines that a log can keep.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        if joins and (needs := needs_of(os.environ)):
            await_nodes(needs)
        yield resources()
    finally:
        ray.shutdown()


def await_nodes(needs: dict[str, int], *, timeout_s: float = NODES_START_S) -> None:
    """Wait until the cluster has so much free at once, which makes an autoscaler start nodes: work is planned by what is there.

    What waits is a placement group, which dies with the job, so nothing keeps nodes alive that nobody uses. Raises UserError.
    """
    group = placement_group([{name: 1.0} for name, count in needs.items() for _ in range(count)])
    try:
        if not group.wait(timeout_s):
            raise UserError(
                f"FASHION_RAY_NEEDS: got {needs}, but the cluster, which has {ray.cluster_resources()}, did not have that free "
                f"within {timeout_s:g} s; expected what its node types and their max_workers allow (`ray status`)"
            )
    finally:
        remove_placement_group(group)


def resources() -> Resources:
    """What the connected cluster has now. A node without processors, as a head may be, is no node to work on."""
    total = ray.cluster_resources()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return Resources(
        cpus=total.get("CPU", 0.0),
        gpus=total.get("GPU", 0.0),
        nodes=len(nodes),
        cpus_per_node=max((node["Resources"].get("CPU", 0.0) for node in nodes), default=0.0),
    )


def _quiet() -> None:
    """Settings that small machines need, unless the user made other ones (see docs of Ray Data and Ray Train)."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
