"""The products of a snapshot of embeddings, with their labels. In: a published table, its catalog. Out: columns by row, rules.

Rows are those of the embeddings, in the order of the snapshot's files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import snapshots
from fashion_ray.errors import ReconciliationError, UserError
from fashion_ray.insight.neighbours import Rules, codes_of
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a neighbour must be like, as a job's options say it."""

    exclude_duplicates: bool = True
    duplicate_similarity: float = 0.995
    same: tuple[str, ...] = ()
    other_colour: bool = False

    @property
    def columns(self) -> list[str]:
        """The catalog's columns that decide."""
        colour = ["baseColour"] if self.other_colour else []
        return [*self.same, *colour, *(["group_id"] if self.exclude_duplicates else [])]


@dataclass(frozen=True, kw_only=True)
class Products:
    """What is known of each embedded product, and which products have no embedding."""

    source: Snapshot
    catalog: Snapshot
    table: pa.Table
    """By row: product_id, the columns that were asked for (null where the product is not in the catalog), `in_catalog`."""

    without: list[str]
    """The catalog's products that the embeddings do not have."""

    trunk_version: str

    @property
    def ids(self) -> list[str]:
        """product_id by row."""
        found: list[str] = self.table["product_id"].to_pylist()
        return found


def read_products(store: Store, source: Snapshot, catalog: Snapshot, columns: Sequence[str]) -> Products:
    """Join a table of embeddings with the labels of the catalog; where the catalog has no label, a prediction stands in.

    Raises UserError if the embeddings are of several trunks, ReconciliationError if a product is there twice.
    """
    predicted = {name: f"{name}_predicted" for name in columns if name in source.manifest.get("targets", [])}
    names = ["product_id", "trunk_version", *predicted.values()]
    rows = pa.concat_tables(snapshots.read_files(store, source.folder, _files(source), names)).combine_chunks()
    labels = store.read_table(catalog.folder, columns=list(dict.fromkeys(["product_id", *columns])))
    if pc.count_distinct(rows["product_id"]).as_py() != rows.num_rows:
        raise ReconciliationError(f"similar: {source.table} {source.name} has a product twice")
    place = pc.index_in(rows["product_id"], labels["product_id"])
    table = pa.table({"product_id": rows["product_id"], "in_catalog": pc.is_valid(place)})
    for name in dict.fromkeys(columns):
        values = labels[name].take(place)
        if name in predicted:
            values = pc.coalesce(values, rows[predicted[name]])
        table = table.append_column(name, values)
    missing = labels["product_id"].filter(pc.invert(pc.is_in(labels["product_id"], rows["product_id"])))
    return Products(
        source=source, catalog=catalog, table=table, without=missing.to_pylist(), trunk_version=_one_trunk(source, rows)
    )


def _files(snapshot: Snapshot) -> list[str]:
    return [entry["name"] for entry in snapshot.manifest["files"]]


def _one_trunk(source: Snapshot, rows: pa.Table) -> str:
    """The version of the trunk that made all embeddings."""
    found = pc.value_counts(rows["trunk_version"]).to_pylist()
    if len(found) > 1:
        shown = ", ".join(f"{one['values']} ({one['counts']} rows)" for one in found)
        raise UserError(
            f"{source.table} {source.name} has embeddings of {len(found)} trunk versions: {shown}; expected one, since cosines "
            "between two say nothing. Score everything with one model: python jobs/score.py --full"
        )
    return str(found[0]["values"]) if found else ""


def rules(products: Products, comparable: np.ndarray, filters: Filters) -> Rules:
    """The filters as numbers by row; `comparable` says which rows have a vector."""
    table = products.table
    usable = comparable & table["in_catalog"].to_numpy()
    needed = [*filters.same, *(["baseColour"] if filters.other_colour else [])]
    for name in needed:
        usable = usable & pc.is_valid(table[name]).to_numpy()
    own = codes_of(table["group_id"].to_pylist()) if filters.exclude_duplicates else np.arange(table.num_rows, dtype=np.int32)
    colour = (codes_of(table["baseColour"].to_pylist()),) if filters.other_colour else ()
    order = np.empty(table.num_rows, np.int32)
    order[np.asarray(pc.sort_indices(table["product_id"]))] = np.arange(table.num_rows, dtype=np.int32)
    return Rules(
        usable=usable,
        order=order,
        differ=(own, *colour),
        same=tuple(codes_of(table[name].to_pylist()) for name in filters.same),
        most=filters.duplicate_similarity if filters.exclude_duplicates else float("inf"),
    )


def keys(products: Products, digests: np.ndarray, filters: Filters) -> list[str]:
    """For each row a hash of what decides its cosines and what it may be compared with: the embedding and its labels."""
    columns = [products.table[name].to_pylist() for name in ("in_catalog", *filters.columns)]
    return [
        hashlib.sha256(repr((bytes(digest), values)).encode()).hexdigest()[:16]
        for digest, *values in zip(digests, *columns, strict=True)
    ]
