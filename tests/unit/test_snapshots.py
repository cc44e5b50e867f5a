"""Published tables: one winner, nothing half, and a log that decides what readers see."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

TABLE = "catalog"


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty root, once in a folder and once on a file system of fsspec's, as object storage is."""
    if request.param == "local":
        yield Store(str(tmp_path / "root"))
        return
    name = f"test-{uuid.uuid4().hex}"
    yield Store(f"memory://{name}/root")
    memory = fsspec.filesystem("memory")
    if memory.exists(f"/{name}"):
        memory.rm(f"/{name}", recursive=True)


def publish(store: Store, name: str, base: Snapshot | None, **facts: Any) -> Snapshot:
    """Publish a snapshot of two files."""
    parts, table = [f"part-{number}.parquet" for number in range(2)], pa.table({"id": [name]})
    files = [snapshots.file_entry(part, 1, store.write_table(table, snapshots.staging(TABLE, name), part)) for part in parts]
    return snapshots.publish(store, TABLE, name, {"files": files, **facts}, base=base)


def pointer(store: Store) -> dict[str, Any]:
    """What CURRENT.json says."""
    return store.read_json(TABLE, "CURRENT.json")


def test_nothing_is_current_before_the_first_publication(store: Store) -> None:
    assert snapshots.current(store, TABLE) is None
    snapshots.repair_pointer(store, TABLE)
    assert not store.exists(TABLE)


def test_what_is_published_is_current(store: Store) -> None:
    published = publish(store, "one", None, rows=2)
    assert snapshots.current(store, TABLE) == published
    assert (published.table, published.name, published.sequence) == (TABLE, "one", 1)
    assert published.manifest["rows"] == 2
    assert [store.read_table(file)["id"].to_pylist() for file in published.files] == [["one"], ["one"]]


def test_the_manifest_lies_in_the_snapshot_and_names_it(store: Store) -> None:
    published = publish(store, "one", None, rows=2)
    manifest = store.read_json(published.folder, "_manifest.json")
    assert manifest == published.manifest
    assert manifest["table"] == TABLE and manifest["snapshot"] == "one"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["published_at"])


def test_each_publication_stands_on_the_one_before_it(store: Store) -> None:
    one = publish(store, "one", None)
    two = publish(store, "two", one)
    assert two.sequence == 2
    assert snapshots.current(store, TABLE) == two
    assert [store.read_table(file)["id"].to_pylist() for file in one.files] == [["one"], ["one"]]


def test_more_than_nine_publications_keep_their_order(store: Store) -> None:
    last: Snapshot | None = None
    for number in range(12):
        last = publish(store, f"s{number}", last)
    assert snapshots.current(store, TABLE) == last
    assert last is not None and last.sequence == 12


def test_going_back_is_one_more_publication(store: Store) -> None:
    one = publish(store, "one", None, rows=1)
    two = publish(store, "two", one, rows=2)
    back = snapshots.publish(store, TABLE, "one", one.manifest, base=two)
    now = snapshots.current(store, TABLE)
    assert now == back and back.sequence == 3 and back.files == one.files and back.manifest["rows"] == 1


def test_tables_do_not_see_each_other(store: Store) -> None:
    publish(store, "one", None)
    assert snapshots.current(store, "scores") is None
    assert snapshots.publish(store, "scores", "night", {"files": []}, base=None).sequence == 1


@pytest.mark.parametrize("base_was_seen", [False, True])
def test_publishing_on_a_base_that_has_moved_is_a_conflict(store: Store, base_was_seen: bool) -> None:
    one = publish(store, "one", None)
    two = publish(store, "two", one)
    with pytest.raises(ConflictError) as caught:
        publish(store, "three", one if base_was_seen else None)
    assert isinstance(caught.value, UserError) and TABLE in str(caught.value)
    assert snapshots.current(store, TABLE) == two
    assert pointer(store)["snapshot"] == "snapshots/two"


def test_a_publisher_that_lost_changes_nothing_that_is_published(store: Store) -> None:
    one = publish(store, "one", None, run_id="the winner")
    with pytest.raises(ConflictError):
        publish(store, "one", None, run_id="a rival that made the same snapshot")
    assert snapshots.current(store, TABLE) == one
    assert store.read_json(one.folder, "_manifest.json")["run_id"] == "the winner"


def test_the_pointer_leads_to_the_current_folder(store: Store) -> None:
    one = publish(store, "one", None)
    assert pointer(store)["snapshot"] == "snapshots/one" and pointer(store)["sequence"] == 1
    publish(store, "two", one)
    assert store.exists(TABLE, pointer(store)["snapshot"], "_manifest.json")
    assert pointer(store)["snapshot"] == "snapshots/two"


