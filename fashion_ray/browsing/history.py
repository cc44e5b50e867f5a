"""What was said of products night after night. In: the commits of scores, product ids. Out: the answers in each snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fashion_ray import snapshots
from fashion_ray.catalog.lookup import rows_of
from fashion_ray.snapshots import Commit
from fashion_ray.storage import Store

History = list[list[list[Any] | None] | None]
"""For each commit, for each target: [label, probability]; null where that night had no such target, or not the product."""


def commits_kept(store: Store) -> list[Commit]:
    """The commits of scores whose snapshots are still there, oldest first."""
    return [commit for commit in snapshots.history(store, "scores") if commit.manifest is not None]


def histories(
    store: Store, commits: Sequence[Commit], product_ids: Sequence[str], targets: Sequence[str]
) -> dict[str, History]:
    """The answers to these products in each of the commits. A snapshot that was committed twice is read once."""
    nights = {commit.name: _night(store, commit, product_ids, targets) for commit in commits}
    return {product_id: [nights[commit.name].get(product_id) for commit in commits] for product_id in product_ids}


def _night(
    store: Store, commit: Commit, product_ids: Sequence[str], targets: Sequence[str]
) -> dict[str, list[list[Any] | None]]:
    assert commit.manifest is not None
    folder, files = f"scores/snapshots/{commit.name}", [str(entry["name"]) for entry in commit.manifest["files"]]
    asked = [target for target in targets if target in commit.manifest["targets"]]
    columns = ["product_id", *(f"{target}_{what}" for target in asked for what in ("predicted", "probability"))]
    found: dict[str, list[list[Any] | None]] = {}
    for row in rows_of(store, folder, files, product_ids, columns).to_pylist():
        found[row["product_id"]] = [
            [row[f"{target}_predicted"], round(row[f"{target}_probability"], 3)] if target in asked else None
            for target in targets
        ]
    return found
