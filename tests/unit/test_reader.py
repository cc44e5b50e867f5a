"""Reading the scores: the current snapshot, which stays what it was while newer ones are published."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.errors import UserError
from fashion_ray.scoring import open_scores
from fashion_ray.scoring.describe import time_line
from fashion_ray.storage import Store


def publish(store: Store, name: str, values: list[int]) -> None:
    """A snapshot of one file."""
    size = store.write_table(pa.table({"product_id": values}), "scores", "snapshots", name, "part-00000.parquet")
    entry = snapshots.file_entry("part-00000.parquet", "", len(values), size)
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


def test_the_time_line_names_the_bottleneck() -> None:
    timing = {"wall_s": 10.0, "rows_per_second": 100.0, "network_s": 6.0, "decode_s": 2.0, "wait_s": 9.0, "write_s": 2.0}
    assert time_line(timing) == (
        "100 rows/s over 10.0 s; reading pictures 0%, decoding 20%, the network 60%, labels and carrying over 0%, writing 20%; "
        "most of it goes into the network"
    )
