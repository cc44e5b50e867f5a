"""The catalog page over HTTP, for one person on this machine. In: an open snapshot. Out: a server that reads and never writes.

    GET /                                      the page
    GET /api/products?q=&target=&label=&review=&differs=&page=     a page of what a search finds
    GET /api/product?id=, /api/neighbours?id=  one product; the most similar ones
    GET /picture?id=                           its picture, as a JPEG

No part of an address becomes a path: ids are looked up in the snapshot. Only requests that ask for this host by its name are
answered, so that a foreign page cannot reach it through a name of its own that it points here (DNS rebinding).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fashion_ray.browsing import shelf as shelves
from fashion_ray.browsing.shelf import FLAGS, LONGEST_TEXT, Search, Shelf
from fashion_ray.browsing.thumbnails import LARGE, jpeg_within
from fashion_ray.errors import UserError
from fashion_ray.pages.browse import browse_page, policy

log = logging.getLogger(__name__)

PAGE_ROWS = 60
LONGEST_ADDRESS = 2000
PATIENCE_S = 30
"""A connection that says nothing for so long is closed."""

LOCAL = ("localhost", "127.0.0.1")

Parameters = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is sent back."""

    status: HTTPStatus
    kind: str
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Site:
    """The pages of an open snapshot, as functions of an address."""

    shelf: Shelf
    neighbours: int

    def reply(self, address: str) -> Reply:
        """The answer to a GET of this address, as the browser sent it: path and query."""
        answers: dict[str, Callable[[Parameters], Reply]] = {
            "/": self._page, "/api/products": self._products, "/api/product": self._product,
            "/api/neighbours": self._neighbours, "/picture": self._picture,
        }  # fmt: skip
        if len(address) > LONGEST_ADDRESS:
            return _error(HTTPStatus.REQUEST_URI_TOO_LONG, f"an address of {len(address)} characters")
        try:
            parts = urlsplit(address)
            given = {
                name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True, max_num_fields=20).items()
            }
            answer = answers.get(parts.path)
            return answer(given) if answer else _error(HTTPStatus.NOT_FOUND, "no such page")
        except ValueError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        except FileNotFoundError:
            return _error(
                HTTPStatus.GONE, f"the snapshot {self.shelf.scores.name} was removed meanwhile; start jobs/browse.py again"
            )

    def _page(self, given: Parameters) -> Reply:
        page = browse_page(shelves.about(self.shelf))
        return Reply(status=HTTPStatus.OK, kind="text/html; charset=utf-8", body=page.encode())

    def _products(self, given: Parameters) -> Reply:
        found = shelves.find(self.shelf, search_of(given, self.shelf.targets))
        start = _number(given.get("page") or "0") * PAGE_ROWS
        return _json({"total": len(found), "products": self._listed(found[start : start + PAGE_ROWS].tolist())})

    def _product(self, given: Parameters) -> Reply:
        row = self._row(given)
        if row is None:
            return _error(HTTPStatus.NOT_FOUND, "no such product")
        (product,) = self._listed([row])
        histories = shelves.history(self.shelf, [product["id"]])
        return _json({**product, "top3": shelves.top3(self.shelf, [row])[0], "history": histories[product["id"]]})

    def _neighbours(self, given: Parameters) -> Reply:
        row = self._row(given)
        if row is None:
            return _error(HTTPStatus.NOT_FOUND, "no such product")
        near = shelves.neighbours_of(self.shelf, row, self.neighbours)
        rows = [shelves.row_of(self.shelf, product_id) for product_id, _ in near]
        listed = self._listed([row for row in rows if row is not None])
        return _json({"products": [{**one, "cosine": cosine} for one, (_, cosine) in zip(listed, near, strict=True)]})

    def _picture(self, given: Parameters) -> Reply:
        row = self._row(given)
        content = shelves.pictures(self.shelf, [row])[0] if row is not None else None
        jpeg = jpeg_within(content, LARGE) if content is not None else None
        if jpeg is None:
            return _error(HTTPStatus.NOT_FOUND, "no picture")
        return Reply(status=HTTPStatus.OK, kind="image/jpeg", body=jpeg)

    def _row(self, given: Parameters) -> int | None:
        return shelves.row_of(self.shelf, given.get("id", ""))

    def _listed(self, rows: list[int]) -> list[dict[str, Any]]:
        has = self.shelf.table["catalog_part"]
        return [
            {**product, "picture": has[row].is_valid}
            for row, product in zip(rows, shelves.described(self.shelf, rows), strict=True)
        ]


def search_of(given: Parameters, targets: list[str]) -> Search:
    """The search in an address. Raises ValueError for a target that the snapshot has not."""
    target = given.get("target", "")
    if target and target not in targets:
        raise ValueError(f"target: expected one of {', '.join(targets)}")
    return Search(
        text=given.get("q", "")[:LONGEST_TEXT], target=target, label=given.get("label"),
        flags=frozenset(flag for flag in FLAGS if given.get(flag)),
    )  # fmt: skip


def is_for_us(host: str | None, own: str, port: int) -> bool:
    """Whether a Host header names this server: its own name, or this machine's where it listens there, with its port."""
    names = {own.lower(), *(LOCAL if own.lower() in LOCAL else ())}
    return host is not None and host.lower() in {f"{name}:{port}" for name in names} | (names if port == 80 else set())


def open_server(site: Site, host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens, not yet serving. Raises UserError where that port cannot be had."""

    class Handler(BaseHTTPRequestHandler):
        """One request; made here because http.server hands a handler nothing of its own."""

        server_version, sys_version, timeout = "fashion_ray", "", PATIENCE_S

        def do_GET(self) -> None:
            """Answer, if it is this server that is asked for."""
            own_port = int(self.server.server_address[1])  # type: ignore[index]
            for_us = is_for_us(self.headers.get("Host"), host, own_port)
            reply = site.reply(self.path) if for_us else _error(HTTPStatus.MISDIRECTED_REQUEST, "another host is meant")
            self.send_response(reply.status)
            for name, value in headers(reply).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *values: Any) -> None:
            """To this project's log, where it is shown on demand; control characters as escapes."""
            log.debug("%s", ascii(format % values))

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise UserError(
            f"--port: cannot listen on {host}:{port} ({error.strerror or error}); expected a free one. Pass another, or 0"
        ) from error
    server.daemon_threads = True
    return server


def headers(reply: Reply) -> dict[str, str]:
    """What a browser is told besides: to run and to fetch nothing foreign, to guess no kinds, and to show this in no frame."""
    return {
        "Content-Type": reply.kind, "Content-Length": str(len(reply.body)), "Cache-Control": "no-store",
        "Content-Security-Policy": policy(served=True) + "; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
    }  # fmt: skip


def _json(content: Any) -> Reply:
    return Reply(status=HTTPStatus.OK, kind="application/json", body=json.dumps(content).encode())


def _error(status: HTTPStatus, message: str) -> Reply:
    return Reply(status=status, kind="application/json", body=json.dumps({"error": message}).encode())


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError("page: expected a number from 0 on")
    return int(text)
