"""From material to ranked tables. In: products, labels, features. Out: AUDIT rows, or SELECTION rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fashion_ray.insight import heads, suspects, titles
from fashion_ray.insight.material import CATCH_ALL, NO_EMBEDDING, UNLABELLED, Material
from fashion_ray.insight.selection import select
from fashion_ray.insight.simulation import DIVERSITY_DIMENSIONS, reduced

Array = np.ndarray

SUSPECT = "label"
_WITNESSES = [
    pa.field("picture_label", pa.string()),
    pa.field("picture_probability", pa.float32()),
    pa.field("title_label", pa.string()),
    pa.field("title_probability", pa.float32()),
]

AUDIT = pa.schema(
    [
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("suggested", pa.string()),
        pa.field("evidence", pa.float32()),
        pa.field("label_probability", pa.float32()),
        pa.field("suggested_probability", pa.float32()),
        *(pa.field(reason, pa.bool_()) for reason in suspects.REASONS),
        pa.field("class_distance", pa.float32()),
        *_WITNESSES,
        pa.field("productDisplayName", pa.string()),
        pa.field("group_id", pa.string()),
    ]
)
"""A row a judged product, the most suspect first (`kind` label), then the products of catch-all classes (`kind` catch_all).

`suggested` equals `label` where no other class is likelier. picture_* and title_* are what each of the two says alone,
title_* null where the title has no known word.
"""

SELECTION = pa.schema(
    [
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("why", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("suggested", pa.string()),
        pa.field("suggested_probability", pa.float32()),
        pa.field("uncertainty", pa.float32(), nullable=False),
        pa.field("productDisplayName", pa.string()),
        pa.field("group_id", pa.string()),
    ]
)
"""A row a product to be labelled next, the first to be asked first. `why` is unlabelled or doubtful."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What is thought of every product, by heads that have not seen its label; arrays are (products, classes)."""

    picture: Array
    title: Array
    together: Array
    """What counts: the picture's, or both."""


def answers(material: Material, features: Array, folds: Array, *, with_titles: bool) -> Answers:
    """Out-of-sample probabilities of judged rows, and those of a head of all judged rows for the others.

    `features` (products, dimensions) are standardised; `folds` are those of the judged rows.
    """
    judged, classes = material.judged, len(material.classes)
    others = np.setdiff1d(np.arange(len(material.stand)), judged)
    labels = material.labels[judged]
    picture = np.full((len(material.stand), classes), 1 / classes, dtype=np.float32)
    title = picture.copy()
    scored = heads.out_of_sample_scores(features[judged], labels, folds, classes)
    sharpness = heads.temperature(scored, labels)
    picture[judged] = heads.softmax(scored, sharpness)
    names = material.column("productDisplayName", judged)
    title[judged] = titles.out_of_sample(names, labels, folds, classes)
    if len(others):
        head = heads.fit(heads.moments(features[judged], labels, classes))
        picture[others] = heads.softmax(head.scores(features[others]), sharpness)
        picture[material.stand == NO_EMBEDDING] = 1 / classes
        title[others] = titles.answers(names, labels, classes, material.column("productDisplayName", others))
    return Answers(picture=picture, title=title, together=suspects.joined(picture, title if with_titles else None))


def audit_rows(material: Material, features: Array, found: Answers) -> pa.Table:
    """AUDIT."""
    judged = material.judged
    labels, groups = material.labels[judged], material.groups[judged]
    distances = suspects.class_distances(features[judged], labels, groups)
    speaks = suspects.findings(found.together[judged], labels, groups, distances)
    order = np.argsort(-speaks.evidence, kind="stable")
    columns = {
        "label": _names(material, labels),
        "suggested": _names(material, speaks.suggested),
        "evidence": speaks.evidence,
        "label_probability": speaks.given_probability,
        "suggested_probability": speaks.probability,
        **speaks.reasons,
        "class_distance": distances,
    }
    first = _table(
        material, judged[order], SUSPECT, {name: np.asarray(values)[order] for name, values in columns.items()}, found
    )
    caught = np.flatnonzero(material.stand == CATCH_ALL)
    both = suspects.joined(found.picture[caught], found.title[caught])
    shown = {
        "label": np.array(material.column(material.target, caught), dtype=object),
        "suggested": _names(material, both.argmax(axis=1)),
        "suggested_probability": both.max(axis=1),
    }
    ranked = np.argsort(-both.max(axis=1), kind="stable")
    second = _table(material, caught[ranked], CATCH_ALL, {name: values[ranked] for name, values in shown.items()}, found)
    whole = pa.concat_tables([first, second])
    return whole.set_column(0, AUDIT.field("rank"), pa.array(range(1, whole.num_rows + 1), type=pa.int32()))


