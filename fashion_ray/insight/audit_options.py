"""The options of jobs/audit.py."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.config import JobOptions
from fashion_ray.insight.features import BACKBONE
from fashion_ray.insight.selection import STRATEGIES
from fashion_ray.models.engines import ENGINES, PRECISIONS

PRETRAINED, SCORES = "pretrained", "scores"
POOLS = ("both", "unlabelled", "doubtful")


@dataclass(frozen=True, kw_only=True)
class AuditOptions(JobOptions):
    """Find labels that are probably wrong, or with --select what to label next."""

    target: str = "articleType"
    """The label column that is audited."""

    features: str = PRETRAINED
    """Whose embeddings: pretrained (of a trunk that has seen no label of this catalog) or scores (of the current snapshot)."""

    titles: bool = False
    """Let the titles speak too: a label then is judged by its picture and its title together."""

    folds: int = 5
    """Each row is judged by a head of the other folds; near-duplicates are in one fold."""

    catch_all: tuple[str, ...] = ("Free Items", "Free Gifts")
    """Classes, of any category level, that say nothing of what a product is: its rows teach nothing and are shown apart."""

    top: int = 500
    """How many of the ranking go into the CSV for annotators; the page shows the first of them."""

    prefill: bool = False
    """Fill the CSV's column `label` with the suggestions, for people who strike out what is wrong rather than fill in."""

    select: int = 0
    """Choose this many products to label next, instead of auditing labels."""

    strategy: str = "kmeans++"
    """How: kmeans++ or k-center (uncertain and unlike each other), margin, entropy or random."""

    pool: str = "both"
    """Among which products: unlabelled, doubtful (their label is less likely than another), or both."""

    seed: int = 0
    """Of folds and draws."""

    keep: int = 7
    """How many snapshots are kept; older ones are removed after publishing, never the current one."""

    backbone: str = BACKBONE
    """The pretrained trunk, as in jobs/train.py."""

    weights: str = PRETRAINED
    """Its weights: pretrained, none, or a file or URI of a state dict."""

    engine: str = "auto"
    """openvino, torch, or auto: OpenVINO on CPUs, PyTorch on GPUs."""

    precision: str = "auto"
    """bf16, f32, or auto: bf16 where the hardware has it."""

    def __post_init__(self) -> None:
        found = self.problems()
        near = difflib.get_close_matches(self.target, LABEL_COLUMNS, n=1)
        found.check(
            self.target in LABEL_COLUMNS, "target", self.target, f"one of {', '.join(LABEL_COLUMNS)}",
            f"did you mean {near[0]}?" if near else "derived labels follow from these",
        )  # fmt: skip
        found.check(self.features in (PRETRAINED, SCORES), "features", self.features, f"{PRETRAINED} or {SCORES}")
        found.check(2 <= self.folds <= 100, "folds", self.folds, "2 to 100")
        found.check(self.top >= 1, "top", self.top, "1 or more")
        found.check(self.select >= 0, "select", self.select, "1 or more, or 0 to audit labels")
        found.check(self.strategy in STRATEGIES, "strategy", self.strategy, f"one of {', '.join(STRATEGIES)}")
        found.check(self.pool in POOLS, "pool", self.pool, f"one of {', '.join(POOLS)}")
        found.check(self.keep >= 1, "keep", self.keep, "1 or more")
        found.check(self.engine in ENGINES, "engine", self.engine, f"one of {', '.join(ENGINES)}")
        found.check(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        found.raise_if_any()
