"""Which features find products with the same labels. In: raw, tuned and classic features. Out: a table of precision at k."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from fashion_ray.errors import UserError
from fashion_ray.insight import spreading
from fashion_ray.insight.baselines import publish_features
from fashion_ray.insight.embeddings import catalog_for, features_of, scores_of
from fashion_ray.insight.precision import by_chance, precision_at_k
from fashion_ray.insight.products import read_products
from fashion_ray.insight.similar import prepare
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

TARGETS = ("articleType", "subCategory", "baseColour", "gender")
NAMES = {"classic": "ImageNet class scores", "raw": "pretrained trunk", "tuned": "fine-tuned trunk"}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Precision at k by features and label."""

    table: pd.DataFrame
    """features, then a column a target; the first row is of neighbours drawn at random."""

    queries: int
    candidates: int
    k: int


def compare_features(options: SimilarOptions, store: Store, *, run_id: str) -> Comparison:
    """Precision at k of the products of the test side against all labelled products, for each kind of features.

    Only the group_id tells near-duplicates here: cosines of different features are not on one scale. Raises UserError if there
    are no scores, or the test side has no product.
    """
    scores = scores_of(store, options.snapshot)
    publish_features(options, store, run_id)
    sources = {"classic": features_of(store, "classic"), "raw": features_of(store, "raw"), "tuned": scores}
    asked = replace(options, exclude_duplicates=True, duplicate_similarity=1.0, same=(), other_colour=False, method="exact")
    rows: list[dict[str, object]] = []
    queries = candidates = 0
    for kind, source in sources.items():
        products = read_products(store, source, catalog_for(store, source), ["group_id", "split", *TARGETS])
        labelled = pc.is_valid(products.table["articleType"]).to_numpy()
        task, _ = prepare(asked, store, products)
        usable = task.rules.usable & labelled & pc.is_valid(products.table["split"]).to_numpy()
        test = pc.fill_null(pc.equal(products.table["split"], "test"), False).to_numpy() & usable
        drawn = _drawn(products.ids, test, options)
        if not len(drawn):
            raise UserError("--compare: the catalog has no product on the test side; expected some. Ingest a larger feed")
        work = replace(task.work, rules=replace(task.rules, usable=usable))
        labels = {target: products.table[target].to_pylist() for target in TARGETS}
        if not rows:
            rows.append({"features": "at random", **{name: by_chance(labels[name], drawn, usable) for name in TARGETS}})
        found = spreading.find(drawn, work)
        figures = {name: precision_at_k(labels[name], drawn, found)[0] for name in TARGETS}
        rows.append({"features": NAMES[kind], **figures})
        queries, candidates = len(drawn), int(usable.sum())
        log.info("%s: %s", NAMES[kind], ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    return Comparison(table=pd.DataFrame(rows), queries=queries, candidates=candidates, k=options.k)


def _drawn(ids: list[str], test: np.ndarray, options: SimilarOptions) -> np.ndarray:
    """The queries: the same products whatever the order of the rows."""
    rows = sorted(np.flatnonzero(test).tolist(), key=lambda row: ids[row])
    if options.sample and options.sample < len(rows):
        chosen = np.random.default_rng(options.seed).permutation(len(rows))[: options.sample]
        rows = [rows[place] for place in sorted(chosen.tolist())]
    return np.array(rows, np.int64)
