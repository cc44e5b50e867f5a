"""What the benchmarks compute is what they say: the same rows for a seed, no row lost by a peer, right shares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import bare_engine, faithful, peers
from benchmarks.material import BenchmarkOptions, report, sample
from fashion_ray import snapshots
from fashion_ray.errors import ReconciliationError, UserError
from fashion_ray.storage import Store


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A root with a catalog of ten rows, two of them on the test side."""
    store = Store(str(tmp_path / "root"))
    table = pa.table({"product_id": [str(number) for number in range(10)], "split": ["train"] * 8 + ["test"] * 2})
    written = store.write_table(table, "catalog/snapshots/one/part-0.parquet")
    files = [snapshots.file_entry("part-0.parquet", 10, written)]
    snapshots.publish(store, "catalog", "one", {"files": files, "rows": 10}, base=None)
    return store.uri


def drawn(root: str, rows: int, seed: int = 0) -> list[str]:
    return list(sample(BenchmarkOptions(root=root, rows=rows, seed=seed), ["product_id"])["product_id"].to_pylist())


def test_a_sample_is_the_same_for_a_seed_and_has_every_row_once(root: str) -> None:
    assert drawn(root, 5) == drawn(root, 5) != drawn(root, 5, seed=1)
    assert sorted(drawn(root, 10)) == [str(number) for number in range(10)]


def test_a_sample_of_a_side_has_its_rows_only(root: str) -> None:
    options = BenchmarkOptions(root=root, rows=5)
    found = sample(options, ["product_id"], split="test", at_most=True)
    assert sorted(found["product_id"].to_pylist()) == ["8", "9"] and found.column_names == ["product_id"]


def test_more_rows_than_there_are_is_the_users_error(root: str) -> None:
    with pytest.raises(UserError, match="--rows: got 11, expected at most the 10 that the catalog has"):
        drawn(root, 11)
    with pytest.raises(UserError, match=r"--rows: got 0.*--repeats: got 0"):
        BenchmarkOptions(root=root, rows=0, repeats=0)


def test_a_report_is_a_line_for_programs_and_one_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    report("speed", {"rows": 2}, "twice as fast")
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"benchmark": "speed", "rows": 2}
    assert second == "speed: twice as fast"


def written(folder: Path, *ids: str) -> Path:
    folder.mkdir()
    pq.write_table(pa.table({"product_id": list(ids)}), folder / "part.parquet")
    return folder


@pytest.mark.parametrize("found", [["a"], ["a", "b", "b"], ["a", "c"]])
def test_a_peer_that_loses_doubles_or_swaps_a_row_is_refused(tmp_path: Path, found: list[str]) -> None:
    source = written(tmp_path / "source", "a", "b")
    peers.check([written(tmp_path / "right", "b", "a") / "part.parquet"], source)
    with pytest.raises(ReconciliationError, match="are not the 2 it was given"):
        peers.check([written(tmp_path / "wrong", *found) / "part.parquet"], source)


def test_the_better_way_of_each_peer_is_what_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    rates = {"ray_pattern default": 10.0, "ray_pattern tuned": 20.0, "torch_loop 1": 50.0, "torch_loop 2": 40.0}
    peers.tell({**rates, "bare_engine": 200.0, "scoring": 180.0}, rows=100, cpus=2)
    figures = json.loads(capsys.readouterr().out.splitlines()[0])
    assert figures["torch_loop_of_ray_pattern"] == 2.5
    assert figures["of_bare_engine"]["ray_pattern default"] == 0.05
    assert (figures["scoring_of"]["ray_pattern default"], figures["scoring_of"]["bare_engine"]) == (18.0, 0.9)


def test_only_whole_batches_count_and_every_setting_is_possible() -> None:
    assert [bare_engine.whole(np.zeros(70), batch) for batch in (32, 64, 128)] == [64, 64, 0]
    assert bare_engine.settings(cpus=2, rows=128) == [(16, 1, 2), (16, 2, 2), (32, 1, 2), (32, 2, 2), (64, 1, 2)]
    assert {threads for _, _, threads in bare_engine.settings(cpus=8, rows=64)} == {4, 8}, "two may be one core"
    assert bare_engine.settings(cpus=2, rows=1) == [], "too few rows for any"


def test_cosines_and_labels_worked_out_by_hand() -> None:
    one, other = np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[2.0, 0.0], [4.0, -3.0]])
    assert faithful.cosines(one, other).tolist() == pytest.approx([1.0, 0.0])
    assert faithful.encoded(["b", None, "a", "rare"], ["a", "b", None]).tolist() == [1, -1, 0, -1]
    assert faithful.share(np.array([True, False])) == 0.5 and faithful.share(np.array([])) is None