@pytest.mark.parametrize(
    "damage",
    [None, b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"snapshot": "snapshots/one", "sequence": 1}', b'{"snapshot": "x"}'],
)
def test_the_log_decides_and_the_pointer_is_repaired_from_it(store: Store, damage: bytes | None) -> None:
    two = publish(store, "two", publish(store, "one", None))
    right = pointer(store)
    if damage is None:
        store.remove(TABLE, "CURRENT.json")
    else:
        store.write_bytes(damage, TABLE, "CURRENT.json")
    assert snapshots.current(store, TABLE) == two
    snapshots.repair_pointer(store, TABLE)
    assert pointer(store) == right


def test_a_damaged_pointer_does_not_stop_the_next_publication(store: Store) -> None:
    one = publish(store, "one", None)
    store.write_bytes(b'{"snapsh', TABLE, "CURRENT.json")
    two = publish(store, "two", one)
    assert snapshots.current(store, TABLE) == two
    assert pointer(store)["snapshot"] == "snapshots/two"


def test_a_right_pointer_is_not_written_again(store: Store) -> None:
    publish(store, "one", None)
    before = store.filesystem.modified(store.path(TABLE, "CURRENT.json"))
    snapshots.repair_pointer(store, TABLE)
    assert store.filesystem.modified(store.path(TABLE, "CURRENT.json")) == before


def test_a_folder_without_a_commit_is_invisible(store: Store) -> None:
    for name in ("zzz-first", "one"):
        store.write_json({"files": []}, snapshots.staging(TABLE, name), "_manifest.json")
    assert snapshots.current(store, TABLE) is None
    one = publish(store, "one", None)
    store.write_json({"files": []}, snapshots.staging(TABLE, "zzz-second"), "_manifest.json")
    snapshots.repair_pointer(store, TABLE)
    assert snapshots.current(store, TABLE) == one
    assert pointer(store)["snapshot"] == "snapshots/one"


