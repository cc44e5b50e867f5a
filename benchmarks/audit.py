"""How many planted label errors an audit finds: python benchmarks/audit.py --root ROOT --plant 0.02 --within subCategory

Labels of the current catalog are changed in memory, before any model sees them, and the audit ranks all labels; what counts is
the share of the planted that stands in the top of the ranking. Ray is needed only for features that are not cached yet.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import report
from fashion_ray import cli
from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.config import absolute
from fashion_ray.errors import UserError
from fashion_ray.insight import heads, suspects
from fashion_ray.insight.audit import Asked, prepare
from fashion_ray.insight.audit_options import AuditOptions
from fashion_ray.insight.embedding import features_of
from fashion_ray.insight.judging import answers
from fashion_ray.insight.material import Material, material, scored_features
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class PlantOptions(AuditOptions):
    """Plant wrong labels and see how many of them the top of the ranking has."""

    plant: float = 0.02
    """The share of judged labels that is made wrong."""

    within: str = ""
    """Draw the wrong label among classes that occur under the same value of this column; none draws among all classes."""

    share: float = 0.04
    """The part of the ranking that is looked at."""

    seeds: int = 3
    """So many plantings, each with folds of its own; --seed is the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        found = self.problems()
        found.check(0 < self.plant < 0.5, "plant", self.plant, "above 0 and below 0.5")
        found.check(self.within in ("", *LABEL_COLUMNS), "within", self.within, f"one of {', '.join(LABEL_COLUMNS)}")
        found.check(0 < self.share <= 1, "share", self.share, "above 0 and at most 1")
        found.check(self.seeds >= 1, "seeds", self.seeds, "1 or more")
        found.raise_if_any()


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(PlantOptions, arguments, example="python benchmarks/audit.py --root workspace --within subCategory")
    store = Store(absolute(options.root))
    asked = prepare(options, store, catalog_of(store))
    values, subject = embedded(asked, store)
    found: dict[str, list[float]] = {}
    for seed in range(options.seed, options.seed + options.seeds):
        for name, recall in recalls(subject, values, options, seed).items():
            found.setdefault(name, []).append(round(recall, 4))
        print(f"seed {seed}: { ({name: ones[-1] for name, ones in found.items()}) }", file=sys.stderr, flush=True)
    mean = {name: round(float(np.mean(ones)), 4) for name, ones in found.items()}
    drawn = f"among classes of the same {options.within}" if options.within else "among all classes"
    figures: dict[str, Any] = {"plant": options.plant, "within": options.within, "share": options.share, "recalls": found}
    report(
        "audit",
        {**figures, "mean": mean, "features": options.features},
        f"of {options.plant:.0%} labels made wrong, drawn {drawn}, the top {options.share:.0%} of the ranking has "
        + ", ".join(f"{value:.1%} by {name}" for name, value in mean.items()),
    )


def embedded(asked: Asked, store: Store) -> tuple[Array, Material]:
    """Standardised features of all products, and what is judged."""
    options, products = asked.options, asked.products
    hashes = products["image_sha256"].to_pylist()
    held = None
    if asked.scores is not None:
        vectors, held = scored_features(store, asked.scores, products["product_id"].to_pylist(), hashes)
    else:
        vectors = features_of(
            hashes, asked.trunk, store=store, catalog=asked.catalog, cache=options.cache, engine=options.engine,
            precision=options.precision, address=options.address, cpus=options.cpus,
        )  # fmt: skip
    subject = material(products, options.target, folds=options.folds, catch_all=options.catch_all, embedded=held)
    return heads.standardised(vectors), subject


def recalls(subject: Material, values: Array, options: PlantOptions, seed: int) -> dict[str, float]:
    """The share of planted labels in the top, by what the ranking listens to."""
    changed, rows = planted(subject, options.plant, options.within, seed)
    found = answers(changed, values, changed.folds(options.folds, seed), with_titles=False)
    judged = changed.judged
    labels, groups = changed.labels[judged], changed.groups[judged]
    nowhere = np.zeros(len(judged))
    result = {}
    for name, probabilities in (
        ("picture", found.picture), ("title", found.title), ("both", suspects.joined(found.picture, found.title))
    ):  # fmt: skip
        evidence = suspects.findings(probabilities[judged], labels, groups, nowhere).evidence
        top = judged[np.argsort(-evidence, kind="stable")[: round(options.share * len(judged))]]
        result[name] = float(np.isin(rows, top).mean())
    return result


def planted(subject: Material, share: float, within: str, seed: int) -> tuple[Material, Array]:
    """The material with a share of its judged labels made wrong, and the products whose labels were.

    Raises UserError if nothing can be drawn within the column.
    """
    generator = np.random.default_rng(seed)
    judged, labels = subject.judged, subject.labels.copy()
    parents = np.array(subject.products[within].to_pylist(), dtype=object) if within else np.full(len(labels), "")
    classes = {parent: np.unique(labels[judged[parents[judged] == parent]]) for parent in set(parents[judged])}
    able = np.array([row for row in judged if len(classes[parents[row]]) > 1], dtype=np.int64)
    wanted = round(share * len(judged))
    if not 1 <= wanted <= len(able):
        raise UserError(f"--plant: {wanted} labels are to be changed, but {len(able)} can be; expected another share")
    rows = generator.choice(able, wanted, replace=False)
    for row in rows:
        others = classes[parents[row]]
        labels[row] = generator.choice(others[others != labels[row]])
    return Material(
        products=with_labels(subject, labels), target=subject.target, classes=subject.classes, stand=subject.stand,
        labels=labels, groups=subject.groups, rare=subject.rare,
    ), rows  # fmt: skip


def with_labels(subject: Material, labels: Array) -> pa.Table:
    """The products with these labels of the target, where they are judged."""
    before = subject.products[subject.target].to_pylist()
    now = [subject.classes[label] if label >= 0 else old for label, old in zip(labels, before, strict=True)]
    place = subject.products.column_names.index(subject.target)
    return subject.products.set_column(place, subject.target, pa.array(now, type=pa.string()))


if __name__ == "__main__":
    cli.run(main)
