"""Nights of ingest for tests. In: rows and pictures in memory. Out: a catalog whose sums were checked."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.ingest import IngestResult, ingest
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.sources import NoFeed, product_id_of
from fashion_ray.catalog.tasks import here
from fashion_ray.storage import Store

ARTICLES = ("Shirts", "Ties", "Belts")


def jpeg(name: str, size: tuple[int, int] = (24, 32)) -> bytes:
    """A picture that is like no other."""
    rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    coarse = Image.fromarray(rng.integers(0, 255, (8, 6, 3), dtype=np.uint8))
    sink = io.BytesIO()
    coarse.resize(size, Image.Resampling.NEAREST).save(sink, format="JPEG", quality=90)
    return sink.getvalue()


@dataclass(frozen=True)
class Feed:
    """A feed in memory; a picture is looked for in `pictures` by product id."""

    rows: Sequence[Mapping[str, object]]
    images: Mapping[str, bytes | BadPicture]
    read_ids: list[str] = field(default_factory=list)
    name: str = "a feed"
    in_order: bool = False

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self.rows, sorted(map(str, self.images.items())))).encode()).hexdigest()

    def row_files(self) -> list[str]:
        return ["first", "second"]

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        half = len(self.rows) // 2
        parts = {"first": list(self.rows)[:half], "second": list(self.rows)[half:]}
        return pa.Table.from_pylist([dict(row) for name in row_files for row in parts[name]], schema=schema.FEED_ROWS)

    def pictures(self) -> pa.Table:
        return pa.table([[f"images/{key}.jpg" for key in self.images], [100] * len(self.images)], schema=schema.PICTURES)

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        for locator in locators:
            self.read_ids.append(product_id_of(locator))
            yield self.images[product_id_of(locator)]


def row(product_id: str, article: str | None = None, **values: object) -> dict[str, object]:
    """A row of a feed."""
    number = int.from_bytes(product_id.encode(), "big")
    return {
        "product_id": product_id, "source_row": 1, "masterCategory": "Apparel", "subCategory": "Topwear",
        "articleType": article or ARTICLES[number % 3], "productDisplayName": f"Product {product_id}", "withdrawn": False,
    } | values  # fmt: skip


def feed(*ids: str, **images: bytes | BadPicture) -> Feed:
    """Rows and pictures of these products; the named pictures replace theirs."""
    return Feed([row(each) for each in ids], {each: jpeg(each) for each in ids} | images)


IDS = [f"p{number:02d}" for number in range(40)]


def take(
    store: Store, source: Feed | NoFeed, *, delta: bool = False, labels: str | None = None, run: str = "r"
) -> IngestResult:
    """Ingest, and check that the sums are right."""
    before = snapshots.current(store, "catalog")
    corrected = labels.encode() if labels is not None else None
    result = ingest(Request(source=source, delta=delta, corrected=corrected), store, run_id=run, each=here)
    books, summary = result.books, result.summary
    assert books["rows"] == sum(books[f"rows_{part}"] for part in ("labelled", "missing_picture", "quarantined", "withdrawn"))
    assert books["pictures"] == books["pictures_in_catalog"] + books["pictures_quarantined"]
    rows = len(catalog(store))
    assert rows == result.snapshot.manifest["rows"] == summary["unchanged"] + summary["changed"] + summary["added"]
    if before is not None:
        assert before.manifest["rows"] == summary["unchanged"] + summary["changed"] + summary["removed"]
    assert len(quarantine(store)) == summary["quarantined"] == sum(result.snapshot.manifest["quarantine_reasons"].values())
    return result


def catalog(store: Store) -> pd.DataFrame:
    """The current catalog as pandas reads it, by product_id."""
    current = json.loads(store.read_bytes("catalog", "CURRENT.json"))
    table = pd.read_parquet(store.path("catalog", current["snapshot"]))
    assert list(table.columns) == schema.CATALOG.names and table["product_id"].is_unique
    return table.set_index("product_id").sort_index()


def quarantine(store: Store) -> pd.DataFrame:
    """The current quarantine."""
    current = snapshots.current(store, "catalog")
    assert current is not None
    return pd.read_parquet(store.path(current.manifest["quarantine"]))