def test_a_half_written_commit_is_invisible(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    one = publish(store, "one", None)
    (tmp_path / TABLE / "log" / ".00000002.json.0123.tmp").write_bytes(b'{"snap')
    (tmp_path / TABLE / "log" / "00000002.json.part").write_bytes(b'{"snap')
    assert snapshots.current(store, TABLE) == one
    assert publish(store, "two", one).sequence == 2


@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize("same_name", [False, True])
def test_of_many_publishers_on_one_base_exactly_one_wins(tmp_path: Path, attempt: int, same_name: bool) -> None:
    store = Store(str(tmp_path))
    base = publish(store, "base", None)
    barrier = threading.Barrier(4)

    def attempt_to_publish(number: int) -> Snapshot | None:
        barrier.wait(timeout=20)
        try:
            return snapshots.publish(store, TABLE, "same" if same_name else f"s{number}", {"files": []}, base=base)
        except ConflictError:
            return None

    with ThreadPoolExecutor(4) as pool:
        won = [result for result in pool.map(attempt_to_publish, range(4)) if result]
    assert len(won) == 1 and won[0].sequence == 2
    current = snapshots.current(store, TABLE)
    assert current is not None and current.name == won[0].name and current.sequence == 2
    assert store.names(TABLE, "log") == ["00000001.json", "00000002.json"]
    assert json.loads((tmp_path / TABLE / "CURRENT.json").read_text())["snapshot"] == f"snapshots/{won[0].name}"


def test_fingerprints_hold_still_and_tell_pieces_apart() -> None:
    assert snapshots.fingerprint("a", 1, (0.8, 0.1)) == snapshots.fingerprint("a", 1, (0.8, 0.1))
    assert re.fullmatch(r"[0-9a-f]{16}", snapshots.fingerprint())
    different = [("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), ("a",), (), ("a", "c")]
    assert len({snapshots.fingerprint(*parts) for parts in different}) == len(different)


def test_an_earlier_snapshot_becomes_current_by_one_more_commit(store: Store) -> None:
    one = publish(store, "one", None)
    two = publish(store, "two", one)
    back = snapshots.roll_back(store, TABLE, None)
    assert (back.name, back.sequence, back.manifest) == ("one", 3, one.manifest)
    assert snapshots.current(store, TABLE) == back and pointer(store)["snapshot"] == "snapshots/one"
    assert snapshots.roll_back(store, TABLE, "two").sequence == 4
    assert [commit.name for commit in snapshots.history(store, TABLE)] == ["one", "two", "one", "two"]
    assert publish(store, "three", snapshots.current(store, TABLE)).sequence == 5
    assert two.manifest == snapshots.history(store, TABLE)[1].manifest


def test_what_cannot_be_rolled_back_to_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match="no current snapshot"):
        snapshots.roll_back(store, TABLE, None)
    publish(store, "one", None)
    for name in (None, "nonsense"):
        with pytest.raises(UserError, match=r"expected one of the snapshots that are kept: one$"):
            snapshots.roll_back(store, TABLE, name)


def test_the_last_snapshots_are_kept_and_the_current_one_always(store: Store) -> None:
    base = None
    for name in ("one", "two", "three", "four"):
        base = publish(store, name, base)
    snapshots.roll_back(store, TABLE, "one")
    assert snapshots.retain(store, TABLE, 2) == ["three", "two"]
    assert store.names(TABLE, "snapshots") == ["four", "one"]
    assert [commit.manifest is None for commit in snapshots.history(store, TABLE)] == [False, True, True, False, False]
    assert snapshots.retain(store, TABLE, 1) == ["four"] and snapshots.current(store, TABLE).name == "one"  # type: ignore[union-attr]
    with pytest.raises(UserError, match="kept: one"):
        snapshots.roll_back(store, TABLE, "two")


def stage(store: Store, name: str, room: str = "snapshots") -> None:
    """A folder that no commit names."""
    store.write_bytes(b"x", TABLE, room, name, "part-0.parquet")
    store.write_bytes(b"{}", TABLE, room, name, "_receipts", "part-0.parquet.json")


def test_a_folder_without_a_commit_is_removed_after_a_day_without_a_write(store: Store) -> None:
    one = publish(store, "one", None)
    stage(store, "refused")
    stage(store, "begun", room="staging")
    later = datetime.now(UTC) + timedelta(days=1, minutes=1)
    assert snapshots.retain(store, TABLE, 7) == []
    assert snapshots.retain(store, TABLE, 7, at=later - timedelta(minutes=2)) == []
    assert sorted(snapshots.retain(store, TABLE, 7, at=later)) == ["begun", "refused"]
    assert store.names(TABLE, "snapshots") == ["one"] and store.names(TABLE, "staging") == []
    assert snapshots.current(store, TABLE) == one and snapshots.is_whole(store, one)


def test_a_folder_is_as_young_as_its_youngest_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    publish(store, "one", None)
    stage(store, "refused")
    old = time.time() - 3 * 86_400
    for path in tmp_path.rglob("refused/**/*"):
        os.utime(path, (old, old))
    store.write_bytes(b"", TABLE, "snapshots", "refused", "_begun.json")
    assert snapshots.retain(store, TABLE, 7) == []
    os.utime(tmp_path / TABLE / "snapshots" / "refused" / "_begun.json", (old, old))
    assert snapshots.retain(store, TABLE, 7) == ["refused"]


def test_what_a_removal_that_broke_off_has_left_is_removed(store: Store) -> None:
    two = publish(store, "two", publish(store, "one", None))
    store.remove(TABLE, "snapshots", "one", "_manifest.json")
    assert snapshots.retain(store, TABLE, 7) == []
    assert snapshots.retain(store, TABLE, 7, at=datetime.now(UTC) + timedelta(days=2)) == ["one"]
    assert store.names(TABLE, "snapshots") == ["two"] and snapshots.current(store, TABLE) == two


def test_a_snapshot_is_whole_while_its_files_are_as_long_as_they_were(store: Store) -> None:
    written = store.write_table(pa.table({"id": [1]}), snapshots.staging(TABLE, "one"), "part-0.parquet")
    one = snapshots.publish(store, TABLE, "one", {"files": [snapshots.file_entry("part-0.parquet", 1, written)]}, base=None)
    assert snapshots.is_whole(store, one)
    content = store.read_bytes(one.files[0])
    store.write_bytes(content[:-1], one.files[0])
    assert not snapshots.is_whole(store, one)
    store.remove(one.files[0])
    assert not snapshots.is_whole(store, one)


def test_a_rival_with_the_same_files_leaves_the_manifest_of_the_winner(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store.exists

    def the_winner_is_faster(self: Store, *parts: str) -> bool:
        found = real(self, *parts)
        if parts[-1] == "00000001.json" and not found:
            monkeypatch.undo()
            publish(store, "one", None, run_id="the winner")
        return found

    monkeypatch.setattr(Store, "exists", the_winner_is_faster)
    with pytest.raises(ConflictError):
        publish(store, "one", None, run_id="the rival")
    current = snapshots.current(store, TABLE)
    assert current is not None and current.manifest["run_id"] == "the winner"
