"""The options of jobs/nightly.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from fashion_ray.catalog.feed_gates import FeedLimits
from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.config import NAME_PATTERN, JobOptions
from fashion_ray.models.engines import ENGINES, PRECISIONS
from fashion_ray.scoring.gates import Limits

ERROR, SCORE = MISSING = ("error", "score")


def tonight() -> str:
    """Today's date in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, kw_only=True)
class NightlyOptions(JobOptions):
    """Take tonight's feed, score what changed, publish what passes the gates, and tell the pager."""

    feed: str | None = None
    """Tonight's feed, as --source of jobs/ingest.py; {night} in it becomes the night's name. None: the catalog as it is."""

    delta: bool = False
    """The feed has only what is new, changed or withdrawn."""

    labels: str | None = None
    """A CSV of corrections by people (product_id,target,label)."""

    label_column: str = "articleType"
    """The label that a folder's name, a `label` column or an IDX class is."""

    if_missing: str = ERROR
    """Without a feed at its place: error ends with status 2, score goes on with the catalog as it is."""

    night: str = field(default_factory=tonight)
    """The night's name; the same name again says that it is done, or goes on. None given is today's date in UTC."""

    model: str = "champion"
    """The model: an alias of the registry, a version of it, a model_version, or the path of a bundle."""

    status_file: str | None = None
    """Where the pager looks: a path or URI that gets the night's JSON beside reports/nightly/<night>.json."""

    publish_anyway: bool = False
    """Take the feed and publish the scores although a gate refuses, and note it."""

    keep: int = 7
    """How many snapshots of scores are kept; older ones are removed after publishing, never the current one."""

    keep_catalogs: int | None = None
    """How many snapshots of the catalog are kept; none keeps all: promotion looks up those that models were trained on."""

    similar: bool = True
    """Publish the most similar others of every product after the scores, as jobs/similar.py does without options."""

    engine: str = "auto"
    """openvino, torch, or auto: OpenVINO on CPUs, PyTorch on GPUs."""

    precision: str = "auto"
    """bf16, f32, or auto: bf16 where the hardware has it."""

    feed_limits: FeedLimits = field(default_factory=FeedLimits)
    """What tonight's feed may do to the catalog."""

    limits: Limits = field(default_factory=Limits)
    """What tonight's scores may be like."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(self.feed is None or bool(self.feed.strip()), "feed", self.feed, "a zip, a folder or `demo`")
        found.check(self.labels is None or bool(self.labels.strip()), "labels", self.labels, "a CSV file")
        found.check(not self.delta or self.feed is not None, "delta", self.delta, "a --feed that it is said of")
        found.check(self.label_column in LABEL_COLUMNS, "label_column", self.label_column, f"one of {', '.join(LABEL_COLUMNS)}")
        found.check(self.if_missing in MISSING, "if_missing", self.if_missing, f"one of {', '.join(MISSING)}")
        named = NAME_PATTERN.fullmatch(self.night) is not None and self.night != "index"
        found.check(named, "night", self.night, "letters, digits, dots, dashes", "for example 2026-01-31")
        found.check(bool(self.model.strip()), "model", self.model, "an alias, a version, or the path of a bundle")
        given = self.status_file
        found.check(given is None or bool(given.strip("/ ")), "status_file", given, "the path of a file")
        found.check(self.keep >= 1, "keep", self.keep, "1 or more")
        found.check(self.keep_catalogs is None or self.keep_catalogs >= 1, "keep_catalogs", self.keep_catalogs, "1 or more")
        found.check(self.engine in ENGINES, "engine", self.engine, f"one of {', '.join(ENGINES)}")
        found.check(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        found.raise_if_any()
