"""A night's document from its beginning to its end: for the pager and below the root, whatever happens."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from fashion_ray import snapshots
from fashion_ray.errors import ConflictError, GateRefused, UserError
from fashion_ray.nightly.book import FOLDER, Book, StepReport, opened, read, write_overview
from fashion_ray.nightly.document import new
from fashion_ray.storage import Store

COUNTS = {"products_added": 1, "products_changed": 0, "products_removed": 0}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A root with a catalog, as far as its manifest goes."""
    store = Store(str(tmp_path / "root"))
    snapshots.publish(store, "catalog", "c1", {"files": [], "rows": 0}, base=None)
    return store


@pytest.fixture
def pager(tmp_path: Path) -> Path:
    """Where the pager looks."""
    return tmp_path / "deep" / "pager.json"


def told(pager: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pager.read_text())
    return found


def a_night(store: Store, pager: Path, error: BaseException | None = None, key: str = "k") -> Book:
    """A night of one step."""
    with opened(store, "n1", feed="/feeds/n1.zip", status_file=str(pager)) as book:
        if book.is_done(key):
            return book
        book.begin(key, model_version="m", feed_missing=False)
        book.tracked("nightly", "run-1")
        with book.step("ingest"):
            assert told(pager)["status"] == "running" and told(pager)["step"] == "ingest"
            if error is not None:
                raise error
        book.note("ingest", StepReport(sentence="all in", counts=COUNTS, snapshots={"catalog": "c1"}))
    return book


def test_a_night_that_ends_well_says_so_twice_and_a_second_one_does_nothing(store: Store, pager: Path) -> None:
    a_night(store, pager)
    first = told(pager)
    assert first == store.read_json(FOLDER, "n1.json")
    assert (first["status"], first["exit_status"], first["counts"]) == ("ok", 0, COUNTS)
    assert first["ended_at"] >= first["started_at"] and set(first["seconds"]) == {"ingest"}
    written = Path(store.path(FOLDER, "n1.json")).read_bytes()
    pager.unlink()
    again = a_night(store, pager)
    assert again.document is again.earlier and told(pager) == first
    assert Path(store.path(FOLDER, "n1.json")).read_bytes() == written
    assert a_night(store, pager, key="another feed").document["attempts"] == 2
    snapshots.publish(store, "catalog", "c2", {"files": [], "rows": 0}, base=snapshots.current(store, "catalog"))
    assert a_night(store, pager, key="another feed").document["attempts"] == 3


@pytest.mark.parametrize(
    ("error", "status", "exit_status"),
    [
        (UserError("half a zip"), "failed", 2),
        (GateRefused("too many", "reports/x.html"), "gated", 3),
        (OSError("disk"), "failed", 1),
    ],
)
def test_a_night_that_ends_badly_says_how_and_lets_the_error_through(
    error: Exception, status: str, exit_status: int, store: Store, pager: Path
) -> None:
    with pytest.raises(type(error)):
        a_night(store, pager, error)
    found = told(pager)
    assert (found["status"], found["exit_status"], found["step"]) == (status, exit_status, "ingest")
    assert str(error) in found["message"] and found == store.read_json(FOLDER, "n1.json")
    assert ("changes" in found["links"]) == (status == "gated")
    again = a_night(store, pager)
    assert again.document["status"] == "ok" and again.document["attempts"] == 2
    assert again.claim("nightly") == f"{found['claim']}/nightly" and found["claim"], "the same runs of MLflow"
    assert a_night(store, pager, key="another feed").document["claim"] not in (None, found["claim"])


def test_a_night_that_cannot_even_open_its_root_tells_the_pager(tmp_path: Path, pager: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(UserError, match="cannot be written"),
        opened(Store(str(tmp_path / "file" / "root")), "n1", status_file=str(pager)),
    ):
        pytest.fail("the block must not run")
    assert told(pager)["status"] == "failed" and told(pager)["exit_status"] == 2 and told(pager)["step"] == "prepare"


def test_of_two_nights_at_once_the_second_is_refused_and_writes_nothing(store: Store, pager: Path) -> None:
    with opened(store, "n1", status_file=str(pager)) as book:
        book.begin("k", model_version="m", feed_missing=False)
        under_way = told(pager)
        with pytest.raises(ConflictError, match="another night is under way"), opened(store, "n2", status_file=str(pager)):
            pytest.fail("the block must not run")
        assert told(pager) == under_way and read(store, "n2.json") is None
    assert told(pager)["status"] == "ok"


