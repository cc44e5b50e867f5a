"""The snapshot behind the catalog page: what is found and said of a product, its neighbours, what it was before."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fashion_ray import snapshots
from fashion_ray.browsing import nearest, shelf
from fashion_ray.browsing.shelf import Search, Shelf
from fashion_ray.browsing.thumbnails import LARGE, SMALL, jpeg_within
from fashion_ray.catalog import schema
from fashion_ray.errors import UserError
from fashion_ray.storage import Store
from tests.unit.nights import jpeg
from tests.unit.shelves import put_catalog, put_scores, unit

TITLES = {"1": "Red Shirt 100%", "2": "Blue Shirt", "3": "Red Tie (silk)", "4": "Sock"}
FIRST = {"1": ("Tshirts", 0.9), "2": ("Tshirts", 0.4), "3": ("Ties", 0.8), "4": (None, 0.7)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A root with four products, scored once."""
    store = Store(str(tmp_path / "root"))
    put_scores(store, FIRST, catalog=put_catalog(store, TITLES).name)
    return store


def ids(opened: Shelf, **search: object) -> list[str]:
    """The products that a search finds."""
    rows = shelf.find(opened, Search(**search))  # type: ignore[arg-type]
    return [opened.table["product_id"][row].as_py() for row in rows.tolist()]


def test_a_search_looks_for_all_words_in_id_and_title_in_any_case(store: Store) -> None:
    opened = shelf.open_shelf(store)
    assert ids(opened) == ["1", "2", "3", "4"]
    assert ids(opened, text="sHIRT red") == ["1"] and ids(opened, text="2") == ["2"]
    assert ids(opened, text="red nothing") == []


@pytest.mark.parametrize("text", ["100%", "(silk)"])
def test_a_searched_word_is_text_and_no_pattern(text: str, store: Store) -> None:
    assert len(ids(shelf.open_shelf(store), text=text)) == 1
    assert ids(shelf.open_shelf(store), text=".*") == []


def test_a_search_narrows_to_a_label_of_a_target_and_to_what_needs_a_look(store: Store) -> None:
    opened = shelf.open_shelf(store)
    assert ids(opened, target="articleType", label="Tshirts") == ["1", "2"] and ids(opened, label="Ties") == ["3"]
    assert ids(opened, target="articleType", label="") == ["4"], "the label of what is too rare"
    assert ids(opened, target="subCategory", label="Tshirts") == []
    assert ids(opened, flags=frozenset({"review"})) == ["2"]
    assert ids(opened, flags=frozenset({"differs"}), target="articleType") == ["3", "4"]
    assert ids(opened, flags=frozenset({"differs"}), target="subCategory") == []


