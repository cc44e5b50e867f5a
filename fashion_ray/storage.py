"""Files below a root, local or on object storage. In: a root URI. Out: reads, whole writes and exclusive creates.

A write is seen whole or not at all: locally by renaming a temporary file, on object storage by the put itself.
Credentials and endpoints come from the environment alone (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fashion_ray.config import without_password
from fashion_ray.errors import UserError

REMOTE = {"use_listings_cache": False, "default_cache_type": "none", "max_concurrency": 1}
"""How object storage is opened. Other processes write there too, so no listing is kept. The reader of Parquet knows which
ranges it wants; s3fs would fetch 50 MiB from the start of each. And a whole object is one request, which sees one version."""

CREATE_TRIES = 5
"""Of a conditional put that met another one in flight (409): the storage asks for another try, and gives no answer yet."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was put into a file."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Store:
    """A root and everything below it; holds the URI only, so it travels to workers and opens its own connection there."""

    uri: str

    @cached_property
    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            filesystem, path = fsspec.core.url_to_fs(self.uri, **REMOTE)
            if not path.strip("/") and "file" not in cast(Any, filesystem.protocol):
                raise ValueError("it names no bucket")
        except (ImportError, ValueError) as error:
            raise UserError(
                f"root {without_password(self.uri)!r}: no file system for it ({error}); expected a path or a URI such as "
                "s3://bucket/prefix. For object storage install the extra: pip install 'fashion_ray[s3]' or 'fashion_ray[gcs]'"
            ) from error
        return filesystem, path.rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store, (self.uri,))

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The fsspec file system below the root."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return "file" in cast(Any, self.filesystem.protocol)

    def arrow_filesystem(self) -> pafs.FileSystem:
        """The same file system for pyarrow and Ray Data."""
        return pafs.LocalFileSystem() if self.is_local else pafs.PyFileSystem(pafs.FSSpecHandler(self.filesystem))

    def path(self, *parts: str) -> str:
        """The full path of something below the root, as its file system wants it."""
        assert not any(".." in part.split("/") or part.startswith("/") for part in parts), parts
        return "/".join((self._opened[1], *parts))

    def show(self, *parts: str) -> str:
        """The same path as a user would type it."""
        return self.path(*parts) if self.is_local else without_password("/".join((self.uri.rstrip("/"), *parts)))

    def check_writable(self) -> None:
        """Raise UserError unless a file can be created below the root."""
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(b"", probe)
            self.filesystem.rm_file(self.path(probe))
        except storage_errors() as error:
            reason = without_password(getattr(error, "strerror", None) or str(error))
            raise UserError(
                f"--root {without_password(self.uri)}: cannot be written ({reason}); expected a folder or bucket with write "
                "access. Pass another --root or mend its permissions, credentials or endpoint"
            ) from error

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder is there."""
        return bool(self.filesystem.exists(self.path(*parts)))

    def names(self, *parts: str) -> list[str]:
        """The names in a folder, sorted; none if there is no such folder."""
        folder = self.path(*parts)
        try:
            listed = self.filesystem.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Consoles mark an empty folder by an object of its own name, which is listed in it.
        inner = (name.rstrip("/") for name in listed if name.rstrip("/") != folder.rstrip("/"))
        return sorted(name.rsplit("/", 1)[-1] for name in inner)

    def size_bytes(self, *parts: str) -> int | None:
        """The size of a file; none if there is no such file."""
        try:
            size = self.filesystem.size(self.path(*parts))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if size is None else int(size)

    def read_bytes(self, *parts: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        return cast(bytes, self.filesystem.cat_file(self.path(*parts)))

    def write_bytes(self, content: bytes, *parts: str) -> None:
        """Replace a file as a whole."""
        target = self.path(*parts)
        if not self.is_local:
            self.filesystem.pipe_file(target, bytes(content))
            return
        temporary = _temporary_beside(target)
        _write_durably(temporary, content)
        os.replace(temporary, target)

    def create_bytes(self, content: bytes, *parts: str) -> bool:
        """Create a file unless it is there; False if it was. At most one of several rivals gets True.

        On object storage False may also mean that this one won, its answer was lost and the client asked again.
        """
        target = self.path(*parts)
        if not self.is_local:
            return _put_if_absent(self.filesystem, target, bytes(content))
        try:
            temporary = _temporary_beside(target)
            _write_durably(temporary, content)
            try:
                os.link(temporary, target)  # fails if the name is taken, and the content is whole from the first moment
            finally:
                os.unlink(temporary)
        except FileExistsError:
            return False
        return True

    def read_json(self, *parts: str) -> dict[str, Any]:
        """A JSON object. Raises FileNotFoundError."""
        return cast("dict[str, Any]", json.loads(self.read_bytes(*parts)))

    def write_json(self, content: dict[str, Any], *parts: str) -> None:
        """Replace a JSON file as a whole."""
        self.write_bytes(to_json(content), *parts)

    def write_table(self, table: pa.Table, *parts: str, compression: str = "zstd", row_group_rows: int = 1024) -> Written:
        """Replace a Parquet file as a whole."""
        content = to_parquet(table, compression=compression, row_group_rows=row_group_rows)
        self.write_bytes(content, *parts)
        return written(content)

    def read_table(self, *parts: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file, or a folder of them, as one table."""
        table = pq.read_table(self.path(*parts), columns=columns, filesystem=self.arrow_filesystem())
        check_plain(table.schema, self.show(*parts))
        return table

    def read_rows(self, *parts: str, columns: list[str], rows: Sequence[int]) -> pa.Table:
        """Some rows of a Parquet file, by their ascending numbers; only the row groups that hold them are read."""
        with self.arrow_filesystem().open_input_file(self.path(*parts)) as opened:
            file = pq.ParquetFile(opened, pre_buffer=True)  # neighbouring columns come in one request
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            wanted = np.asarray(rows, dtype=np.int64)
            groups, place = np.unique(np.searchsorted(ends, wanted, side="right"), return_inverse=True)
            table = file.read_row_groups(groups.tolist(), columns=columns)
        check_plain(table.schema, self.show(*parts))
        starts = np.concatenate([[0], np.cumsum([sizes[group] for group in groups])])[:-1]
        return table.take(pa.array(wanted - (ends - sizes)[groups][place] + starts[place]))

    def gather(self, files: Sequence[tuple[str, str]], which: np.ndarray, rows: np.ndarray, schema: pa.Schema) -> pa.Table:
        """Rows out of several Parquet files, in the order asked for: row `rows[i]` of file `which[i]` (folder, name)."""
        found, taken = [schema.empty_table()], [np.empty(0, dtype=np.int64)]
        for number in np.unique(which).tolist():
            here = np.flatnonzero(which == number)
            here = here[np.argsort(rows[here], kind="stable")]
            table = self.read_rows(*files[number], columns=schema.names, rows=rows[here].tolist())
            found.append(table.select(schema.names).cast(schema))
            taken.append(here)
        return pa.concat_tables(found).combine_chunks().take(pa.array(np.argsort(np.concatenate(taken))))

    @contextmanager
    def held(self, *parts: str) -> Iterator[bool]:
        """Hold a lock while the block runs; yields whether it was free. A process that dies lets go of it.

        Object storage has no such locks: there it is always yielded as free, and commits alone decide between rivals.
        """
        if not self.is_local:
            yield True
            return
        target = Path(self.path(*parts))
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def remove(self, *parts: str) -> None:
        """Remove a file or a folder; nothing happens if it is not there."""
        assert parts, "the root itself is never removed"
        with suppress(FileNotFoundError):  # or another process was faster
            self.filesystem.rm(self.path(*parts), recursive=True)


