"""Whether tonight's scores may be published. In: figures about them and limits. Out: a verdict of each gate, with a sentence.

The same limits hold whether the model is a new one or not: a model that moves the catalog's classes moves whatever reads them,
so that somebody should have looked. Publishing anyway is the operator's decision (docs/drift.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.errors import UserError
from fashion_ray.scoring.drift import Drift
from fashion_ray.training.vocabulary import MINIMUM_APPLIES_TO


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What tonight's scores may be like; null switches a gate off. Shares are from 0 to 1."""

    label_psi: float | None = 0.1
    """Highest population stability index of the predicted labels of any target."""

    probability_psi: float | None = 0.25
    """Highest population stability index of the probabilities of any target."""

    centroid_shift: float | None = 0.01
    """Highest cosine distance between the mean embeddings of last night and tonight."""

    changed_share: float | None = None
    """Highest share of the products scored on both nights with another label, for any target. Off: a new model changes many."""

    withdrawn_share: float | None = 0.2
    """Highest share of last night's products that have no scores tonight: a feed that was cut short looks like this."""

    bad_share: float | None = 0.01
    """Highest share of the catalog that is quarantined tonight."""

    coverage: float | None = 0.95
    """Lowest share of the catalog with scores, fresh or carried over."""

    accuracy_drop: float | None = 0.02
    """Highest fall of the accuracy against last night's scores, for any target, on the same labelled products."""

    accuracy_floor: Mapping[str, float] = field(default_factory=dict)
    """Lowest accuracy on labelled products of a target."""

    least_labelled: int = 200
    """Labelled products from which on an accuracy says something; with fewer its gates do not apply."""

    def __post_init__(self) -> None:
        highest = {"centroid_shift": 2.0, "label_psi": math.inf, "probability_psi": math.inf}
        shares = ("changed_share", "withdrawn_share", "bad_share", "coverage", "accuracy_drop")
        values = {name: getattr(self, name) for name in (*highest, *shares)}
        values |= {f"accuracy_floor of {target}": value for target, value in self.accuracy_floor.items()}
        wrong = [
            f"--limits.{name.replace('_', '-')}: got {value}, expected a number from 0 to {highest.get(name, 1.0):g}"
            for name, value in values.items()
            if value is not None and not 0 <= value <= highest.get(name, 1.0)
        ]
        if self.least_labelled < 1:
            wrong.append(f"--limits.least-labelled: got {self.least_labelled}, expected 1 or more")
        if wrong:
            raise UserError("; ".join([*wrong, "correct the limits, or leave one out for its default"]))


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How many of the labelled products of a target are predicted right."""

    rows: int
    right: int

    @property
    def share(self) -> float:
        """Accuracy, NaN without rows."""
        return self.right / self.rows if self.rows else math.nan


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is judged."""

    catalog: int
    """Products of the catalog; the next three add up to it."""

    scored: int
    carried_over: int
    quarantined: int

    before: int | None = None
    """Products with scores last night; null on the first night."""

    withdrawn: int = 0
    """Products of last night without scores tonight."""

    drift: Drift | None = None
    """Null on the first night: gates of drift do not apply."""

    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    """By target, on all labelled products with scores."""

    accuracy_pairs: Mapping[str, tuple[Accuracy, Accuracy]] = field(default_factory=dict)
    """By target, last night and tonight, on the labelled products with scores on both nights."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a gate says of a figure."""

    name: str
    """The name of the limit."""

    target: str | None
    figure: str
    """What is limited, in words."""

    value: float | None
    """Null where the gate does not apply: nothing to compare with, or too few labelled products."""

    limit: float | None
    """Null where the gate is off."""

    refused: bool
    sentence: str


def judge(facts: Facts, limits: Limits) -> list[Verdict]:
    """The gates that refuse to publish; none if the scores may be published."""
    return [verdict for verdict in verdicts(facts, limits) if verdict.refused]


def verdicts(facts: Facts, limits: Limits) -> list[Verdict]:
    """What every gate says: of the books, of drift by target, of accuracy by target."""
    return [*_of_books(facts, limits), *_of_drift(facts.drift, limits), *_of_accuracy(facts, limits)]


