"""cluster.yaml and what lies in deploy/, checked offline: the launcher as Ray checks it, KubeRay's by a schema kept by hand."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

PROJECT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "kuberay.schema.json").read_text())


def launcher() -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT / "cluster.yaml").read_text()))


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((PROJECT / "deploy" / "kuberay" / name).read_text()))


def check(document: dict[str, Any]) -> None:
    jsonschema.validate(document, {**SCHEMA, "$ref": f"#/definitions/{document['kind']}"})


def test_the_launcher_takes_cluster_yaml() -> None:
    config = prepare_config(launcher())
    validate_config(config)
    types = config["available_node_types"]
    assert "GPU" in types["gpu_worker"]["resources"] and "GPU" not in types["cpu_worker"]["resources"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert all(types[name]["min_workers"] == 0 < types[name]["max_workers"] for name in ("gpu_worker", "cpu_worker"))
    assert config["idle_timeout_minutes"] <= 15
    wrong = launcher()
    wrong["idle_timeout"] = 10
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        validate_config(prepare_config(wrong))


def test_every_node_installs_the_locked_versions_from_wherever_it_is_told() -> None:
    config = prepare_config(launcher())
    commands = [*config["setup_commands"], *config["head_setup_commands"], *config["worker_setup_commands"]]
    installs = [command for command in commands if "pip install" in command]
    assert installs and all("--constraint /home/ubuntu/fashion_ray/constraints.txt" in command for command in installs)
    assert not [command for command in commands if re.search(r"https?://(?!SITE)|--index-url|--extra-index", command)]
    assert re.search(r"^boto3==", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)


def test_ray_starts_where_the_project_lies_with_root_and_tracking_server_set() -> None:
    config = prepare_config(launcher())
    (written,) = [command for command in config["setup_commands"] if "environment.sh" in command]
    (project,) = [remote for remote, local in config["file_mounts"].items() if local == "."]
    for line in (
        f"'cd {project}'", "export FASHION_RAY_ROOT=s3://", "export MLFLOW_TRACKING_URI=http", "RAY_AUTH_MODE=token",
        "export PATH=/home/ubuntu/venv/bin:",
    ):  # fmt: skip
        assert line in written
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        assert command.startswith(". /home/ubuntu/environment.sh &&")


def test_nobody_outside_reaches_a_port_and_no_node_may_do_more_than_it_must() -> None:
    config = prepare_config(launcher())
    head = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head and "0.0.0.0" not in json.dumps(config)
    assert config["provider"]["use_internal_ips"] and not config["provider"]["cache_stopped_nodes"]
    for node in config["available_node_types"].values():
        own = node["node_config"]
        assert own["SecurityGroupIds"], "without one Ray opens port 22 to the world"
        assert own["MetadataOptions"] == {"HttpTokens": "required"} and own["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]
    roles = {name: node["node_config"]["IamInstanceProfile"] for name, node in config["available_node_types"].items()}
    assert roles["head"] != roles["gpu_worker"] == roles["cpu_worker"]


def test_what_differs_from_site_to_site_stands_in_one_block() -> None:
    text = (PROJECT / "cluster.yaml").read_text()
    block, rest = text.split("\ncluster_name:")
    assert len(re.findall(r"SITE", block)) >= 6
    assert [line for line in rest.splitlines() if "SITE" in line] == ["  region: eu-central-1                # SITE"]


@pytest.mark.parametrize("role", ["head", "worker"])
def test_policies_allow_nothing_everywhere_but_to_look(role: str) -> None:
    policy = json.loads((PROJECT / "deploy" / "aws" / f"{role}-policy.json").read_text())
    for statement in policy["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert statement["Effect"] == "Allow" and "*" not in "".join(actions)
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in actions)
        if role == "worker":
            assert all(action.startswith("s3:") for action in actions)
    readable = {each["Resource"] for each in policy["Statement"] if "s3:GetObject" in each["Action"]}
    assert {resource.partition("SITE-bucket")[2] for resource in readable} == {"/fashion_ray/*", "/feeds/*"}
    (listing,) = (each for each in policy["Statement"] if each["Action"] == "s3:ListBucket")
    assert {"fashion_ray/*", "feeds/*"} <= set(listing["Condition"]["StringLike"]["s3:prefix"])


def test_the_night_on_kubernetes_fits_the_schema() -> None:
    (job,) = documents("rayjob.yaml")
    check(job)
    ray_version = re.search(r"^ray==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)
    assert ray_version is not None and job["spec"]["rayClusterSpec"]["rayVersion"] == ray_version[1]
    assert job["spec"]["entrypoint"].startswith("python jobs/nightly.py --feed ")
    assert job["spec"]["shutdownAfterJobFinishes"]
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}, "or any pod could run code on it"
    cron = {document["kind"]: document for document in documents("cronjob.yaml")}
    check(cron["CronJob"])
    assert cron["Role"]["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}]
    pod = cron["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == cron["ServiceAccount"]["metadata"]["name"]


def test_workers_on_kubernetes_have_root_tracking_server_and_no_rights_there() -> None:
    (job,) = documents("rayjob.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    for template in (cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])):
        (container,) = template["spec"]["containers"]
        assert {"FASHION_RAY_ROOT", "MLFLOW_TRACKING_URI"} <= {variable["name"] for variable in container["env"]}
        assert template["spec"]["securityContext"]["runAsNonRoot"]
    assert all(not group["template"]["spec"]["automountServiceAccountToken"] for group in cluster["workerGroupSpecs"])


@pytest.mark.parametrize("wrong", ["shutDownAfterJobFinishes", "headGroup", "workerGroups"])
def test_the_schema_sees_a_misspelt_field(wrong: str) -> None:
    (job,) = copy.deepcopy(documents("rayjob.yaml"))
    (job["spec"] if wrong[0] == "s" else job["spec"]["rayClusterSpec"])[wrong] = True
    with pytest.raises(jsonschema.ValidationError, match=wrong):
        check(job)
