"""Which embeddings are compared. In: a root. Out: a published table of embeddings, its catalog and its products."""

from __future__ import annotations

import logging

from fashion_ray import snapshots
from fashion_ray.errors import UserError
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

log = logging.getLogger(__name__)


def scores_of(store: Store, name: str | None = None) -> Snapshot:
    """The current scores, or a named snapshot of them. Raises UserError if there are none."""
    if name is None:
        found = snapshots.current(store, "scores")
        if found is None:
            raise UserError(
                f"no scores below {store.uri!r}; expected some that jobs/score.py published. "
                "Run python jobs/score.py with the same --root first"
            )
        return found
    kept = [commit for commit in snapshots.history(store, "scores") if commit.manifest is not None]
    for commit in reversed(kept):
        if commit.name == name:
            assert commit.manifest is not None
            return Snapshot(table="scores", name=name, sequence=commit.sequence, manifest=commit.manifest)
    shown = ", ".join(dict.fromkeys(commit.name for commit in reversed(kept))) or "none"
    raise UserError(f"--snapshot: got {name!r}, expected one of the snapshots of scores that are kept: {shown}")


def features_of(store: Store, baseline: str) -> Snapshot:
    """The features of a baseline. Raises UserError if they were not computed yet."""
    found = snapshots.current(store, f"features-{baseline}")
    if found is None:
        raise UserError(
            f"no {baseline} features below {store.uri!r}; expected some that an earlier run computed. "
            f"Run python jobs/similar.py --baseline {baseline} with the same --root first"
        )
    return found


def catalog_for(store: Store, source: Snapshot) -> Snapshot:
    """The catalog that embeddings were made from; the current one if that was removed since, with a warning."""
    name = str(source.manifest["catalog_snapshot"])
    try:
        manifest = store.read_json(snapshots.staging("catalog", name), snapshots.MANIFEST)
        return Snapshot(table="catalog", name=name, sequence=0, manifest=manifest)
    except FileNotFoundError:
        current = snapshots.current(store, "catalog")
    if current is None:
        raise UserError(f"no catalog below {store.uri!r}; expected the one that was scored. Run python jobs/ingest.py first")
    log.warning("the catalog %s that was scored is gone; labels are those of the current one, %s", name, current.name)
    return current
