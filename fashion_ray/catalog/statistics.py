"""What a catalog is like. In: its table without the image bytes. Out: counts, balance, duplicates, label noise, leakage.

Pure functions of their arguments over whole columns: 440,000 products take a few seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from fashion_ray.catalog.schema import BRIDGE, CATALOG, DERIVED_COLUMNS, LABEL_COLUMNS, SPLITS
from fashion_ray.catalog.splits import DEFAULT_RATIOS

MINIMUM = 50
"""Fewer products than this are too few to learn a class from."""

LEFT_OUT = "Home"
"""The masterCategory without which the published figures of balance are computed: it has one product."""

UNLABELLED = "unlabelled"

LARGEST = 10

COLUMNS = tuple(field.name for field in CATALOG if field.name not in ("image", *DERIVED_COLUMNS, "reassigned_similarity"))
"""What a table must have; derived labels are looked at where they are there."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Groups of two or more near-duplicate pictures, and how far the labels in them agree.

    `exact_groups` counts picture files that occur more than once, byte by byte, and `exact_pictures` the products that have
    one. `largest` has group_id, pictures, files (different ones), labels (of articleType, commonest first). `noise` has per
    column: groups (with two labelled products or more), disagreeing, share; products (in those groups), differing (from
    their group's commonest label), differing_share. NaN where there is nothing to share.
    """

    groups: int
    pictures: int
    exact_groups: int
    exact_pictures: int
    largest: pd.DataFrame
    noise: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class CatalogStatistics:
    """The figures of a catalog; every share is from 0 to 1.

    `labelled` counts the products with at least one label. `labels` has one row a label column: column, classes, labelled,
    missing, balance, balance_without (`left_out`), commonest, commonest_share, under_minimum. `classes` has, per label
    column, one row a class, the commonest first: class, one column a split, products. `splits`: split, products, share.
    `sizes`: width, height (pixels), pictures, share. `aspect`: min, median and max of width / height. `missing`: column,
    missing, share, missing_labelled (of them, those of products that have a label). `leakage` is that of the catalog's split.
    """

    products: int
    labelled: int
    minimum: int
    left_out: str | None
    labels: pd.DataFrame
    classes: dict[str, pd.DataFrame]
    splits: pd.DataFrame
    sizes: pd.DataFrame
    aspect: dict[str, float]
    missing: pd.DataFrame
    duplicates: Duplicates
    leakage: Leakage


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """The rows of the other splits, and the share of them that has a near-duplicate among the training rows (NaN of none)."""

    validation_rows: int
    validation_share: float
    test_rows: int
    test_share: float


def catalog_statistics(
    table: pa.Table | pd.DataFrame, *, minimum: int = MINIMUM, left_out: str | None = LEFT_OUT
) -> CatalogStatistics:
    """Count a catalog, a table of schema.CATALOG whose image may be missing. Raises ValueError if another column is.

    `left_out` is a masterCategory without which the balance is given as well; it counts as None where it does not occur.
    """
    products = _frame(table)
    columns = [*LABEL_COLUMNS, *(name for name in DERIVED_COLUMNS if name in products and products[name].notna().any())]
    left_out = left_out if (products["masterCategory"] == left_out).any() else None
    aspect = products["width"] / products["height"]
    return CatalogStatistics(
        products=len(products),
        labelled=int(products[list(LABEL_COLUMNS)].notna().any(axis=1).sum()),
        minimum=minimum,
        left_out=left_out,
        labels=label_table(products, columns, minimum=minimum, left_out=left_out),
        classes={name: class_counts(products[name], products["split"]) for name in columns},
        splits=_counted(products[["split"]].fillna(UNLABELLED), "products", _sides(products["split"])),
        sizes=_counted(products[["width", "height"]], "pictures"),
        aspect={"min": float(aspect.min()), "median": float(aspect.median()), "max": float(aspect.max())},
        missing=missing_values(products),
        duplicates=duplicates(products, columns),
        leakage=leakage(products["group_id"].tolist(), products["split"].tolist()),
    )


def balance(labels: pd.Series | Sequence[str | None]) -> float:
    """How evenly the classes occur: H / Hmax, Shannon's entropy over the log of the number of classes, 0 to 1.

    Also known as Pielou's evenness. Nulls are left out; NaN for fewer than two classes, whose Hmax is 0.
    """
    counts = pd.Series(labels).value_counts().to_numpy(dtype=float)
    counts = counts[counts > 0]
    if len(counts) < 2:
        return float("nan")
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum() / np.log(len(share)))


def label_table(products: pd.DataFrame, columns: Sequence[str], *, minimum: int, left_out: str | None) -> pd.DataFrame:
    """One row a label column, as CatalogStatistics.labels says; `products` has the columns and masterCategory."""
    kept = ~products["masterCategory"].isin([left_out]) if left_out is not None else None
    rows = []
    for name in columns:
        counts = products[name].value_counts()
        labelled = int(counts.sum())
        commonest = min(counts.index[counts == counts.max()]) if labelled else None
        rows.append(
            {
                "column": name,
                "classes": len(counts),
                "labelled": labelled,
                "missing": len(products) - labelled,
                "balance": balance(products[name]),
                "balance_without": balance(products.loc[kept, name]) if kept is not None else float("nan"),
                "commonest": commonest,
                "commonest_share": counts.max() / labelled if labelled else float("nan"),
                "under_minimum": int((counts < minimum).sum()),
            }
        )
    return pd.DataFrame(rows)


def missing_values(products: pd.DataFrame) -> pd.DataFrame:
    """The nulls of each column that comes from the feed: column, missing, share, missing_labelled."""
    nulls = products[[name for name in COLUMNS if name != "split"]].isna()
    labelled = products[list(LABEL_COLUMNS)].notna().any(axis=1)
    return pd.DataFrame(
        {
            "column": nulls.columns,
            "missing": nulls.sum().to_numpy(),
            "share": nulls.mean().to_numpy(),
            "missing_labelled": nulls[labelled].sum().to_numpy(),
        }
    )


def class_counts(labels: pd.Series, split: pd.Series) -> pd.DataFrame:
    """The products of each class in each split: class, one column a split (`unlabelled` for null), products.

    The commonest class is first; equal ones stand in the order of their names.
    """
    counts = pd.crosstab(labels.astype(object), split.astype(object).fillna(UNLABELLED))
    counts = counts.reindex(columns=[side for side in _sides(split) if side in SPLITS or side in counts.columns], fill_value=0)
    table = counts.rename_axis("class", axis="index").rename_axis(None, axis="columns").assign(products=counts.sum(axis=1))
    return table.reset_index().sort_values(["products", "class"], ascending=[False, True], ignore_index=True)


def duplicates(products: pd.DataFrame, columns: Sequence[str]) -> Duplicates:
    """Near-duplicate groups and the noise of the labels in them; `products` has group_id, image_sha256 and the columns."""
    sizes = products["group_id"].map(products["group_id"].value_counts())
    grouped = products[sizes > 1]
    copies = products["image_sha256"].value_counts()
    pictures = grouped.groupby("group_id").agg(pictures=("group_id", "size"), files=("image_sha256", "nunique"))
    largest = pictures.sort_values("pictures", ascending=False, kind="stable").head(LARGEST).reset_index()
    labels = {
        group: _tally(rows["articleType"]) for group, rows in grouped.groupby("group_id") if group in set(largest["group_id"])
    }
    return Duplicates(
        groups=len(pictures),
        pictures=len(grouped),
        exact_groups=int((copies > 1).sum()),
        exact_pictures=int(copies[copies > 1].sum()),
        largest=largest.assign(labels=largest["group_id"].map(labels).astype(object)),
        noise=pd.DataFrame([{"column": name, **_noise(grouped["group_id"], grouped[name])} for name in columns]),
    )


def leakage(group_ids: Sequence[str | None], split: Sequence[str | None]) -> Leakage:
    """What of a split's validation and test rows has a near-duplicate among its training rows."""
    table = pd.DataFrame({"group": list(group_ids), "split": list(split)}, dtype=object)
    torn = table["group"].isin(table.loc[table["split"] == "train", "group"].dropna().unique())
    rows = {side: int((table["split"] == side).sum()) for side in SPLITS}
    share = {side: float(torn[table["split"] == side].mean()) if rows[side] else float("nan") for side in SPLITS}
    return Leakage(
        validation_rows=rows["validation"],
        validation_share=share["validation"],
        test_rows=rows["test"],
        test_share=share["test"],
    )


def random_split_leakage(
    product_ids: Sequence[str],
    group_ids: Sequence[str | None],
    labelled: Sequence[bool],
    ratios: tuple[float, float, float] = DEFAULT_RATIOS,
    seed: int = 0,
) -> Leakage:
    """The leakage of a plain random split by product, which knows no groups: what the catalog's own split avoids.

    The split is really drawn: each labelled product falls to train, validation or test, in these ratios, by a hash of the
    seed and its id. Products that are not labelled take no part.
    """
    sides = np.searchsorted(np.cumsum(ratios[:2]), draws(product_ids, seed), side="right")
    return leakage(group_ids, [SPLITS[side] if takes_part else None for side, takes_part in zip(sides, labelled, strict=True)])


def draws(keys: Iterable[str], seed: int) -> np.ndarray:
    """A number from 0 to 1 for each key, uniform and the same whenever and in whatever order it is drawn: a hash."""
    digests = (hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in keys)
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests], dtype=np.float64) / 2.0**64


