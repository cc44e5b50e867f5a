"""An audit from a catalog to its table, CSV and page, in one process; and what can be wrong with what it is given."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog.corrections import read_corrections
from fashion_ray.errors import UserError
from fashion_ray.insight import features as cached
from fashion_ray.insight.annotating import selection_csv
from fashion_ray.insight.audit import CSV, PAGE, Asked, Audited, audit, columns, describe
from fashion_ray.insight.audit_options import AuditOptions
from fashion_ray.insight.judging import AUDIT, SELECTION
from fashion_ray.insight.material import material, scored_features
from fashion_ray.models.engines import EngineChoice
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

KINDS = ("Shirts", "Shoes", "Watches")
WRONG = 5
"""The number of a product whose label is wrong."""


def products(rows: int = 90) -> pa.Table:
    """A catalog: three classes, one wrong label, some unlabelled, a rare class, a catch-all class."""
    names = [KINDS[row % 3] for row in range(rows)]
    titles: list[str | None] = [f"Blue {name} number {row % 7}" for row, name in enumerate(names)]
    labels: list[str | None] = list(names)
    labels[WRONG] = "Shirts" if names[WRONG] != "Shirts" else "Shoes"
    labels[80:85] = [None] * 5
    labels[85:87] = ["Rare"] * 2
    masters = ["Free Items" if row >= 87 else "Apparel" for row in range(rows)]
    titles[WRONG] = '=HYPERLINK("x") <b>' + str(titles[WRONG])
    return pa.table(
        {
            "product_id": [f"p{row}" for row in range(rows)], "image_sha256": [f"sha{row}" for row in range(rows)],
            "group_id": [f"g{row}" for row in range(rows)], "productDisplayName": titles, "masterCategory": masters,
            "subCategory": ["Any"] * rows, "articleType": pa.array(labels, type=pa.string()), "image": [b"no picture"] * rows,
        }
    )  # fmt: skip


def vectors(hashes: list[str], trunk: dict[str, bytes]) -> np.ndarray:
    """Features in which each kind is a direction."""
    kinds = np.array([int(name.removeprefix("sha")) % 3 for name in hashes])
    noise = np.random.default_rng(0).normal(size=(len(hashes), 8))
    return (noise + 5 * np.eye(3, 8)[kinds]).astype(np.float32)


def asked_of(store: Store, table: pa.Table, options: AuditOptions) -> Asked:
    catalog = snapshots.current(store, "catalog")
    if catalog is None:
        written = store.write_table(table, "catalog/snapshots/one/part-0.parquet")
        files = [snapshots.file_entry("part-0.parquet", table.num_rows, written)]
        catalog = snapshots.publish(store, "catalog", "one", {"files": files, "rows": table.num_rows}, base=None)
    return Asked(options=options, catalog=catalog, scores=None, products=table.select(columns(options.target)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


def run(store: Store, **options: object) -> Audited:
    chosen = replace(AuditOptions(root=store.uri), **options)  # type: ignore[arg-type]
    return audit(asked_of(store, products(), chosen), store, vectors, "run")


def lines_of(store: Store, result: Audited) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(store.read_bytes(result.folder, CSV).decode())))


@pytest.mark.parametrize("titles", [False, True])
def test_the_wrong_label_comes_first_with_the_right_suggestion(store: Store, titles: bool) -> None:
    result = run(store, titles=titles)
    table = store.read_table(result.snapshot.folder, "part-00000.parquet")
    assert table.schema.equals(AUDIT)
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["rank"], first["product_id"], first["label"], first["suggested"]) == (1, "p5", "Shirts", "Watches")
    assert first["confident_learning"] and first["picture_label"] == first["title_label"] == "Watches"
    books = result.snapshot.manifest["books"]
    assert books == {"catalog": 90, "judged": 80, "unlabelled": 5, "catch_all": 3, "too_rare": 2, "no_embedding": 0}
    assert table["rank"].to_pylist() == list(range(1, 84)), "each judged and catch-all product once"
    assert "judged 80 + unlabelled 5" in describe(result, store)


def test_catch_all_classes_show_what_picture_and_title_suggest(store: Store) -> None:
    result = run(store)
    caught = [row for row in store.read_table(result.snapshot.folder).to_pylist() if row["kind"] == "catch_all"]
    assert {row["product_id"]: row["suggested"] for row in caught} == {"p87": "Shirts", "p88": "Shoes", "p89": "Watches"}
    assert all(row["picture_label"] == row["title_label"] == row["suggested"] and row["evidence"] is None for row in caught)


def test_the_csv_is_safe_and_ingest_reads_it_back(store: Store) -> None:
    untouched = run(store)
    content = store.read_bytes(untouched.folder, CSV)
    empty = read_corrections(content, "--labels", "now")
    assert empty.table.num_rows == 0 and empty.bad == [] and empty.unfilled == len(lines_of(store, untouched)) >= 4
    first = lines_of(store, untouched)[0]
    assert first["productDisplayName"].startswith("'=HYPERLINK") and first["suggested"] == "Watches" and first["label"] == ""
    filled = run(store, prefill=True)
    read = read_corrections(store.read_bytes(filled.folder, CSV), "--labels", "now")
    assert {"product_id": "p5", "target": "articleType", "label": "Watches"} in read.table.to_pylist() and read.bad == []


def test_no_cell_begins_as_a_formula_and_none_breaks_its_line() -> None:
    row = {
        "product_id": "p1", "target": "articleType", "label": "=1+1", "suggested": "-x",
        "productDisplayName": "a\nb\rc", "why": "@me",
    }  # fmt: skip
    lines = selection_csv(pa.Table.from_pylist([row]), prefill=True).decode().splitlines()
    assert len(lines) == 2
    assert lines[1] == "p1,articleType,'-x,'=1+1,'-x,'@me,a b c"


def test_the_page_escapes_what_comes_from_outside(store: Store) -> None:
    page = store.read_bytes((result := run(store)).folder, PAGE).decode()
    assert "&lt;b&gt;" in page and "<b>Blue" not in page and "Rare (2)" in page
    assert "jobs/ingest.py --labels" in page and result.snapshot.name in page


def test_the_same_question_again_changes_nothing_and_another_one_is_another_snapshot(store: Store) -> None:
    first, again = run(store), run(store)
    assert again.already_current and again.snapshot == first.snapshot and again.figures == first.figures
    other = run(store, titles=True)
    assert other.snapshot.sequence == 2 and other.snapshot.name != first.snapshot.name


def test_what_a_killed_audit_left_is_written_again(store: Store) -> None:
    asked = asked_of(store, products(), AuditOptions(root=store.uri))
    store.write_bytes(b"half a file", f"audit/snapshots/{asked.name}/part-00000.parquet")
    result = audit(asked, store, vectors, "run")
    assert snapshots.is_whole(store, result.snapshot) and not result.already_current


@pytest.mark.parametrize(
    ("pool", "whys"), [("unlabelled", {"unlabelled"}), ("doubtful", {"doubtful"}), ("both", {"unlabelled", "doubtful"})]
)
def test_a_selection_is_among_the_unlabelled_and_the_doubtful(store: Store, pool: str, whys: set[str]) -> None:
    result = run(store, select=50, pool=pool)
    table = store.read_table(result.snapshot.folder, "part-00000.parquet")
    assert result.snapshot.table == "selection" and table.schema.equals(SELECTION)
    assert set(table["why"].to_pylist()) == whys
    found = dict(zip(table["product_id"].to_pylist(), table["suggested"].to_pylist(), strict=True))
    assert ("p5" in found) == (pool != "unlabelled") and ("p80" in found) == (pool != "doubtful")
    assert "products to label next" in describe(result, store)
    assert b"What to label next" in store.read_bytes(result.folder, PAGE)


def test_an_empty_selection_is_published_as_such(store: Store) -> None:
    table = products().slice(0, 80)
    column = table["articleType"].to_pylist()
    column[WRONG] = "Watches"
    table = table.set_column(table.column_names.index("articleType"), "articleType", pa.array(column))
    result = audit(asked_of(store, table, AuditOptions(root=store.uri, select=3)), store, vectors, "run")
    assert result.figures == {"selected": 0.0} and lines_of(store, result) == []


def test_no_label_of_the_target_says_so() -> None:
    table = products()
    table = table.set_column(table.column_names.index("articleType"), "articleType", pa.nulls(90, pa.string()))
    with pytest.raises(UserError, match="--target: no product of the catalog has a label of articleType"):
        material(table, "articleType", folds=5, catch_all=())


def test_classes_with_fewer_rows_than_folds_are_left_out_or_refused() -> None:
    found = material(products(), "articleType", folds=5, catch_all=())
    assert found.rare == {"Rare": 2} and found.classes == sorted(KINDS)
    with pytest.raises(UserError, match=r"--folds: 0 classes of articleType have rows in 60 .*Rare \(2 rows\).*Lower --folds"):
        material(products(), "articleType", folds=60, catch_all=())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target": "articleTyp"}, "--target: got 'articleTyp'.*did you mean articleType"),
        ({"target": "joined_category"}, "--target: got 'joined_category'"),
        ({"folds": 1, "strategy": "best"}, "--folds: got 1.*--strategy: got 'best'"),
        ({"features": "mine", "select": -1, "pool": "all"}, "--features: got 'mine'.*--select: got -1.*--pool: got 'all'"),
    ],
)
def test_bad_options_are_told_all_at_once(options: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        AuditOptions(root="root", **options)  # type: ignore[arg-type]


def scores_of(store: Store, trunks: list[str]) -> Snapshot:
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * len(trunks), dtype=np.float32)), 2)
    ids = [f"p{row}" for row in range(len(trunks))]
    hashes = [f"sha{row}" for row in range(len(trunks))]
    table = pa.table({"product_id": ids, "image_sha256": hashes, "trunk_version": trunks, "embedding": column})
    written = store.write_table(table, "scores/snapshots/one/part-0.parquet")
    return snapshots.publish(
        store, "scores", "one", {"files": [snapshots.file_entry("part-0.parquet", len(trunks), written)]}, base=None
    )


def test_embeddings_of_the_scores_are_those_of_the_picture_as_it_is_now(store: Store) -> None:
    found, held = scored_features(store, scores_of(store, ["t"] * 3), ["p2", "p0", "p1", "new"], ["sha2", "other", "sha1", "x"])
    assert held.tolist() == [True, False, True, False]
    assert found.tolist() == [[4, 5], [0, 0], [2, 3], [0, 0]]


def test_embeddings_of_two_trunks_are_never_mixed(store: Store) -> None:
    with pytest.raises(UserError, match=r"2 trunk versions \(a, b\), expected one.*score.py --full"):
        scored_features(store, scores_of(store, ["a", "b"]), ["p0"], ["sha0"])


def test_features_are_cached_by_content_and_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    folder = cached.place(str(tmp_path), "trunk", EngineChoice(name="torch", precision="f32", device="cpu"))
    cached.keep(folder, ["a", "b"], np.array([[1, 2], [3, 4]], dtype=np.float32))
    cached.keep(folder, ["c"], np.array([[5, 6]], dtype=np.float32))
    (folder / "broken.parquet").write_bytes(b"PAR1")
    found = cached.load(folder, ["c", "a", "z"])
    assert cached.stacked(found, ["c", "a", "c"]).tolist() == [[5, 6], [1, 2], [5, 6]]
    assert set(found) == {"a", "c"}
    other = EngineChoice(name="torch", precision="bf16", device="cpu")
    assert cached.place(str(tmp_path), "trunk", other) != folder != cached.place(str(tmp_path), "other", other)
