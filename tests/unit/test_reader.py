"""Reading the scores: the current snapshot, which stays what it was while newer ones are published."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.errors import UserError
from fashion_ray.scoring import open_scores
from fashion_ray.storage import Store


def publish(store: Store, name: str, values: list[int]) -> None:
    """A snapshot of one file."""
    written = store.write_table(pa.table({"product_id": values}), "scores", "snapshots", name, "part-00000.parquet")
    entry = snapshots.file_entry("part-00000.parquet", len(values), written)
    snapshots.publish(store, "scores", name, {"files": [entry]}, base=snapshots.current(store, "scores"))


def test_a_dataset_is_the_current_snapshot_and_stays_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no scores below .* jobs/score.py"):
        open_scores(str(tmp_path))
    store = Store(str(tmp_path))
    publish(store, "one", [1, 2])
    first = open_scores(str(tmp_path))
    publish(store, "two", [3])
    assert first.to_table()["product_id"].to_pylist() == [1, 2]
    assert open_scores(str(tmp_path)).to_table()["product_id"].to_pylist() == [3]
