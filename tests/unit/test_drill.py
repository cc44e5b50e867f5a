"""The crash drill's own judgement: it passes what is right and says what is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks import drill, victims, witness
from benchmarks.drill import Case, DrillOptions, Finding
from benchmarks.victims import Progress
from benchmarks.witness import Looks, Sight
from fashion_ray import snapshots
from fashion_ray.errors import UserError
from fashion_ray.storage import Store

BEFORE = Sight(digest="a", rows=2, products=2, runs=frozenset({"r1"}))
AFTER = Sight(digest="b", rows=2, products=2, runs=frozenset({"r2", "r3"}))


def scores(**changed: Any) -> pa.Table:
    """Scores of two products."""
    columns: dict[str, Any] = {
        "product_id": ["1", "2"],
        "x_predicted": ["shoe", None],
        "x_probability": pa.array([0.9, 0.5], type=pa.float32()),
        "x_top3": [[{"label": "shoe", "probability": 0.9}], [{"label": "hat", "probability": 0.5}]],
        "x_needs_review": [False, True],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0], type=pa.float32()), 2),
        "run_id": ["r1", "r1"],
        "scored_at": ["now", "now"],
    }
    return pa.table(columns | changed)


def embeddings(*values: float) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values, type=pa.float32()), 2)


def test_scores_in_another_order_of_another_run_with_the_same_answers_are_the_same() -> None:
    other = scores(
        run_id=["r2", "r3"], scored_at=["then", "later"], embedding=embeddings(1.0005, 2, 3, 4),
        x_probability=pa.array([0.9004, 0.5], type=pa.float32()),
    )  # fmt: skip
    assert witness.differences(scores(), other.take([1, 0])) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"product_id": ["1", "3"]}, "other products"),
        ({"x_predicted": ["shoe", "hat"]}, "x_predicted differs in 1 of 2: None became hat"),
        ({"x_needs_review": [True, True]}, "x_needs_review differs in 1 of 2"),
        ({"x_top3": [[{"label": "hat", "probability": 0.9}], [{"label": "hat", "probability": 0.5}]]}, "x_top3.label differs"),
        ({"x_top3": [[{"label": "shoe", "probability": 0.9}], []]}, "x_top3 has other lengths"),
        ({"x_probability": pa.array([0.9, 0.502], type=pa.float32())}, "x_probability is 0.002 apart"),
        ({"embedding": embeddings(1, 2, 3, 4.01)}, "embedding is 0.01 apart"),
        ({"embedding": embeddings(1, 2, 3, float("nan"))}, "embedding is nan apart"),
        ({"more": [1, 2]}, "other columns"),
    ],
)
def test_other_answers_are_told(changed: dict[str, Any], said: str) -> None:
    (problem,) = witness.differences(scores(), scores(**changed))
    assert said in problem


@pytest.mark.parametrize("seen", [[None, AFTER], [AFTER], [None]])
def test_a_reader_may_see_nothing_and_then_the_first_snapshot(seen: list[Sight | None]) -> None:
    assert witness.contradictions(Looks(seen=seen), None, AFTER, rows=2) == []


@pytest.mark.parametrize(
    ("looks", "before", "after", "said"),
    [
        (Looks(seen=[BEFORE, None, AFTER]), BEFORE, AFTER, "1 of 3 looks saw neither"),
        (Looks(seen=[Sight(digest="c", rows=1, products=1, runs=AFTER.runs)]), None, AFTER, "saw neither"),
        (Looks(seen=[BEFORE, AFTER, BEFORE]), BEFORE, AFTER, "again after the next"),
        (Looks(seen=[BEFORE]), BEFORE, BEFORE, "nothing was published"),
        (Looks(seen=[None]), None, None, "nothing was published"),
        (Looks(seen=[AFTER]), None, Sight(digest="b", rows=2, products=1, runs=AFTER.runs), "rows of 1 products"),
        (Looks(seen=[BEFORE]), BEFORE, Sight(digest="d", rows=2, products=2, runs=BEFORE.runs), "are in the next"),
        (Looks(seen=[]), None, AFTER, "no reader looked"),
        (Looks(seen=[AFTER], troubles=["a reader met OSError"]), None, AFTER, "a reader met OSError"),
    ],
)
def test_what_a_reader_may_not_see_is_told(looks: Looks, before: Sight | None, after: Sight | None, said: str) -> None:
    assert any(said in problem for problem in witness.contradictions(looks, before, after, rows=2))


def publish(store: Store, name: str, table: pa.Table, base: snapshots.Snapshot | None) -> snapshots.Snapshot:
    """Publish a table of one file as scores."""
    written = store.write_table(table, snapshots.staging("scores", name), "part-0.parquet")
    files = [snapshots.file_entry("part-0.parquet", table.num_rows, written)]
    return snapshots.publish(store, "scores", name, {"files": files, "rows": table.num_rows}, base=base)


def with_key(run_id: str) -> pa.Table:
    return scores(run_id=[run_id, run_id], score_key=["k1", "k2"])


def test_a_look_tells_snapshots_apart_and_knows_what_is_in_them(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert witness.look(store.uri) is None
    first = publish(store, "one", with_key("r1"), None)
    seen = witness.look(store.uri)
    assert seen is not None and (seen.rows, seen.products, seen.runs) == (2, 2, {"r1"}) and seen == witness.look(store.uri)
    publish(store, "two", with_key("r2"), first)
    assert witness.look(store.uri) != seen
    store.remove("scores/snapshots/two/_manifest.json")
    with pytest.raises(UserError, match="cannot be read"):
        witness.look(store.uri)


def test_progress_is_read_from_the_folder_that_is_not_published_yet(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    publish(store, "one", with_key("r1"), None)
    known = victims.published(store)
    assert known == {"one"} and victims.growing(store, known) is None
    folder = snapshots.staging("scores", "two")
    for name in ("part-0.parquet/first", "part-0.parquet/r1.1", "part-1.parquet/first", "part-2.parquet/first"):
        store.write_bytes(b"", folder, f"_attempts/{name}")
    for name in ("part-0.parquet.json", ".part-1.parquet.json.x.tmp"):
        store.write_bytes(b"{}", folder, "_receipts", name)
    assert victims.growing(store, known) == folder
    found = victims.progress(store, folder)
    assert list(found.receipts) == ["part-0.parquet"] and (found.in_hand, found.again) == (2, 1)


@pytest.mark.parametrize(
    ("begun_again", "rewritten", "missing", "most", "said"),
    [
        (2, 1, 0, 2, None),
        (3, 0, 0, 2, "3 files were begun again, and at most 2 were in hand"),
        (0, 0, 1, 2, "9 receipts for 10 files"),
        (0, 0, 0, 0, "nobody was there to be killed"),
    ],
)
def test_more_done_twice_than_was_in_hand_is_a_failure(
    begun_again: int, rewritten: int, missing: int, most: int, said: str | None
) -> None:
    finding = Finding(victim="driver", percent=50, cluster=False, files=10, most_again=most)
    then = Progress(receipts={str(part): 1 for part in range(5)}, begun=Counter())
    receipts = {str(part): 2 if part < rewritten or part > 4 else 1 for part in range(10 - missing)}
    begun = Counter({str(part): 1 + (part < begun_again) for part in range(10)})
    drill.settle(finding, then, Progress(receipts=receipts, begun=begun))
    assert (finding.done, finding.kept, finding.again) == (5, 5 - rewritten, begun_again)
    assert finding.problems == ([] if said is None else [said])


def test_every_place_has_an_uninterrupted_run_before_its_kills() -> None:
    assert drill.cases(DrillOptions(only=("node", "driver"), at="10,90")) == [
        Case(victim="nobody"),
        Case(victim="driver", percent=10),
        Case(victim="driver", percent=90),
        Case(victim="nobody", cluster=True),
        Case(victim="node", percent=10, cluster=True),
        Case(victim="node", percent=90, cluster=True),
    ]
    assert [case.victim for case in drill.cases(DrillOptions(at="50"))] == ["nobody", "driver", "actor", "nobody", "node"]
    everything = drill.cases(DrillOptions(at="50", cluster=True))
    assert [case.victim for case in everything] == ["nobody", "driver", "actor", "node"] and all(
        case.cluster for case in everything
    )


@pytest.mark.parametrize("at", ["", "0", "10,", "100", "half", "10;50", "-5"])
def test_only_percentages_are_percentages(at: str) -> None:
    assert drill.percentages("10, 50,99") == [10, 50, 99]
    with pytest.raises(UserError, match="--at: got"):
        DrillOptions(at=at)


def test_all_that_is_wrong_with_the_options_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"--root: .*--only: .*--files: .*--patience-s: "):
        DrillOptions(root="s3://bucket", only=("reader",), files=19, patience_s=0)


def test_a_catalog_is_cut_into_more_files_with_the_same_rows(tmp_path: Path) -> None:
    source, target = Store(str(tmp_path / "source")), Store(str(tmp_path / "target"))
    table = pa.table({"product_id": [str(number) for number in range(23)]})
    written = source.write_table(table, "catalog/snapshots/one/part-00000.parquet")
    files = [snapshots.file_entry("part-00000.parquet", 23, written)]
    catalog = snapshots.publish(source, "catalog", "one", {"files": files, "rows": 23}, base=None)
    drill.cut(source, catalog, target, 5)
    found = snapshots.current(target, "catalog")
    assert found is not None and found.name == "one" and [entry["rows"] for entry in found.manifest["files"]] == [4] * 5 + [3]
    assert pa.concat_tables([target.read_table(file) for file in found.files]).equals(table)


def test_a_line_says_who_was_killed_what_was_kept_and_the_verdict() -> None:
    finding = Finding(
        victim="node", percent=90, cluster=True, files=40, done=36, kept=36, again=3, most_again=4, ratio=1.5, looks=99
    )
    assert drill.line(finding) == (
        "node killed at 90% on 3 nodes: 36 of 40 files were done, 36 kept, 3 begun again (at most 4), went on by itself, "
        "1.50 of the uninterrupted time, 99 looks; ok"
    )
    finding.problems.append("the rows are others")
    assert drill.line(finding).endswith("FAILED: the rows are others")


def test_a_job_of_the_drill_inherits_its_token_and_no_other_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "elsewhere")
    variables = victims.environment("/root", Path("/cache"))
    assert (variables["RAY_AUTH_MODE"], variables["RAY_AUTH_TOKEN"]) == ("token", "secret")
    assert (variables["FASHION_RAY_ROOT"], variables["FASHION_RAY_CACHE"]) == ("/root", "/cache")
    assert not {"RAY_ADDRESS", "MLFLOW_TRACKING_URI"} & set(variables)
