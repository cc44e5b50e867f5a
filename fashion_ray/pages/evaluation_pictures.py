"""All pictures of one target's evaluation and of its worst mistakes. In: an evaluation, product pictures. Out: PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fashion_ray.catalog.pictures import BadPicture, open_rgb
from fashion_ray.pages import plots
from fashion_ray.pages.contact_sheet import contact_sheet
from fashion_ray.pages.probability_plots import probability_curves, reliability_diagram
from fashion_ray.pages.rendering import percent
from fashion_ray.training.evaluation import TargetEvaluation

THUMBNAIL = (224, 298)
"""Width and height in pixels that a picture in the page is shrunk to fit, twice what it is shown at."""


def evaluation_pictures(evaluation: TargetEvaluation) -> dict[str, bytes]:
    """The plots of one target by name, PNG: confusion, recall, reliability, and curves where one is defined."""
    found = {
        "confusion": plots.confusion_matrix(evaluation),
        "recall": plots.class_recall_bars(evaluation),
        "reliability": reliability_diagram(evaluation.calibration, evaluation.uncalibrated, title="Reliability"),
    }
    if evaluation.curves is not None and evaluation.curves.roc:
        found["curves"] = probability_curves(evaluation.curves)
    return found


def mistakes_sheet(mistakes: pd.DataFrame, pictures: Mapping[str, bytes]) -> bytes:
    """A contact sheet of `worst_mistakes`, one at least: true label, wrong answer with its probability, product id."""
    return contact_sheet(
        [
            (
                pictures.get(row["product_id"]),
                f"{row['truth']}\n→ {percent(row['probability'], 0)} {row['predicted']}\n{row['product_id']}",
            )
            for row in mistakes.to_dict("records")
        ],
        columns=6,
    )


def gallery(mistakes: pd.DataFrame, pictures: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The rows of `worst_mistakes` with their pictures as data URIs under `uri`, null where one cannot be shown."""
    rows = mistakes.to_dict("records")
    return [
        {str(name): value for name, value in row.items()} | {"uri": _thumbnail(pictures.get(row["product_id"]))} for row in rows
    ]


def _thumbnail(content: bytes | None) -> str | None:
    """A JPEG of our own making: the bytes come from outside, and a browser is not to decode them."""
    try:
        picture = open_rgb(content) if content is not None else None
    except BadPicture:
        return None
    if picture is None:
        return None
    picture.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
