"""cluster.yaml, checked offline as Ray's launcher would check it."""

from __future__ import annotations

from pathlib import Path

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

PROJECT = Path(__file__).parents[2]


def test_the_launcher_takes_cluster_yaml() -> None:
    config = prepare_config(yaml.safe_load((PROJECT / "cluster.yaml").read_text()))
    validate_config(config)
    types = config["available_node_types"]
    assert "GPU" in types["gpu_worker"]["resources"] and "GPU" not in types["cpu_worker"]["resources"]
    assert any("constraints.txt" in command for command in config["setup_commands"])
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert any("FASHION_RAY_ROOT=" in command and "MLFLOW_TRACKING_URI=" in command for command in commands)