def accuracy(
    scores: pa.Table, labels: pa.Table, *, classes: Mapping[str, Collection[str | None]], among: pa.Array | None = None
) -> dict[str, Accuracy]:
    """Accuracy of each target of `classes` (a card's) on the products with scores and a label.

    `labels` has product_id and the target columns. As in training.vocabulary.known_truth, articleTypes that the model does not
    know are left out; an unknown class of another target is a miss. `among` restricts it to some product ids. Labelled products
    include those that the model was trained on: for an estimate of its quality pass the labels of the test split.
    """
    ids = labels["product_id"]
    rows = pc.index_in(scores["product_id"], value_set=ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids)
    found: dict[str, Accuracy] = {}
    for target, known in classes.items():
        truth = labels[target].take(rows)
        counted = pc.is_valid(truth)
        if target in MINIMUM_APPLIES_TO:
            names = pa.array([name for name in known if name is not None], pa.string())
            counted = pc.and_(counted, pc.is_in(truth, value_set=names))
        if among is not None:
            counted = pc.and_(counted, pc.is_in(scores["product_id"], value_set=among))
        right = pc.and_(counted, pc.fill_null(pc.equal(scores[f"{target}_predicted"], truth), False))
        found[target] = Accuracy(rows=_true(counted), right=_true(right))
    return found


def accuracy_pairs(
    before: pa.Table,
    after: pa.Table,
    labels: pa.Table,
    *,
    classes: tuple[Mapping[str, Collection[str | None]], Mapping[str, Collection[str | None]]],
) -> dict[str, tuple[Accuracy, Accuracy]]:
    """Accuracy of the models of last night and tonight on the same products, by target that both have.

    `classes` are those of the two cards; only articleTypes that both models know are counted.
    """
    both = {
        target: set(classes[0][target]) & set(classes[1][target]) if target in MINIMUM_APPLIES_TO else set(classes[1][target])
        for target in classes[1]
        if target in classes[0]
    }
    sides = [
        accuracy(table, labels, classes=both, among=other["product_id"].combine_chunks())
        for table, other in ((before, after), (after, before))
    ]
    return {target: (sides[0][target], sides[1][target]) for target in both}


def _of_books(facts: Facts, limits: Limits) -> Iterator[Verdict]:
    bad = facts.quarantined / facts.catalog if facts.catalog else None
    covered = (facts.scored + facts.carried_over) / facts.catalog if facts.catalog else None
    yield _verdict("bad_share", bad, limits.bad_share, "the quarantined share of the catalog")
    yield _verdict("coverage", covered, limits.coverage, "the share of the catalog with scores", lowest=True)
    gone = facts.withdrawn / facts.before if facts.before else None
    yield _verdict("withdrawn_share", gone, limits.withdrawn_share, "the share of last night's products without scores tonight")


def _of_drift(drift: Drift | None, limits: Limits) -> Iterator[Verdict]:
    said = "the cosine distance from last night's mean embedding"
    yield _verdict("centroid_shift", drift.centroid_shift if drift else None, limits.centroid_shift, said)
    for target, one in drift.targets.items() if drift else ():
        said = f"the population stability index of {target}"
        yield _verdict("label_psi", one.label_psi, limits.label_psi, f"{said}, labels", target)
        yield _verdict("probability_psi", one.probability_psi, limits.probability_psi, f"{said}, probabilities", target)
        said = f"the share of products whose {target} is another one than last night"
        yield _verdict("changed_share", one.changed_share, limits.changed_share, said, target)


def _of_accuracy(facts: Facts, limits: Limits) -> Iterator[Verdict]:
    for target, (old, new) in facts.accuracy_pairs.items():
        drop = old.share - new.share if new.rows >= limits.least_labelled else None
        said = f"the fall of the accuracy of {target} on {new.rows:,} labelled products"
        yield _verdict("accuracy_drop", drop, limits.accuracy_drop, said, target)
    for target, floor in limits.accuracy_floor.items():
        now = facts.accuracy.get(target)
        value = now.share if now is not None and now.rows >= limits.least_labelled else None
        said = f"the accuracy of {target} on {now.rows if now else 0:,} labelled products"
        yield _verdict("accuracy_floor", value, floor, said, target, lowest=True)


def _verdict(
    name: str, value: float | None, limit: float | None, said: str, target: str | None = None, *, lowest: bool = False
) -> Verdict:
    """A value that is no number is refused: nobody knows what it is."""
    edge = "lowest" if lowest else "highest"
    if limit is None or value is None:
        why = "is not limited" if limit is None else "cannot be judged: nothing to compare with, or too few labelled products"
        sentence = f"{name}: {said} {why}"
        return Verdict(name=name, target=target, figure=said, value=value, limit=limit, refused=False, sentence=sentence)
    good = value >= limit if lowest else value <= limit
    over = "" if good else f", {abs(value - limit):.4g} too {'low' if lowest else 'high'}"
    sentence = f"{name}: {said} is {value:.4g}, {edge} allowed {limit:.4g}{over}"
    return Verdict(name=name, target=target, figure=said, value=value, limit=limit, refused=not good, sentence=sentence)


def _true(mask: pa.ChunkedArray | pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)
