"""What is audited. In: a catalog's columns and embeddings. Out: labels as numbers, folds, and who is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import snapshots
from fashion_ray.catalog.schema import CATEGORY_LEVELS
from fashion_ray.errors import ReconciliationError, UserError
from fashion_ray.insight import features as cached
from fashion_ray.insight.folds import grouped_folds, groups_of
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

Array = np.ndarray

JUDGED, UNLABELLED, CATCH_ALL, TOO_RARE, NO_EMBEDDING = "judged", "unlabelled", "catch_all", "too_rare", "no_embedding"
STANDS = (JUDGED, UNLABELLED, CATCH_ALL, TOO_RARE, NO_EMBEDDING)
"""Where a product stands in an audit: exactly one of these."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """A catalog to be audited."""

    products: pa.Table
    """Columns of all products: product_id, image_sha256, group_id, productDisplayName, the category levels, the target."""

    target: str
    classes: list[str]
    """That rows are judged by, sorted."""

    stand: Array
    """(products,) one of STANDS."""

    labels: Array
    """(products,) the number of the class; -1 for products that are not judged."""

    groups: Array
    """(products,) numbers of near-duplicate groups."""

    rare: dict[str, int]
    """Classes with rows in fewer groups than there are folds, and their rows."""

    @property
    def judged(self) -> Array:
        """The numbers of the products whose label is judged."""
        return np.flatnonzero(self.stand == JUDGED)

    @property
    def books(self) -> dict[str, int]:
        """catalog = judged + unlabelled + catch-all + too rare + no embedding."""
        found = {"catalog": len(self.stand)} | {stand: int((self.stand == stand).sum()) for stand in STANDS}
        if found["catalog"] != sum(found[stand] for stand in STANDS):
            raise ReconciliationError(f"audit: the books do not balance: {found}")
        return found

    def folds(self, number: int, seed: int) -> Array:
        """The fold of each judged row."""
        return grouped_folds(self.labels[self.judged], self.groups[self.judged], number, seed=seed)

    def column(self, name: str, rows: Array) -> list[str | None]:
        """A column of some products."""
        return list(self.products[name].take(pa.array(rows)).to_pylist())


def columns(target: str) -> list[str]:
    """What is read of the catalog."""
    return list(dict.fromkeys(["product_id", "image_sha256", "group_id", "productDisplayName", *CATEGORY_LEVELS, target]))


def material(
    products: pa.Table, target: str, *, folds: int, catch_all: Sequence[str], embedded: Array | None = None
) -> Material:
    """Sort the products of a catalog by where they stand. `embedded` says which have an embedding; none means all.

    Raises UserError if no two classes of the target have rows in as many groups as there are folds.
    """
    names = np.array(products[target].to_pylist(), dtype=object)
    groups = np.asarray(pc.fill_null(products["group_id"], products["product_id"]).combine_chunks().dictionary_encode().indices)
    stand = np.full(len(names), JUDGED, dtype=object)
    stand[np.array([name is None for name in names], dtype=bool)] = UNLABELLED
    caught = _any_of(products, [*CATEGORY_LEVELS, target], catch_all)
    stand[caught & (stand == JUDGED)] = CATCH_ALL
    if embedded is not None:
        stand[~embedded] = NO_EMBEDDING
    if not (stand == JUDGED).any():
        raise UserError(
            f"--target: no product of the catalog has a label of {target}; expected some. Label a few, or pass another --target"
        )
    rare = _rare(names, groups, stand, folds)
    classes = sorted(set(names[stand == JUDGED]))
    if len(classes) < 2:
        shown = ", ".join(f"{name} ({rows} rows)" for name, rows in list(rare.items())[:8]) or "none"
        raise UserError(
            f"--folds: {len(classes)} classes of {target} have rows in {folds} near-duplicate groups or more, expected two at "
            f"least; too rare are {shown}. Lower --folds, or label more"
        )
    place = {name: number for number, name in enumerate(classes)}
    labels = np.array([place[name] if one == JUDGED else -1 for name, one in zip(names, stand, strict=True)], dtype=np.int64)
    return Material(
        products=products, target=target, classes=classes, stand=stand, labels=labels, groups=groups.astype(np.int64), rare=rare
    )


def _rare(names: Array, groups: Array, stand: Array, folds: int) -> dict[str, int]:
    """Mark rows of classes that some folds would not know; the classes and their rows."""
    judged = np.flatnonzero(stand == JUDGED)
    known, labels = np.unique(names[judged].astype(str), return_inverse=True)
    few = groups_of(labels, groups[judged], len(known)) < folds
    stand[judged[few[labels]]] = TOO_RARE
    return {str(known[number]): int((labels == number).sum()) for number in np.flatnonzero(few)}


def _any_of(products: pa.Table, names: Sequence[str], classes: Sequence[str]) -> Array:
    wanted = pa.array(list(classes), type=pa.string())
    found = np.zeros(products.num_rows, dtype=bool)
    for name in dict.fromkeys(names):
        found |= np.asarray(pc.is_in(products[name], wanted).combine_chunks())
    return found


def scored_features(store: Store, scores: Snapshot, product_ids: Sequence[str], hashes: Sequence[str]) -> tuple[Array, Array]:
    """Embeddings float32 (products, dimensions) of a scores snapshot, zeros where a picture has none; and which have one.

    Raises UserError if the snapshot mixes the embeddings of two trunk versions.
    """
    names = [entry["name"] for entry in scores.manifest["files"]]
    parts = snapshots.read_files(store, scores.folder, names, ["product_id", "image_sha256", "trunk_version", "embedding"])
    table = pa.concat_tables(parts).combine_chunks()
    trunks = sorted(pc.unique(table["trunk_version"]).to_pylist())
    if len(trunks) != 1:
        raise UserError(
            f"the scores {scores.name} have embeddings of {len(trunks)} trunk versions ({', '.join(trunks) or 'no rows'}), "
            "expected one: distances between them mean nothing. Run python jobs/score.py --full, or pass --features pretrained"
        )
    vectors = cached.matrix(table["embedding"])
    place = {
        key: row for row, key in enumerate(zip(table["product_id"].to_pylist(), table["image_sha256"].to_pylist(), strict=True))
    }
    rows = np.array([place.get(key, -1) for key in zip(product_ids, hashes, strict=True)], dtype=np.int64)
    found = np.zeros((len(rows), vectors.shape[1]), dtype=np.float32)
    found[rows >= 0] = vectors[rows[rows >= 0]]
    return found, rows >= 0
