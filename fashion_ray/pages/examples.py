"""Which products a data page shows. In: a catalog without its image bytes, its quarantine, a seed. Out: ids with captions.

Pure: the caller fetches the pictures of `Examples.product_ids` and passes them to `sheets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fashion_ray.catalog.schema import CATEGORY_LEVELS, LABEL_COLUMNS
from fashion_ray.catalog.statistics import draws
from fashion_ray.pages.contact_sheet import contact_sheet, group_sheet
from fashion_ray.pages.plots import short

RANDOM, QUARANTINED, DUPLICATES = "random", "quarantined", "duplicates"
SHEETS = (RANDOM, QUARANTINED, DUPLICATES)
"""The names of the sheets."""

PICTURE_REASONS = ("not_an_image", "truncated", "too_large", "too_small", "decode_failed")
"""The reasons of a quarantined row that has a picture of its own: for the others there is nothing to look at."""

MOST_PICTURES, MOST_GROUPS, MOST_MEMBERS = 24, 12, 8

TELLING = (*reversed(CATEGORY_LEVELS), *(name for name in LABEL_COLUMNS if name not in CATEGORY_LEVELS))
"""The label columns in the order in which they say what a product is: the finest category first."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A product on a sheet, and what is written below it: up to three lines."""

    product_id: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class GroupExample:
    """A group of near-duplicates on a sheet; it may have more members than are shown."""

    title: str
    members: list[Example]


@dataclass(frozen=True, kw_only=True)
class QuarantinedExample:
    """A row of the quarantine: null where the feed had no id, or no row."""

    product_id: str | None
    source_row: int | None
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What is shown of a catalog and of its quarantine."""

    random: list[Example]
    quarantined: list[QuarantinedExample]
    groups: list[GroupExample]

    @property
    def product_ids(self) -> list[str]:
        """The products of the catalog whose pictures `sheets` needs, each once."""
        return sorted({one.product_id for one in (*self.random, *(one for group in self.groups for one in group.members))})

    @property
    def quarantined_ids(self) -> list[str]:
        """The quarantined ids that have a picture, good or bad, each once."""
        return sorted({one.product_id for one in self.quarantined if one.product_id and one.reason in PICTURE_REASONS})


def examples(table: pa.Table | pd.DataFrame, quarantine: pa.Table | pd.DataFrame, seed: int = 0) -> Examples:
    """Choose 24 products at random, up to 24 quarantined rows of every reason, and the 12 most telling near-duplicate groups.

    `table` has product_id, group_id and the label columns; `quarantine` is of schema.QUARANTINE. What is random is a hash of
    the seed and the id, so that the order of the rows changes nothing. Groups that disagree on a category come first, then
    those that disagree on another label, then large ones.
    """
    products = _frame(table, ["product_id", "group_id", *LABEL_COLUMNS])
    drawn = products.iloc[_order(products["product_id"], seed)[:MOST_PICTURES]]
    return Examples(
        random=[
            Example(product_id=row["product_id"], caption=f"{_finest(row)}\n{row['product_id']}")
            for row in drawn.to_dict("records")
        ],
        quarantined=_quarantined(_frame(quarantine, ["product_id", "source_row", "reason", "detail"]), seed),
        groups=_groups(products, seed),
    )


def sheets(
    chosen: Examples, pictures: Mapping[str, bytes], quarantined_pictures: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The contact sheets of the examples, as PNG, by name; one with nothing to show is left out.

    `pictures` has the bytes of `product_ids`, `quarantined_pictures` those of `quarantined_ids` (or a thumbnail), as far as
    they are known; without any of these there is no sheet of quarantined ones.
    """
    bad = quarantined_pictures or {}
    found: dict[str, bytes] = {}
    if chosen.random:
        found[RANDOM] = contact_sheet([(pictures.get(one.product_id), one.caption) for one in chosen.random])
    if set(bad) & set(chosen.quarantined_ids):
        rows = [one for one in chosen.quarantined if one.product_id in chosen.quarantined_ids]
        found[QUARANTINED] = contact_sheet(
            [(bad.get(str(one.product_id)), f"{one.reason}\n{one.product_id}\n{short(one.detail, 60)}") for one in rows]
        )
    if chosen.groups:
        found[DUPLICATES] = group_sheet(
            [(group.title, [(pictures.get(one.product_id), one.caption) for one in group.members]) for group in chosen.groups]
        )
    return found