def _frame(table: pa.Table | pd.DataFrame) -> pd.DataFrame:
    names = list(table.column_names if isinstance(table, pa.Table) else table.columns)
    if absent := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"got the columns {names}, expected also {absent}. Pass the catalog's columns but image")
    wanted = [name for name in (*COLUMNS, *DERIVED_COLUMNS) if name in names]
    return table.select(wanted).to_pandas() if isinstance(table, pa.Table) else table[wanted].reset_index(drop=True)


def _sides(split: pd.Series) -> list[str]:
    """The splits in their usual order, then whatever else occurs."""
    known = (*SPLITS, BRIDGE, UNLABELLED)
    return [*known, *sorted(set(split.dropna().unique()) - set(known))]


def _counted(table: pd.DataFrame, name: str, order: Sequence[str] | None = None) -> pd.DataFrame:
    """How often each row occurs, as `name` and as a share: in the given order of its only column, or the commonest first."""
    counts = table.value_counts(sort=False).rename(name).reset_index()
    if order is not None:
        counts = counts.sort_values(table.columns[0], key=lambda values: values.map(order.index), ignore_index=True)
    else:
        counts = counts.sort_values([name, *table.columns], ascending=[False, *[True] * table.shape[1]], ignore_index=True)
    return counts.assign(share=counts[name] / max(len(table), 1))


def _noise(groups: pd.Series, labels: pd.Series) -> dict[str, float]:
    counts = pd.DataFrame({"group": groups, "label": labels}).dropna().value_counts(sort=False)
    by_group = counts.groupby(level="group").agg(["sum", "max", "size"])
    by_group = by_group[by_group["sum"] > 1]
    products, differing = int(by_group["sum"].sum()), int((by_group["sum"] - by_group["max"]).sum())
    disagreeing = int((by_group["size"] > 1).sum())
    return {
        "groups": len(by_group),
        "disagreeing": disagreeing,
        "share": disagreeing / len(by_group) if len(by_group) else float("nan"),
        "products": products,
        "differing": differing,
        "differing_share": differing / products if products else float("nan"),
    }


def _tally(labels: pd.Series, most: int = 3) -> str:
    """`Shirts 3, Tshirts 1`: the commonest labels with their counts."""
    counts = labels.dropna().value_counts(sort=False).reset_index()
    counts.columns = pd.Index(["label", "count"])
    counts = counts.sort_values(["count", "label"], ascending=[False, True])
    named = [f"{label} {count}" for label, count in counts.head(most).itertuples(index=False)]
    return ", ".join(named) + (f" and {len(counts) - most} more" if len(counts) > most else "") or "no label"
