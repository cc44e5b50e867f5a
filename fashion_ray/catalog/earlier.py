"""The catalog so far, as an ingest needs it. In: its snapshot. Out: facts, sides, quarantine and corrections as tables."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.catalog.assembling import Piece
from fashion_ray.catalog.corrections import CORRECTIONS
from fashion_ray.catalog.merging import MERGED
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

REMEMBERED = "_remembered.parquet"
"""Beside the catalog's files: KNOWN of what they do not show. Readers of the folder skip names that begin with `_`."""

CORRECTED = "_corrections.parquet"


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an ingest builds on; empty tables before the first one."""

    facts: pa.Table
    """MERGED of the catalog."""

    known: pa.Table
    """KNOWN of every product that ever was in it."""

    quarantine: pa.Table
    corrections: pa.Table
    pieces: list[Piece]
    decoded_alike: bool
    """Whether its pictures were decoded as they would be now, so that its facts of the same bytes hold."""


def load(store: Store, snapshot: Snapshot | None) -> Earlier:
    """Everything but the pictures, also of a catalog of the first layout, whose manifest has no layout_version: it had
    neither remembered sides nor corrections, and no hashes in its quarantine.

    Raises FileNotFoundError if a file of a published catalog is gone.
    """
    if snapshot is None:
        return Earlier(
            facts=MERGED.empty_table(), known=schema.KNOWN.empty_table(), quarantine=schema.QUARANTINE.empty_table(),
            corrections=CORRECTIONS.empty_table(), pieces=[], decoded_alike=False,
        )  # fmt: skip
    catalog = snapshots.placed_rows(store, snapshot, [*schema.FACTS.names, "group_id", "split"])
    catalog = catalog.rename_columns({"part": "piece"})
    first_layout = "layout_version" not in snapshot.manifest
    remembered = schema.KNOWN.empty_table() if first_layout else store.read_table(snapshot.folder, REMEMBERED)
    corrections = CORRECTIONS.empty_table() if first_layout else store.read_table(snapshot.folder, CORRECTED)
    quarantine = store.read_table(str(snapshot.manifest["quarantine"]))
    if first_layout:
        quarantine = pa.concat_tables([schema.QUARANTINE.empty_table(), quarantine], promote_options="default")
    return Earlier(
        facts=schema.cast(catalog, MERGED),
        known=_known(catalog, remembered),
        quarantine=quarantine,
        corrections=corrections,
        pieces=[Piece(snapshot.folder, entry["name"]) for entry in snapshot.manifest["files"]],
        decoded_alike=snapshot.manifest.get("decoder_version") == DECODER_VERSION,
    )


def _known(catalog: pa.Table, remembered: pa.Table) -> pa.Table:
    """KNOWN of the catalog's products, with the sides that it does not show, and of those that left."""
    hidden = remembered["split"].take(pc.index_in(catalog["product_id"], remembered["product_id"]))
    shown = catalog.select(schema.KNOWN.names)
    shown = shown.set_column(shown.column_names.index("split"), "split", pc.coalesce(shown["split"], hidden))
    departed = remembered.filter(pc.invert(pc.is_in(remembered["product_id"], catalog["product_id"])))
    return pa.concat_tables([shown.cast(schema.KNOWN), departed.cast(schema.KNOWN)]).combine_chunks()
