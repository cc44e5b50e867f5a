"""What an ingest was asked for. In: options and a root. Out: a source and how it is to be taken, checked."""

from __future__ import annotations

from dataclasses import dataclass

import fsspec

from fashion_ray import snapshots
from fashion_ray.catalog.feed_gates import FeedLimits
from fashion_ray.catalog.options import IngestOptions
from fashion_ray.catalog.sources import NoFeed, Source, open_source
from fashion_ray.catalog.splits import DEFAULT_RATIOS
from fashion_ray.config import absolute, without_password
from fashion_ray.errors import UserError
from fashion_ray.storage import Store, opening_errors

MAX_LABELS_BYTES = 256 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be ingested, and how."""

    source: Source
    delta: bool = False
    """Whether the feed has only what is new, changed or withdrawn."""

    fresh: bool = False
    """Whether it is another catalog: product ids mean other products, so nothing of the one so far is built on."""

    corrected: bytes | None = None
    """A CSV of corrections (catalog.corrections), which add to those of earlier ingests."""

    ratios: tuple[float, float, float] = DEFAULT_RATIOS

    limits: FeedLimits | None = None
    """What the feed may do to the catalog; null takes it as it is, for somebody who looks at the page."""


def requested(options: IngestOptions, store: Store) -> Request:
    """The request of a command line. Raises UserError if it is not clear, or a file cannot be read."""
    base = snapshots.current(store, "catalog")
    corrected = _content(options.labels) if options.labels is not None else None
    if base is None and (options.delta or (options.source is None and options.labels is not None)):
        given = "--delta" if options.delta else "--labels"
        raise UserError(
            f"{given}: there is no catalog below {store.uri!r} yet; expected one to add to. Ingest a full feed first"
        )
    if options.source is not None:
        source = open_source(options.source, seed=options.seed, products=options.products, label_column=options.label_column)
        return Request(
            source=source,
            delta=options.delta,
            fresh=options.fresh or (not options.delta and _another(base, source)),
            corrected=corrected,
        )
    if corrected is not None:
        return Request(source=NoFeed(), delta=True, corrected=corrected)
    if base is not None and not _is_demo(origin_of(base)):
        raise UserError(
            f"--source: none given, but there is a catalog already, from {origin_of(base)!r}; expected a feed. "
            "Pass --source FEED, or --source demo to replace it by the demo"
        )
    source = open_source("demo", seed=options.seed, products=options.products)
    return Request(source=source, fresh=_another(base, source))


def _another(base: snapshots.Snapshot | None, source: Source) -> bool:
    """Whether a feed has nothing to do with the catalog so far: of the two one is a demo, and not the same one."""
    if base is None or origin_of(base) == source.name:
        return False
    return _is_demo(origin_of(base)) or _is_demo(source.name)


def origin_of(catalog: snapshots.Snapshot) -> str:
    """The name of the full feed that a catalog goes back to."""
    return str(catalog.manifest.get("origin", catalog.manifest["source"]))


def _is_demo(name: str) -> bool:
    return name.startswith("demo (")


def _content(location: str) -> bytes:
    shown = without_password(location)
    try:
        filesystem, path = fsspec.core.url_to_fs(absolute(location, option="--labels"))
        size = filesystem.size(path) or 0
        if size > MAX_LABELS_BYTES:
            raise UserError(f"--labels: {shown!r} has {size} bytes, expected a CSV of at most {MAX_LABELS_BYTES}")
        return bytes(filesystem.cat_file(path))
    except opening_errors() as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--labels: {shown!r} cannot be read ({error}); expected a CSV product_id,target,label") from error
