"""Labels that follow from the label columns of the whole catalog. In: a table of products. Out: one label a row.

`joined_categories` makes one target of the three category levels, `stratum` names what a split is spread over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog.feed_rows import RESERVED_LABEL
from fashion_ray.catalog.schema import CATEGORY_LEVELS, LABEL_COLUMNS

ARTICLE_SHARE = 0.07
"""The share of the products from which an articleType is a joined category of its own."""

SUBCATEGORY_SHARE = 0.0028
"""The share of the products from which what is left of a subCategory is a joined category of its own."""

Path = tuple[str | None, ...]
"""The labels of a product from masterCategory to articleType."""


def joined_categories(table: pa.Table) -> list[str | None]:
    """One label a row that joins masterCategory, subCategory and articleType; null where masterCategory is null.

    A roll-up: an articleType (of one subCategory) with at least ARTICLE_SHARE of the products is a class; what is left of a
    subCategory is a class if it has at least SUBCATEGORY_SHARE; what is left of a masterCategory always is one. The shares are
    of the products that have a masterCategory. A product without a lower label is left to the level above.

    A class is named by its path, `Apparel / Topwear / Tshirts`; what is left of a level of which something stands on its own
    ends in RESERVED_LABEL, `Apparel / Topwear / (other)`.
    """
    codes = [table[level].combine_chunks().dictionary_encode() for level in CATEGORY_LEVELS]
    values = [[*code.dictionary.to_pylist(), None] for code in codes]
    numbers = np.stack([np.asarray(code.indices.fill_null(len(code.dictionary))) for code in codes], axis=1)
    unique, row, counts = np.unique(numbers, axis=0, return_inverse=True, return_counts=True)
    paths = [tuple(level[number] for level, number in zip(values, path, strict=True)) for path in unique.tolist()]
    names = _class_names(
        Counter({path: count for path, count in zip(paths, counts.tolist(), strict=True) if path[0] is not None})
    )
    named = [names.get(path) for path in paths]
    return [named[number] for number in row.ravel().tolist()]


def _class_names(counts: Mapping[Path, int]) -> dict[Path, str]:
    """The joined category of each path, from the number of products on it."""
    total = sum(counts.values())
    articles = {path for path, count in counts.items() if None not in path and count / total >= ARTICLE_SHARE}
    left: Counter[Path] = Counter()
    for path in counts.keys() - articles:
        left[path[:2]] += counts[path]
    subs = {path for path, count in left.items() if None not in path and count / total >= SUBCATEGORY_SHARE}
    divided = {path[:depth] for path in articles for depth in (1, 2)} | {path[:1] for path in subs}
    names = {}
    for path in counts:
        node = path if path in articles else path[:2] if path[:2] in subs else path[:1]
        names[path] = _name(node, rest=node in divided)
    return names


def _name(node: Path, *, rest: bool) -> str:
    # A slash inside a label is doubled, so that ` / ` only ever separates levels and no two paths share a name.
    return " / ".join([*(str(label).replace("/", "//") for label in node), *([RESERVED_LABEL] if rest else [])])


def stratum(table: pa.Table) -> list[str | None]:
    """The finest label that each row has, which its split is spread over; null where it has none.

    That is the articleType, else `subCategory: ...`, else `masterCategory: ...`, else the first of the other label columns.
    """
    levels = list(reversed(CATEGORY_LEVELS))
    others = [column for column in LABEL_COLUMNS if column not in levels]
    fallbacks = [pc.binary_join_element_wise(column, table[column], ": ") for column in (*levels[1:], *others)]
    labels: list[str | None] = pc.coalesce(table[levels[0]], *fallbacks).to_pylist()
    return labels
