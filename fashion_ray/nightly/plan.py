"""What tonight is about, settled before Ray starts. In: options, a root. Out: a checked feed, a model, the night's key."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import fsspec

from fashion_ray import snapshots, tracking
from fashion_ray.catalog.options import IngestOptions
from fashion_ray.catalog.request import Request, requested
from fashion_ray.config import absolute, without_password
from fashion_ray.errors import UserError
from fashion_ray.nightly.options import SCORE, NightlyOptions
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store, opening_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NightPlan:
    """Tonight."""

    options: NightlyOptions
    store: Store
    tracked: tracking.Tracking
    request: Request | None
    """What is to be ingested; null scores the catalog as it is."""

    feed_missing: bool
    model: ResolvedModel
    key: str
    """Decides whether an earlier attempt did the same: feed, corrections, model and, without a feed, the catalog."""


def feed_of(options: NightlyOptions) -> str | None:
    """Tonight's feed, with the night's name in its place."""
    return options.feed.replace("{night}", options.night) if options.feed is not None else None


def prepare(options: NightlyOptions, store: Store) -> NightPlan:
    """Open the feed and the model. Raises UserError for either, and for a missing feed unless that is expected."""
    feed = feed_of(options)
    missing = feed is not None and not present(feed)
    if missing and feed is not None:
        if options.if_missing != SCORE:
            raise UserError(
                f"--feed: nothing at {without_password(absolute(feed, option='--feed'))!r}; expected tonight's feed. Wait for "
                "it, or pass --if-missing score to score the catalog as it is"
            )
        log.warning("no feed at %s: tonight scores the catalog as it is", without_password(feed))
        feed = None
    request = None
    if feed is not None or options.labels is not None:
        request = _request(options, store, feed)
    catalog = catalog_of(store).name if request is None else None
    tracked = tracking.locate(store)
    model = resolve(options.model, store, tracked)
    parts = (request.source.fingerprint(), request.delta, request.corrected) if request is not None else ("", "", catalog)
    return NightPlan(
        options=options, store=store, tracked=tracked, request=request, feed_missing=missing, model=model,
        key=snapshots.fingerprint(*parts, model.card.model_version),
    )  # fmt: skip


def _request(options: NightlyOptions, store: Store, feed: str | None) -> Request:
    asked = IngestOptions(
        root=options.root, source=feed, delta=options.delta and feed is not None, labels=options.labels,
        label_column=options.label_column,
    )  # fmt: skip
    limits = None if options.publish_anyway else options.feed_limits
    with source_is_feed():
        return dataclasses.replace(requested(asked, store), limits=limits)


@contextmanager
def source_is_feed() -> Iterator[None]:
    """Let the user's mistakes in the block name the option of this job, where jobs/ingest.py has --source."""
    try:
        yield
    except UserError as error:
        if "--source" not in str(error):
            raise
        raise type(error)(str(error).replace("--source", "--feed")) from error


def present(feed: str) -> bool:
    """Whether anything is at a feed's place. Raises UserError if that cannot be found out."""
    if feed == "demo":
        return True
    try:
        filesystem, path = fsspec.core.url_to_fs(absolute(feed, option="--feed"))
        return bool(filesystem.exists(path))
    except opening_errors() as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"--feed: {without_password(feed)!r} cannot be looked for ({error}); expected a path or a URI within reach"
        ) from error
