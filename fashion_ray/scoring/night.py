"""What a night has to do. In: the catalog's hashes and last night's. Out: for every product, where its row comes from.

Pure: a row is carried over while what decides it, its score_key, is unchanged; an embedding is used again while its picture
and the trunk are; only the rest goes through the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CARRY, REUSE, SCORE, BAD = ACTIONS = ("carry", "reuse", "score", "bad")
"""Copy last night's row; answer again from last night's embedding; run the network; leave in quarantine."""

CATALOG = pa.schema(
    [
        ("part", pa.string()),
        ("position", pa.int32()),
        ("product_id", pa.string()),
        ("image_sha256", pa.string()),
        ("score_key", pa.string()),
    ]
)
"""A product of tonight's catalog: row `position` of the catalog's file `part`, and the key that its row would have."""

BEFORE = pa.schema(
    [
        ("product_id", pa.string()),
        ("image_sha256", pa.string()),
        ("score_key", pa.string()),
        ("trunk_version", pa.string()),
        ("old_part", pa.string()),
        ("old_position", pa.int32()),
    ]
)
"""A row of last night's scores and where it lies."""  # fmt: skip

WORK = pa.schema([*CATALOG, ("action", pa.string()), ("old_part", pa.string()), ("old_position", pa.int32())])
"""What is to be done for a product of tonight's catalog."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """The work of a night."""

    work: pa.Table
    """WORK, in the catalog's order."""

    withdrawn: int
    """Products that last night scored, or could not score, and that are not in the catalog."""

    @property
    def counts(self) -> dict[str, int]:
        """Products by action."""
        counted = dict(zip(*(column.to_pylist() for column in pc.value_counts(self.work["action"]).flatten()), strict=True))
        return {action: counted.get(action, 0) for action in ACTIONS}

    @property
    def quiet(self) -> bool:
        """Whether tonight's table would be last night's."""
        return not self.withdrawn and not self.counts[REUSE] and not self.counts[SCORE]


def plan_night(
    catalog: pa.Table, before: pa.Table, bad_before: pa.Table, *, trunk_version: str, comparable: bool, full: bool = False
) -> Night:
    """Decide for every product of `catalog` (CATALOG), from last night's rows (BEFORE) and its bad pictures.

    `bad_before` has product_id and image_sha256 of what could not be scored. `comparable` says whether last night's
    embeddings came from the same engine, precision and decoder; `full` forces everything through the network.
    """
    row = pc.index_in(catalog["product_id"], before["product_id"])
    old = before.take(row)
    same_key = _equal(catalog["score_key"], old["score_key"])
    same_trunk = pc.and_(
        _equal(catalog["image_sha256"], old["image_sha256"]), pc.fill_null(pc.equal(old["trunk_version"], trunk_version), False)
    )
    known = pc.index_in(catalog["product_id"], bad_before["product_id"])
    still_bad = _equal(catalog["image_sha256"], bad_before["image_sha256"].take(known))
    if full or not comparable:
        never = pa.array(np.zeros(catalog.num_rows, dtype=bool))
        same_trunk, still_bad = never, never
        same_key = never if full else same_key
    action = pc.case_when(pc.make_struct(still_bad, same_key, same_trunk), BAD, CARRY, REUSE, SCORE)
    work = catalog.append_column("action", action)
    for name in ("old_part", "old_position"):
        work = work.append_column(name, old[name])
    return Night(work=work.cast(WORK), withdrawn=_gone(before, catalog) + _gone(bad_before, catalog))


def _gone(products: pa.Table, catalog: pa.Table) -> int:
    """How many products are not in the catalog."""
    stay = pc.is_in(products["product_id"], catalog["product_id"])
    return int(products.num_rows - (pc.sum(stay).as_py() or 0))


def by_part(work: pa.Table, parts: Sequence[str]) -> list[pa.Table]:
    """The WORK of some files of the catalog, a table each. A file's rows stand together, so however many files there are, the
    work is gone through once."""
    runs = pc.run_end_encode(work["part"].combine_chunks(), run_end_type=pa.int64())
    ends = runs.run_ends.to_pylist()
    bounds = dict(zip(runs.values.to_pylist(), zip([0, *ends], ends, strict=False), strict=True))
    assert len(bounds) == len(ends), "a file's rows do not stand together"
    found = [bounds.get(part, (0, 0)) for part in parts]
    # Taken, not sliced: a slice would bring the whole table along to wherever it is sent.
    return [work.slice(start, end - start).take(pa.array(np.arange(end - start))) for start, end in found]


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(one, other), False)
