"""Whether a stated probability is how often the answer is right. In: probabilities and hits. Out: bins, and their error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

CALIBRATION_BINS = 15


def calibration_bins(
    probability: Sequence[float] | np.ndarray[Any, Any],
    correct: Sequence[bool] | np.ndarray[Any, Any],
    *,
    bins: int = CALIBRATION_BINS,
) -> pd.DataFrame:
    """Group rows by probability into equal-width bins, open below and closed above; 0 belongs to the first bin.

    Returns one row per bin, empty ones too: low, high, rows, confidence (mean probability) and accuracy, both NaN
    where the bin is empty.
    """
    values = np.asarray(probability, dtype=np.float64)
    hits = np.asarray(correct, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    which = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1)
    rows = np.bincount(which, minlength=bins)
    share = np.where(rows > 0, 1.0 / np.maximum(rows, 1), np.nan)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "rows": rows,
            "confidence": np.bincount(which, weights=values, minlength=bins) * share,
            "accuracy": np.bincount(which, weights=hits, minlength=bins) * share,
        }
    )


def calibration_error(bins: pd.DataFrame) -> float:
    """Expected calibration error: the mean gap between probability and accuracy over `calibration_bins`, 0 if perfect.

    Bins count by their rows. Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    gaps = (bins["accuracy"] - bins["confidence"]).abs().fillna(0.0)
    return float((gaps * bins["rows"]).sum() / bins["rows"].sum())
