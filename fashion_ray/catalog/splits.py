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
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog import near_duplicates
from fashion_ray.catalog.schema import BRIDGE, KNOWN, SPLITS

DEFAULT_RATIOS = (0.8, 0.1, 0.1)
_SETTLED = ["product_id", "group_id", "split"]


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

    names: pa.ChunkedArray
    """Of each row, the smallest known group in its component; null if there is none."""

    side: pa.ChunkedArray
    """Of each row, the side that its component touches; BRIDGE if it touches several, null if none."""

    torn: pa.ChunkedArray
    """Whether a row's component touches several sides."""


def settle(facts: pa.Table, known: pa.Table, *, ratios: tuple[float, float, float] = DEFAULT_RATIOS) -> Settled:
    """Groups and sides of all products.

    `facts` has product_id, image_sha256, perceptual_hash and `stratum` (the class that is spread evenly over the sides; null
    without labels), `known` (KNOWN) the earlier products with theirs. A product with the same picture keeps its group and
    side; one whose picture has changed keeps them unless the new one is a near-duplicate of another side. New groups are spread
    over the sides in the given ratios, each class for itself, in the order of the groups' hash.
    """
    position = pc.index_in(facts["product_id"], known["product_id"]).combine_chunks()
    before = known.take(position)
    kin = _kin(facts, known, before)
    fresh, labelled = pa.array(kin.fresh), pc.is_valid(facts["stratum"])
    sides = pc.if_else(labelled, pc.if_else(fresh, kin.side, before["split"]), None)
    bridges = facts["product_id"].filter(pc.and_(fresh, pc.fill_null(pc.equal(sides, BRIDGE), False))).to_pylist()
    sides = _assigned(facts, sides, kin, ratios)
    settled = pa.table([facts["product_id"], _groups(facts["product_id"], before["group_id"], kin), sides], names=_SETTLED)
    return Settled(groups=settled, bridges=bridges, remembered=_remembered(facts, known, settled, position))


def _kin(facts: pa.Table, known: pa.Table, before: pa.Table) -> _Kin:
    same_picture = pc.fill_null(pc.equal(facts["image_sha256"], before["image_sha256"]), False)
    newly_labelled = pc.and_(pc.is_valid(facts["stratum"]), pc.is_null(before["split"]))
    fresh = ~np.asarray(pc.and_not(same_picture, newly_labelled))
    departed = known.filter(pc.invert(pc.is_in(known["product_id"], facts["product_id"])))
    content, perceptual = (_joined(facts[name], departed[name]) for name in ("image_sha256", "perceptual_hash"))
    pairs = near_duplicates.pairs(content, perceptual, np.r_[fresh, np.zeros(departed.num_rows, dtype=bool)])
    names = pc.unique(known["group_id"])
    names = names.take(pc.sort_indices(names))
    old_group = pc.index_in(_joined(before["group_id"], departed["group_id"]), names)
    node = np.asarray(pc.add(old_group, facts.num_rows).fill_null(-1))
    rows = np.arange(facts.num_rows)
    nodes = np.r_[np.where(fresh, rows, node[: len(rows)]), node[len(rows) :]]
    ties = rows[fresh & (node[: len(rows)] >= 0)]
    joined = np.concatenate([nodes[pairs], np.stack([ties, node[ties]], axis=1)])
    component = near_duplicates.components(len(rows) + len(names), joined)
    mine = component[nodes[: len(rows)]]
    touched = pa.table(
        {
            "component": component[len(rows) + np.asarray(pc.index_in(known["group_id"], names), dtype=np.int64)],
            "side": known["split"],
        }
    )
    sides = (
        touched.filter(pc.is_valid(touched["side"]))
        .group_by("component")
        .aggregate([("side", "min"), ("side", "count_distinct")])
    )
    found = sides.take(pc.index_in(pa.array(mine), sides["component"]))
    torn = pc.fill_null(pc.greater(found["side_count_distinct"], 1), False)
    side = pc.if_else(torn, BRIDGE, found["side_min"])
    with_groups, first = np.unique(component[len(rows) :], return_index=True)  # names are sorted: the first is the smallest
    smallest = names.take(pa.array(first)).take(pc.index_in(pa.array(mine), pa.array(with_groups)))
    return _Kin(component=mine, fresh=fresh, names=smallest, side=side, torn=torn)


def _joined(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([*one.chunks, *other.chunks], type=pa.string())


def _groups(ids: pa.ChunkedArray, before: pa.ChunkedArray, kin: _Kin) -> pa.ChunkedArray:
    """Known products keep their group; new ones join that of their kin, or make one named by the smallest id among them."""
    members = pa.table({"component": kin.component, "id": ids}).filter(pa.array(kin.fresh))
    leaders = members.group_by("component").aggregate([("id", "min")])
    leader = leaders["id_min"].take(pc.index_in(pa.array(kin.component), leaders["component"]))
    between = pc.and_(pa.array(kin.fresh), kin.torn)
    return pc.if_else(between, pc.binary_join_element_wise(BRIDGE, leader, "-"), pc.coalesce(before, kin.names, leader))


def _assigned(facts: pa.Table, sides: pa.ChunkedArray, kin: _Kin, ratios: tuple[float, float, float]) -> pa.ChunkedArray:
    """The sides, with those filled in of labelled rows whose kin has none: a class at a time, by the groups' hash."""
    stratum = facts["stratum"]
    waiting = pc.and_(pc.is_valid(stratum), pc.is_null(sides))
    if not pc.any(waiting).as_py():
        return sides
    placed = pa.table({"stratum": stratum, "side": sides}).filter(pc.is_in(sides, pa.array(SPLITS)))
    have: dict[str, Counter[str]] = defaultdict(Counter)
    for row in placed.group_by(["stratum", "side"]).aggregate([([], "count_all")]).to_pylist():
        have[row["stratum"]][row["side"]] = row["count_all"]
    rows = pa.table(
        {"component": kin.component, "stratum": stratum, "name": pc.coalesce(kin.names, facts["product_id"])}
    ).filter(waiting)
    counts = rows.group_by(["component", "stratum"]).aggregate([([], "count_all")])
    counts = counts.sort_by([("component", "ascending"), ("count_all", "descending"), ("stratum", "ascending")])
    numbers, first = np.unique(np.asarray(counts["component"]), return_index=True)
    groups = rows.group_by("component").aggregate([("name", "min"), ([], "count_all")]).sort_by("component")
    classes = np.asarray(counts["stratum"].take(pa.array(first)).combine_chunks().dictionary_encode().indices)
    labels = counts["stratum"].take(pa.array(first)).to_pylist()
    digests = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in groups["name_min"].to_pylist())
    order = np.lexsort((np.frombuffer(digests, dtype=">u8"), classes))
    sizes = np.asarray(groups["count_all"])
    chosen = np.empty(len(order), dtype=np.int8)
    for members in np.split(order, np.flatnonzero(np.diff(classes[order])) + 1):
        found = spread(sizes[members].tolist(), have[labels[members[0]]], ratios)
        chosen[members] = [SPLITS.index(side) for side in found]
    place = pc.index_in(pa.array(kin.component), pa.array(numbers))
    return pc.if_else(waiting, pa.array(SPLITS).take(pa.array(chosen).take(place)), sides)


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
