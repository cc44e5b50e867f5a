"""Similar products: what is read, what is refused, what a person sees of one query. No cluster."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from fashion_ray import snapshots
from fashion_ray.catalog import schema
from fashion_ray.errors import ReconciliationError, UserError
from fashion_ray.insight import imagenet, neighbours, units
from fashion_ray.insight.embeddings import catalog_for, features_of, scores_of
from fashion_ray.insight.products import Filters, keys, read_products, rules
from fashion_ray.insight.query import answer_query, describe_query
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.insight.units import open_units
from fashion_ray.models import bundle
from fashion_ray.models.network import Geometry
from fashion_ray.pages.similar_report import comparison_report, similar_report
from fashion_ray.pages.similar_sheet import similarity_histogram
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from tests.unit.nights import jpeg
from tests.unit.test_pages import EVIL, Page

VECTORS = {
    "a": (1.0, 0.0, 0.0), "b": (0.9, 0.1, 0.0), "c": (0.8, 0.2, 0.1), "twin": (1.0, 0.0, 0.0), "far": (0.0, 0.0, 1.0),
    "zero": (0.0, 0.0, 0.0),
}  # fmt: skip
LABELS = {
    "a": ("Men", "Red", "g1"), "b": ("Men", "Blue", "g1"), "c": ("Women", "Blue", "g2"), "twin": ("Men", "Red", "g3"),
    "far": ("Men", None, "g4"), "zero": ("Men", "Red", "g5"), "unscored": ("Men", "Red", "g6"),
}  # fmt: skip


def publish(store: Store, table: str, name: str, rows: pa.Table, **manifest: object) -> Snapshot:
    half, files = rows.num_rows // 2, []
    for number, part in enumerate((rows.slice(0, half), rows.slice(half))):
        file = f"part-{number:05d}.parquet"
        files.append(snapshots.file_entry(file, part.num_rows, store.write_table(part, snapshots.staging(table, name), file)))
    base = snapshots.current(store, table)
    return snapshots.publish(store, table, name, {"files": files, "rows": rows.num_rows, **manifest}, base=base)


def scores(trunks: dict[str, str] | None = None, ids: list[str] | None = None) -> pa.Table:
    ids = ids or list(VECTORS)
    flat = np.array([VECTORS[one] for one in ids], np.float32).ravel()
    return pa.table(
        {
            "product_id": ids, "gender_predicted": pa.array(["Girls"] * len(ids)),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat), 3),
            "trunk_version": [(trunks or {}).get(one, "t1") for one in ids],
        }
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A catalog and scores of it, one product of which was not scored."""
    made = Store(str(tmp_path / "root"))
    catalog = pa.table(
        {
            "product_id": list(LABELS), "image": [jpeg(one) for one in LABELS], "articleType": pa.array(["Shirts"] * 7),
            "productDisplayName": [f"Title of {one}\x1b[31m" for one in LABELS],
            **{
                name: pa.array([labels[place] for labels in LABELS.values()], pa.string())
                for place, name in enumerate(("gender", "baseColour", "group_id"))
            },
        }
    )  # fmt: skip
    publish(made, "catalog", "c1", catalog)
    publish(made, "scores", "s1", scores(), catalog_snapshot="c1", targets=["gender"], engine="openvino", precision="f32")
    return made


def options(store: Store, tmp_path: Path, **changed: object) -> SimilarOptions:
    return SimilarOptions(root=store.uri, cache=str(tmp_path / "cache"), **changed)  # type: ignore[arg-type]


def similar(store: Store, tmp_path: Path, product: str, **changed: object) -> list[str]:
    answer = answer_query(options(store, tmp_path, product=product, **changed), store)
    return [one["product_id"] for one in answer.similar]


def test_a_product_is_never_similar_to_itself_or_to_its_near_duplicates(store: Store, tmp_path: Path) -> None:
    assert similar(store, tmp_path, "a") == ["c", "far"], "b is of the same group, twin is as good as equal, zero has no vector"
    assert similar(store, tmp_path, "a", exclude_duplicates=False) == ["twin", "b", "c", "far"]
    assert similar(store, tmp_path, "a", exclude_duplicates=False, k=1) == ["twin"]
    assert similar(store, tmp_path, "a", duplicate_similarity=1.0) == ["twin", "c", "far"]


def test_filters_compose_and_leave_fewer_where_fewer_pass(store: Store, tmp_path: Path) -> None:
    assert similar(store, tmp_path, "a", exclude_duplicates=False, same=("gender",)) == ["twin", "b", "far"]
    assert similar(store, tmp_path, "a", exclude_duplicates=False, other_colour=True) == ["b", "c"]
    assert similar(store, tmp_path, "a", exclude_duplicates=False, other_colour=True, same=("gender",)) == ["b"]
    assert similar(store, tmp_path, "a", exclude_duplicates=False, diversity=0.9, k=2) == ["twin", "far"]
    assert similar(store, tmp_path, "far", other_colour=True) == [], "it has no colour that another could differ from"
    assert similar(store, tmp_path, "zero") == []


