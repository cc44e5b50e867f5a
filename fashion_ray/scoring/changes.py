"""What changed since last night. In: two tables of scores. Out: the rows that were not simply carried over, and why.

Only `columns(targets)` of the scores are needed, never the embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

CAUSES = ("new_product", "withdrawn", "quarantined", "new_picture", "new_model", "new_engine")
"""Why a row is not the one of last night, in the order in which they are decided.

new_product: it had no row; withdrawn: it has none any more; quarantined: it has none because scoring failed on it;
new_picture: other bytes; new_model: the same bytes, another model_version; new_engine: the same bytes and model, so that only
the engine, its precision or the decoder can have changed the score_key.
"""

_KEYS = ("product_id", "image_sha256", "score_key", "model_version")


def columns(targets: Sequence[str]) -> list[str]:
    """The columns of a scores table that this module reads; those of a target that its model does not have may be absent."""
    return [*_KEYS, *(f"{target}_{part}" for target in targets for part in ("predicted", "probability"))]


def changes_schema(targets: Sequence[str]) -> pa.Schema:
    """The changes table, one row a product: `T_old` and `T_new` are null without a row or for a class too rare to be learned.

    The probability tells the two apart: it is null only where there is no row, or where the model does not have the target.
    `label_changed` is true where any target that both models have got another label; products on one side only have false.
    """
    fields = [pa.field("product_id", pa.string(), nullable=False), pa.field("cause", pa.string(), nullable=False)]
    for target in targets:
        for side in ("old", "new"):
            fields += [pa.field(f"{target}_{side}", pa.string()), pa.field(f"{target}_{side}_probability", pa.float32())]
    return pa.schema([*fields, pa.field("label_changed", pa.bool_(), nullable=False)])


def changes(before: pa.Table | None, after: pa.Table, *, targets: Sequence[str], quarantined: Sequence[str] = ()) -> pa.Table:
    """The products whose row is not the one of last night (`changes_schema`), sorted by product_id.

    Rows with the same score_key were carried over and are left out. Without `before` every product is new. `quarantined` are
    the products that scoring could not score tonight. Raises ValueError if neither table has one of the targets.
    """
    now = after.combine_chunks()
    then = now.slice(0, 0) if before is None else before.combine_chunks()
    if unknown := [target for target in targets if not {f"{target}_predicted"} & {*now.column_names, *then.column_names}]:
        raise ValueError(f"got the targets {unknown}, expected some that one of the two scores has. Take those of a manifest")
    old_rows, new_rows = _pairs(then, now)
    found: dict[str, pa.Array] = {
        "product_id": pc.coalesce(_taken(now, "product_id", new_rows), _taken(then, "product_id", old_rows)),
    }
    found["cause"] = _causes(then, now, old_rows, new_rows, pc.is_in(found["product_id"], pa.array(quarantined, pa.string())))
    changed = pa.array(np.zeros(len(old_rows), dtype=bool))
    for target in targets:
        for side, table, rows in (("old", then, old_rows), ("new", now, new_rows)):
            found[f"{target}_{side}"] = _taken(table, f"{target}_predicted", rows)
            found[f"{target}_{side}_probability"] = _taken(table, f"{target}_probability", rows, pa.float32())
        changed = pc.or_(changed, target_changed(pa.table(found), target))
    found["label_changed"] = changed
    table = pa.table(found).select(changes_schema(targets).names).cast(changes_schema(targets))
    return table.take(pc.sort_indices(table, sort_keys=[("product_id", "ascending")]))


def target_changed(table: pa.Table, target: str) -> pa.ChunkedArray:
    """Where a changes table has another label of a target than last night; false where one side gave no answer."""
    old, new = table[f"{target}_old"], table[f"{target}_new"]
    other = pc.or_(pc.fill_null(pc.not_equal(old, new), False), pc.xor(pc.is_null(old), pc.is_null(new)))
    answered = pc.and_(pc.is_valid(table[f"{target}_old_probability"]), pc.is_valid(table[f"{target}_new_probability"]))
    return pc.and_(other, answered)


def cause_counts(table: pa.Table) -> dict[str, int]:
    """The rows of each of CAUSES in a changes table, zeros included."""
    counted = {pair["values"]: pair["counts"] for pair in pc.value_counts(table["cause"]).to_pylist()}
    return {cause: counted.get(cause, 0) for cause in CAUSES}


def class_counts(before: pa.Table | None, after: pa.Table, target: str) -> pd.DataFrame:
    """The products of each predicted class: class (null for too rare), before, after, difference; largest movement first.

    A target that a model does not have counts as nothing on its side.
    """
    sides = {"before": _counted(before, target), "after": _counted(after, target)}
    names = sorted({*sides["before"], *sides["after"]}, key=lambda name: (name is None, name or ""))
    table = pd.DataFrame({"class": pd.Series(names, dtype=object)})
    for side, counted in sides.items():
        table[side] = np.array([counted.get(name, 0) for name in names], dtype=np.int64)
    table["difference"] = table["after"] - table["before"]
    order = np.lexsort([np.arange(len(table)), -table["difference"].abs().to_numpy()])
    return table.iloc[order].reset_index(drop=True)


def most_telling(table: pa.Table, *, targets: Sequence[str], most: int) -> pa.Table:
    """The rows of a changes table that a person should look at, up to `most`.

    First the products with another label, those on top where both answers were sure (the smaller of the two probabilities,
    the largest over the targets that changed): one of the two must be wrong. Then the others by their largest probability.
    """
    sure = np.zeros(table.num_rows)
    for target in targets:
        old, new = (_floats(table[f"{target}_{side}_probability"]) for side in ("old", "new"))
        flipped = np.where(target_changed(table, target).to_numpy(zero_copy_only=False), np.fmin(old, new), 0.0)
        best = np.nan_to_num(np.fmax(old, new))
        sure = np.fmax(sure, np.where(table["label_changed"].to_numpy(zero_copy_only=False), flipped, best))
    order = np.lexsort([-sure, ~table["label_changed"].to_numpy(zero_copy_only=False)])
    return table.take(pa.array(order[:most]))


def _pairs(then: pa.Table, now: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Rows of `then` and of `now` that belong together and differ; null on the side where a product has no row."""
    for table in (then, now):
        assert pc.count_distinct(table["product_id"]).as_py() == table.num_rows, "a product has two rows of scores"
    partner = _one(pc.index_in(now["product_id"], value_set=_one(then["product_id"])))
    same = pc.fill_null(pc.equal(_taken(then, "score_key", partner), _one(now["score_key"])), False)
    differs = pc.invert(same)
    fresh = pa.array(np.flatnonzero(differs.to_numpy(zero_copy_only=False)), pa.int32())
    left = np.ones(then.num_rows, dtype=bool)
    left[pc.drop_null(partner).to_numpy(zero_copy_only=False)] = False
    gone = pa.array(np.flatnonzero(left), pa.int32())
    old_rows = pa.concat_arrays([partner.filter(differs), gone])
    return old_rows, pa.concat_arrays([fresh, pa.nulls(len(gone), pa.int32())])


