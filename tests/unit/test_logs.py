"""Log lines: readable, or an object each."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fashion_ray import cli, logs
from fashion_ray.config import LOG_VARIABLE, JobOptions


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the project's log gets."""
    logger = logging.getLogger("fashion_ray")
    kept = logger.level, logger.propagate, list(logger.handlers)
    logger.handlers, out = [], io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    logs.show_progress()
    yield out
    logger.level, logger.propagate, logger.handlers = kept


def test_a_readable_line_is_the_time_and_the_message(lines: io.StringIO) -> None:
    logging.getLogger("fashion_ray.x").info("%d of %d", 1, 2, extra={"fields": {"stage": "ingest"}})
    time, _, message = lines.getvalue().strip().partition(" ")
    assert len(time) == 8 and message == "1 of 2"


def test_json_lines_are_an_object_each_with_fields_and_without_secrets(lines: io.StringIO) -> None:
    cli.parse(JobOptions, ["--log-format", "json"], example="x")
    log = logging.getLogger("fashion_ray.x")
    log.info("read\n%s", "s3://me:hunter2@host/x", extra={"fields": {"stage": "ingest", "seconds": 1.5}})
    try:
        raise ValueError("a bug")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert first.items() >= {
        "level": "info", "logger": "fashion_ray.x", "message": "read\ns3://host/x", "stage": "ingest", "seconds": 1.5
    }.items()  # fmt: skip
    assert first["time"].endswith("Z") and second["level"] == "error" and "ValueError: a bug" in second["traceback"]


def test_the_format_comes_from_the_environment_too_and_an_unknown_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG_VARIABLE, "json")
    assert JobOptions().log_format == "json"
    assert "--log-format: got 'xml', expected one of text, json" in JobOptions(log_format="xml").problems()._lines[0]
