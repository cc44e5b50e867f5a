"""The page for who is on call says what the code does: every metric, alert, option, key and step."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fashion_ray import metrics
from fashion_ray.catalog.feed_gates import FeedLimits
from fashion_ray.errors import UserError
from fashion_ray.nightly import document, steps
from fashion_ray.nightly.options import NightlyOptions
from fashion_ray.nightly.plan import feed_of, present
from fashion_ray.scoring.score import outcomes

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")
SUFFIXES = ("_total", "_sum", "_count", "_bucket", "")


def exported(metric: metrics.Metric) -> str:
    """The name that a metric has for Prometheus."""
    return f"ray_{metric.name}" + ("_total" if metric.kind == metrics.COUNTER else "")


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    """The rules of the rule file."""
    content = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))
    assert set(content) == {"groups"} and all(set(group) == {"name", "rules"} for group in content["groups"])
    return [rule for group in content["groups"] for rule in group["rules"]]


def test_the_rule_file_has_whole_rules_of_metrics_that_exist(alerts: list[dict[str, Any]]) -> None:
    names = {f"ray_{metric.name}{suffix}": metric for metric in metrics.METRICS.values() for suffix in SUFFIXES}
    for rule in alerts:
        assert set(rule) == {"alert", "expr", "labels", "annotations"} and set(rule["annotations"]) == {"summary", "action"}
        used = re.findall(r"ray_fashion_ray_\w+", rule["expr"])
        assert used and set(used) <= set(names), rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")") and rule["expr"].count("{") == rule["expr"].count("}")
        for name, label in re.findall(r"(ray_fashion_ray_\w+)\{(\w+)=", rule["expr"]):
            assert label in names[name].tags
        counters = [name for name in used if names[name].kind == metrics.COUNTER]
        assert all(name.endswith("_total") for name in counters)


def test_each_metric_is_on_the_page_with_its_alert(alerts: list[dict[str, Any]]) -> None:
    rows = {line.split("|")[1].strip(" `"): line for line in PAGE.splitlines() if line.startswith("| `ray_fashion_ray")}
    assert set(rows) == {exported(metric) for metric in metrics.METRICS.values()}
    named = {alert for line in rows.values() for alert in re.findall(r"`([A-Z]\w+)`", line)}
    assert named == {rule["alert"] for rule in alerts}
    for metric in metrics.METRICS.values():
        assert metric.kind in rows[exported(metric)] and f"`{metric.tags[0]}`" in rows[exported(metric)]


def test_each_key_of_the_pagers_json_and_each_step_is_on_the_page() -> None:
    for key in document.new("n", feed=None, started_at=""):
        assert f"`{key}`" in PAGE, key
    assert all(f"| `{step.name}` |" in PAGE for step in steps.STEPS)
    assert all(f"--feed-limits.{field.name.replace('_', '-')}" in PAGE for field in dataclasses.fields(FeedLimits))
    shown = re.sub(r"<!--.*?-->", "", PAGE)  # what docs-check runs in a command's stead is not the reader's
    asked = set(re.findall(r"(?<![-|])(--[a-z][a-z-]*)", shown.split("## By cron")[0]))
    own = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(NightlyOptions)}
    assert asked <= own | {"--limits", "--feed-limits"} and own - asked <= {
        "--root", "--cache", "--address", "--cpus", "--log-format", "--label-column", "--limits", "--feed-limits"
    }  # fmt: skip


def test_all_problems_of_a_nights_options_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        NightlyOptions(night="../x", if_missing="panic", keep=0, delta=True, keep_catalogs=0, status_file="/", labels=" ")
    for part in ("--night", "--if-missing", "--keep: got 0", "--delta", "--keep-catalogs", "--status-file", "--labels"):
        assert part in str(caught.value)


def test_the_nights_name_is_put_into_the_feeds_place() -> None:
    assert feed_of(NightlyOptions(feed="s3://b/{night}/feed.zip", night="2026-01-31")) == "s3://b/2026-01-31/feed.zip"
    assert feed_of(NightlyOptions()) is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", NightlyOptions().night)


def test_a_feed_is_looked_for_where_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "feed.zip").write_bytes(b"")
    assert present("demo") and present(str(tmp_path / "feed.zip")) and not present(str(tmp_path / "other.zip"))
    with pytest.raises(UserError, match="--feed: 'nowhere://host/feed'"):
        present("nowhere://me:hunter2@host/feed")


def test_a_quiet_night_carries_everything_over() -> None:
    books = {"catalog": 10, "scored": 3, "carried_over": 6, "quarantined": 1, "from_embeddings": 2}
    assert steps.as_it_stands(books) == {
        "catalog": 10, "scored": 0, "carried_over": 9, "quarantined": 1, "from_embeddings": 0
    }  # fmt: skip


def test_every_product_of_a_file_has_one_outcome() -> None:
    receipt = {"actions": {"carry": 5, "reuse": 2, "score": 4, "bad": 1}, "quarantined": [{"product_id": "1"}]}
    found = outcomes(receipt)
    assert found == {"scored": 5, "carried_over": 5, "quarantined": 2} and sum(found.values()) == 12


def test_without_a_connection_nothing_is_recorded_and_nothing_breaks() -> None:
    metrics._made.cache_clear()  # a test before may have been connected
    metrics.add("fashion_ray_rows", {"scored": 1})
    metrics.put("fashion_ray_products", {"catalog": 1})
    with metrics.stage("drill"):
        pass
    assert metrics._made.cache_info().currsize == 0
