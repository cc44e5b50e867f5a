"""What people see of a night. In: its result. Out: a page and a table below reports/, lines for a log, MLflow artifacts."""

from __future__ import annotations

from fashion_ray import snapshots
from fashion_ray.catalog.lookup import pictures
from fashion_ray.scoring.compare import Comparison
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store


def write_report(
    store: Store,
    catalog: Snapshot,
    name: str,
    comparison: Comparison,
    facts: dict[str, str],
    books: dict[str, int],
    *,
    published: bool,
) -> dict[str, str]:
    """Write what changed below reports/scores-<name>/; the paths below the root, by what they are."""
    from fashion_ray.pages.changes_report import (
        changes_report,
        pictured,
    )  # plots take a second to import; quiet nights have none

    folder = f"reports/scores-{name}"
    wanted = pictured(comparison.changes, targets=comparison.targets) if comparison.drift is not None else []
    page = changes_report(
        title=f"Scores {name}",
        facts=facts,
        books=books,
        changes=comparison.changes,
        targets=comparison.targets,
        classes=comparison.classes,
        verdicts=comparison.verdicts,
        published=published,
        drift=comparison.drift,
        accuracy_pairs=comparison.accuracy_pairs,
        pictures=pictures(store, catalog, wanted),
        next_steps=[] if published else ["`python jobs/score.py --publish-anyway` publishes these scores as they are"],
    )
    store.write_bytes(page.encode(), folder, "changes.html")
    store.write_table(comparison.changes, folder, "changes.parquet")
    return {"page": f"{folder}/changes.html", "changes": f"{folder}/changes.parquet"}


def listing(store: Store) -> list[str]:
    """A line a commit, the current one marked."""
    commits = snapshots.history(store, "scores")
    lines = []
    for commit in commits:
        manifest = commit.manifest
        what = f"{manifest['rows']} rows, model {manifest['model_version']}" if manifest is not None else "removed"
        mark = "*" if commit is commits[-1] else " "
        lines.append(f"{mark} {commit.sequence:>4}  {commit.published_at}  {commit.name}  {what}")
    return lines or ["no scores were published yet"]
