"""What a command line of an ingest asks for: a feed, corrections, the demo; and what it cannot ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fashion_ray import snapshots
from fashion_ray.catalog.options import IngestOptions
from fashion_ray.catalog.request import requested
from fashion_ray.catalog.sources import DemoSource, NoFeed
from fashion_ray.errors import UserError
from fashion_ray.storage import Store

LABELS = "product_id,target,label\na,season,Fall\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty root."""
    return Store(str(tmp_path / "root"))


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """A file of corrections."""
    (tmp_path / "labels.csv").write_text(LABELS)
    return str(tmp_path / "labels.csv")


def publish(store: Store, source: str) -> None:
    """A catalog, as far as a request looks at it."""
    snapshots.publish(store, "catalog", "first", {"source": source, "files": []}, base=None)


def test_nothing_asked_for_is_the_demo_on_an_empty_root_and_on_one_with_a_demo(store: Store) -> None:
    for _ in range(2):
        request = requested(IngestOptions(seed=3, products=300), store)
        assert request.source == DemoSource(seed=3, products=300) and not request.delta and request.corrected is None
        if snapshots.current(store, "catalog") is None:
            publish(store, request.source.name)


def test_nothing_asked_for_does_not_replace_another_catalog(store: Store) -> None:
    publish(store, "/feeds/real.zip")
    with pytest.raises(UserError, match=r"--source: none given.*/feeds/real\.zip.*--source demo"):
        requested(IngestOptions(), store)
    assert requested(IngestOptions(source="demo"), store).source == DemoSource()


def test_a_demo_and_another_catalog_have_nothing_to_do_with_each_other(store: Store, tmp_path: Path) -> None:
    publish(store, DemoSource().name)
    assert not requested(IngestOptions(), store).fresh and requested(IngestOptions(seed=1), store).fresh
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / "feed" / name).parent.mkdir(parents=True)
        (tmp_path / "feed" / name).write_bytes(b"x")
    feed = IngestOptions(source=str(tmp_path / "feed"))
    assert requested(feed, store).fresh
    assert not requested(IngestOptions(source=str(tmp_path / "feed"), delta=True), store).fresh


def test_one_feed_after_another_is_the_same_catalog_unless_said_otherwise(store: Store, tmp_path: Path) -> None:
    publish(store, "/feeds/real.zip")
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / "feed" / name).parent.mkdir(parents=True)
        (tmp_path / "feed" / name).write_bytes(b"x")
    assert not requested(IngestOptions(source=str(tmp_path / "feed")), store).fresh
    assert requested(IngestOptions(source=str(tmp_path / "feed"), fresh=True), store).fresh
    assert requested(IngestOptions(source="demo"), store).fresh
    for wrong in ({"fresh": True}, {"fresh": True, "delta": True, "source": "x"}):
        with pytest.raises(UserError, match="--fresh"):
            IngestOptions(**wrong)  # type: ignore[arg-type]


def test_corrections_alone_are_a_delta_without_a_feed(store: Store, labels: str) -> None:
    publish(store, "/feeds/real.zip")
    request = requested(IngestOptions(labels=labels), store)
    assert request.source == NoFeed() and request.delta and request.corrected == LABELS.encode()


@pytest.mark.parametrize("given", ["--delta", "--labels"])
def test_what_adds_to_a_catalog_needs_one(given: str, store: Store, labels: str) -> None:
    options = IngestOptions(source="demo", delta=True) if given == "--delta" else IngestOptions(labels=labels)
    with pytest.raises(UserError, match=f"{given}: there is no catalog .* Ingest a full feed first"):
        requested(options, store)


def test_a_full_feed_may_bring_corrections_to_an_empty_root(store: Store, labels: str) -> None:
    request = requested(IngestOptions(source="demo", labels=labels), store)
    assert request.source == DemoSource() and not request.delta and request.corrected == LABELS.encode()


def test_corrections_that_cannot_be_read_are_refused(store: Store, labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for location in (f"{labels}.gone", str(Path(labels).parent), "nothing://there"):
        with pytest.raises(UserError, match=r"--labels: .* cannot be read .*; expected a CSV product_id,target,label"):
            requested(IngestOptions(source="demo", labels=location), store)
    monkeypatch.setattr("fashion_ray.catalog.request.MAX_LABELS_BYTES", 10)
    with pytest.raises(UserError, match="expected a CSV of at most 10"):
        requested(IngestOptions(source="demo", labels=labels), store)
