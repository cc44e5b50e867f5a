"""The options of jobs/score.py."""

from __future__ import annotations

from dataclasses import dataclass

from fashion_ray.config import JobOptions
from fashion_ray.models.engines import ENGINES, PRECISIONS


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(JobOptions):
    """Write labels, probabilities and embeddings of every product to Parquet, or answer for one picture."""

    model: str = "champion"
    """The model: an alias of the registry, a version of it, a model_version, or the path of a bundle."""

    image: str | None = None
    """Score this one picture, catalogued or not, and print the likeliest labels; publishes nothing."""

    engine: str = "auto"
    """openvino, torch, or auto: OpenVINO on CPUs, PyTorch on GPUs."""

    precision: str = "auto"
    """bf16, f32, or auto: bf16 where the hardware has it."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(bool(self.model.strip()), "model", self.model, "an alias, a version, or the path of a bundle")
        found.check(self.engine in ENGINES, "engine", self.engine, f"one of {', '.join(ENGINES)}")
        found.check(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        found.raise_if_any()