def test_too_rare_is_right_of_a_label_that_is_never_predicted(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    put_scores(store, {"1": (None, 0.9), "2": ("Ties", 0.9)}, catalog=put_catalog(store, {"1": "", "2": ""}).name)
    assert ids(shelf.open_shelf(store), flags=frozenset({"differs"})) == ["2"]


def test_a_product_is_described_with_its_labels_and_its_likeliest_answers(store: Store) -> None:
    opened = shelf.open_shelf(store)
    (said,) = shelf.described(opened, [2])
    assert (said["id"], said["title"]) == ("3", "Red Tie (silk)")
    assert said["answers"] == [["Topwear", "Topwear", 0.8, False, False], ["Tshirts", "Ties", 0.8, False, True]]
    assert said["facts"]["split"] == "train" and "year" not in said["facts"]
    assert shelf.top3(opened, [2, 0])[0][1] == [["Ties", 0.8], ["Socks", 0.2]]


def test_pictures_come_in_the_order_asked_for_and_are_null_for_what_left(store: Store) -> None:
    store.remove("catalog")
    put_catalog(store, {key: TITLES[key] for key in ("4", "1")})
    opened = shelf.open_shelf(store)
    assert shelf.pictures(opened, [3, 1, 0]) == [jpeg("4"), None, jpeg("1")]
    assert shelf.described(opened, [1])[0]["title"] is None and ids(opened, text="blue") == []


def test_scores_can_be_looked_at_without_any_catalog(store: Store) -> None:
    store.remove("catalog")
    opened = shelf.open_shelf(store)
    assert ids(opened, text="3") == ["3"] and shelf.pictures(opened, [0]) == [None]


def test_history_has_every_kept_snapshot_and_null_where_the_product_or_the_target_was_not(store: Store) -> None:
    put_scores(store, {"2": ("Ties", 0.6), "9": ("Ties", 0.6)}, targets=["articleType"])
    put_scores(store, FIRST)
    opened = shelf.open_shelf(store)
    said = shelf.history(opened, ["2", "9"])
    assert said["2"] == [[["Topwear", 0.4], ["Tshirts", 0.4]], [None, ["Ties", 0.6]], [["Topwear", 0.4], ["Tshirts", 0.4]]]
    assert said["9"] == [None, [None, ["Ties", 0.6]], None]
    assert len(shelf.about(opened)["commits"]) == 3


def test_an_older_snapshot_is_shown_by_its_name_and_a_removed_one_not(store: Store) -> None:
    put_scores(store, {"1": ("Ties", 0.6)})
    assert shelf.open_shelf(store).table.num_rows == 1 and shelf.open_shelf(store, "scores-1").table.num_rows == 4
    snapshots.retain(store, "scores", 1)
    with pytest.raises(UserError, match=r"--snapshot: got 'scores-1', expected one of those that are kept: scores-2"):
        shelf.open_shelf(store, "scores-1")


def test_without_scores_the_user_is_told_which_job_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no scores below .* jobs/score\.py"):
        shelf.open_shelf(Store(str(tmp_path)))


def test_neighbours_are_the_nearest_others_of_the_same_trunk(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    angles = {"a": 0.0, "b": 0.1, "c": 0.3, "d": 3.0, "x": 0.01}
    put_scores(
        store, dict.fromkeys(angles, ("Ties", 0.9)), embeddings={key: unit(angle) for key, angle in angles.items()},
        trunks={"x": "other"},
    )  # fmt: skip
    opened = shelf.open_shelf(store)
    rows = list(range(5))
    for found in (shelf.neighbours_among(opened, rows, 2), [shelf.neighbours_of(opened, row, 2) for row in rows]):
        assert [[near for near, _ in one] for one in found] == [["b", "c"], ["a", "c"], ["b", "a"], ["c", "b"], []]
        assert found[0][0][1] == pytest.approx(np.cos(0.1), abs=1e-3)
    assert shelf.neighbours_of(opened, 0, 0) == [] and shelf.neighbours_among(opened, [0, 3], 2)[0][0][0] == "d"


def test_published_neighbours_are_taken_where_they_are_of_these_scores(store: Store) -> None:
    scores = snapshots.current(store, "scores")
    assert scores is not None
    for source, expected in ((f"scores/{scores.name}", ["3", "2"]), ("scores/others", ["2", "3"])):
        lists = [[{"product_id": "3", "similarity": 0.91}, {"product_id": "2", "similarity": 0.5}], None]
        table = pa.table({"product_id": ["1", "4"], "similar": pa.array(lists, schema.SIMILAR.field("similar").type)})
        folder = snapshots.staging("similar", snapshots.fingerprint(source))
        file = snapshots.file_entry("part-0.parquet", 2, store.write_table(table, folder, "part-0.parquet"))
        manifest = {"files": [file], "rows": 2, "source": source}
        snapshots.publish(store, "similar", snapshots.fingerprint(source), manifest, base=snapshots.current(store, "similar"))
        opened = shelf.open_shelf(store)
        assert [near for near, _ in shelf.neighbours_of(opened, 0, 2)] == expected
        if opened.similar is not None:
            assert shelf.neighbours_among(opened, [0, 3], 1) == [[["3", 0.91]], []]
    assert opened.similar is None


def test_nearest_agrees_with_sorting_all_cosines() -> None:
    embeddings = np.random.default_rng(0).normal(size=(700, 8)).astype(np.float32)
    embeddings[5] = 0
    places, cosines = nearest.nearest(embeddings, 4)
    lengths = np.linalg.norm(embeddings, axis=1)
    row = embeddings @ embeddings[600] / np.where(lengths > 0, lengths, 1) / lengths[600]
    row[600] = -2
    assert places[600].tolist() == np.argsort(-row, kind="stable")[:4].tolist() and not np.isnan(cosines).any()
    assert [place for place, _ in nearest.nearest_to(embeddings[600], [embeddings[:300], embeddings[300:]], 5)] == [
        600, *places[600].tolist()
    ]  # fmt: skip
    assert nearest.nearest(embeddings[:1], 4)[0].shape == (1, 0)


def test_small_jpegs_stay_as_they_are_and_everything_else_becomes_one() -> None:
    assert jpeg_within(jpeg("a"), SMALL) == jpeg("a")
    for kind, size in (("PNG", (30, 30)), ("JPEG", (900, 1200)), ("GIF", (90, 90))):
        sink = io.BytesIO()
        Image.new("RGB", size, "red").save(sink, format=kind)
        for within in (SMALL, LARGE):
            made = jpeg_within(sink.getvalue(), within)
            assert made is not None
            picture = Image.open(io.BytesIO(made))
            assert picture.format == "JPEG" and picture.width <= within[0] and picture.height <= within[1]
    assert jpeg_within(b"<svg onload=alert(1)>", SMALL) is None
