"""A night's document while it is written. In: steps as they begin and end. Out: the JSON below the root and for the pager.

reports/nightly/<night>.json   each night's document (nightly.document)
reports/nightly/index.html     the last nights, a line each
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fashion_ray import snapshots
from fashion_ray.config import absolute, without_password
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.nightly import document as documents
from fashion_ray.storage import Store, storage_errors, to_json

log = logging.getLogger(__name__)

FOLDER = "reports/nightly"
SHOWN_NIGHTS = 30


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step has to say."""

    sentence: str
    """For the log, on one line."""

    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    """Table to snapshot."""

    unchanged: bool = False
    """Whether it found its work done. The counts of the attempt that did it count then, if that was this night's."""

    links: Mapping[str, str] = field(default_factory=dict)
    """Pages by what they are, as a user would type their paths."""


class Book:
    """The document of the night that is under way, and the one of the same night that was there before."""

    def __init__(self, store: Store, night: str, *, feed: str | None, status_file: str | None) -> None:
        self.store, self._status_file = store, status_file
        self.document = documents.new(night, feed=feed, started_at=snapshots.now())
        self.earlier: documents.Document | None = None

    def recall(self) -> None:
        """Read what an earlier attempt at this night left."""
        self.earlier = read(self.store, f"{self.document['night']}.json")

    def is_done(self, key: str) -> bool:
        """Whether an earlier attempt ended well and nothing has changed since; the document is that one's then."""
        catalog = snapshots.current(self.store, "catalog")
        done = documents.is_done(self.earlier, key=key, catalog=catalog.name if catalog else None)
        if done and self.earlier is not None:
            self.document = self.earlier
        return done

    def begin(self, key: str, *, model_version: str, feed_missing: bool) -> None:
        """The night is under way, or goes on."""
        self.document.update(key=key, model_version=model_version, feed_missing=feed_missing, claim=uuid.uuid4().hex)
        documents.goes_on(self.document, self.earlier)
        self.write()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step, timed, in the document while it lasts."""
        self.document["step"] = name
        self.write()
        began = time.perf_counter()
        try:
            yield
        finally:
            self.document["seconds"][name] = round(time.perf_counter() - began, 1)

    def note(self, name: str, report: StepReport) -> None:
        """A step ended well: into the document, and a line into the log."""
        for key in ("figures", "snapshots", "links"):
            self.document[key].update(getattr(report, key))
        before = self.document["counts"]
        self.document["counts"] = {**report.counts, **before} if report.unchanged else {**before, **report.counts}
        seconds = self.document["seconds"][name]
        fields = {"night": self.document["night"], "stage": name, "seconds": seconds, **report.counts}
        log.info("%s: %s (%.1f s)", name, report.sentence, seconds, extra={"fields": fields})

    def claim(self, step: str) -> str:
        """By which the MLflow run of a step is found again by another attempt at the night."""
        return f"{self.document['claim']}/{step}"

    def tracked(self, step: str, run_id: str) -> None:
        """Tell the MLflow run of a step, before it does anything."""
        self.document["runs"][step] = run_id
        self.write()

    def close(self, error: BaseException | None, page: str = "") -> None:
        """The night has ended: the document, the page of the last nights, a line into the log."""
        status, exit_status, message = documents.outcome(error)
        self.document.update(status=status, exit_status=exit_status, message=message, ended_at=snapshots.now())
        if page:
            self.document["links"]["changes"] = self.store.show(page)
        line = documents.summary(self.document)
        told = {key: self.document[key] for key in ("night", "status", "exit_status", "step", "counts", "snapshots")}
        log.log(logging.INFO if error is None else logging.ERROR, "%s", line, extra={"fields": told})
        self.write()

    def write(self) -> None:
        """Put the document where the pager looks, and below the root. Raises UserError if the pager's place is none."""
        content = to_json(self.document)
        try:
            self._tell_pager(content)
        finally:  # either place must be told although the other fails
            self.store.write_bytes(content, FOLDER, f"{self.document['night']}.json")

    def _tell_pager(self, content: bytes) -> None:
        if self._status_file is None:
            return
        folder, _, name = absolute(self._status_file, option="--status-file").rpartition("/")
        try:
            Store(folder or "/").write_bytes(content, name)
        except storage_errors() as error:
            raise UserError(
                f"--status-file: {without_password(self._status_file)!r} cannot be written ({error}); expected a file that "
                "may be created or replaced"
            ) from error


@contextmanager
def opened(store: Store, night: str, *, feed: str | None = None, status_file: str | None = None) -> Iterator[Book]:
    """The book of a night, closed by how the block ends. Raises ConflictError while another night is under way below the root.

    Object storage has no locks: there two nights may be under way, and the commits of their tables decide between them.
    """
    book = Book(store, night, feed=feed, status_file=status_file)
    refused = None
    try:
        store.check_writable()
        with store.held(FOLDER, ".lock") as free:
            if not free:
                refused = ConflictError(
                    f"nightly: another night is under way below {store.show()}; wait for it to end. Its state is in {FOLDER}/"
                )
                raise refused
            book.recall()
            yield book
            if book.document is book.earlier:
                book.write()  # for the pager, whose file may be another one than before
                return
            book.close(None)
            write_overview(store)
    except BaseException as error:
        if error is not refused:  # the document belongs to the night that is under way
            _close_in_trouble(book, error)
        raise


def _close_in_trouble(book: Book, error: BaseException) -> None:
    expected: tuple[type[Exception], ...] = (UserError, *storage_errors())
    try:
        rival = read(book.store, f"{book.document['night']}.json") if isinstance(error, ConflictError) else None
        if rival is not None and rival["status"] == documents.OK and rival["key"] == book.document["key"]:
            log.warning("the same night was ended by another process: %s", documents.summary(rival))
            return
        if book.document["key"] is None and book.earlier is not None:  # the attempt did not get as far as to begin
            if book.earlier["status"] == documents.OK:
                log.warning(
                    "what an earlier attempt published stays, and so does its document: %s", documents.summary(book.earlier)
                )
                book.document = book.earlier
                book.write()
                return
            book.document.update(key=book.earlier.get("key"), model_version=book.earlier.get("model_version"))
            documents.goes_on(book.document, book.earlier)
        book.close(error, getattr(error, "page", ""))
        write_overview(book.store)
    except expected as trouble:  # the root may be the very thing that failed; the error itself must come through
        log.error("the night's report cannot be written: %s", trouble)


def write_overview(store: Store) -> None:
    """The page of the last nights."""
    from fashion_ray.pages.nights_report import nights_report

    names = [name for name in store.names(FOLDER) if name.endswith(".json")]
    found = [read(store, name) for name in names[-SHOWN_NIGHTS:]]
    page = nights_report([one for one in found if one is not None])
    store.write_bytes(page.encode(), FOLDER, "index.html")


def read(store: Store, name: str) -> dict[str, Any] | None:
    """A document below reports/nightly/; none if it is not there, or is none."""
    try:
        found = json.loads(store.read_bytes(FOLDER, name))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == documents.SCHEMA else None
