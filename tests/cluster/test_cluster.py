"""What a job waits for before it plans."""

from __future__ import annotations

import pytest

from fashion_ray import cluster
from fashion_ray.cluster import Resources
from fashion_ray.errors import UserError


def test_a_job_waits_for_what_it_needs_and_gives_it_back(resources: Resources) -> None:
    cluster.await_nodes({"CPU": int(resources.cpus)}, timeout_s=60)
    cluster.await_nodes({"CPU": int(resources.cpus)}, timeout_s=60)  # the first has left nothing reserved


def test_what_no_node_has_is_the_users_error(resources: Resources) -> None:
    with pytest.raises(UserError, match=r"FASHION_RAY_NEEDS: got \{'GPU': 9\}.*`ray status`"):
        cluster.await_nodes({"GPU": 9}, timeout_s=0.2)
