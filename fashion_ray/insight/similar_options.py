"""The options of jobs/similar.py."""

from __future__ import annotations

from dataclasses import dataclass

from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.config import NAME_PATTERN, JobOptions
from fashion_ray.models.engines import ENGINES, PRECISIONS

METHODS = ("exact", "approximate")
BASELINES = ("", "raw", "classic")
MOST_SIMILAR = 1000


@dataclass(frozen=True, kw_only=True)
class SimilarOptions(JobOptions):
    """Write the most similar others of every product to Parquet, or answer for one product or picture."""

    k: int = 5
    """How many similar products each one gets; fewer where no more pass the filters."""

    snapshot: str | None = None
    """The snapshot of scores whose embeddings are compared; none means the current one."""

    method: str = "exact"
    """exact: every pair is compared; approximate: an index (faiss) is searched, and its recall is measured and noted."""

    exclude_duplicates: bool = True
    """Leave out near-duplicates: products of the same group_id, and those above --duplicate-similarity."""

    duplicate_similarity: float = 0.995
    """The cosine above which two pictures count as the same product."""

    same: tuple[str, ...] = ()
    """Label columns in which a similar product must agree, such as gender masterCategory."""

    other_colour: bool = False
    """Only products of another baseColour."""

    diversity: float = 0.0
    """From 0 to below 1: how much being unlike those already chosen counts (maximal marginal relevance)."""

    product: str | None = None
    """Answer for this product_id at once; publishes nothing."""

    image: str | None = None
    """Answer for this picture, embedded by the champion, at once; publishes nothing."""

    model: str = "champion"
    """The model that embeds --image."""

    baseline: str = ""
    """Compare other features, in a table of their own: raw (the pretrained trunk) or classic (its ImageNet class scores)."""

    compare: bool = False
    """Measure the precision at k of raw, fine-tuned and classic features on labels; publishes no similar products."""

    sample: int = 0
    """With --compare, so many products of the test side, drawn by --seed; 0 means all of them."""

    seed: int = 0
    """Of everything that is drawn: samples and examples."""

    full: bool = False
    """Compute every product again, changed or not."""

    keep: int = 7
    """How many snapshots are kept; older ones are removed after publishing, never the current one."""

    engine: str = "auto"
    """What embeds: openvino, torch, or auto."""

    precision: str = "auto"
    """What it computes in: bf16, f32, or auto."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(1 <= self.k <= MOST_SIMILAR, "k", self.k, f"1 to {MOST_SIMILAR}")
        found.check(
            self.snapshot is None or NAME_PATTERN.fullmatch(self.snapshot) is not None, "snapshot", self.snapshot,
            "a snapshot's name", "python jobs/score.py --list shows them",
        )  # fmt: skip
        found.check(self.method in METHODS, "method", self.method, f"one of {', '.join(METHODS)}")
        found.check(
            0 < self.duplicate_similarity <= 1, "duplicate_similarity", self.duplicate_similarity, "above 0 and at most 1"
        )
        for name in self.same:
            found.check(name in LABEL_COLUMNS, "same", name, f"some of {', '.join(LABEL_COLUMNS)}")
        found.check(
            not (self.other_colour and "baseColour" in self.same), "other_colour", True, "no baseColour in --same beside it"
        )
        found.check(0 <= self.diversity < 1, "diversity", self.diversity, "0 or more and below 1")
        found.check(self.baseline in BASELINES, "baseline", self.baseline, "raw or classic")
        found.check(
            not (self.baseline and self.snapshot), "snapshot", self.snapshot, "none beside --baseline",
            "its features are of the current catalog",
        )  # fmt: skip
        asked = [name for name in ("product", "image", "compare") if getattr(self, name) not in (None, False)]
        found.check(len(asked) < 2, asked[0] if asked else "", True, "one of --product, --image, --compare at a time")
        found.check(
            not (self.image is not None and (self.same or self.other_colour)), "image", self.image,
            "neither --same nor --other-colour beside it", "a picture from outside has no labels",
        )  # fmt: skip
        found.check(
            not (self.image is not None and self.baseline), "image", self.image, "no --baseline beside it",
            "a picture is embedded by the champion",
        )  # fmt: skip
        found.check(self.sample >= 0, "sample", self.sample, "0 or more")
        found.check(self.keep >= 1, "keep", self.keep, "1 or more")
        found.check(self.engine in ENGINES, "engine", self.engine, f"one of {', '.join(ENGINES)}")
        found.check(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        found.raise_if_any()
