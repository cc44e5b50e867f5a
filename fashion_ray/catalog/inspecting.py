"""The first pass over a feed's pictures, on workers. In: a portion of the work. Out: staged pictures, and what was found.

A picture whose bytes are those of the catalog, or those that were quarantined last time, is not decoded again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import BadPicture, PictureFacts, inspect, preview
from fashion_ray.catalog.plan import WORK
from fashion_ray.catalog.sources import Source
from fashion_ray.storage import Store

SEEN_FACTS = ("image_sha256", "perceptual_hash", "width", "height")
SEEN_BAD = ("image_sha256", "reason", "detail")

PORTION = pa.schema(
    [
        *WORK,
        pa.field("piece", pa.int32(), nullable=False),
        *(pa.field(f"seen_{name}", schema.FACTS.field(name).type) for name in SEEN_FACTS),
        *(pa.field(f"bad_{name}", pa.string()) for name in SEEN_BAD),
    ]
)
"""Work with its number, and what was known of these products before: of the picture in the catalog, of a quarantined one."""

FOUND = pa.schema(
    [
        *(field.with_nullable(True) for field in schema.FACTS),
        pa.field("has_row", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("again", pa.bool_(), nullable=False),
        pa.field("preview", pa.binary()),
        pa.field("piece", pa.int32(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
    ]
)
"""What the first pass tells of each picture. `reason` is null if it is usable; then it is row `position` of piece `piece`.

`again` says that an unusable picture has the bytes that were quarantined before.
"""


def staged_name(piece: int) -> str:
    """The file of a portion's usable pictures."""
    return f"portion-{piece:05d}.parquet"


def with_memory(portions: list[pa.Table], facts: pa.Table, quarantine: pa.Table, *, first_piece: int) -> Iterator[pa.Table]:
    """PORTION tables from WORK, the catalog's FACTS and its quarantine table, made as they are asked for.

    Their pieces are numbered from `first_piece`.
    """
    pictures = quarantine.filter(pc.and_(pc.is_valid(quarantine["image_sha256"]), pc.is_valid(quarantine["product_id"])))
    for number, portion in enumerate(portions, start=first_piece):
        before = facts.select(SEEN_FACTS).take(pc.index_in(portion["product_id"], facts["product_id"]))
        bad = pictures.select(SEEN_BAD).take(pc.index_in(portion["product_id"], pictures["product_id"]))
        columns = [
            *portion.columns, pa.array([number] * portion.num_rows, type=pa.int32()), *before.columns, *bad.columns,
        ]  # fmt: skip
        yield pa.table(columns, names=PORTION.names).cast(PORTION)


def inspect_portion(portion: pa.Table, *, source: Source, store: Store, staging: str) -> pa.Table:
    """Read, check and stage one portion's pictures; what was found (FOUND), also if an earlier run staged it."""
    piece = portion["piece"][0].as_py()
    facts_name = f"portion-{piece:05d}.facts.parquet"
    if store.exists(staging, facts_name):
        return store.read_table(staging, facts_name)
    rows: list[dict[str, object]] = []
    images: list[bytes] = []
    work = portion.drop_columns(["locator"]).to_pylist()
    for row, content in zip(work, source.read(portion["locator"].to_pylist()), strict=True):
        found = _found(row, content)
        row |= found
        if row["reason"] is None:
            assert isinstance(content, bytes)
            row["position"] = len(images)
            images.append(content)
        rows.append(row)
    table = pa.Table.from_pylist(rows, schema=FOUND)
    staged = table.filter(pc.is_null(table["reason"])).select(["product_id"])
    staged = staged.append_column("image", pa.array(images, type=pa.binary()))
    store.write_table(staged, staging, staged_name(piece), compression="none", row_group_rows=128)
    store.write_table(table, staging, facts_name)
    return table


def _found(row: dict[str, object], content: bytes | BadPicture) -> dict[str, object]:
    """The columns of FOUND that the picture decides."""
    bad = {"reason": None, "detail": None, "again": False, "preview": None, "position": -1}
    if isinstance(content, BadPicture):
        return {**bad, "reason": content.reason, "detail": content.detail}
    digest = hashlib.sha256(content).hexdigest()
    if digest == row["seen_image_sha256"]:
        return {**bad, **{name: row[f"seen_{name}"] for name in SEEN_FACTS}}
    if digest == row["bad_image_sha256"]:
        known = {name: row[f"bad_{name}"] for name in SEEN_BAD}
        return {**bad, **known, "again": True, "preview": preview(content)}
    try:
        return {**bad, **_columns(inspect(content))}
    except BadPicture as error:
        return {
            **bad, "image_sha256": digest, "reason": error.reason, "detail": error.detail, "preview": preview(content),
        }  # fmt: skip


def _columns(facts: PictureFacts) -> dict[str, object]:
    return {
        "image_sha256": facts.sha256, "perceptual_hash": facts.perceptual_hash, "width": facts.width, "height": facts.height,
    }  # fmt: skip