def _causes(then: pa.Table, now: pa.Table, old_rows: pa.Array, new_rows: pa.Array, failed: pa.Array) -> pa.Array:
    differ = {
        name: pc.fill_null(pc.not_equal(_taken(then, name, old_rows), _taken(now, name, new_rows)), False)
        for name in ("image_sha256", "model_version")
    }
    gone = pc.is_null(new_rows)
    conditions = {
        "new_product": pc.is_null(old_rows),
        "withdrawn": pc.and_(gone, pc.invert(failed)),
        "quarantined": gone,
        "new_picture": differ["image_sha256"],
        "new_model": differ["model_version"],
    }
    return pc.case_when(pc.make_struct(*conditions.values()), *conditions, "new_engine")


def _taken(table: pa.Table, name: str, rows: pa.Array, kind: pa.DataType | None = None) -> pa.Array:
    """A column at some rows, null where the row is, or everywhere if the table has no such column."""
    if name not in table.column_names:
        return pa.nulls(len(rows), kind or pa.string())
    return _one(table[name]).take(rows)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _counted(table: pa.Table | None, target: str) -> dict[str | None, int]:
    if table is None or f"{target}_predicted" not in table.column_names:
        return {}
    return {pair["values"]: pair["counts"] for pair in pc.value_counts(table[f"{target}_predicted"]).to_pylist()}
