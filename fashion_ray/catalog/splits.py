"""Which side of training a product is on. In: what is known of the pictures, and of earlier ones. Out: a group and a side.

Groups are near-duplicates. A side is assigned once and then holds still: what has one keeps it, what is new inherits
that of its group, and a picture that turns out to connect two sides is kept out of both.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog import near_duplicates
from fashion_ray.catalog.schema import BRIDGE, KNOWN, SPLITS

DEFAULT_RATIOS = (0.8, 0.1, 0.1)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Groups and sides of a catalog."""

    groups: pa.Table
    """product_id, group_id, split: a row a product, in the order of the facts."""

    bridges: list[str]
    """Products that were found to connect two sides this time."""

    remembered: pa.Table
    """KNOWN of what the catalog does not show: products that left, and sides of products that have no label now."""


@dataclass(frozen=True, kw_only=True)
class _Kin:
    """Connected near-duplicates. The nodes are the products (rows), then the known groups."""

    component: np.ndarray
    """Of each row, int (rows,)."""

    fresh: np.ndarray
    """Rows whose group and side are to be found, bool (rows,)."""

    names: dict[int, str]
    """The smallest known group of a component that has one."""

    sides: dict[int, set[str]]
    """Every side that a component touches."""


def settle(facts: pa.Table, known: pa.Table, *, ratios: tuple[float, float, float] = DEFAULT_RATIOS) -> Settled:
    """Groups and sides of all products.

    `facts` has product_id, image_sha256, perceptual_hash and `stratum` (the class that is spread evenly over the sides; null
    without labels), `known` (KNOWN) the earlier products with theirs. A product with the same picture keeps its group and
    side; one whose picture has changed keeps them unless the new one is a near-duplicate of another side. New groups are spread
    over the sides in the given ratios, each class for itself, in the order of the groups' hash.
    """
    position = pc.index_in(facts["product_id"], known["product_id"]).combine_chunks()
    before = known.take(position)
    strata = facts["stratum"].to_pylist()
    kin = _kin(facts, known, before)
    ids = facts["product_id"].to_pylist()
    groups = _groups(ids, before["group_id"].to_pylist(), kin)
    sides = [
        None if stratum is None else _inherited(kin, row) if kin.fresh[row] else side
        for row, (stratum, side) in enumerate(zip(strata, before["split"].to_pylist(), strict=True))
    ]
    for row, side in _assigned(ids, strata, sides, kin, ratios).items():
        sides[row] = side
    settled = pa.table(
        {"product_id": ids, "group_id": pa.array(groups, type=pa.string()), "split": pa.array(sides, type=pa.string())}
    )
    bridges = [ids[row] for row in np.flatnonzero(kin.fresh) if sides[row] == BRIDGE]
    return Settled(groups=settled, bridges=bridges, remembered=_remembered(facts, known, settled, position))


def _kin(facts: pa.Table, known: pa.Table, before: pa.Table) -> _Kin:
    same_picture = pc.fill_null(pc.equal(facts["image_sha256"], before["image_sha256"]), False)
    newly_labelled = pc.and_(pc.is_valid(facts["stratum"]), pc.is_null(before["split"]))
    fresh = ~np.asarray(pc.and_not(same_picture, newly_labelled))
    departed = known.filter(pc.invert(pc.is_in(known["product_id"], facts["product_id"])))
    content, perceptual = (_joined(facts[name], departed[name]) for name in ("image_sha256", "perceptual_hash"))
    pairs = near_duplicates.pairs(content, perceptual, np.r_[fresh, np.zeros(departed.num_rows, dtype=bool)])
    names, group_of_known = np.unique(np.array(known["group_id"].to_pylist(), dtype=object), return_inverse=True)
    old_group = pc.index_in(_joined(before["group_id"], departed["group_id"]), pa.array(names, type=pa.string()))
    node = np.asarray(pc.add(old_group, facts.num_rows).fill_null(-1))
    rows = np.arange(facts.num_rows)
    nodes = np.r_[np.where(fresh, rows, node[: len(rows)]), node[len(rows) :]]
    ties = rows[fresh & (node[: len(rows)] >= 0)]
    joined = np.concatenate([nodes[pairs], np.stack([ties, node[ties]], axis=1)])
    component = near_duplicates.components(len(rows) + len(names), joined)
    sides: dict[int, set[str]] = defaultdict(set)
    for number, side in set(zip(component[len(rows) + group_of_known].tolist(), known["split"].to_pylist(), strict=True)):
        if side is not None:
            sides[number].add(side)
    smallest: dict[int, str] = {}
    for number, name in zip(component[len(rows) :].tolist(), names, strict=True):
        smallest.setdefault(number, name)  # names are sorted
    return _Kin(component=component[nodes[: len(rows)]], fresh=fresh, names=smallest, sides=sides)


