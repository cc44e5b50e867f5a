"""What the pager is told: a status, an exit status and a sentence for every end; when a night is done, and when it goes on."""

from __future__ import annotations

import json

import pytest

from fashion_ray.errors import ConflictError, GateRefused, ReconciliationError, UserError
from fashion_ray.nightly import document as documents
from fashion_ray.nightly.document import Document


def night(status: str = "ok", **values: object) -> Document:
    """A document of a night that ended."""
    fresh = documents.new("2026-01-31", feed="s3://bucket/feed.zip", started_at="2026-01-31T02:00:00Z")
    return fresh | {"status": status, "key": "k", "exit_status": 0, "snapshots": {"catalog": "c1", "scores": "s1"}} | values


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ("ok", 0, "")),
        (UserError("--feed: nothing at 'x'"), ("failed", 2, "--feed: nothing at 'x'")),
        (ConflictError("catalog: another run"), ("failed", 2, "catalog: another run")),
        (GateRefused("too many\n changes", "page.html"), ("gated", 3, "too many changes")),
        (KeyboardInterrupt(), ("failed", 130, "interrupted; the same command goes on")),
        (ReconciliationError("3 in, 2 out"), ("failed", 1, "ReconciliationError: 3 in, 2 out")),
        (OSError("s3://user:hunter2@host/x is away"), ("failed", 1, "OSError: s3://host/x is away")),
    ],
)
def test_each_end_has_its_status(error: BaseException | None, expected: tuple[str, int, str]) -> None:
    assert documents.outcome(error) == expected


def test_a_mistake_on_a_worker_is_the_users_too() -> None:
    wrapped = RuntimeError("a task failed")
    wrapped.__cause__ = UserError("styles.csv: got the columns 'sku'")
    assert documents.outcome(wrapped) == ("failed", 2, "styles.csv: got the columns 'sku'")


def test_a_new_document_is_json_without_secrets() -> None:
    fresh = documents.new("n", feed="s3://me:hunter2@host/feed.zip?token=abc", started_at="now")
    assert "hunter2" not in json.dumps(fresh) and "abc" not in json.dumps(fresh)
    assert fresh["status"] in documents.STATUSES and fresh["schema"] == documents.SCHEMA


def test_a_night_is_done_where_the_same_one_ended_well_and_its_catalog_is_current() -> None:
    assert documents.is_done(night(), key="k", catalog="c1")
    assert not documents.is_done(None, key="k", catalog="c1")
    assert not documents.is_done(night(), key="another feed", catalog="c1")
    assert not documents.is_done(night(), key="k", catalog="c2")
    assert not documents.is_done(night(), key="k", catalog=None)
    for status in ("running", "gated", "failed"):
        assert not documents.is_done(night(status), key="k", catalog="c1")


def test_a_night_that_died_goes_on_in_its_runs_and_one_that_ended_well_does_not() -> None:
    for status, runs in (("running", {"score": "r1"}), ("failed", {"score": "r1"}), ("ok", {})):
        fresh = night("running", attempts=1)
        documents.goes_on(fresh, night(status, attempts=2, runs={"score": "r1"}))
        assert fresh["attempts"] == 3 and fresh["runs"] == runs
    other = night("running", key="another feed")
    documents.goes_on(other, night("failed", runs={"score": "r1"}))
    assert other["runs"] == {}
    first = night("running")
    documents.goes_on(first, None)
    assert first["attempts"] == 1


def test_the_summary_is_one_line_with_the_books() -> None:
    counts = {
        "products_added": 5, "products_changed": 1, "products_removed": 2,
        "catalog": 100, "scored": 6, "carried_over": 93, "quarantined": 1,
    }  # fmt: skip
    said = documents.summary(night(counts=counts, seconds={"ingest": 1.2, "score": 3.9}))
    assert said == (
        "night 2026-01-31 ok: 5 added, 1 changed, 2 removed; catalog 100 = scored 6 + carried over 93 + quarantined 1; "
        "scores s1; 5 s"
    )
    assert "no feed came" in documents.summary(night(feed_missing=True))
    refused = documents.summary(night("gated", exit_status=3, step="score", message="label_psi is 0.3"))
    assert refused.startswith("night 2026-01-31 gated at score (exit status 3): label_psi is 0.3 [")