def test_a_pagers_place_that_cannot_be_written_is_the_users_mistake(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"--status-file: .* cannot be written"):
        a_night(store, tmp_path / "file" / "pager.json")
    found = read(store, "n1.json")
    assert found is not None and (found["status"], found["exit_status"]) == ("failed", 2), "below the root it can be told"


def test_a_retry_that_cannot_begin_leaves_what_a_good_night_told(store: Store, pager: Path) -> None:
    a_night(store, pager)
    good = told(pager)
    pager.unlink()
    with pytest.raises(UserError, match="nothing at"), opened(store, "n1", status_file=str(pager)):
        raise UserError("--feed: nothing at '/feeds/n1.zip'")  # it was tidied away in the meantime
    assert told(pager) == good == read(store, "n1.json")


def test_a_retry_that_cannot_begin_keeps_what_the_next_one_goes_on_by(store: Store, pager: Path) -> None:
    with pytest.raises(OSError, match="disk"):
        a_night(store, pager, OSError("disk"))
    died = told(pager)
    with pytest.raises(UserError, match="nothing at"), opened(store, "n1", status_file=str(pager)):
        raise UserError("--feed: nothing at '/feeds/n1.zip'")
    found = told(pager)
    assert (found["status"], found["step"], found["attempts"], found["key"]) == ("failed", "prepare", 2, "k")
    assert (found["claim"], found["runs"]) == (died["claim"], died["runs"])
    last = a_night(store, pager)
    assert last.document["attempts"] == 3 and last.document["claim"] == died["claim"]


def test_what_the_attempt_that_died_had_counted_is_counted(store: Store, pager: Path) -> None:
    with pytest.raises(OSError, match="disk"), opened(store, "n1") as book:
        book.begin("k", model_version="m", feed_missing=False)
        with book.step("ingest"):
            pass
        book.note("ingest", StepReport(sentence="all in", counts=COUNTS))
        with book.step("score"):
            raise OSError("disk")
    nothing = dict.fromkeys(COUNTS, 0) | {"feed_rows": 7}
    with opened(store, "n1") as book:
        book.begin("k", model_version="m", feed_missing=False)
        with book.step("ingest"):
            pass
        book.note("ingest", StepReport(sentence="nothing new", counts=nothing, unchanged=True))
    assert book.document["counts"] == COUNTS | {"feed_rows": 7} and book.document["attempts"] == 2


def test_a_night_that_loses_a_race_leaves_the_winners_document(store: Store) -> None:
    with pytest.raises(ConflictError), opened(store, "n1") as book:
        book.begin("k", model_version="m", feed_missing=False)
        won = dict(book.document) | {"status": "ok"}
        store.write_json(won, FOLDER, "n1.json")  # as another process may on object storage
        raise ConflictError("catalog: another ingest published")
    assert read(store, "n1.json") == won


def test_each_step_is_a_line_with_its_fields(store: Store, pager: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("fashion_ray")
    before = logger.propagate
    logger.propagate = True
    try:
        with caplog.at_level(logging.INFO, logger="fashion_ray"):
            a_night(store, pager)
    finally:
        logger.propagate = before
    step, end = [record for record in caplog.records if record.name == "fashion_ray.nightly.book"]
    assert step.getMessage().startswith("ingest: all in (") and end.getMessage().startswith("night n1 ok: 1 added")
    assert step.__dict__["fields"]["stage"] == "ingest" and end.__dict__["fields"]["exit_status"] == 0


def test_the_page_of_the_nights_shows_each_and_escapes_it(store: Store) -> None:
    for number, status in ((1, "ok"), (2, "failed")):
        night = new(f"n{number}", feed=None, started_at=f"2026-01-0{number}") | {"status": status}
        night["message"], night["figures"] = "<script>x</script>", {"drift/articleType/label_psi": 0.01234}
        store.write_json(night, FOLDER, f"n{number}.json")
    store.write_bytes(b"{half", FOLDER, "n3.json")
    write_overview(store)
    page = store.read_bytes(FOLDER, "index.html").decode()
    assert "<script>x" not in page and "&lt;script&gt;x" in page
    assert page.index(">n2<") < page.index(">n1<") and "0.0123" in page and "the last night (n2) is failed" in page
    store.remove(FOLDER)
    write_overview(store)
    assert "No night has ended yet" in store.read_bytes(FOLDER, "index.html").decode()