def selection_rows(
    material: Material, features: Array, found: Answers, *, wanted: int, strategy: str, pool: str, seed: int
) -> pa.Table:
    """SELECTION: at most `wanted` of the unlabelled and doubtful products; a doubtful one's label is not its likeliest."""
    probabilities = found.together
    doubtful = np.zeros(len(material.stand), dtype=bool)
    judged = material.judged
    doubtful[judged] = probabilities[judged].argmax(axis=1) != material.labels[judged]
    unlabelled = material.stand == UNLABELLED
    rows = np.flatnonzero((unlabelled & (pool != "doubtful")) | (doubtful & (pool != "unlabelled")))
    if not len(rows):
        return SELECTION.empty_table()
    spread = reduced(features, min(DIVERSITY_DIMENSIONS, features.shape[1]))
    sure = judged[~doubtful[judged]]
    chosen = rows[
        select(
            strategy, wanted, probabilities=probabilities[rows], features=spread[rows], groups=material.groups[rows], seed=seed,
            labelled=spread[sure],
        )
    ]  # fmt: skip
    top = np.partition(probabilities[chosen], -2, axis=1)
    columns = {
        "rank": pa.array(range(1, len(chosen) + 1), type=pa.int32()),
        "product_id": material.column("product_id", chosen),
        "target": [material.target] * len(chosen),
        "why": ["unlabelled" if unlabelled[row] else "doubtful" for row in chosen],
        "label": material.column(material.target, chosen),
        "suggested": _names(material, probabilities[chosen].argmax(axis=1)),
        "suggested_probability": top[:, -1],
        "uncertainty": 1 - (top[:, -1] - top[:, -2]),
        "productDisplayName": material.column("productDisplayName", chosen),
        "group_id": material.column("group_id", chosen),
    }
    return pa.table(
        {name: pa.array(values, type=SELECTION.field(name).type) for name, values in columns.items()}, schema=SELECTION
    )


def _table(material: Material, rows: Array, kind: str, values: dict[str, Array], found: Answers) -> pa.Table:
    """Rows of AUDIT, ranked 0, with what all kinds have."""
    silent = np.ptp(found.title[rows], axis=1) == 0
    columns = {
        "rank": np.zeros(len(rows), dtype=np.int32),
        "kind": [kind] * len(rows),
        "product_id": material.column("product_id", rows),
        "target": [material.target] * len(rows),
        **values,
        "picture_label": _names(material, found.picture[rows].argmax(axis=1)),
        "picture_probability": found.picture[rows].max(axis=1),
        "title_label": _names(material, found.title[rows].argmax(axis=1), unless=silent),
        "title_probability": np.where(silent, np.nan, found.title[rows].max(axis=1)),
        "productDisplayName": material.column("productDisplayName", rows),
        "group_id": material.column("group_id", rows),
    }
    return pa.table(
        {
            field.name: pa.array(columns[field.name], type=field.type, from_pandas=True)
            if field.name in columns
            else pa.nulls(len(rows), field.type)
            for field in AUDIT
        },
        schema=AUDIT,
    )


def _names(material: Material, numbers: Array, *, unless: Array | None = None) -> Array:
    """The names of classes; null where `unless`."""
    found = np.asarray(np.array(material.classes, dtype=object)[numbers])
    if unless is not None:
        found[unless] = None
    return found