def test_a_query_is_shown_on_one_line_a_product_and_names_no_file(store: Store, tmp_path: Path) -> None:
    said = describe_query(answer_query(options(store, tmp_path, product="a"), store), store)
    first, *others, last = said.splitlines()
    assert first.startswith("similar to a  Shirts, Red, Men, Title of a") and "\x1b" not in said
    assert len(others) == 2 and others[0].split()[:3] == ["1", "0.9631", "c"]
    sheet = Path(last.removeprefix("sheet").strip())
    assert sheet.parent == Path(store.path("reports", "similar-queries")) and Image.open(sheet).format == "PNG"
    nobody = describe_query(answer_query(options(store, tmp_path, product="zero"), store), store)
    assert "none: nothing passes the filters" in nobody


@pytest.mark.parametrize(
    ("product", "why"),
    [("unscored", "has no embedding"), ("../../etc/passwd", "is not in the catalog"), ("", "is not in the catalog")],
)
def test_a_product_that_is_not_there_is_the_users_error(product: str, why: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--product: .*{why}.*such as a, b, c"):
        answer_query(options(store, tmp_path, product=product), store)


def test_embeddings_of_two_trunks_are_refused(store: Store, tmp_path: Path) -> None:
    publish(store, "scores", "s2", scores({"c": "t2"}), catalog_snapshot="c1", targets=[])
    with pytest.raises(UserError, match=r"2 trunk versions: t1 \(5 rows\), t2 \(1 rows\).*--full"):
        answer_query(options(store, tmp_path, product="a"), store)
    assert similar(store, tmp_path, "a", snapshot="s1") == ["c", "far"], "the one before has one"


def test_a_snapshot_that_is_not_there_is_the_users_error(store: Store) -> None:
    assert scores_of(store, "s1").name == scores_of(store).name == "s1"
    with pytest.raises(UserError, match=r"--snapshot: got 's9', expected one of .*: s1"):
        scores_of(store, "s9")
    with pytest.raises(UserError, match=r"no classic features .* --baseline classic"):
        features_of(store, "classic")
    with pytest.raises(UserError, match=r"no scores below .* jobs/score.py"):
        scores_of(Store(store.uri + "/elsewhere"))


def test_labels_are_those_of_the_catalog_that_was_scored_or_else_the_current_ones(store: Store) -> None:
    newer = store.read_table("catalog", "snapshots", "c1").slice(0, 2)
    publish(store, "catalog", "c2", newer)
    assert catalog_for(store, scores_of(store)).name == "c1"
    store.remove("catalog", "snapshots", "c1")
    catalog = catalog_for(store, scores_of(store))
    assert catalog.name == "c2"
    products = read_products(store, scores_of(store), catalog, ["gender"])
    assert products.table["in_catalog"].to_pylist() == [True, True, False, False, False, False]
    decided = rules(products, np.ones(6, bool), Filters(exclude_duplicates=False))
    assert decided.usable.tolist() == products.table["in_catalog"].to_pylist()


def test_a_prediction_stands_in_for_a_label_that_is_missing(store: Store) -> None:
    unlabelled = store.read_table("catalog", "snapshots", "c1").to_pandas()
    unlabelled.loc[unlabelled["product_id"] == "c", "gender"] = None
    catalog = publish(store, "catalog", "c3", pa.Table.from_pandas(unlabelled, preserve_index=False))
    products = read_products(store, scores_of(store), catalog, ["gender", "baseColour"])
    assert products.table["gender"].to_pylist() == ["Men", "Men", "Girls", "Men", "Men", "Men"]
    assert products.without == ["unscored"] and products.table["baseColour"][4].as_py() is None


def test_a_product_that_is_there_twice_is_refused(store: Store) -> None:
    publish(store, "scores", "s3", scores(ids=["a", "b", "a"]), catalog_snapshot="c1", targets=[])
    with pytest.raises(ReconciliationError, match="a product twice"):
        read_products(store, scores_of(store), catalog_for(store, scores_of(store)), [])


def test_a_key_changes_with_the_embedding_and_with_the_labels_that_decide_and_with_nothing_else(store: Store) -> None:
    source = scores_of(store)
    products = read_products(store, source, catalog_for(store, source), ["gender", "group_id", "articleType"])
    digests, filters = np.array([b"1", b"2", b"3", b"4", b"5", b""]), Filters(same=("gender",))
    before = keys(products, digests, filters)
    digests[1] = b"9"
    table = products.table.set_column(
        products.table.column_names.index("gender"), "gender", pa.array(["Men", "Men", "Men", "Men", "Men", "Men"])
    )
    after = keys(type(products)(**{**vars(products), "table": table}), digests, filters)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False, True, True, True]
    assert len(set(before)) == 6


