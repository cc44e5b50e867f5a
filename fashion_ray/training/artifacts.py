"""What a run leaves to read beside its bundle. In: evaluations. Out: tables as text, pictures, figures, sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd

from fashion_ray import spreadsheets
from fashion_ray.pages.evaluation_pictures import evaluation_pictures, mistakes_sheet
from fashion_ray.training.evaluation import TargetEvaluation
from fashion_ray.training.sides import parse
from fashion_ray.training.slices import slice_metrics

Evaluations = Mapping[str, Mapping[str, TargetEvaluation]]
"""Split to target to evaluation."""

_SIDES = {
    "stored": "The sides are the catalog's own: products with near-identical pictures are on one side.",
    "groups": "Products are on sides at random, those with near-identical pictures together on one.",
    "fold": "The test split is one of several folds; products with near-identical pictures are in one fold.",
    "random": (
        "Products are on sides at random, one by one: near-identical pictures of test products were trained on, so the "
        "figures of the test split flatter the model."
    ),
    "year": (
        "The test split has the products of later years than those trained on, which is harder than a random split: some of "
        "their kinds did not exist before."
    ),
}


def tables(evaluations: Evaluations) -> dict[str, str]:
    """Every table of every split and target as CSV, and the headline figures of all as one JSON file, by path."""
    found = {
        f"tables/{split}_{target}_{name}.csv": spreadsheets.to_csv(table, index=name == "confusion")
        for split, ones in evaluations.items()
        for target, one in ones.items()
        for name, table in _tables(one).items()
    }
    figures = {split: {target: one.figures() for target, one in ones.items()} for split, ones in evaluations.items()}
    return found | {"tables/figures.json": json.dumps(figures, indent=2, allow_nan=False)}


def drawings(evaluations: Evaluations) -> dict[str, dict[str, bytes]]:
    """The plots of each target, by target and name, of the first split that has it."""
    return {target: evaluation_pictures(one) for target, one in _first(evaluations).items()}


def mistaken(evaluations: Evaluations) -> list[str]:
    """The products among the worst mistakes that are shown, each once."""
    return sorted({product_id for table in _mistakes(evaluations).values() for product_id in table["product_id"]})


def mistake_sheets(evaluations: Evaluations, products: Mapping[str, bytes]) -> dict[str, bytes]:
    """A contact sheet of each target's worst mistakes on the first split that has it, by path."""
    return {f"plots/{target}_mistakes.png": mistakes_sheet(table, products) for target, table in _mistakes(evaluations).items()}


def metrics_of_slices(evaluations: Evaluations) -> dict[str, float]:
    """The figures of every slice, named like those of the target: `test/articleType/slice/gender/Men/accuracy`."""
    return {
        f"{split}/{target}/{name}": value
        for split, ones in evaluations.items()
        for target, one in ones.items()
        if one.slices is not None
        for name, value in slice_metrics(one.slices).items()
    }


def split_note(split: str, ones: Mapping[str, TargetEvaluation]) -> str:
    """What a reader must know of the sides that `--split` made, and how much of the test split was as good as trained on."""
    note = f"Split {split}. {_SIDES[parse(split).kind]}"
    leaked = max((one.leaked_share or 0.0 for one in ones.values()), default=0.0)
    if leaked:
        note += f" {leaked:.1%} of the test rows have a near-duplicate among the training rows."
    unseen = [
        f"{one.unseen_share:.1%} of {target}"
        + ("" if one.seen_accuracy is None else f" (accuracy of the others {one.seen_accuracy:.1%})")
        for target, one in ones.items()
        if one.unseen_share
    ]
    return note + (f" Labels that no training row had, which no answer can meet: {', '.join(unseen)}." if unseen else "")


def _tables(one: TargetEvaluation) -> dict[str, pd.DataFrame]:
    found = {
        "per_class": one.per_class,
        "confusion": pd.DataFrame(one.confusion, index=pd.Index(one.classes, name="true"), columns=one.classes),
        "calibration": one.calibration,
        "calibration_before": one.uncalibrated,
        "areas": one.curves.areas if one.curves is not None else None,
        "slices": one.slices,
        "mistakes": one.mistakes,
        "review": one.review.per_class if one.review is not None else None,
    }
    return {name: table for name, table in found.items() if table is not None}


def _first(evaluations: Evaluations) -> dict[str, TargetEvaluation]:
    """Each target on the first split that has it."""
    found: dict[str, TargetEvaluation] = {}
    for ones in evaluations.values():
        found = {**found, **{target: one for target, one in ones.items() if target not in found}}
    return found


def _mistakes(evaluations: Evaluations) -> dict[str, pd.DataFrame]:
    tables_of = {target: one.mistakes for target, one in _first(evaluations).items()}
    return {target: table for target, table in tables_of.items() if table is not None and len(table)}
