"""How far tonight's scores are from last night's. In: two tables of scores, and sums of embeddings. Out: a few figures.

The population stability index (PSI) of Siddiqi 2006, "Credit Risk Scorecards", chapter 9: the sum of
(after - before) * ln(after / before) over the shares of the bins, which is the symmetric Kullback-Leibler divergence of the two
distributions. Its customary reading is in `reading`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.scoring.changes import class_counts

BINS = 10
"""Bins of a probability, equally wide from 0 to 1.

Not the deciles of last night, which are as customary: most probabilities of a good model lie close to 1, so that deciles tell
0.9990 from 0.9995 and a temperature of 1.1 looks like drift (docs/drift.md). Fixed bins also mean the same every night.
"""

LEAST_SHARE = 1e-4
"""What an empty bin counts as, so that its logarithm is finite: a class that appears with 1% of the products adds 0.05."""

MODERATE_PSI, LARGE_PSI = 0.1, 0.25
"""Below the first a population counts as stable, above the second as another one (Siddiqi 2006)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Centroid:
    """Running sum of the embeddings of one trunk; add up those of a table's files for that of the table."""

    trunk_version: str
    sum: np.ndarray
    """(dim,), float64."""

    count: int

    def __add__(self, other: Centroid) -> Centroid:
        """Both together. Raises ValueError if they are of different trunks, whose embeddings have nothing in common."""
        if self.trunk_version != other.trunk_version:
            raise ValueError(f"got centroids of the trunks {self.trunk_version} and {other.trunk_version}, expected one trunk")
        return Centroid(trunk_version=self.trunk_version, sum=self.sum + other.sum, count=self.count + other.count)


@dataclass(frozen=True, kw_only=True)
class TargetDrift:
    """Drift of one target that both models have."""

    label_psi: float
    """PSI of the predicted labels; a class too rare to be learned is a class like the others."""

    probability_psi: float
    """PSI of the probabilities."""

    changed_share: float | None
    """Share of the products in both tables that have another label; null if no product is in both."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Drift from last night to tonight."""

    targets: dict[str, TargetDrift]
    """The targets that both models have."""

    centroid_shift: float | None
    """Cosine distance of the mean embeddings, 0 to 2; null if the trunk is another one, or a side has no embedding."""

    products_in_both: int


def centroids(table: pa.Table) -> dict[str, Centroid]:
    """The centroid of each trunk_version among rows with trunk_version and embedding (fixed-size lists)."""
    found: dict[str, Centroid] = {}
    for trunk in pc.unique(table["trunk_version"]).to_pylist():
        column = table.filter(pc.equal(table["trunk_version"], trunk))["embedding"].combine_chunks()
        rows = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        found[trunk] = Centroid(trunk_version=trunk, sum=rows.sum(axis=0, dtype=np.float64), count=len(rows))
    return found


def centroid_shift(before: Centroid | None, after: Centroid | None) -> float | None:
    """Cosine distance of two mean embeddings, 0 to 2; null if there is none or their trunks differ."""
    if before is None or after is None or before.trunk_version != after.trunk_version:
        return None
    lengths = float(np.linalg.norm(before.sum) * np.linalg.norm(after.sum))
    return max(0.0, 1.0 - float(before.sum @ after.sum) / lengths) if lengths else None


def stability_index(before: Sequence[int] | np.ndarray, after: Sequence[int] | np.ndarray) -> float:
    """The PSI of two counts over the same bins; 0 if they are distributed alike. Raises ValueError if a side has no rows."""
    shares = []
    for counts in (np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)):
        if not counts.sum():
            raise ValueError("got a distribution of no rows, expected one row at least. There is no drift from or to nothing")
        shares.append(np.maximum(counts / counts.sum(), LEAST_SHARE))
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def drift(
    before: pa.Table,
    after: pa.Table,
    *,
    targets: Sequence[str],
    means: tuple[Centroid | None, Centroid | None] = (None, None),
) -> Drift | None:
    """Drift between two tables of scores with changes.columns(targets); null if one of them is empty.

    Targets that one of the two models does not have are left out. `means` are the centroids of before and after.
    """
    if not before.num_rows or not after.num_rows:
        return None
    partner = pc.index_in(after["product_id"], value_set=before["product_id"].combine_chunks()).combine_chunks()
    here = pa.array(np.flatnonzero(partner.is_valid().to_numpy(zero_copy_only=False)))
    pairs = (partner.drop_null(), here)
    shared = [target for target in targets if all(f"{target}_predicted" in table.column_names for table in (before, after))]
    return Drift(
        targets={target: _of_target(before, after, target, pairs) for target in shared},
        centroid_shift=centroid_shift(*means),
        products_in_both=len(here),
    )


def reading(psi: float) -> str:
    """What a PSI says in plain words."""
    if psi < MODERATE_PSI:
        return "stable"
    return "moderate shift: look at the classes that moved" if psi < LARGE_PSI else "large shift: another population"


def plain(found: Drift | None) -> dict[str, float]:
    """The figures under flat names, for a tracker: `drift/<target>/<figure>`, `drift/centroid_shift`; null ones left out."""
    if found is None:
        return {}
    figures: dict[str, Any] = {"drift/centroid_shift": found.centroid_shift}
    for target, one in found.targets.items():
        figures |= {f"drift/{target}/{name}": getattr(one, name) for name in ("label_psi", "probability_psi", "changed_share")}
    return {name: float(value) for name, value in figures.items() if value is not None}


def _of_target(before: pa.Table, after: pa.Table, target: str, pairs: tuple[pa.Array, pa.Array]) -> TargetDrift:
    classes = class_counts(before, after, target)
    return TargetDrift(
        label_psi=stability_index(classes["before"].to_numpy(), classes["after"].to_numpy()),
        probability_psi=stability_index(*(_binned(table[f"{target}_probability"]) for table in (before, after))),
        changed_share=_changed_share(before[f"{target}_predicted"], after[f"{target}_predicted"], pairs),
    )


def _binned(probability: pa.ChunkedArray) -> np.ndarray:
    return np.histogram(probability.to_numpy(), bins=BINS, range=(0.0, 1.0))[0]


def _changed_share(before: pa.ChunkedArray, after: pa.ChunkedArray, pairs: tuple[pa.Array, pa.Array]) -> float | None:
    if not len(pairs[0]):
        return None
    old, new = before.combine_chunks().take(pairs[0]), after.combine_chunks().take(pairs[1])
    differ = pc.or_(pc.fill_null(pc.not_equal(old, new), False), pc.xor(pc.is_null(old), pc.is_null(new)))
    return float(pc.mean(pc.cast(differ, pa.float64())).as_py())
