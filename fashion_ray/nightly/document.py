"""What is known of a night, as one JSON for the pager. In: what happened. Out: plain values and a sentence. Pure.

The schema is in docs/operations.md; a key is added, never given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashion_ray.config import without_password
from fashion_ray.errors import GateRefused, user_error_behind

RUNNING, OK, GATED, FAILED = STATUSES = ("running", "ok", "gated", "failed")
SCHEMA = 1
LONGEST_MESSAGE = 2000

Document = dict[str, Any]


def new(night: str, *, feed: str | None, started_at: str) -> Document:
    """The document of a night that begins."""
    return {
        "schema": SCHEMA, "night": night, "status": RUNNING, "exit_status": None, "step": "prepare", "message": "",
        "feed": without_password(feed) if feed else None, "feed_missing": False, "key": None, "model_version": None,
        "attempts": 1, "started_at": started_at, "ended_at": None, "seconds": {}, "counts": {}, "figures": {},
        "snapshots": {"catalog": None, "scores": None, "similar": None}, "links": {}, "claim": None, "runs": {},
    }  # fmt: skip


def outcome(error: BaseException | None) -> tuple[str, int, str]:
    """Status, exit status and message that an end stands for; the exit status is the one that the job's process has."""
    if error is None:
        return OK, 0, ""
    message = " ".join(without_password(str(error)).split())[:LONGEST_MESSAGE]
    if isinstance(error, GateRefused):
        return GATED, 3, message
    if isinstance(error, KeyboardInterrupt):
        return FAILED, 130, "interrupted; the same command goes on"
    mistake = user_error_behind(error)
    if mistake is not None:
        return FAILED, 2, " ".join(without_password(str(mistake)).split())[:LONGEST_MESSAGE]
    return FAILED, 1, f"{type(error).__name__}: {message}"


def is_done(earlier: Mapping[str, Any] | None, *, key: str, catalog: str | None) -> bool:
    """Whether an earlier document says that this very night ended well, and the catalog is still the one that it left."""
    if earlier is None or earlier.get("status") != OK or catalog is None:
        return False
    return bool(earlier.get("key") == key and earlier.get("snapshots", {}).get("catalog") == catalog)


def goes_on(document: Document, earlier: Mapping[str, Any] | None) -> None:
    """Carry over what a night that did not end well is continued by: its MLflow runs, what it counted, its attempts."""
    if earlier is None:
        return
    document["attempts"] = int(earlier.get("attempts", 0)) + 1
    if earlier.get("key") == document["key"] and earlier.get("status") != OK:
        for key in ("runs", "counts", "figures", "links"):
            document[key] = dict(earlier.get(key, {}))
        document["claim"] = earlier.get("claim") or document["claim"]
        document["started_at"] = earlier.get("started_at", document["started_at"])


def summary(document: Mapping[str, Any]) -> str:
    """The night on one line."""
    head = f"night {document['night']} {document['status']}"
    if document["status"] != OK:
        head += f" at {document['step']} (exit status {document['exit_status']}): {document['message']}"
    counts, parts = document["counts"], []
    if document["feed_missing"]:
        parts.append("no feed came")
    if "products_added" in counts:
        parts.append(
            f"{counts['products_added']} added, {counts['products_changed']} changed, {counts['products_removed']} removed"
        )
    if "catalog" in counts:
        parts.append(
            f"catalog {counts['catalog']} = scored {counts['scored']} + carried over {counts['carried_over']} "
            f"+ quarantined {counts['quarantined']}"
        )
    if document["snapshots"]["scores"]:
        parts.append(f"scores {document['snapshots']['scores']}")
    parts.append(f"{sum(document['seconds'].values()):.0f} s")
    return head + ": " + "; ".join(parts) if document["status"] == OK else head + " [" + "; ".join(parts) + "]"