def _joined(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([*one.chunks, *other.chunks], type=pa.string())


def _inherited(kin: _Kin, row: int) -> str | None:
    sides = kin.sides.get(int(kin.component[row]), set())
    return BRIDGE if len(sides) > 1 else next(iter(sides), None)


def _groups(ids: list[str], before: list[str | None], kin: _Kin) -> list[str | None]:
    """Known products keep their group; new ones join that of their kin, or make one named by the smallest id among them."""
    groups = list(before)
    rows = np.flatnonzero(kin.fresh)
    leaders = pd.Series([ids[row] for row in rows], dtype=object).groupby(kin.component[rows]).min().to_dict()
    for row in rows.tolist():
        number = int(kin.component[row])
        if len(kin.sides.get(number, ())) > 1:
            groups[row] = f"{BRIDGE}-{leaders[number]}"
        elif groups[row] is None:
            groups[row] = kin.names.get(number, leaders[number])
    return groups


def _assigned(
    ids: list[str], strata: list[str | None], sides: list[str | None], kin: _Kin, ratios: tuple[float, float, float]
) -> dict[int, str]:
    """The sides of labelled rows whose kin has none yet: each class is spread in the order of its groups' hash."""
    have: dict[str, Counter[str]] = defaultdict(Counter)
    waiting: dict[int, list[int]] = defaultdict(list)
    for row, (stratum, side) in enumerate(zip(strata, sides, strict=True)):
        if stratum is not None and side in SPLITS:
            have[stratum][str(side)] += 1
        elif stratum is not None and side is None:
            waiting[int(kin.component[row])].append(row)
    by_class: dict[str, list[tuple[str, list[int]]]] = defaultdict(list)
    for number, rows in waiting.items():
        counts = Counter(str(strata[row]) for row in rows)
        commonest = min(counts, key=lambda label: (-counts[label], label))
        by_class[commonest].append((kin.names.get(number, min(ids[row] for row in rows)), rows))
    found: dict[int, str] = {}
    for label, members in by_class.items():
        ordered = sorted(members, key=lambda member: hashlib.sha256(member[0].encode()).digest())
        chosen = spread([len(rows) for _, rows in ordered], have[label], ratios)
        found.update({row: side for (_, rows), side in zip(ordered, chosen, strict=True) for row in rows})
    return found


def spread(sizes: list[int], have: Mapping[str, int], ratios: tuple[float, float, float]) -> list[str]:
    """Give each group in turn to the side that is furthest below its share; training first when it is even."""
    total = sum(sizes) + sum(have.values())
    missing = {side: ratio * total - have.get(side, 0) for side, ratio in zip(SPLITS, ratios, strict=True)}
    sides = []
    for size in sizes:
        side = max(SPLITS, key=lambda name: missing[name])
        missing[side] -= size
        sides.append(side)
    return sides


def _remembered(facts: pa.Table, known: pa.Table, settled: pa.Table, position: pa.Array) -> pa.Table:
    """What must be known next time and cannot be read from the catalog."""
    departed = known.filter(pc.invert(pc.is_in(known["product_id"], facts["product_id"])))
    had_side = pc.is_valid(known["split"].take(position))
    hidden = pc.and_(had_side, pc.is_null(settled["split"]))
    now = facts.select(["product_id", "image_sha256", "perceptual_hash"]).append_column("group_id", settled["group_id"])
    now = now.append_column("split", known["split"].take(position)).filter(hidden)
    return pa.concat_tables([table.select(KNOWN.names).cast(KNOWN) for table in (departed, now)]).sort_by("product_id")
