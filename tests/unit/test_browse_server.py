"""The catalog page over HTTP: what it answers, and what it refuses to whoever should not ask."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fashion_ray.browsing.server import Site, is_for_us, open_server
from fashion_ray.browsing.shelf import open_shelf
from fashion_ray.errors import UserError
from fashion_ray.storage import Store
from tests.unit.nights import jpeg
from tests.unit.shelves import HOSTILE, put_catalog, put_scores

IDS = [f"p{number:03d}" for number in range(150)]
ODD = "../../etc/passwd"
"""An id that no ingest lets in, for what the server would do with it."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server of 152 products, of which two have odd ids."""
    store = Store(str(tmp_path_factory.mktemp("root")))
    titles = {product_id: f"Shirt {product_id}" for product_id in IDS} | {ODD: HOSTILE, "left\0\n": "x"}
    catalog = put_catalog(store, titles)
    put_scores(
        store, {product_id: ("Tshirts", 0.4 if product_id == "p007" else 0.9) for product_id in titles}, catalog=catalog.name
    )
    server = open_server(Site(shelf=open_shelf(store), neighbours=3), "localhost", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def get(port: int, address: str, *, method: str = "GET", host: str | None = None) -> tuple[http.client.HTTPResponse, bytes]:
    """A request, sent as it is."""
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    connection.putrequest(method, address, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"localhost:{port}")
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply, body


def ask(port: int, address: str) -> dict[str, Any]:
    """The JSON of an address that is answered."""
    reply, body = get(port, address)
    assert reply.status == 200, body
    return dict(json.loads(body))


def test_a_list_comes_page_by_page(port: int) -> None:
    pages = [ask(port, f"/api/products?page={page}") for page in range(4)]
    assert [len(page["products"]) for page in pages] == [60, 60, 32, 0] and {page["total"] for page in pages} == {152}
    assert ask(port, "/api/products?q=shirt+p14&page=0")["total"] == 10
    assert [one["id"] for one in ask(port, "/api/products?review=1&target=articleType")["products"]] == ["p007"]
    assert ask(port, "/api/products?target=articleType&label=")["total"] == 0


def test_a_product_has_its_answers_its_nights_its_neighbours_and_its_picture(port: int) -> None:
    said = ask(port, "/api/product?id=p007")
    assert said["top3"][1][0] == ["Tshirts", 0.4] and said["history"] == [[["Topwear", 0.4], ["Tshirts", 0.4]]]
    near = ask(port, "/api/neighbours?id=p007")["products"]
    assert len(near) == 3 and "p007" not in [one["id"] for one in near] and near[0]["cosine"] >= near[1]["cosine"]
    reply, body = get(port, "/picture?id=p007")
    assert body == jpeg("p007") and reply.getheader("Content-Type") == "image/jpeg"


def test_the_page_itself_has_no_products_in_it_and_may_connect_to_its_own_server_only(port: int) -> None:
    reply, body = get(port, "/")
    assert b"Shirt p007" not in body and b'"products": null' in body
    policy = str(reply.getheader("Content-Security-Policy"))
    assert "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy and "default-src 'none'" in policy


@pytest.mark.parametrize("address", ["/", "/api/product?id=p007", "/picture?id=p007", "/nothing"])
def test_no_browser_guesses_kinds_or_lets_other_sites_use_an_answer(address: str, port: int) -> None:
    reply, _ = get(port, address)
    assert reply.getheader("X-Content-Type-Options") == "nosniff" and reply.getheader("X-Frame-Options") == "DENY"
    assert reply.getheader("Cross-Origin-Resource-Policy") == "same-origin" and reply.getheader("Cache-Control") == "no-store"
    assert reply.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost", "localhost:1", "localhost.evil.example:{port}", ""]
)
def test_a_request_for_another_host_is_refused(host: str, port: int) -> None:
    reply, body = get(port, "/api/products", host=host.format(port=port))
    assert reply.status == 421 and b"Shirt" not in body


def test_the_name_that_it_listens_on_is_the_name_that_it_answers_to() -> None:
    assert is_for_us("127.0.0.1:8000", "localhost", 8000) and is_for_us("LOCALHOST:8000", "127.0.0.1", 8000)
    assert is_for_us("box.example:8000", "box.example", 8000) and not is_for_us("localhost:8000", "box.example", 8000)
    assert is_for_us("localhost", "localhost", 80) and not is_for_us(None, "localhost", 80)


@pytest.mark.parametrize(
    "address",
    [
        "/../../../etc/passwd", "/picture?id=../../../../etc/passwd", "/picture?id=%2e%2e%2fCURRENT.json",
        "/picture?id=/etc/passwd", "/picture?id=p007%00", "/scores/CURRENT.json", "/picture", "/api/product?id=",
        "/api/neighbours?id=nobody", "/favicon.ico",
    ],
)  # fmt: skip
def test_no_address_reaches_a_file(address: str, port: int) -> None:
    reply, body = get(port, address)
    assert reply.status == 404 and json.loads(body)["error"].startswith("no ") and b"root:" not in body


def test_odd_ids_are_looked_up_like_any_other(port: int) -> None:
    assert get(port, "/picture?id=../../etc/passwd")[1] == jpeg(ODD)
    assert ask(port, "/api/product?id=left%00%0a")["title"] == "x"
    assert get(port, "/api/product?id=..%2F..%2Fetc%2Fpasswd")[0].getheader("Content-Type") == "application/json"


@pytest.mark.parametrize(
    "address", ["/api/products?page=-1", "/api/products?page=x", "/api/products?target=nothing", "/?" + "a&" * 99]
)
def test_what_cannot_be_asked_for_is_status_400(address: str, port: int) -> None:
    reply, body = get(port, address)
    assert reply.status == 400 and json.loads(body)["error"], body


def test_an_address_without_end_is_refused(port: int) -> None:
    assert get(port, "/api/products?q=" + "a" * 3000)[0].status == 414


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(method: str, port: int) -> None:
    assert get(port, "/", method=method)[0].status == 501


def test_head_is_a_get_without_its_body(port: int) -> None:
    reply, body = get(port, "/picture?id=p007", method="HEAD")
    assert body == b"" and reply.getheader("Content-Length") == str(len(jpeg("p007")))


def test_a_snapshot_that_is_removed_meanwhile_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    put_scores(store, {"1": ("Ties", 0.9)})
    site = Site(shelf=open_shelf(store), neighbours=3)
    store.remove("scores")
    reply = site.reply("/api/product?id=1")
    assert reply.status == 410 and b"start jobs/browse.py again" in reply.body


def test_a_port_that_is_taken_is_the_users_to_change(port: int) -> None:
    with pytest.raises(UserError, match=r"--port: cannot listen on localhost:\d+"):
        open_server(Site.__new__(Site), "localhost", port)