def test_vectors_are_made_once_a_node_and_again_where_they_are_gone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = scores_of(store), str(tmp_path / "cache")
    found = open_units(store, source, cache)
    assert (found.rows, found.dim) == (6, 3)
    expected = neighbours.unit(np.array(list(VECTORS.values()), np.float32))
    assert (found.tile(1, 5) == expected[1:5]).all() and (found.take(np.array([5, 0])) == expected[[5, 0]]).all()
    assert [bool(one) for one in found.digests()] == [True] * 5 + [False] and found.digests()[0] == found.digests()[3]
    with monkeypatch.context() as patch:
        patch.setattr(units, "_make", lambda *arguments: pytest.fail("it was there"))
        assert open_units(store, source, cache) == found
    Path(found.path).unlink()
    assert (open_units(store, source, cache).tile(0, 6) == expected).all()
    monkeypatch.setattr(units, "KEPT", 0)
    other = publish(store, "scores", "s4", scores(ids=["b", "c"]), catalog_snapshot="c1", targets=[])
    open_units(store, other, cache)
    assert not Path(found.path).exists() and len(list(Path(cache, "similar").glob("*.f32"))) == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"k": 0}, "--k: got 0"), ({"method": "fast"}, "--method: got 'fast'"), ({"same": ("color",)}, "--same: got 'color'"),
        ({"diversity": 1.0}, "--diversity"), ({"duplicate_similarity": 0.0}, "--duplicate-similarity"),
        ({"baseline": "resnet"}, "--baseline"), ({"snapshot": "../x"}, "--snapshot"), ({"sample": -1}, "--sample"),
        ({"product": "a", "image": "b.jpg"}, "--product: got True, expected one of"), ({"keep": 0}, "--keep"),
        ({"image": "b.jpg", "same": ("gender",)}, "--image: .*no labels"), ({"image": "b.jpg", "baseline": "raw"}, "--image"),
        ({"other_colour": True, "same": ("baseColour",)}, "--other-colour"),
        ({"baseline": "raw", "snapshot": "s1"}, "--snapshot"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(changed: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        SimilarOptions(**changed)  # type: ignore[arg-type]


def test_a_picture_that_is_none_is_the_users_error(store: Store, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"--image: .*no usable picture"):
        answer_query(options(store, tmp_path, image=str(tmp_path / "text.jpg")), store)


def test_the_pretrained_network_is_a_bundle_whose_head_is_its_own_classifier() -> None:
    files = imagenet.files(Geometry(decoded_size=(32, 24), input_size=(32, 32)))
    card, heads = bundle.load_heads(files, name="imagenet")
    assert card.targets == ["imagenet"] and heads["imagenet"].out_features == 1000 and card.trunk_version
    found = imagenet.class_scores(np.array([[0.0, 1.0, 2.0], [900.0, 0.0, 0.0]], np.float32))
    assert found.sum(axis=1).tolist() == pytest.approx([1, 1]) and found[1].tolist() == [1, 0, 0]
    assert found[0].tolist() == pytest.approx([0.0900, 0.2447, 0.6652], abs=1e-4)


BOOKS = {
    "catalog": 3, "computed": 1, "carried_over": 1, "quarantined": 1, "fewer_than_k": 1, "without_any": 0, "pairs": 9,
}  # fmt: skip


def test_the_page_escapes_what_it_shows_and_says_whether_the_books_balance() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 80), "red").save(buffer, format="PNG")
    shown = {"title": f"Similar {EVIL}", "facts": {"source": EVIL}, "histogram": similarity_histogram([0.9, 0.8], [0.7], 5)}
    html = similar_report(books=BOOKS, examples=[(EVIL, [(buffer.getvalue(), EVIL), (None, "x")])], **shown)  # type: ignore[arg-type]
    assert EVIL not in html and "1 product has fewer similar ones" in html and "✓ catalog" in html
    assert html.count("<img") == 2
    assert Page(html).open == []
    empty = similar_report(title="t", facts={}, books=BOOKS | {"catalog": 4}, histogram=None, examples=[])
    assert "✗ catalog" in empty and "<img" not in empty


def test_the_comparison_marks_the_best_features_of_each_label() -> None:
    table = pd.DataFrame(
        [{"features": "raw", "articleType": 0.5, "gender": 0.9}, {"features": EVIL, "articleType": 0.75, "gender": 0.8}]
    )
    html = comparison_report(title="t", facts={"queries": "10"}, table=table)
    assert EVIL not in html
    assert [part.split("<")[0] for part in html.split('<td class="strong">')[1:]] == ["90.0%", "75.0%"]


def test_the_schema_of_similar_products_has_a_list_a_product() -> None:
    assert schema.SIMILAR.names == ["product_id", "similar", "key"] and "no_embedding" in schema.REASONS
