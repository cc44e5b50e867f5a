"""What a model saw of the rows that it is judged by. In: a card's provenance, those rows. Out: how many it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.models.bundle import Card
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training import sides

KEYS = ("image_sha256", "group_id")
"""A row counts as trained on if its picture, or a near-duplicate, was: by these columns."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a model comes from, as far as it matters for a comparison."""

    role: str
    """`champion` or `challenger`."""

    rows: int
    """Rows of the comparison."""

    trained: int
    """How many of them, or near-duplicates of them, it was trained on."""

    chosen: int
    """How many of them, or near-duplicates, chose its best epoch, temperatures and thresholds."""

    catalog: str
    split: str
    known: bool
    """Whether its card says what it was trained on."""

    exact: bool
    """Whether the catalog that it was trained on is still there; else its sides were found on today's."""


def lineage(store: Store, catalog: Snapshot, card: Card, rows: pa.Table, *, role: str) -> Lineage:
    """What a model saw of some rows of a catalog (`KEYS` at least)."""
    facts = card.provenance
    name, split, seed = facts.get("catalog_snapshot", ""), facts.get("split", "stored"), int(facts.get("split_seed", 0))
    if not name:
        return Lineage(
            role=role, rows=rows.num_rows, trained=0, chosen=0, catalog="unknown", split="unknown", known=False, exact=False
        )
    scheme = sides.limited(sides.parse(split, seed), facts.get("only", ()))
    columns = list(dict.fromkeys([*KEYS, *scheme.columns]))
    try:
        seen, exact = store.read_table("catalog", "snapshots", name, columns=columns), True
    except FileNotFoundError:
        seen, exact = store.read_table(catalog.folder, columns=columns), False
    found = pa.array(sides.assign(scheme, seen), type=pa.string())
    trained, chosen = (touched(rows, seen.filter(pc.equal(found, side))) for side in (sides.TRAIN, sides.VALIDATION))
    shown = " ".join([split if split == "stored" else f"{split} with seed {seed}", *facts.get("only", ())])
    return Lineage(
        role=role, rows=rows.num_rows, trained=trained, chosen=chosen, catalog=name, split=shown, known=True, exact=exact
    )


def touched(rows: pa.Table, seen: pa.Table) -> int:
    """How many rows have their picture, or their group of near-duplicates, among others."""
    common = [pc.is_in(rows[key], value_set=seen[key].combine_chunks()) for key in KEYS]
    return int(pc.sum(pc.or_(*common)).as_py() or 0)


def warnings_about(champion: Lineage, challenger: Lineage) -> list[str]:
    """What a reader of the comparison must know, whether or not it decides."""
    found = []
    if (champion.catalog, champion.split) != (challenger.catalog, challenger.split):
        found.append(
            f"the two were trained on different rows: the champion on {champion.split} of catalog {champion.catalog}, the "
            f"challenger on {challenger.split} of catalog {challenger.catalog}"
        )
    for one in (champion, challenger):
        if one.trained:
            found.append(f"{one.trained} of the {one.rows} rows were trained on by the {one.role}: its figures are flattered")
        if one.chosen:
            found.append(f"{one.chosen} of the {one.rows} rows chose the {one.role}'s best epoch and its thresholds")
        if one.known and not one.exact:
            found.append(
                f"the catalog {one.catalog} of the {one.role} is gone: what it was trained on was found on today's catalog"
            )
    return found
