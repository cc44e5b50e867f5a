"""One query at once, without a cluster. In: a product's id or a picture. Out: its neighbours, as text and as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fashion_ray import snapshots, tracking
from fashion_ray.catalog.lookup import pictures
from fashion_ray.errors import UserError
from fashion_ray.insight import neighbours
from fashion_ray.insight.embeddings import catalog_for, features_of, scores_of
from fashion_ray.insight.neighbours import NONE, Found, Queries, Rules
from fashion_ray.insight.products import Filters, Products, read_products, rules
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.insight.units import FileUnits, open_units
from fashion_ray.models import engines
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.single import embed_picture, read_picture
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

SHOWN = ("productDisplayName", "articleType", "baseColour", "gender")
POOL = 10
WIDEST_ID = 40


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A query and its neighbours, the best first."""

    asked: dict[str, Any]
    """Its product_id, or the picture's path, and what SHOWN says of it."""

    picture: bytes | None
    similar: list[dict[str, Any]]
    """product_id, similarity and SHOWN of each."""

    pictures: Mapping[str, bytes]


def answer_query(options: SimilarOptions, store: Store) -> Answer:
    """The neighbours of --product or --image. Raises UserError for a product that is not there, or another trunk's picture."""
    source = features_of(store, options.baseline) if options.baseline else scores_of(store, options.snapshot)
    catalog = catalog_for(store, source)
    filters = Filters(
        exclude_duplicates=options.exclude_duplicates, duplicate_similarity=options.duplicate_similarity, same=options.same,
        other_colour=options.other_colour,
    )  # fmt: skip
    picture = read_picture(options.image) if options.image is not None else None
    products = read_products(store, source, catalog, [*SHOWN, *filters.columns])
    row = _row(products, options.product) if options.product is not None else None
    vector = _embedded(options, store, products, picture) if picture is not None else None
    units = open_units(store, source, options.cache)
    decided = rules(products, units.digests() != b"", filters)
    own = np.array([row])
    queries = _outside(vector, decided) if vector is not None else neighbours.queries_of(units, decided, own)
    similar = _shown(products, _find(options, units, queries, decided))
    asked: dict[str, Any] = {"path": options.image} if row is None else products.table.slice(row, 1).to_pylist()[0]
    ids = [one["product_id"] for one in similar] + ([asked["product_id"]] if row is not None else [])
    seen = pictures(store, catalog, ids)
    return Answer(asked=asked, picture=picture or seen.get(asked.get("product_id", "")), similar=similar, pictures=seen)


def _row(products: Products, product_id: str) -> int:
    place = products.table["product_id"].index(product_id).as_py()
    if place < 0:
        why = "is in the catalog, but has no embedding" if product_id in products.without else "is not in the catalog"
        raise UserError(
            f"--product: {product_id[:WIDEST_ID]!r} {why}; expected the product_id of one of the {products.table.num_rows} "
            f"products in {products.source.table} {products.source.name}, such as {', '.join(products.ids[:3])}"
        )
    return int(place)


def _embedded(options: SimilarOptions, store: Store, products: Products, picture: bytes) -> np.ndarray:
    """The picture's embedding, (1, dim), by the model and as the catalog was embedded."""
    model = resolve(options.model, store, tracking.locate(store))
    if model.card.trunk_version != products.trunk_version:
        raise UserError(
            f"--image: the model {options.model!r} embeds with trunk {model.card.trunk_version}, but the embeddings of "
            f"{products.source.name} are of trunk {products.trunk_version}; expected one trunk, since cosines between two say "
            "nothing. Run python jobs/score.py first, or pass --model with the version that scored "
            f"({products.source.manifest['model_version']})"
        )
    return embed_picture(picture, model, _choice(options, products.source), cache=options.cache)


def _choice(options: SimilarOptions, source: Snapshot) -> EngineChoice:
    """The engine and precision that embedded the catalog, unless the options or this node say otherwise."""
    here = engines.of_this_node()
    engine, precision = options.engine, options.precision
    if engine == "auto" and (source.manifest["engine"] != "openvino" or here["has_openvino"]):
        engine = str(source.manifest["engine"])
    if precision == "auto":
        precision = str(source.manifest["precision"])
    return engines.choose(engine, precision, gpus=0, **here)


def _outside(vector: np.ndarray, decided: Rules) -> Queries:
    """A vector that is no row: it differs from all in every code."""
    return Queries(
        vectors=neighbours.unit(vector),
        usable=np.ones(1, bool),
        differ=tuple(np.full(1, NONE, np.int32) for _ in decided.differ),
        same=(),
    )


def _find(options: SimilarOptions, units: FileUnits, queries: Queries, decided: Rules) -> Found:
    found = neighbours.nearest(units, queries, decided, POOL * options.k if options.diversity else options.k)
    return neighbours.diverse(units, found, options.k, options.diversity) if options.diversity else found


def _shown(products: Products, found: Found) -> list[dict[str, Any]]:
    rows = pa.array([int(row) for row in found.rows[0] if row != NONE], pa.int64())
    similarity = found.similarity[0].tolist()
    return [one | {"similarity": similarity[place]} for place, one in enumerate(products.table.take(rows).to_pylist())]


def describe_query(answer: Answer, store: Store) -> str:
    """The answer as a table, and where its contact sheet lies; ids and titles are cut to a line, and name no file."""
    from fashion_ray.pages.similar_sheet import sheet  # matplotlib's fonts take a second to import

    asked = answer.asked.get("path") or answer.asked["product_id"]
    lines = [f"similar to {_line(asked, 80)}" + (f"  {_about(answer.asked)}" if "product_id" in answer.asked else "")]
    for rank, one in enumerate(answer.similar, 1):
        lines.append(f"  {rank:>3}  {one['similarity']:.4f}  {_line(one['product_id'], WIDEST_ID):<12}  {_about(one)}")
    if not answer.similar:
        lines.append("  none: nothing passes the filters")
    shown = [(answer.picture, f"{_line(asked, 80)}\nthe query")]
    shown += [(answer.pictures.get(one["product_id"]), caption(one)) for one in answer.similar]
    name = snapshots.fingerprint(asked, *(one["product_id"] for one in answer.similar))
    place = ("reports", "similar-queries", f"{name}.png")
    store.write_bytes(sheet(shown), *place)
    return "\n".join([*lines, f"sheet   {store.show(*place)}"])


def caption(one: Mapping[str, Any]) -> str:
    """A neighbour below its picture."""
    label, title = one.get("articleType") or "(no label)", one.get("productDisplayName") or ""
    return f"{one['similarity']:.3f} {label}\n{one['product_id']}\n{title}"


def _about(one: Mapping[str, Any]) -> str:
    return ", ".join(
        _line(one[name], 60) for name in ("articleType", "baseColour", "gender", "productDisplayName") if one.get(name)
    )


def _line(text: object, most: int) -> str:
    """Printable, on one line, and not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return plain if len(plain) <= most else plain[: most - 1] + "…"
