"""The published layout. In: a tree with styles.csv, styles/<id>.json or both, and images/<id>.jpg. Out: rows and pictures.

The feed may lie in folders of its own inside the tree; of several copies the one nearest to the top counts. styles.csv
counts where it has a usable row of a product; a JSON, as the large edition has them, is a row for the others.
withdrawn.csv lists products that leave. Other files are ignored.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog import feed_rows, schema, styles, trees
from fashion_ray.catalog.pictures import MAX_BYTES, BadPicture
from fashion_ray.catalog.trees import File, Tree
from fashion_ray.errors import UserError

LAYOUT = "styles.csv (or styles/<id>.json) beside images/<id>.jpg"

MAX_ROWS_BYTES = 1024**3
"""Of styles.csv, which is read whole."""

MAX_PRODUCT_BYTES = 4 * 1024**2
"""Of one product's JSON; real ones have 50 KB."""

PLAIN_KEYS = ("gender", "baseColour", "season", "year", "usage", "productDisplayName")
CATEGORY_KEYS = ("masterCategory", "subCategory", "articleType")
"""Of a product's JSON: text, or an object whose typeName is the label."""


@dataclass(frozen=True)
class PublishedSource:
    """A feed in the published layout; `folder` is where in the tree it lies, with a `/` at its end unless that is the top."""

    tree: Tree
    folder: str = ""

    in_order = False

    @property
    def name(self) -> str:
        return self.tree.name

    def fingerprint(self) -> str:
        own = [file for file in self._files() if self._is_row_file(file.name) or self._is_picture(file.name)]
        table = f"{self.folder}styles.csv"
        content = self._content(table) if any(file.name == table for file in own) else b""
        return trees.fingerprint(own, content)

    def row_files(self) -> list[str]:
        """styles.csv and withdrawn.csv where there are any, then the JSONs of products that styles.csv does not have."""
        names = list(dict.fromkeys(file.name for file in self._files() if self._is_row_file(file.name)))
        products = [name for name in names if name.endswith(".json")]
        tables = [name for name in names if not name.endswith(".json")]
        if products and f"{self.folder}styles.csv" in tables:
            rows = self.read_rows([f"{self.folder}styles.csv"])
            usable = set(rows.filter(pc.is_null(rows["reason"]))["product_id"].to_pylist())
            products = [name for name in products if _stem(name) not in usable]
        return [*tables, *products]

    def read_rows(self, row_files: Sequence[str]) -> pa.Table:
        parts = []
        for _, names in itertools.groupby(row_files, key=lambda name: name.rpartition(".")[2]):
            parts.append(self._part(list(names)))
        return pa.concat_tables([schema.FEED_ROWS.empty_table(), *parts]).combine_chunks()

    def pictures(self) -> pa.Table:
        found = [file for file in self._files() if self._is_picture(file.name)]
        columns = {"locator": [file.locator for file in found], "size_bytes": [file.size_bytes for file in found]}
        return pa.table(columns, schema=schema.PICTURES)

    def read(self, locators: Sequence[str]) -> Iterator[bytes | BadPicture]:
        return self.tree.read(locators, limit_bytes=MAX_BYTES)

    def _part(self, names: Sequence[str]) -> pa.Table:
        """The rows of some tables or of some products."""
        if not names[0].endswith(".json"):
            return pa.concat_tables([self._table(name) for name in names])
        contents = self.tree.read(names, limit_bytes=MAX_PRODUCT_BYTES)
        return feed_rows.table(product_row(content, _stem(name)) for name, content in zip(names, contents, strict=True))

    def _table(self, name: str) -> pa.Table:
        parse = styles.parse if name.endswith("styles.csv") else styles.parse_withdrawn
        return parse(self._content(name), name=f"{self.name}:{name}")

    def _files(self) -> Iterator[File]:
        return (file for file in self.tree.files() if file.name.startswith(self.folder))

    def _content(self, name: str) -> bytes:
        return trees.read_whole(self.tree, name, limit_bytes=MAX_ROWS_BYTES)

    def _is_row_file(self, name: str) -> bool:
        inner = name[len(self.folder) :]
        return inner in ("styles.csv", "withdrawn.csv") or (_is_product(inner) and inner.count("/") == 1)

    def _is_picture(self, name: str) -> bool:
        return name.startswith(f"{self.folder}images/") and trees.is_picture(name)


def recognise(tree: Tree) -> PublishedSource | None:
    """The published feed in a tree, nearest to its top; none if there is none. Raises UserError if there are two.

    Where nothing has rows, a withdrawn.csv is a feed, unless there are pictures or tables that are not its own.
    """
    folders = set(_feed_folders(file.name for file in tree.files())) or set(_withdrawals(tree))
    if not folders:
        return None
    nearest = min(folder.count("/") for folder in folders)
    found = sorted(folder for folder in folders if folder.count("/") == nearest)
    if len(found) > 1:
        raise UserError(
            f"--source: {tree.name!r} has {len(found)} feeds ({', '.join(found)[:200]}), expected one; pass a folder with one"
        )
    return PublishedSource(tree, found[0])


def _feed_folders(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if _last(name) == "styles.csv":
            yield name.removesuffix("styles.csv")
        elif _is_product(name):
            yield name.rpartition("/")[0].removesuffix("styles")


def _withdrawals(tree: Tree) -> Iterator[str]:
    for folder in (file.name.removesuffix("withdrawn.csv") for file in tree.files() if _last(file.name) == "withdrawn.csv"):
        content = [file.name for file in tree.files() if trees.is_picture(file.name) or file.name.endswith(".parquet")]
        if all(name.startswith(f"{folder}images/") for name in content):
            yield folder


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _is_product(name: str) -> bool:
    return name.endswith(".json") and name.split("/")[-2:-1] == ["styles"]


def product_row(content: bytes | BadPicture, product_id: str) -> dict[str, object]:
    """The row of one product's JSON, as the large edition has it; a key that is not there is null."""
    if isinstance(content, BadPicture):
        return feed_rows.refused("bad_row", f"JSON: {content.detail}", product_id, source_row=1)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        return feed_rows.refused("bad_row", f"no JSON: {error}", product_id, source_row=1)
    product = document.get("data", document) if isinstance(document, dict) else None
    if not isinstance(product, dict) or not any(key in product for key in ("id", *PLAIN_KEYS, *CATEGORY_KEYS)):
        return feed_rows.refused("bad_row", 'JSON without a product, expected {"data": {"id": ...}}', product_id, source_row=1)
    if product.get("id") is not None and str(product["id"]) != product_id:
        detail = f"JSON of the product {str(product['id'])[:100]!r}, in the file of {product_id!r}"
        return feed_rows.refused("bad_row", detail, product_id, source_row=1)
    values = {key: product.get(key) for key in PLAIN_KEYS}
    for key in CATEGORY_KEYS:
        label = product.get(key)
        values[key] = label.get("typeName") if isinstance(label, dict) else label
    return feed_rows.row({"product_id": product_id, **values}, source_row=1)


def _stem(name: str) -> str:
    return _last(name).removesuffix(".json")
