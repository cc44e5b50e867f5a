"""A registered bundle as MLflow's pyfunc loads it, without Ray. In: a table of pictures. Out: a table of answers.

MLflow imports this module by its name and calls `_load_pyfunc` with the folder of the bundle, so nothing is pickled and this
module need not know MLflow. tracking.package writes what MLflow reads.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.config import default_cache
from fashion_ray.errors import UserError
from fashion_ray.models import bundle, decisions, engines
from fashion_ray.models.bundle import Card
from fashion_ray.scoring.inference import Inference

IMAGE = "image"
"""The column of pictures: the bytes of a file, or base64 of them as text."""

ERROR = "error"

ROWS = 1024
"""Rows that are decoded and answered at a time, so that long frames need no more memory."""

SETTINGS = {"engine": "auto", "precision": "auto", "threads": 0, "cache": ""}
"""What `model_config` may change when the model is loaded; 0 threads are all of this machine's processors."""


class PictureModel:
    """A loaded bundle; made once a process, since compiling takes seconds."""

    def __init__(self, files: dict[str, bytes], settings: Mapping[str, Any]) -> None:
        chosen = {**SETTINGS, **settings}
        choice = engines.choose(chosen["engine"], chosen["precision"], gpus=0, **engines.of_this_node())
        self._inference = Inference(
            files, name="pyfunc", choice=choice, threads=int(chosen["threads"]) or os.cpu_count() or 1,
            cache=chosen["cache"] or default_cache(),
        )  # fmt: skip

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """One row a row of `image`, with its index: of each target T_predicted, T_probability, T_needs_review and T_top3, then
        `error`, null where there is an answer.

        T_predicted is null also for a class too rare to be learned. Raises UserError for a table without the column.
        """
        if IMAGE not in model_input.columns:
            raise UserError(
                f"got the columns {', '.join(map(str, model_input.columns))}, expected `{IMAGE}`: the bytes of a picture's "
                "file, or base64 of them as text"
            )
        pieces = [
            self._answer(model_input[IMAGE].iloc[start : start + ROWS].tolist())
            for start in range(0, max(1, len(model_input)), ROWS)
        ]
        return pd.concat(pieces, ignore_index=True).set_axis(model_input.index)

    def _answer(self, values: list[object]) -> pd.DataFrame:
        contents = [content_of(value) for value in values]
        output = self._inference([content if isinstance(content, bytes) else b"" for content in contents])
        errors = {row: one for row, one in enumerate(contents) if isinstance(one, BadPicture)}
        return answers(self._inference.card, output.logits, {**output.bad, **errors})


def content_of(value: object) -> bytes | BadPicture:
    """The bytes in a cell, which may be base64 of them as text."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        return BadPicture("not_an_image", f"{type(value).__name__}, expected bytes or base64")
    try:
        return base64.b64decode("".join(value.split()), validate=True)  # encoders break it into lines
    except (binascii.Error, ValueError) as error:
        return BadPicture("not_an_image", f"text that is no base64 ({error})")


def answers(card: Card, logits: Mapping[str, Any], bad: Mapping[int, BadPicture]) -> pd.DataFrame:
    """The table of some rows' logits; rows in `bad` have an error and no answer."""
    found = decisions.decide(logits, card.taxonomy, card.temperatures)
    rows = range(len(next(iter(logits.values()))))
    data: dict[str, list[object]] = {}
    for target, answer in found.items():
        for name, values in decisions.columns(target, answer, card.classes[target], card.review_thresholds(target)).items():
            data[name] = [None if row in bad else value for row, value in zip(rows, values.to_pylist(), strict=True)]
    data[ERROR] = [f"{bad[row].reason}: {bad[row].detail}" if row in bad else None for row in rows]
    return pd.DataFrame(data, dtype=object)  # so that what is missing is null, in JSON too, and never a NaN


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> PictureModel:
    """What MLflow calls, with the folder of a bundle. Raises UserError for settings that it does not know."""
    settings = dict(model_config or {})
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise UserError(f"model_config: got {', '.join(unknown)}, expected some of {', '.join(SETTINGS)}")
    files = {name: (Path(path) / name).read_bytes() for name in (bundle.CARD, bundle.WEIGHTS)}
    return PictureModel(files, settings)
