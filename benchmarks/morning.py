"""The judgement of the simulated nights. In: what the shop has, what was published. Out: whatever is wrong, in words."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import witness
from benchmarks.shop import Delivery, Shop
from benchmarks.victims import Household
from fashion_ray import snapshots
from fashion_ray.cluster import Resources
from fashion_ray.models import engines
from fashion_ray.scoring import open_scores
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.score import How, catalog_of, score
from fashion_ray.storage import Store


@dataclass(kw_only=True)
class Morning:
    """How a night went."""

    night: int
    title: str
    ended: str
    counts: dict[str, int] = field(default_factory=dict)
    scores: str = ""
    wall_s: float = 0.0
    catalog_digest: str = ""
    scores_digest: str = ""
    similar_digest: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Stage:
    """What a fortnight plays on."""

    store: Store
    shop: Shop
    folder: Path
    models: list[ResolvedModel]
    household: Household
    has: Resources
    patience_s: float
    champion: int = 0
    seals: dict[str, str] = field(default_factory=dict)
    """The digest of every file that was ever published."""


def told(here: Stage) -> dict[str, Any]:
    """What the pager was told last."""
    found: dict[str, Any] = json.loads((here.folder / "pager.json").read_text())
    return found


def look_at_books(found: Morning, delivery: Delivery, here: Stage, before: str) -> None:
    """Everything that must hold in the morning."""
    catalog, scores = catalog_of(here.store), snapshots.current(here.store, "scores")
    if scores is None:
        found.problems.append("there are no scores")
        return
    products = here.store.read_table(catalog.folder, columns=["product_id", "image_sha256", "articleType", "split"])
    table = open_scores(here.store.uri).to_table()
    found.catalog_digest, found.scores_digest = digest(products), digest(table)
    labels = dict(zip(products["product_id"].to_pylist(), products["articleType"].to_pylist(), strict=True))
    expected = here.shop.expected()
    ids, bad = table["product_id"].to_pylist(), here.store.read_table(scores.manifest["quarantine"])["product_id"].to_pylist()
    checks = {
        "the catalog has other products than the shop": set(labels) == set(expected) and len(labels) == products.num_rows,
        "the catalog has other labels than the shop": labels == expected,
        "a product has two rows of scores": len(ids) == len(set(ids)),
        "catalog is not scored + quarantined": sorted([*ids, *bad]) == sorted(labels),
        "pictures of the scores are not the catalog's": pictures(products, ids) == pictures(table, ids),
    }
    if found.ended == "ok":
        counts = found.counts
        total = counts["scored"] + counts["carried_over"] + counts["quarantined"]
        checks["the books do not balance"] = counts["catalog"] == total == products.num_rows
        similar = snapshots.current(here.store, "similar")
        if similar is not None:
            neighbours = here.store.read_table(similar.folder)
            found.similar_digest = digest(neighbours)
            named = {one["product_id"] for row in neighbours["similar"].to_pylist() for one in row}
            checks |= {
                "similar products are not those of the current scores": similar.manifest["source"] == f"scores/{scores.name}",
                "not every scored product has its similar ones once": sorted(neighbours["product_id"].to_pylist())
                == sorted(ids),
                "a product that is gone is similar to another": named <= set(ids),
            }
        else:
            checks["there are no similar products"] = False
    if delivery.ends != "ok":
        checks["a refused feed changed the scores"] = found.scores_digest == before
    found.problems += [problem for problem, fine in checks.items() if not fine]
    found.problems += broken_seals(here)
    if found.scores_digest != before:
        found.problems += witness.differences(from_scratch(here), table)


def from_scratch(here: Stage) -> pa.Table:
    """The scores of tonight's catalog as a root that has never scored gives them."""
    model, store = here.models[here.champion], Store(str(here.folder / "scratch"))
    Path(store.uri).mkdir()
    os.symlink(here.store.path("catalog"), store.path("catalog"))
    choice = engines.choose("openvino", "f32", gpus=0, **engines.of_this_node())
    try:
        score(store, catalog_of(here.store), model, How(choice=choice, cache=str(here.folder / "cache"), run_id="scratch"))
        return open_scores(store.uri).to_table()
    finally:
        shutil.rmtree(store.uri)


def broken_seals(here: Stage) -> list[str]:
    """The published files that are not what they were; new ones are remembered."""
    now = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for table in ("catalog", "scores", "similar")
        for commit in snapshots.history(here.store, table)
        for path in sorted(Path(here.store.path(table, "snapshots", commit.name)).glob("*.*"))
        if not path.name.startswith("_begun")
    }
    changed = [name for name, seal in here.seals.items() if now.get(name) != seal]
    here.seals |= now
    return [f"a published file changed: {name}" for name in changed[:3]]


def pictures(table: pa.Table, ids: Sequence[str]) -> list[str]:
    """The picture's hash of each of some products."""
    known = dict(zip(table["product_id"].to_pylist(), table["image_sha256"].to_pylist(), strict=True))
    return [known[each] for each in ids if each in known]


def digest_of_scores(store: Store) -> str:
    """Of the current scores; of nothing before the first."""
    return digest(open_scores(store.uri).to_table()) if snapshots.current(store, "scores") is not None else ""


def digest(table: pa.Table) -> str:
    """A hash of a table's rows, whoever wrote them and when, in the order of the ids."""
    names = [name for name in table.column_names if name not in witness.OF_THE_RUN]
    rows = table.select(names).sort_by("product_id").combine_chunks()
    found = hashlib.sha256()
    for batch in rows.to_batches(max_chunksize=max(1, rows.num_rows)):
        found.update(json.dumps(batch.to_pylist(), default=str, sort_keys=True).encode())
    return found.hexdigest()[:16]


def line(morning: Morning) -> str:
    """A night for people."""
    names = ("products_added", "products_changed", "products_removed", "catalog", "scored", "from_embeddings", "carried_over")
    counts = "  ".join(f"{name.removeprefix('products_')} {morning.counts.get(name, '-')}" for name in names)
    verdict = "books right" if not morning.problems else "FAILED: " + "; ".join(morning.problems)
    return f"{morning.night:>2} {morning.title:<36} {morning.ended:<6} {counts}  {morning.scores_digest}  {verdict}"


def differing(fortnights: Sequence[Sequence[Morning]]) -> list[str]:
    """The mornings at which a fortnight published other tables than the first one."""
    return [
        f"night {one.night} ({one.title}): round {number} published another {what}"
        for number, other in enumerate(fortnights[1:], start=2)
        for one, two in zip(fortnights[0], other, strict=True)
        for what in ("catalog", "scores", "similar")
        if getattr(one, f"{what}_digest") != getattr(two, f"{what}_digest")
    ]