def storage_errors() -> tuple[type[Exception], ...]:
    """OSError, and what S3's client raises where no request was answered (no credentials, no such host)."""
    client = sys.modules.get("botocore.exceptions")
    return (OSError, client.BotoCoreError) if client is not None else (OSError,)


def opening_errors() -> tuple[type[Exception], ...]:
    """What opening a place that a user named raises: storage_errors, a driver that is not there, an address that is none."""
    return (ImportError, ValueError, *storage_errors())


def to_parquet(table: pa.Table, *, compression: str, row_group_rows: int) -> pa.Buffer:
    """The bytes of a Parquet file. Dictionaries and statistics of embeddings and pictures would cost six times the rest."""
    sink = pa.BufferOutputStream()
    plain = [field.name for field in table.schema if not pa.types.is_nested(field.type) and not pa.types.is_binary(field.type)]
    pq.write_table(
        table, sink, compression=compression, row_group_size=row_group_rows, use_dictionary=plain, write_statistics=plain
    )
    return sink.getvalue()


def check_plain(schema: pa.Schema, name: str) -> None:
    """Raise UserError for extension types at any depth: reading a value of some, such as Ray's, runs code out of the file."""
    waiting = [field.type for field in schema]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, pa.BaseExtensionType):
            raise UserError(f"{name} has values of the extension type {kind.extension_name!r}; expected plain Parquet")
        waiting += [kind.field(number).type for number in range(kind.num_fields)]
        waiting += [kind.value_type] if pa.types.is_dictionary(kind) else []


def written(content: bytes | pa.Buffer) -> Written:
    """What a file with this content holds."""
    return Written(size_bytes=len(memoryview(content)), sha256=hashlib.sha256(content).hexdigest())


def to_json(content: dict[str, Any]) -> bytes:
    """JSON that people can read and that is the same for the same content."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _put_if_absent(filesystem: fsspec.AbstractFileSystem, target: str, content: bytes) -> bool:
    """A conditional put (If-None-Match: *); whether it was this one that created the object."""
    for tries_left in reversed(range(CREATE_TRIES)):
        try:
            filesystem.pipe_file(target, content, mode="create")
            return True
        except FileExistsError:
            return False
        except OSError as error:
            code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
            if code in ("PreconditionFailed", "412"):  # s3fs knows it only where the server names the condition, as AWS does
                return False
            if code not in ("ConditionalRequestConflict", "409") or not tries_left:
                raise
            time.sleep(0.1 * (CREATE_TRIES - tries_left))
    raise AssertionError("the last try returns or raises")


def _temporary_beside(target: str) -> str:
    folder, name = os.path.split(target)
    Path(folder).mkdir(parents=True, exist_ok=True)
    return os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")


def _write_durably(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(path)
            raise
