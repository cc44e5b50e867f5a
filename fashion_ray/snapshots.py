"""Published tables: immutable folders of Parquet behind a log of commits. In: a finished folder. Out: a snapshot.

A commit is the creation, if absent, of the next numbered entry of the log, so of two publishers one wins.
`CURRENT.json` is derived from the log for readers who look a path up; it can be rebuilt at any time.

    <table>/CURRENT.json           {"snapshot": "snapshots/<name>", "sequence": 3}
    <table>/log/00000003.json      the commits, oldest first
    <table>/snapshots/<name>/      part files and _manifest.json
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from fashion_ray.errors import ConflictError, UserError
from fashion_ray.storage import Store, Written, to_json

MANIFEST = "_manifest.json"

READS = 8
"""Files of a table that are read at once."""

ABANDONED_AFTER = timedelta(days=1)
"""A folder that grows is written to more often than that."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A published table."""

    table: str
    name: str
    sequence: int
    manifest: dict[str, Any]

    @property
    def folder(self) -> str:
        """The snapshot's folder below the root."""
        return f"{self.table}/snapshots/{self.name}"

    @property
    def files(self) -> list[str]:
        """Its Parquet files below the root, in order."""
        return [f"{self.folder}/{file['name']}" for file in self.manifest["files"]]


def current(store: Store, table: str) -> Snapshot | None:
    """The snapshot that readers see, or none if nothing was ever published. The log decides, not CURRENT.json."""
    entries = _log(store, table)
    if not entries:
        return None
    try:
        commit = store.read_json(table, "log", entries[-1])
        folder, sequence = str(commit["snapshot"]), int(commit["sequence"])
        if ".." in folder or folder.startswith("/"):
            raise ValueError(f"a folder outside the table: {folder!r}")
        manifest = store.read_json(table, folder, MANIFEST)
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise UserError(
            f"{table}: the commit {store.show(table, 'log', entries[-1])} cannot be read ({type(error).__name__}: {error}); "
            "expected one that a job wrote. Restore it, or remove it to go back to the commit before"
        ) from error
    return Snapshot(table=table, name=folder.rsplit("/", 1)[-1], sequence=sequence, manifest=manifest)


def placed_rows(store: Store, snapshot: Snapshot, columns: Sequence[str]) -> pa.Table:
    """Columns of a whole snapshot, and where each row lies: `part`, the number of its file, and `position` in it."""
    tables = []
    files = [entry["name"] for entry in snapshot.manifest["files"]]
    for number, table in enumerate(read_files(store, snapshot.folder, files, columns)):
        table = table.append_column("part", pa.array([number] * table.num_rows, type=pa.int32()))
        tables.append(table.append_column("position", pa.array(range(table.num_rows), type=pa.int32())))
    return pa.concat_tables(tables).combine_chunks()


def read_files(store: Store, folder: str, files: Sequence[str], columns: Sequence[str]) -> list[pa.Table]:
    """Columns of some Parquet files of a folder, several at once, since on object storage each is some round trips."""
    with ThreadPoolExecutor(READS) as pool:
        read = pool.map(lambda file: store.read_table(folder, file, columns=list(columns)).select(list(columns)), files)
        return list(read)


def sizes(store: Store, folder: str) -> dict[str, int]:
    """The files that lie in a folder and their sizes in bytes, in one listing; none if there is no such folder."""
    try:
        listed = store.filesystem.ls(store.path(folder), detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in listed if entry["type"] == "file"}


def is_whole(store: Store, snapshot: Snapshot) -> bool:
    """Whether every file of a snapshot is there, as long as its manifest says."""
    there = sizes(store, snapshot.folder)
    return all(there.get(file["name"]) == file["size_bytes"] for file in snapshot.manifest["files"])


def staging(table: str, name: str) -> str:
    """The folder below the root where a snapshot grows before it is published; no reader looks there before the commit."""
    return f"{table}/snapshots/{name}"


def publish(store: Store, table: str, name: str, manifest: dict[str, Any], *, base: Snapshot | None) -> Snapshot:
    """Make a finished folder the current snapshot, on top of the one that its maker saw.

    Raises ConflictError if another run published since.
    """
    sequence = (base.sequence if base else 0) + 1
    folder = f"snapshots/{name}"
    sealed = {**manifest, "table": table, "snapshot": name, "published_at": now()}
    # Its own token tells this commit from a rival's where object storage took it but the answer was lost on its way.
    entry = {"snapshot": folder, "sequence": sequence, "published_at": sealed["published_at"], "commit": uuid.uuid4().hex}
    taken = store.exists(table, "log", f"{sequence:08d}.json")
    if not taken:
        _seal(store, table, folder, sealed)
    if taken or not _committed(store, to_json(entry), table, "log", f"{sequence:08d}.json"):
        raise ConflictError(
            f"{table}: another run published snapshot {sequence} while this one was at work, so this one was not "
            "published; run the same command again to build on the newer one"
        )
    repair_pointer(store, table)
    return Snapshot(table=table, name=name, sequence=sequence, manifest=store.read_json(table, folder, MANIFEST))


def _committed(store: Store, entry: bytes, *parts: str) -> bool:
    return store.create_bytes(entry, *parts) or store.read_bytes(*parts) == entry


def _seal(store: Store, table: str, folder: str, manifest: dict[str, Any]) -> None:
    """Write a manifest, unless one of the same files is there: a rival with the same work may have published it already."""
    created = store.create_bytes(to_json(manifest), table, folder, MANIFEST)
    if not created and not _published_before(store, table, folder, manifest["files"]):
        store.write_json(manifest, table, folder, MANIFEST)


