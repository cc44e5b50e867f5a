"""The page of a training run. In: plain tables and evaluations. Out: one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import jinja2
import pandas as pd

from fashion_ray.pages import plots
from fashion_ray.training.evaluation import TargetEvaluation


def training_report(
    *,
    title: str,
    facts: Mapping[str, str],
    evaluations: Mapping[str, Sequence[TargetEvaluation]],
    history: pd.DataFrame,
    reliability: Mapping[str, bytes] | None = None,
    warnings: Sequence[str] = (),
    next_steps: Sequence[str] = (),
) -> str:
    """The page: figures of each split, learning curves, and for each target of the first split its confusion and classes.

    `reliability` is a reliability diagram (PNG) by target. Everything from outside is escaped; nothing is fetched.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fashion_ray.pages"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    first = next(iter(evaluations.values()), [])
    collapsed = [
        f"The head of {one.target} answers one class for at least 90% of the {split} rows, which it is not."
        for split, ones in evaluations.items()
        for one in ones
        if one.collapsed
    ]
    return environment.get_template("training_report.html.j2").render(
        title=title,
        facts=facts,
        warnings=[*warnings, *collapsed],
        next_steps=next_steps,
        evaluations=evaluations,
        curves=_inline(plots.learning_curves(history)),
        sections=[
            {
                "evaluation": one,
                "confusion": _inline(plots.confusion_matrix(one)),
                "recall": _inline(plots.class_recall_bars(one)),
                "reliability": _inline(reliability[one.target]) if reliability and one.target in reliability else None,
                "classes": one.per_class.to_dict("records"),
            }
            for one in first
        ],
    )


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