def _groups(products: pd.DataFrame, seed: int) -> list[GroupExample]:
    sizes = products["group_id"].value_counts()
    grouped = products[products["group_id"].map(sizes) > 1]
    differ = grouped.groupby("group_id")[list(TELLING)].nunique() > 1
    ranked = pd.DataFrame(
        {
            "categories": differ[list(CATEGORY_LEVELS)].sum(axis=1),
            "labels": differ.sum(axis=1),
            "size": sizes.reindex(differ.index),
        }
    )
    ranked = ranked.iloc[_order(ranked.index, seed)].sort_values(list(ranked.columns), ascending=False, kind="stable")
    best = ranked.head(MOST_GROUPS).index
    members = dict(list(grouped[grouped["group_id"].isin(best)].groupby("group_id")))
    return [_group(members[group], [name for name in TELLING if differ.loc[group, name]]) for group in best]


def _group(members: pd.DataFrame, differing: Sequence[str]) -> GroupExample:
    """The members to show, one of each combination of the differing labels before a second one of any."""
    members = members.sort_values("product_id")
    if differing:
        turn = members.groupby(list(differing), dropna=False, sort=False).cumcount()
        members = members.loc[turn.sort_values(kind="stable").index]
    shown = members.head(MOST_MEMBERS).to_dict("records")
    named = ", ".join(differing) if len(differing) <= 2 else f"{differing[0]} and {len(differing) - 1} more"
    title = f"{named} differ{'s' if len(differing) == 1 else ''}" if differing else "same labels"
    if len(shown) < len(members):
        title = f"{title} ({len(shown)} of {len(members)} shown)"
    return GroupExample(
        title=title, members=[Example(product_id=row["product_id"], caption=_told(row, differing)) for row in shown]
    )


def _told(row: Mapping[Any, Any], differing: Sequence[str]) -> str:
    told = [_label(row[name]) for name in differing[:2]] or [_finest(row)]
    return "\n".join([*told, str(row["product_id"])])


def _quarantined(rows: pd.DataFrame, seed: int) -> list[QuarantinedExample]:
    """As many of each reason as there is room for: the rare ones are the telling ones."""
    keys = (
        rows["product_id"].fillna("").astype(str) + "/" + rows["source_row"].fillna(-1).astype(int).astype(str) + rows["reason"]
    )
    rows = rows.iloc[_order(keys, seed)]
    turn = rows.groupby("reason").cumcount().sort_values(kind="stable").index
    rows = rows.loc[turn].head(MOST_PICTURES).sort_values("reason", kind="stable")
    return [
        QuarantinedExample(
            product_id=None if pd.isna(row["product_id"]) else str(row["product_id"]),
            source_row=None if pd.isna(row["source_row"]) else int(row["source_row"]),
            reason=str(row["reason"]),
            detail="" if pd.isna(row["detail"]) else str(row["detail"]),
        )
        for row in rows.to_dict("records")
    ]


def _finest(row: Mapping[Any, Any]) -> str:
    return next((_label(row[name]) for name in TELLING if not pd.isna(row[name])), _label(None))


def _label(value: Any) -> str:
    return "(no label)" if pd.isna(value) else short(str(value), 60)


def _frame(table: pa.Table | pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    names = list(columns)
    return table.select(names).to_pandas() if isinstance(table, pa.Table) else table[names].reset_index(drop=True)


def _order(keys: Iterable[str], seed: int) -> np.ndarray:
    """The places of the keys in the order of their draws."""
    return np.argsort(draws(keys, seed), kind="stable")
