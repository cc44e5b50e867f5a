"""Object storage for tests: an S3 server on localhost behind a proxy that counts requests and lets some of them fail."""

from __future__ import annotations

import functools
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa
import pytest
import s3fs

from fashion_ray.catalog.running import on_cluster
from fashion_ray.catalog.tasks import Task
from fashion_ray.storage import Store

SECRET = "wJalrXUtnFEMI-not-to-be-seen"
HOP_BY_HOP = {"connection", "expect", "host", "keep-alive", "transfer-encoding"}
UNAVAILABLE = b"<Error><Code>%s</Code><Message>injected</Message></Error>"

LOST, CUT, SILENT = -1, -2, -3
"""Failures that have no status: the work is done and the connection closed without an answer; half of the answer's content
comes and the connection is closed; nothing is done and no answer ever comes."""

SILENCE_S = 3.0
"""How long the proxy is silent; clients that were `told` lose their patience sooner."""

READ_TIMEOUT_S = 1.0


class Seen(NamedTuple):
    """A request that reached the proxy."""

    method: str
    path: str
    status: int
    answer_bytes: int
    if_none_match: str | None


class Hurt(NamedTuple):
    """A failure of the next request with this method whose path contains this."""

    method: str
    path: str
    failure: int


class S3:
    """The server's address and what went through it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[Seen] = []
        self.failures: deque[int] = deque()
        """Statuses that the next requests get instead of an answer."""
        self.hurts: list[Hurt] = []
        """Failures that wait for their request, each once."""
        self._choosing = threading.Lock()
        self.lost_path = ""
        """The answer to the next put of a path that ends so is lost, after the work was done."""

    def failure_of(self, method: str, path: str) -> int:
        """What is to go wrong with a request: a status, LOST, CUT, SILENT, or 0 for nothing."""
        with self._choosing:
            if self.failures:
                return self.failures.popleft()
            for number, hurt in enumerate(self.hurts):
                if hurt.method == method and hurt.path in path:
                    return self.hurts.pop(number).failure
        return 0

    def bucket(self) -> str:
        """The URI of a new, empty bucket."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        fsspec.filesystem("s3").mkdir(name)
        return f"s3://{name}"

    def put(self, uri: str, content: bytes) -> None:
        """Write an object as another process does: past every cache of this one."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self._ask("PUT", f"/{bucket}/{key}", content)

    def delete(self, uri: str) -> None:
        """Delete an object as another process does."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self._ask("DELETE", f"/{bucket}/{key}", b"")

    def _ask(self, method: str, path: str, content: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"
        connection.request(method, path, content, {"Authorization": authorization})
        assert connection.getresponse().status in (200, 204)
        connection.close()


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on to the server, unless they are to fail."""

    protocol_version = "HTTP/1.1"
    s3: S3

    def do_GET(self) -> None:
        """Any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        failure = self.s3.failure_of(self.command, self.path)
        if failure == SILENT:
            self._note(failure, 0)
            time.sleep(SILENCE_S)
            self.close_connection = True
            return
        if failure > 0:
            status = failure
            code = b"SlowDown" if status == 503 else b"ConditionalRequestConflict" if status == 409 else b"InternalError"
            headers, content = [("Content-Type", "application/xml")], UNAVAILABLE % code
        else:
            status, headers, content = self._passed_on(body)
            if failure == LOST:
                self._note(failure, 0)
                self.close_connection = True
                return
            if self.s3.lost_path and self.command == "PUT" and self.path.endswith(self.s3.lost_path):
                self.s3.lost_path = ""
                self.close_connection = True
                return
        size = 0 if self.command == "HEAD" else len(content)
        self._note(failure or status, size)
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if failure == CUT:
            self.close_connection = True
            content = content[: len(content) // 2]
        if self.command != "HEAD":
            self.wfile.write(content)

    def _note(self, status: int, size: int) -> None:
        self.s3.seen.append(Seen(self.command, self.path, status, size, self.headers.get("If-None-Match")))

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _passed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.s3.port, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection.request(self.command, self.path, body, kept | {"Host": self.headers["Host"]})
        answer = connection.getresponse()
        content = answer.read()
        dropped = HOP_BY_HOP if self.command == "HEAD" else HOP_BY_HOP | {"content-length"}
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
        connection.close()
        return answer.status, headers, content

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables for this process, and connections that know them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def variables() -> dict[str, str]:
    """What finds the server."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def each(task: Task, tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """On the tests' cluster, whose workers were started before the server and have to be told where it is."""
    return on_cluster(functools.partial(_told, task=task, where=variables()), tables)


def _told(table: pa.Table, *, task: Task, where: Mapping[str, str]) -> pa.Table:
    tell(where)
    return task(table)


def tell(where: Mapping[str, str]) -> None:
    """Let a process know the server, and forget an earlier one."""
    s3fs.S3FileSystem.read_timeout = READ_TIMEOUT_S
    if any(os.environ.get(name) != value for name, value in where.items()):
        os.environ.update(where)
        s3fs.S3FileSystem.clear_instance_cache()


class ToldStore(Store):
    """A root on the server that takes the way to it along to workers."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_told_store, (self.uri, variables()))


def _told_store(uri: str, where: Mapping[str, str]) -> ToldStore:
    tell(where)
    return ToldStore(uri)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server of the tests' own; the environment leads to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(log, "wb") as sink:
        server = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        _wait(port, server, log)
        found = S3(port)
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnProxy", (Proxy,), {"s3": found}))
        proxy.daemon_threads = True
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        where = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}", "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        with environment(where):
            yield found
        proxy.shutdown()
        proxy.server_close()
        thread.join(timeout=10)
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"moto_server did not start: {log.read_text()[-2000:]}")
