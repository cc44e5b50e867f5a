"""Options that every job has: all problems at once, locations that mean the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fashion_ray import config
from fashion_ray.catalog.options import IngestOptions
from fashion_ray.config import (
    CACHE_VARIABLE,
    NAME_PATTERN,
    ROOT_VARIABLE,
    JobOptions,
    Problems,
    absolute,
    inside_submitted_job,
    is_uri,
    needs_of,
)
from fashion_ray.errors import UserError

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine that runs the tests decides one of them."""
    for variable in (SUBMITTED, ROOT_VARIABLE, CACHE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def test_problems_are_raised_together_on_one_line() -> None:
    found = Problems()
    found.check(False, "batch_size", 1, "2 to 65536", "more rows a step train better")
    found.check(True, "seed", 3, "0 or more")
    found.check(False, "engine", "abacus", "openvino or torch")
    with pytest.raises(UserError) as caught:
        found.raise_if_any()
    message = str(caught.value)
    assert "\n" not in message
    for part in ("--batch-size", "got 1", "2 to 65536", "more rows a step", "--engine", "got 'abacus'", "openvino or torch"):
        assert part in message
    assert "--seed" not in message


def test_no_problem_raises_nothing() -> None:
    found = Problems()
    found.check(True, "seed", 3, "0 or more")
    found.raise_if_any()


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("s3://bucket/prefix", True),
        ("gs://bucket", True),
        ("file:///tmp/x", True),
        ("memory://x", True),
        ("/tmp/x", False),
        ("./workspace", False),
        ("C:\\x", False),
        ("a b://c", False),
    ],
)
def test_is_uri(location: str, expected: bool) -> None:
    assert is_uri(location) is expected


def test_absolute_takes_a_relative_path_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("./workspace") == str(tmp_path / "workspace")
    assert absolute("a/../b/") == str(tmp_path / "b")


@pytest.mark.parametrize("location", ["/srv/catalog", "/srv/other/../catalog/", "/srv//catalog"])
def test_absolute_keeps_an_absolute_path(location: str) -> None:
    assert absolute(location) == "/srv/catalog"


def test_absolute_knows_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(SUBMITTED, "{}")
    assert absolute("~/catalog") == str(tmp_path / "catalog")


@pytest.mark.parametrize("submitted", [False, True])
@pytest.mark.parametrize("location", ["s3://bucket/a/../b", "s3://bucket/a/../b/", "s3://bucket/a/../b//"])
def test_absolute_leaves_uris_alone(location: str, submitted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if submitted:
        monkeypatch.setenv(SUBMITTED, "{}")
    assert absolute(location) == "s3://bucket/a/../b"


@pytest.mark.parametrize("location", ["workspace", "./workspace", "../x"])
def test_a_relative_path_inside_a_submitted_job_is_refused(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUBMITTED, '{"runtime_env": {}}')
    assert inside_submitted_job()
    with pytest.raises(UserError) as caught:
        absolute(location, option="--source")
    message = str(caught.value)
    for part in ("--source", repr(location), "--runtime-env-json", ROOT_VARIABLE, "absolute path"):
        assert part in message


def test_an_absolute_path_inside_a_submitted_job_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUBMITTED, "{}")
    assert absolute("/srv/catalog") == "/srv/catalog"


def test_outside_a_submitted_job() -> None:
    assert not inside_submitted_job()


def test_the_root_and_the_cache_come_from_the_environment_when_the_options_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    assert JobOptions().root == "./workspace"
    assert os.path.isabs(JobOptions().cache)
    monkeypatch.setenv(ROOT_VARIABLE, "s3://bucket/prefix")
    monkeypatch.setenv(CACHE_VARIABLE, "/fast/disk")
    assert JobOptions().root == "s3://bucket/prefix"
    assert JobOptions().cache == "/fast/disk"
    assert JobOptions(root="/srv").root == "/srv"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, "")
    monkeypatch.setenv(CACHE_VARIABLE, "")
    assert JobOptions().root == "./workspace"
    assert os.path.isabs(JobOptions().cache)


def test_every_problem_of_a_job_is_named_when_its_options_are_built() -> None:
    with pytest.raises(UserError) as caught:
        IngestOptions(root=" ", cache="s3://bucket/cache", cpus=0, source="", seed=-1, products=5)
    for option in ("--root", "--cache", "--cpus", "--source", "--seed", "--products"):
        assert option in str(caught.value)


@pytest.mark.parametrize("name", ["15970", "a", "A-1_b.c", "x" * 128])
def test_names_that_can_name_a_file(name: str) -> None:
    assert NAME_PATTERN.fullmatch(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "a\n", "x" * 129, "ä", "²", "a\0"])
def test_names_that_cannot(name: str) -> None:
    assert not NAME_PATTERN.fullmatch(name)


@pytest.mark.parametrize("location", ["a?b", "a#b", "a%20b", "a::b"])
def test_a_path_that_reads_as_a_uri_is_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--root"):
        config.absolute(str(tmp_path / location))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at https://user:pw@host/x", "at https://host/x"),
        ("s3://u:p/SECRET@bucket/key", "s3://bucket/key"),
        ("s3://u:p@SECRET@bucket/key", "s3://bucket/key"),
        ("https://host/x?X-Amz-Signature=abc&y=1", "https://host/x?X-Amz-Signature=***&y=1"),
        ("az://box/feed.zip?sv=1&sig=abc&design=2", "az://box/feed.zip?sv=1&sig=***&design=2"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("sqlite:////root/mlflow.db", "sqlite:////root/mlflow.db"),
    ],
)
def test_secrets_of_uris_are_left_out(text: str, expected: str) -> None:
    assert config.without_password(text) == expected


def test_what_a_cluster_must_have_is_read_from_the_environment() -> None:
    assert needs_of({}) == needs_of({"FASHION_RAY_NEEDS": " "}) == needs_of({"FASHION_RAY_NEEDS": "GPU:0"}) == {}
    assert needs_of({"FASHION_RAY_NEEDS": "GPU:2, CPU:16"}) == {"GPU": 2, "CPU": 16}


@pytest.mark.parametrize("text", ["GPU", "GPU:two", "GPU:1,GPU:2", "GPU:1,", ":3", "GPU:-1", "GPU:1.5"])
def test_what_cannot_be_read_as_needs_is_the_users_error(text: str) -> None:
    with pytest.raises(UserError, match=r"FASHION_RAY_NEEDS: got .* expected NAME:NUMBER"):
        needs_of({"FASHION_RAY_NEEDS": text})
