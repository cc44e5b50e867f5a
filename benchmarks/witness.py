"""What the crash drill holds scores against. In: tables, and what a reader saw at each look. Out: whatever is wrong, in words.

A snapshot is seen through `open_scores`, as users see it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.errors import UserError
from fashion_ray.scoring import open_scores

TOLERANCE = 1e-3
"""How far a number may be from that of an uninterrupted run."""

OF_THE_RUN = ("run_id", "scored_at")
"""The columns that differ from run to run."""

NO_TABLE = "no scores below"
"""How open_scores begins where nothing was published."""

LOOK_EVERY_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A table that a reader saw; two looks at the same table are equal."""

    digest: str
    """Of every product with its answer and the run that gave it."""

    rows: int
    products: int
    runs: frozenset[str]


@dataclass(kw_only=True)
class Looks:
    """What a reader saw, in order; null where there was no table yet."""

    seen: list[Sight | None] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """Looks that failed otherwise."""


def look(root: str) -> Sight | None:
    """The current scores, or null if there are none. Raises UserError or OSError if they cannot be read."""
    try:
        dataset = open_scores(root)
    except UserError as error:
        if str(error).startswith(NO_TABLE):
            return None
        raise
    answers = [name for name in dataset.schema.names if name.endswith(("_predicted", "_needs_review"))]
    table = dataset.to_table(columns=["product_id", *answers, *OF_THE_RUN, "score_key"])
    digest = hashlib.sha256("\n".join(dataset.files).encode())
    for batch in table.combine_chunks().to_batches():
        digest.update(batch.serialize())
    return Sight(
        digest=digest.hexdigest(),
        rows=table.num_rows,
        products=pc.count_distinct(table["product_id"]).as_py(),
        runs=frozenset(table["run_id"].unique().to_pylist()),
    )


@contextmanager
def looking(root: str) -> Iterator[Looks]:
    """A reader that looks ten times a second while the block runs."""
    looks, ended = Looks(), threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_EVERY_S):
            try:
                looks.seen.append(look(root))
            except (UserError, OSError, pa.ArrowException) as error:
                looks.troubles.append(f"a reader met {type(error).__name__}: {error}")

    reader = threading.Thread(target=watch, name="reader")
    reader.start()
    try:
        yield looks
    finally:
        ended.set()
        reader.join()


def contradictions(looks: Looks, before: Sight | None, after: Sight | None, *, rows: int) -> list[str]:
    """What a reader may not see while one snapshot of `rows` products is published after another."""
    problems = list(dict.fromkeys(looks.troubles))
    if not looks.seen:
        problems.append("no reader looked")
    strange = [sight for sight in looks.seen if sight not in (before, after)]
    if strange:
        problems.append(f"{len(strange)} of {len(looks.seen)} looks saw neither the snapshot before nor the next: {strange[0]}")
    turned = [sight == after for sight in looks.seen]
    if turned != sorted(turned):
        problems.append("a reader saw the snapshot before again after the next")
    if after is None or after == before:
        problems.append("nothing was published")
    elif not after.rows == after.products == rows:
        problems.append(f"{after.rows} rows of {after.products} products, and the catalog has {rows}")
    elif before is not None and before.runs & after.runs:
        problems.append(f"rows of the snapshot before are in the next: {sorted(before.runs & after.runs)}")
    return problems


def differences(expected: pa.Table, found: pa.Table) -> list[str]:
    """In what scores differ from expected ones, beside OF_THE_RUN: numbers by more than TOLERANCE, anything else at all."""
    if expected.schema != found.schema:
        return [f"other columns: {found.schema.names}"]
    one, other = (table.sort_by("product_id").combine_chunks() for table in (expected, found))
    if one["product_id"] != other["product_id"]:
        return [f"other products: {one.num_rows} expected, {other.num_rows} found"]
    names = [name for name in one.column_names if name not in OF_THE_RUN]
    return [problem for name in names for problem in _differs(name, one[name].combine_chunks(), other[name].combine_chunks())]


def _differs(name: str, one: pa.Array, other: pa.Array) -> Iterator[str]:
    kind = one.type
    if pa.types.is_floating(kind):
        apart = np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).max(initial=0.0)
        if not apart <= TOLERANCE:  # also if it is not a number
            yield f"{name} is {apart:.2g} apart, expected at most {TOLERANCE}"
    elif pa.types.is_struct(kind):
        for field_ in kind:
            yield from _differs(f"{name}.{field_.name}", pc.struct_field(one, field_.name), pc.struct_field(other, field_.name))
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        if pc.list_value_length(one) != pc.list_value_length(other):
            yield f"{name} has other lengths"
        else:
            yield from _differs(name, one.flatten(), other.flatten())
    elif one != other:
        rows: Sequence[int] = [row for row in range(len(one)) if one[row].as_py() != other[row].as_py()]
        yield f"{name} differs in {len(rows)} of {len(one)}: {one[rows[0]]} became {other[rows[0]]}"
