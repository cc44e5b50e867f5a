"""The options of jobs/score.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from fashion_ray.config import JobOptions
from fashion_ray.models.engines import ENGINES, PRECISIONS
from fashion_ray.scoring.gates import Limits


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(JobOptions):
    """Write labels, probabilities and embeddings of every product to Parquet, or answer for one picture."""

    model: str = "champion"
    """The model: an alias of the registry, a version of it, a model_version, or the path of a bundle."""

    image: str | None = None
    """Score this one picture, catalogued or not, and print the likeliest labels; publishes nothing."""

    full: bool = False
    """Run everything through the network, changed or not."""

    publish_anyway: bool = False
    """Publish although a gate refuses, and note it."""

    keep: int = 7
    """How many snapshots are kept; older ones are removed after publishing, never the current one."""

    list: bool = False
    """Print the published snapshots and do nothing else."""

    rollback: str | None = None
    """Make an earlier snapshot current: its name, or `previous`."""

    engine: str = "auto"
    """openvino, torch, or auto: OpenVINO on CPUs, PyTorch on GPUs."""

    precision: str = "auto"
    """bf16, f32, or auto: bf16 where the hardware has it."""

    limits: Limits = field(default_factory=Limits)
    """What tonight's scores may be like."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(bool(self.model.strip()), "model", self.model, "an alias, a version, or the path of a bundle")
        found.check(self.engine in ENGINES, "engine", self.engine, f"one of {', '.join(ENGINES)}")
        found.check(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        found.check(self.keep >= 1, "keep", self.keep, "1 or more")
        asked = [name for name in ("image", "list", "rollback") if getattr(self, name)]
        found.check(len(asked) < 2, asked[0] if asked else "", True, "one of --image, --list, --rollback at a time")
        found.raise_if_any()
