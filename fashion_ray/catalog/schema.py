"""The columns of every table, in one place. Writers cast to these schemas; columns keep the catalog's own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

LABEL_COLUMNS = ("gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "usage")
"""What a network can be trained to predict. `year` and `productDisplayName` describe a product but are no targets."""

DERIVED_COLUMNS = ("joined_category", "reassigned_masterCategory", "reassigned_subCategory", "reassigned_articleType")
"""What catalog.labels makes of the label columns; a network can be trained to predict these too."""

TARGETS = LABEL_COLUMNS + DERIVED_COLUMNS

SPLITS = ("train", "validation", "test")
BRIDGE = "bridge"
"""The side of labelled pictures that are near-duplicates of two sides: they are kept out of all."""

CATEGORY_LEVELS = ("masterCategory", "subCategory", "articleType")
"""The three levels of the taxonomy, from the root."""

FEED_COLUMNS = (
    "id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year", "usage",
    "productDisplayName",
)  # fmt: skip
"""The columns of styles.csv."""

FEED_ROWS = pa.schema(
    [
        pa.field("product_id", pa.string()),
        pa.field("source_row", pa.int64()),
        *(pa.field(name, pa.string()) for name in LABEL_COLUMNS),
        pa.field("year", pa.int32()),
        pa.field("productDisplayName", pa.string()),
        pa.field("locator", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("withdrawn", pa.bool_()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""What a source reads: every row of the feed once, `reason` (one of REASONS) set where it cannot be used.

`source_row` counts the rows of its file from 1, a header included. `locator` says where the row's picture lies; null
means that it is the one among the source's pictures whose file name is the product id. `withdrawn` is true for a product
that leaves.
"""

PICTURES = pa.schema([pa.field("locator", pa.string(), nullable=False), pa.field("size_bytes", pa.int64())])
"""Pictures that lie beside the rows; `size_bytes` is null where it is not known without reading."""

CATALOG = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("perceptual_hash", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        *(pa.field(name, pa.string()) for name in LABEL_COLUMNS),
        pa.field("year", pa.int32()),
        pa.field("productDisplayName", pa.string()),
        *(pa.field(name, pa.string()) for name in DERIVED_COLUMNS),
        pa.field("reassigned_similarity", pa.float32()),
        pa.field("group_id", pa.string()),
        pa.field("split", pa.string()),
    ]
)
"""One row a product with a decodable picture.

`split` is train, validation or test; `bridge` for a labelled product that is a near-duplicate of two sides, so it is kept out
of all; null for a product without labels.
"""

SETTLED = (*DERIVED_COLUMNS, "reassigned_similarity", "group_id", "split")
"""What is known of a product only when the whole catalog is known."""

FACTS = pa.schema([field for field in CATALOG if field.name not in ("image", *SETTLED)])
"""What is known of a product on its own."""

KNOWN = pa.schema(
    [
        FACTS.field("product_id"),
        FACTS.field("image_sha256"),
        FACTS.field("perceptual_hash"),
        *(CATALOG.field(n) for n in ("group_id", "split")),
    ]
)
"""What sides depend on: earlier products with their groups and sides."""

QUARANTINE = pa.schema(
    [
        pa.field("product_id", pa.string()),
        pa.field("source_row", pa.int64()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("run_id", pa.string()),
        pa.field("seen_at", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("image_sha256", pa.string()),
    ]
)
"""One row for whatever a job could not use, with the reason.

`attempts` counts how often a product was tried: again only when the bytes of its picture (`image_sha256`) have changed.
"""

REASONS: Mapping[str, str] = {
    "no_picture": "a row whose picture is missing from the feed",
    "not_an_image": "bytes that no decoder knows",
    "truncated": "a picture that ends early or is damaged inside",
    "too_large": "more bytes or pixels than the limits allow; refused before it is decoded",
    "too_small": "a side under the smallest useful one",
    "bad_row": "a row that cannot be read: too few fields, or a value that its column cannot hold",
    "bad_id": "a product id that is empty, too long, or has characters other than letters, digits, '.', '_' and '-'",
    "duplicate_id": "a second row or picture with an id that was seen before; the first one counts",
    "unknown_product": "a withdrawal or a correction of a product that is not in the catalog",
    "bad_correction": "a correction that cannot be read, or of a column that is no label",
    "decode_failed": "a picture that was fine at ingest and could not be decoded while scoring",
    "no_embedding": "a product that was not scored, or whose embedding is zero or not finite, so nothing is similar to it",
}
"""Every reason that a quarantine row can have."""


def quarantine_row(
    *,
    reason: str,
    stage: str,
    seen_at: str,
    product_id: str | None = None,
    source_row: int | None = None,
    detail: str = "",
    image_sha256: str | None = None,
    attempts: int = 1,
) -> dict[str, object]:
    """A row for the quarantine table; the run id is filled in when it is published."""
    assert reason in REASONS, reason
    return {
        "product_id": product_id, "source_row": source_row, "stage": stage, "reason": reason, "detail": detail[:500],
        "run_id": None, "seen_at": seen_at, "attempts": attempts, "image_sha256": image_sha256,
    }  # fmt: skip


def top3_type() -> pa.DataType:
    """The type of a `T_top3` column."""
    return pa.list_(pa.struct([pa.field("label", pa.string()), pa.field("probability", pa.float32())]))


def scores(targets: Sequence[str], embedding_dim: int) -> pa.Schema:
    """The scores table of a model with these targets."""
    fields = [pa.field("product_id", pa.string(), nullable=False)]
    for target in targets:
        fields += [
            pa.field(f"{target}_predicted", pa.string()),
            pa.field(f"{target}_probability", pa.float32(), nullable=False),
            pa.field(f"{target}_top3", top3_type(), nullable=False),
            pa.field(f"{target}_needs_review", pa.bool_(), nullable=False),
        ]
    fields += [pa.field("embedding", pa.list_(pa.float32(), embedding_dim), nullable=False)]
    fields += [
        pa.field(name, pa.string(), nullable=False)
        for name in ("image_sha256", "score_key", "model_version", "trunk_version", "run_id", "scored_at")
    ]
    return pa.schema(fields)


SIMILAR = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field(
            "similar", pa.list_(pa.struct([pa.field("product_id", pa.string()), pa.field("similarity", pa.float32())])),
            nullable=False,
        ),
        pa.field("key", pa.string(), nullable=False),
    ]
)  # fmt: skip
"""One row a product: the most similar others, the best first, perhaps none; `key` hashes what decided."""


def features(embedding_dim: int) -> pa.Schema:
    """Embeddings of a network that is no model of the registry."""
    return pa.schema(
        [
            pa.field("product_id", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), embedding_dim), nullable=False),
            pa.field("trunk_version", pa.string(), nullable=False),
        ]
    )


def cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns, types and order. Raises ValueError if a null stands where none may."""
    result = table.select(schema.names).cast(schema)
    for field in schema:
        if not field.nullable and result.column(field.name).null_count:
            raise ValueError(f"column {field.name} has {result.column(field.name).null_count} nulls and may have none")
    return result
