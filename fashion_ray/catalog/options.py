"""The options of jobs/ingest.py."""

from __future__ import annotations

from dataclasses import dataclass

from fashion_ray.config import JobOptions


@dataclass(frozen=True, kw_only=True)
class IngestOptions(JobOptions):
    """Read a product feed into the catalog."""

    source: str = "demo"
    """The feed: a zip or a folder with styles.csv and images/<id>.jpg, local or on object storage; or `demo`."""

    seed: int = 0
    """Which demo catalog is drawn."""

    products: int = 2000
    """How many products the demo catalog has."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(bool(self.source.strip()), "source", self.source, "a zip, a folder or `demo`")
        found.check(self.seed >= 0, "seed", self.seed, "0 or more")
        found.check(200 <= self.products <= 1_000_000, "products", self.products, "200 to 1000000")
        found.raise_if_any()
