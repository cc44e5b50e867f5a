"""The options of jobs/promote.py."""

from __future__ import annotations

from dataclasses import dataclass

from fashion_ray.catalog.schema import TARGETS
from fashion_ray.config import JobOptions
from fashion_ray.models.engines import ENGINES, PRECISIONS

SIDES = ("test", "validation")


@dataclass(frozen=True, kw_only=True)
class PromoteOptions(JobOptions):
    """Compare two models on the same labelled rows, and make the challenger champion if it is better."""

    challenger: str = "challenger"
    """The model that may become champion: an alias of the registry, a version of it, or a model_version."""

    champion: str = "champion"
    """The model that it is compared with; if it is not the one with the alias, promoting takes --because."""

    because: str = ""
    """Promote although the comparison refuses, for this reason, which is noted."""

    side: str = "test"
    """The catalog's side whose rows are compared: test, or validation (which chose each model's best epoch)."""

    target: str = ""
    """The target on which the challenger must be better; none is the finest category level, or the first target."""

    alpha: float = 0.05
    """A difference is significant if chance gives it, or a larger one, with at most this probability."""

    dry_run: bool = False
    """Compare, and say what would be decided, but leave the registry as it is."""

    rollback: bool = False
    """Make the previous champion champion again, and do nothing else; a second time undoes it."""

    runs_a: tuple[str, ...] = ()
    """Compare recipes instead of models, by 5x2 cross-validation: the ten training runs of the first, by id or --name."""

    runs_b: tuple[str, ...] = ()
    """The ten training runs of the second recipe."""

    engine: str = "auto"
    """openvino, torch, or auto: OpenVINO on CPUs, PyTorch on GPUs."""

    precision: str = "auto"
    """bf16, f32, or auto: bf16 where the hardware has it."""

    def __post_init__(self) -> None:
        found = self.problems()
        for name in ("challenger", "champion"):
            found.check(bool(getattr(self, name).strip()), name, getattr(self, name), "an alias, a version or a model_version")
        found.check(
            not self.because or bool(self.because.strip()), "because", self.because, "a reason, in words",
            "leave it out to let the comparison decide",
        )  # fmt: skip
        found.check(self.side in SIDES, "side", self.side, f"one of {', '.join(SIDES)}", "training rows compare nothing")
        found.check(self.target in ("", *TARGETS), "target", self.target, f"one of {', '.join(TARGETS)}")
        found.check(0 < self.alpha < 0.5, "alpha", self.alpha, "above 0 and below 0.5")
        found.check(self.engine in ENGINES, "engine", self.engine, f"one of {', '.join(ENGINES)}")
        found.check(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        found.check(bool(self.runs_a) == bool(self.runs_b), "runs_a", self.runs_a, "runs for both --runs-a and --runs-b")
        found.check(
            not (self.rollback and (self.runs_a or self.dry_run)), "rollback", True, "neither --dry-run nor --runs-a beside it"
        )
        found.raise_if_any()