def _published_before(store: Store, table: str, folder: str, files: list[dict[str, Any]]) -> bool:
    """Whether the folder was published with these very files, so that its manifest stays as it is."""
    try:
        return bool(store.read_json(table, folder, MANIFEST)["files"] == files)
    except (FileNotFoundError, ValueError, KeyError):
        return False


def repair_pointer(store: Store, table: str) -> None:
    """Rewrite CURRENT.json from the log, as after a run that died between its commit and its pointer."""
    seen: list[str] = []
    while (entries := _log(store, table)) != seen:  # another run may commit while the pointer is written
        commit = store.read_json(table, "log", entries[-1])
        try:
            pointer = store.read_json(table, "CURRENT.json")
        except (FileNotFoundError, ValueError):
            pointer = {}
        if pointer != commit:
            store.write_json(commit, table, "CURRENT.json")
        seen = entries


def file_entry(name: str, rows: int, written: Written) -> dict[str, Any]:
    """A file as manifests list it."""
    return {"name": name, "sha256": written.sha256, "rows": rows, "size_bytes": written.size_bytes}


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fingerprint(*parts: object) -> str:
    """A short hash that names a piece of work by everything that decides its result."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()[:16]


def _log(store: Store, table: str) -> list[str]:
    return [name for name in store.names(table, "log") if re.fullmatch(r"\d{8}\.json", name)]


@dataclass(frozen=True, kw_only=True)
class Commit:
    """An entry of the log."""

    sequence: int
    name: str
    published_at: str
    manifest: dict[str, Any] | None
    """Null if the snapshot's folder was removed."""


def history(store: Store, table: str) -> list[Commit]:
    """Every commit, oldest first; the last one is current."""
    found = []
    for entry in _log(store, table):
        commit = store.read_json(table, "log", entry)
        folder = str(commit["snapshot"])
        try:
            manifest = store.read_json(table, folder, MANIFEST)
        except FileNotFoundError:
            manifest = None
        found.append(
            Commit(
                sequence=int(commit["sequence"]),
                name=folder.rsplit("/", 1)[-1],
                published_at=str(commit["published_at"]),
                manifest=manifest,
            )
        )
    return found


def roll_back(store: Store, table: str, name: str | None) -> Snapshot:
    """Make an earlier snapshot current by one more commit: the named one, or the last other than the current.

    Raises UserError if there is no such snapshot, ConflictError if another run published meanwhile.
    """
    commits = history(store, table)
    kept = [commit for commit in commits if commit.manifest is not None]
    shown = ", ".join(dict.fromkeys(commit.name for commit in reversed(kept))) or "none"
    if not kept or kept[-1].sequence != commits[-1].sequence:
        raise UserError(f"--rollback: {table} has no current snapshot; expected one that a job published")
    earlier = [commit for commit in kept if (commit.name == name if name else commit.name != kept[-1].name)]
    if not earlier:
        raise UserError(f"--rollback: got {name or 'the one before'!r}, expected one of the snapshots that are kept: {shown}")
    base = current(store, table)
    manifest = earlier[-1].manifest
    assert base is not None and manifest is not None
    return publish(store, table, earlier[-1].name, manifest, base=base)


def retain(store: Store, table: str, keep: int, *, at: datetime | None = None) -> list[str]:
    """Remove the folders of all but the last `keep` different snapshots, never the current one's; the names removed.

    So are folders that are no snapshot (a night that was refused or given up, a removal that broke off) and where nobody has
    written since ABANDONED_AFTER. `at` is the time now.
    """
    kept, dropped = _kept_and_dropped(store, table, max(1, keep))
    for name in dropped:
        store.remove(table, "snapshots", name, MANIFEST)  # first: without it, nobody goes back to what is only half there
        store.remove(table, "snapshots", name)
    left = [("snapshots", name) for name in store.names(table, "snapshots") if name not in kept]
    still = (at or datetime.now(UTC)) - ABANDONED_AFTER
    for room, name in [*left, *(("staging", name) for name in store.names(table, "staging"))]:
        written = _last_written(store, table, room, name)
        if written is not None and written <= still:
            store.remove(table, room, name)
            dropped.append(name)
    return dropped


def _kept_and_dropped(store: Store, table: str, keep: int) -> tuple[list[str], list[str]]:
    """The snapshots that are there, newest commit first: the last `keep`, and the others; reads no more than it must."""
    unseen, found = set(store.names(table, "snapshots")), []
    for entry in reversed(_log(store, table)):
        if not unseen:
            break
        name = str(store.read_json(table, "log", entry)["snapshot"]).rsplit("/", 1)[-1]
        if name in unseen and store.exists(table, "snapshots", name, MANIFEST):
            found.append(name)
        unseen.discard(name)
    return found[:keep], found[keep:]


def _last_written(store: Store, *parts: str) -> datetime | None:
    """When the newest file below a folder was written; none if there is none."""
    found = store.filesystem.find(store.path(*parts), detail=True)
    return max((_written_at(store, name, facts) for name, facts in found.items()), default=None)


def _written_at(store: Store, name: str, facts: dict[str, Any]) -> datetime:
    """From what the listing says, in the words of each file system; one that says nothing is asked for each file."""
    stamp = next((facts[key] for key in ("LastModified", "mtime", "last_modified") if facts.get(key) is not None), None)
    if stamp is None:
        stamp = store.filesystem.modified(name)
    return stamp if isinstance(stamp, datetime) else datetime.fromtimestamp(float(stamp), UTC)
