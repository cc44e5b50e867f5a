"""Metrics for Prometheus through Ray's own exporter. In: rows and seconds. Out: series of the node's metrics port.

Ray puts `ray_` in front of each name and `_total` behind counters, and adds who reported. Without a connection to Ray nothing
is recorded. What each means and which alert to set is in docs/operations.md and docs/alerts.yml.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import metrics as ray_metrics

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0)
"""Upper bounds of the histogram's buckets."""


@dataclass(frozen=True)
class Metric:
    """A metric as it is declared to Ray."""

    name: str
    kind: str
    meaning: str
    tags: tuple[str, ...]


METRICS = {
    metric.name: metric
    for metric in (
        Metric("fashion_ray_rows", COUNTER, "Products whose row of scores was settled, by how.", ("outcome",)),
        Metric("fashion_ray_products", GAUGE, "The books of the last published scores.", ("outcome",)),
        Metric("fashion_ray_feed_rows", COUNTER, "Rows of feeds, by what became of them.", ("outcome",)),
        Metric("fashion_ray_stage_seconds", HISTOGRAM, "Wall time of a stage that ended, well or not.", ("stage",)),
        Metric("fashion_ray_stage_failures", COUNTER, "Stages that ended with an error or a refusal.", ("stage",)),
        Metric("fashion_ray_stage_ended_seconds", GAUGE, "When a stage last ended well, in seconds since 1970.", ("stage",)),
        Metric("fashion_ray_stage_failed_seconds", GAUGE, "When a stage last failed or was refused, the same.", ("stage",)),
    )
}


def add(name: str, counts: Mapping[str, int]) -> None:
    """Add to a counter, by the values of its one tag."""
    for value, count in counts.items():
        if count > 0 and ray.is_initialized():
            _made(name).inc(count, tags={METRICS[name].tags[0]: value})


def put(name: str, values: Mapping[str, float]) -> None:
    """Set a gauge, by the values of its one tag."""
    for value, figure in values.items():
        if ray.is_initialized():
            _made(name).set(figure, tags={METRICS[name].tags[0]: value})


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a stage while the block runs, and tell whether it ended well."""
    began, ended = time.perf_counter(), "fashion_ray_stage_failed_seconds"
    try:
        yield
        ended = "fashion_ray_stage_ended_seconds"
    finally:
        put(ended, {name: time.time()})
        add("fashion_ray_stage_failures", {name: int(ended == "fashion_ray_stage_failed_seconds")})
        if ray.is_initialized():
            _made("fashion_ray_stage_seconds").observe(time.perf_counter() - began, tags={"stage": name})


@functools.cache
def _made(name: str) -> Any:
    """Ray's object, one a process."""
    metric = METRICS[name]
    if metric.kind == HISTOGRAM:
        return ray_metrics.Histogram(name, metric.meaning, boundaries=list(SECONDS), tag_keys=metric.tags)
    kind = ray_metrics.Counter if metric.kind == COUNTER else ray_metrics.Gauge
    return kind(name, metric.meaning, tag_keys=metric.tags)
