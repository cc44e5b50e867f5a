"""The catalog page as one file. In: an open snapshot. Out: HTML of a few thousand products, small enough to mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fashion_ray.browsing import shelf as shelves
from fashion_ray.browsing.shelf import Shelf
from fashion_ray.browsing.thumbnails import SMALL, data_uri, jpeg_within
from fashion_ray.catalog.statistics import draws
from fashion_ray.pages.browse import browse_page


def page(shelf: Shelf, *, limit: int, seed: int, neighbours: int) -> tuple[str, int]:
    """The page of `limit` products (0 is all), and how many it has. Neighbours are the nearest among these."""
    rows = drawn(shelf, limit, seed)
    about = shelves.about(shelf) | {"shown": len(rows)}
    return browse_page(about, products=packed(about, products(shelf, rows, neighbours))), len(rows)


def drawn(shelf: Shelf, limit: int, seed: int) -> list[int]:
    """Rows drawn by a hash of the id and the seed, in the order of the snapshot: the same whatever else is in it."""
    order = np.argsort(draws(shelf.table["product_id"].to_pylist(), seed), kind="stable")
    chosen: list[int] = np.sort(order[: limit or len(order)]).tolist()
    return chosen


def products(shelf: Shelf, rows: Sequence[int], neighbours: int) -> list[dict[str, Any]]:
    """All that a page says of some products."""
    listed = shelves.described(shelf, rows)
    histories = shelves.history(shelf, [product["id"] for product in listed])
    details = zip(
        listed, shelves.top3(shelf, rows), shelves.pictures(shelf, rows), shelves.neighbours_among(shelf, rows, neighbours),
        strict=True,
    )  # fmt: skip
    return [
        {
            **product, "top3": best, "neighbours": near, "history": histories[product["id"]],
            "picture": data_uri(jpeg) if content is not None and (jpeg := jpeg_within(content, SMALL)) else None,
        }
        for product, best, content, near in details
    ]  # fmt: skip


def packed(about: dict[str, Any], listed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The products with every label and fact as its number in `about["words"]`, which is added: half the bytes.

    What is left of a product are lists, so the page undoes it without knowing what is what: texts of them are ids and titles.
    """
    words: dict[str, int] = {}

    def number(label: str | None) -> int | None:
        return None if label is None else words.setdefault(label, len(words))

    found = [
        {
            **product,
            "answers": [[number(label), number(said), *rest] for label, said, *rest in product["answers"]],
            "top3": [[[number(label), chance] for label, chance in best] for best in product["top3"]],
            "history": [night and [one and [number(one[0]), one[1]] for one in night] for night in product["history"]],
            "facts": {name: number(str(value)) for name, value in product["facts"].items()},
        }
        for product in listed
    ]
    about["words"] = list(words)
    return found
