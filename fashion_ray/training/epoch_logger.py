"""Figures of a run while it trains. In: reports of epochs. Out: metrics of its MLflow run.

Ray Train's controller, a process of its own, loads this module and needs no more of the library.
"""

from __future__ import annotations

from typing import Any

from ray.train import UserCallback

from fashion_ray import tracking


class EpochLogger(UserCallback):  # type: ignore[misc]
    """Sends each epoch's metrics to MLflow from the controller, so the UI shows a run while it trains."""

    def __init__(self, run: tracking.TrackedRun) -> None:
        self._run = run

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Log the first rank's figures; all ranks' are the same."""
        row = metrics[0]
        self._run.metrics({key: value for key, value in row.items() if isinstance(value, float)}, step=row["epoch"])
