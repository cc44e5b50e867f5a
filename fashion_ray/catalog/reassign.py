"""Categories for products of a catch-all class, from their names. In: a table of products. Out: reassigned_* columns.

The method is the cosine similarity of TF-IDF vectors of the product's name and of the labels (Salton and Buckley 1988, "Term
weighting approaches in automatic text retrieval"), over the words that labels consist of.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.feature_extraction.text import TfidfVectorizer

from fashion_ray.catalog.schema import CATEGORY_LEVELS

CATCH_ALL = "Free Items"
"""The masterCategory that says how a product is sold, not what it is."""

MINIMUM_SIMILARITY = 0.7
"""Below it a product keeps its labels. Over the published catalog's other products, 84% of the names reach it, and the most
similar articleType is theirs in 95% of these."""

COLUMNS = pa.schema(
    [
        *(pa.field(f"reassigned_{level}", pa.string()) for level in CATEGORY_LEVELS),
        pa.field("reassigned_similarity", pa.float32()),
    ]
)
"""What `reassign` gives."""

NAMES_AT_ONCE = 10_000
"""Bounds the dense table of similarities: names times classes."""

IGNORED_WORDS = frozenset({"and", "for", "of", "the", "with"})


def reassign(table: pa.Table, *, catch_all: str = CATCH_ALL, minimum: float = MINIMUM_SIMILARITY) -> pa.Table:
    """The COLUMNS of each row. Only products whose masterCategory is `catch_all` can get other labels than their own.

    Such a product gets the articleType, among those that occur elsewhere, that is most similar to its name, with the
    commonest (masterCategory, subCategory) of that articleType, and the similarity, `minimum` to 1. Without a name, or with
    nothing as similar as `minimum`, it keeps its labels and the similarity is null, as it is for every other product.
    """
    assert 0 < minimum <= 1, minimum  # 0 would take names that share no word with any label
    names = table["productDisplayName"].to_pylist()
    caught = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(table[CATEGORY_LEVELS[0]], catch_all), False)))
    rows = [row for row in caught.tolist() if names[row]]
    classes = _classes(table, catch_all) if rows else []
    found = zip(rows, _most_similar(names, rows, [path[-1] for path in classes]), strict=False)
    moved = [(row, number, similarity) for row, (number, similarity) in found if similarity >= minimum]
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[[row for row, _, _ in moved]] = True
    columns = [
        pc.replace_with_mask(
            table[level].combine_chunks(),
            pa.array(mask),
            pa.array([classes[number][depth] for _, number, _ in moved], pa.string()),
        )
        for depth, level in enumerate(CATEGORY_LEVELS)
    ]
    similarities = pc.replace_with_mask(
        pa.nulls(table.num_rows, pa.float32()),
        pa.array(mask),
        pa.array([similarity for _, _, similarity in moved], pa.float32()),
    )
    return pa.table([*columns, similarities], schema=COLUMNS)


def _classes(table: pa.Table, catch_all: str) -> list[tuple[str, str | None, str]]:
    """The commonest path to each articleType outside the catch-all class; the commonest articleType first."""
    master, _, article = CATEGORY_LEVELS
    usable = pc.and_(pc.not_equal(table[master], catch_all), pc.is_valid(table[article]))  # null where there is no master
    counted = table.filter(usable).group_by(list(CATEGORY_LEVELS)).aggregate([([], "count_all")]).to_pylist()
    ranked = sorted(counted, key=lambda row: (-row["count_all"], row[master], row[CATEGORY_LEVELS[1]] or ""))
    totals: Counter[str] = Counter()
    paths: dict[str, tuple[str, str | None, str]] = {}
    for row in ranked:
        totals[row[article]] += row["count_all"]
        paths.setdefault(row[article], (row[master], row[CATEGORY_LEVELS[1]], row[article]))
    return [paths[label] for label in sorted(paths, key=lambda label: (-totals[label], label))]


def _most_similar(names: Sequence[str | None], rows: Sequence[int], labels: Sequence[str]) -> Iterator[tuple[int, float]]:
    """The index of the label that is most similar to the name of each row, and the similarity; the first label among equals."""
    vocabulary = sorted({word for label in labels for word in words(label)})
    if not vocabulary:
        return
    # Weighed by all names, `Men` is of no account beside `Grooming Kit`. The labels are documents too: every word is in one.
    vectorizer = TfidfVectorizer(analyzer=words, vocabulary=vocabulary)
    vectorizer.fit([*(name for name in names if name), *labels])
    label_vectors = vectorizer.transform(labels).T
    for start in range(0, len(rows), NAMES_AT_ONCE):
        batch = vectorizer.transform([names[row] for row in rows[start : start + NAMES_AT_ONCE]])
        found = np.round((batch @ label_vectors).toarray(), 6)  # sums in another order are still equal
        best = found.argmax(axis=1)
        yield from zip(best.tolist(), found[np.arange(len(best)), best].tolist(), strict=True)


def words(text: str) -> list[str]:
    """The words of a name or label, so that singular and plural are the same word, and `T-shirt` and `Tshirts`."""
    found = re.findall(r"\w+", text.lower().replace("-", ""))
    return [stem for stem in (_stem(word) for word in found if word not in IGNORED_WORDS) if stem]


def _stem(word: str) -> str:
    """A word without its plural, in the manner of the S stemmer (Harman 1991, "How effective is suffixing?").

    It goes further, because only the forms of one word have to meet: watch(es), tie(s), saree(s), scarf and scarves.
    """
    if word.endswith("s") and not word.endswith(("ss", "us")):
        word = word[:-1]
    word = word.removesuffix("e")
    return re.sub("y$", "i", re.sub("v$", "f", word))
