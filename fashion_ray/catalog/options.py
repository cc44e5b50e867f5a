"""The options of jobs/ingest.py."""

from __future__ import annotations

from dataclasses import dataclass

from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.config import JobOptions


@dataclass(frozen=True, kw_only=True)
class IngestOptions(JobOptions):
    """Read a product feed into the catalog."""

    source: str | None = None
    """The feed, local or on object storage: a zip or folder in the published layout, a folder per class, Parquet, IDX files;
    or `demo`. None is the demo on an empty root, or, with --labels, no feed at all."""

    delta: bool = False
    """The feed has only what is new, changed or withdrawn; what it does not mention stays as it is."""

    fresh: bool = False
    """The feed is another catalog than the one so far: nothing of that is remembered, neither sides nor corrections. It
    is always so where the demo replaces a catalog, or another catalog the demo."""

    labels: str | None = None
    """A CSV of corrections by people (product_id,target,label), which override every feed from now on."""

    label_column: str = "articleType"
    """The label that a folder's name, a `label` column or an IDX class is."""

    seed: int = 0
    """Which demo catalog is drawn."""

    products: int = 2000
    """How many products the demo catalog has."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(self.source is None or bool(self.source.strip()), "source", self.source, "a zip, a folder or `demo`")
        found.check(self.labels is None or bool(self.labels.strip()), "labels", self.labels, "a CSV file")
        found.check(not self.delta or self.source is not None, "delta", self.delta, "a --source that it is said of")
        found.check(not (self.delta and self.fresh), "fresh", self.fresh, "a full feed, not a --delta")
        found.check(not self.fresh or self.source is not None, "fresh", self.fresh, "a --source that it is said of")
        found.check(self.label_column in LABEL_COLUMNS, "label_column", self.label_column, f"one of {', '.join(LABEL_COLUMNS)}")
        found.check(self.seed >= 0, "seed", self.seed, "0 or more")
        found.check(200 <= self.products <= 1_000_000, "products", self.products, "200 to 1000000")
        found.raise_if_any()
