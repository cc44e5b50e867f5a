"""A whole ingest, in this process: every row accounted for, nights in a row, what is quarantined, what people correct."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog import ingest as ingesting
from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.reporting import describe, report
from fashion_ray.catalog.request import Request, origin_of
from fashion_ray.catalog.sources import NoFeed
from fashion_ray.catalog.tasks import here
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.storage import Store
from tests.unit.nights import IDS, Feed, catalog, feed, jpeg, quarantine, row, take


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty root."""
    return Store(str(tmp_path / "root"))


def test_a_feed_becomes_a_catalog_with_every_column_filled(store: Store) -> None:
    result = take(store, feed(*IDS, p03=b"rubbish", extra=jpeg("extra")))
    table = catalog(store)
    assert len(table) == 40 and "p03" not in table.index
    assert table.loc["p05", "image"] == jpeg("p05") and (table["width"] == 24).all() and (table["height"] == 32).all()
    assert set(table.loc[table["articleType"].notna(), "split"]) == {"train", "validation", "test"}
    assert table.loc["extra", ["articleType", "split", "joined_category"]].isna().all()
    assert table["group_id"].notna().all() and table["joined_category"].notna().sum() == 39
    assert result.summary == {"added": 40, "changed": 0, "removed": 0, "unchanged": 0, "quarantined": 1}
    assert result.books["pictures_without_row"] == 1
    bad = quarantine(store).iloc[0]
    assert (bad["product_id"], bad["reason"], bad["run_id"], bad["attempts"]) == ("p03", "not_an_image", "r", 1)
    assert bad["image_sha256"] == hashlib.sha256(b"rubbish").hexdigest()


def test_the_same_feed_again_changes_nothing_and_reads_no_picture(store: Store, tmp_path: Path) -> None:
    source = feed(*IDS)
    take(store, source)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    source.read_ids.clear()
    again = take(store, source, run="r2")
    assert again.already_current and source.read_ids == []
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_a_feed_that_says_the_same_in_another_file_publishes_nothing(store: Store) -> None:
    first = take(store, feed(*IDS, p03=b"rubbish"))
    source = feed(*IDS, p03=b"rubbish")
    other = Feed([*reversed(source.rows)], source.images)
    again = take(store, other, run="r2")
    assert again.already_current and again.snapshot == first.snapshot and len(other.read_ids) == 40


def test_a_delta_adds_changes_and_withdraws_and_leaves_the_rest_untouched(store: Store) -> None:
    first = take(store, feed(*IDS))
    before = catalog(store)
    rows = [
        row("p01", "Ties"),
        row("new"),
        row("p02", withdrawn=True),
        row("p03", "Belts"),
        row("gone", withdrawn=True),
        row("nopic"),
    ]
    source = Feed(rows, {"p01": jpeg("other"), "new": jpeg("new"), "p04": jpeg("p04-2")})
    result = take(store, source, delta=True)
    after = catalog(store)
    changed = {"p01", "p04"} | ({"p03"} if before.loc["p03", "articleType"] != "Belts" else set())
    assert result.summary == {
        "added": 1, "changed": len(changed), "removed": 1, "unchanged": 39 - len(changed), "quarantined": 2,
    }  # fmt: skip
    untouched = [each for each in IDS if each not in changed | {"p02", "p03"}]
    pd.testing.assert_frame_equal(after.loc[untouched], before.loc[untouched])
    assert after.loc["p01", "articleType"] == "Ties" and after.loc["p01", "image"] == jpeg("other")
    assert after.loc["p03", "articleType"] == "Belts" and after.loc["p03", "image"] == jpeg("p03")
    assert after.loc["p04", "articleType"] == before.loc["p04", "articleType"] and after.loc["p04", "image"] == jpeg("p04-2")
    assert (
        after.loc[["p01", "p03", "p04"], ["group_id", "split"]] == before.loc[["p01", "p03", "p04"], ["group_id", "split"]]
    ).all(axis=None)
    assert Counter(quarantine(store)["reason"]) == {"no_picture": 1, "unknown_product": 1}
    old = pd.read_parquet(store.path(first.snapshot.folder)).set_index("product_id").sort_index()
    pd.testing.assert_frame_equal(old, before)  # the previous snapshot stays readable
    assert sorted(source.read_ids) == ["new", "p01", "p04"]


def test_the_same_delta_twice_changes_nothing(store: Store) -> None:
    take(store, feed(*IDS))
    source = Feed([row("new"), row("p02", withdrawn=True)], {"new": jpeg("new")})
    first = take(store, source, delta=True)
    assert take(store, source, delta=True).already_current
    assert snapshots.current(store, "catalog") == first.snapshot


def test_a_product_that_comes_back_after_a_delta_has_its_old_side(store: Store) -> None:
    take(store, feed(*IDS))
    before = catalog(store)
    take(store, Feed([row(each, withdrawn=True) for each in IDS[:20]], {}), delta=True)
    assert len(catalog(store)) == 20
    take(store, feed(*IDS[:20]), delta=True)
    pd.testing.assert_frame_equal(catalog(store), before)


def test_sides_hold_still_when_the_whole_feed_is_taken_again_with_more(store: Store) -> None:
    take(store, feed(*IDS))
    before = catalog(store)
    take(store, feed(*IDS, *(f"q{number}" for number in range(60))))
    assert (catalog(store).loc[IDS, ["group_id", "split"]] == before[["group_id", "split"]]).all(axis=None)
    assert abs(Counter(catalog(store)["split"])["train"] - 80) <= 3


def test_a_copy_of_a_picture_stands_on_the_side_of_the_first(store: Store) -> None:
    take(store, feed(*IDS))
    before = catalog(store)
    one, other = (before.index[before["split"] == side][0] for side in ("train", "test"))
    take(store, Feed([row("b1"), row("b2")], {"b1": jpeg(one), "b2": jpeg(other)}), delta=True)
    assert catalog(store).loc[["b1", "b2"], ["group_id", "split"]].to_numpy().tolist() == [[one, "train"], [other, "test"]]


def test_unusable_pictures_are_tried_again_when_their_bytes_change_and_only_then(store: Store) -> None:
    take(store, feed(*IDS, p03=b"rubbish", p04=jpeg("p04")[:-100]), run="r1")
    first = quarantine(store).set_index("product_id")
    assert first["reason"].to_dict() == {"p03": "not_an_image", "p04": "truncated"}
    take(store, feed(*IDS, "x", p03=b"rubbish", p04=jpeg("p04")[:-200]), run="r2")
    second = quarantine(store).set_index("product_id")
    assert second.loc["p03"].equals(first.loc["p03"])
    assert (second.loc["p04", "attempts"], second.loc["p04", "run_id"]) == (2, "r2")
    take(store, Feed([row("y")], {"y": jpeg("y")}), delta=True, run="r3")
    assert quarantine(store).set_index("product_id").sort_index().equals(second.sort_index())
    result = take(store, Feed([row("p03")], {"p03": jpeg("p03"), "p04": b""}), delta=True, run="r4")
    assert "p03" in catalog(store).index and result.summary["added"] == 1
    assert quarantine(store)[["product_id", "attempts"]].to_numpy().tolist() == [["p04", 3]]


def test_in_a_delta_an_unusable_picture_does_not_take_the_good_one_away(store: Store) -> None:
    take(store, feed(*IDS))
    before = catalog(store)
    result = take(store, Feed([row("p01", "Ties")], {"p01": b"rubbish", "p02": b""}), delta=True)
    assert catalog(store).loc["p01", "articleType"] == "Ties" and catalog(store)["image"].equals(before["image"])
    assert result.books["rows_labelled"] == 1 and set(quarantine(store)["product_id"]) == {"p01", "p02"}


def test_people_override_every_feed_from_then_on(store: Store) -> None:
    take(store, feed(*IDS, extra=jpeg("extra")))
    labels = "product_id,target,label\np01,articleType,Scarves\nextra,articleType,Ties\nnobody,season,Fall\np02,colour,Red\n"
    result = take(store, NoFeed(), delta=True, labels=labels)
    table = catalog(store)
    assert table.loc["p01", "articleType"] == "Scarves" and table.loc["extra", "articleType"] == "Ties"
    assert table.loc["extra", "split"] in ("train", "validation", "test")
    assert result.summary["changed"] == 2 and Counter(quarantine(store)["reason"]) == {
        "unknown_product": 1,
        "bad_correction": 1,
    }
    assert take(store, NoFeed(), delta=True, labels=labels).already_current
    take(store, feed(*IDS, "more"))
    assert catalog(store).loc["p01", "articleType"] == "Scarves"
    take(store, Feed([row("p01", "Belts"), row("nobody")], {"nobody": jpeg("nobody")}), delta=True)
    assert catalog(store).loc["p01", "articleType"] == "Scarves" and catalog(store).loc["nobody", "season"] == "Fall"
    take(store, NoFeed(), delta=True, labels="product_id,target,label\np01,articleType,Belts\n")
    assert catalog(store).loc["p01", "articleType"] == "Belts"


def test_pictures_of_any_size_and_pieces_end_in_the_right_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashion_ray.catalog.plan.SHARD_ROWS", 7)
    monkeypatch.setattr("fashion_ray.catalog.assembling.TASKS", 4)
    ids = [f"q{number}" for number in range(150)]
    source = feed(*ids)
    take(store, Feed(source.rows, source.images, in_order=True))
    assert len(snapshots.current(store, "catalog").manifest["files"]) > 15  # type: ignore[union-attr]
    take(store, Feed([], {each: jpeg(f"{each}-2") for each in ids[::9]}), delta=True)
    table = catalog(store)
    for number, each in enumerate(ids):
        assert table.loc[each, "image"] == jpeg(f"{each}-2" if number % 9 == 0 else each)


@pytest.mark.parametrize(
    ("source", "delta", "message"),
    [
        (feed(), False, "has no pictures"),
        (Feed([row("a")], {}), False, "has no pictures"),
        (feed("a", a=b"rubbish"), False, "no product in the catalog"),
        (feed("a"), True, "no catalog yet"),
    ],
)
def test_a_feed_that_makes_no_catalog_is_refused(source: Feed, delta: bool, message: str, store: Store) -> None:
    with pytest.raises(UserError, match=message):
        take(store, source, delta=delta)
    assert snapshots.current(store, "catalog") is None


def test_a_delta_that_withdraws_everything_is_refused(store: Store) -> None:
    first = take(store, feed("a", "b"))
    with pytest.raises(UserError, match="no product in the catalog"):
        take(store, Feed([row("a", withdrawn=True), row("b", withdrawn=True)], {}), delta=True)
    assert snapshots.current(store, "catalog") == first.snapshot


def test_a_crash_before_publishing_leaves_nothing_to_see_and_no_picture_is_read_twice(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = feed(*IDS)

    def crash(*arguments: object, **options: object) -> None:
        raise RuntimeError("the machine went away")

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "publish", crash)
        with pytest.raises(RuntimeError, match="went away"):
            take(store, source)
    assert snapshots.current(store, "catalog") is None
    source.read_ids.clear()
    take(store, source)
    assert source.read_ids == [] and not store.names("catalog", "staging")
    other = Store(str(tmp_path / "other"))
    take(other, feed(*IDS))
    pd.testing.assert_frame_equal(catalog(store), catalog(other))


def test_of_two_ingests_at_once_the_second_is_told_so_or_both_end_right(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    take(store, feed(*IDS))
    assemble = ingesting._assemble_all

    def overtaken(*arguments: object) -> object:
        monkeypatch.setattr(ingesting, "_assemble_all", assemble)
        take(store, rival)
        return assemble(*arguments)  # type: ignore[arg-type]

    for rival, outcome in ((feed("p01", "b"), ConflictError), (feed("p01", "a"), None)):
        monkeypatch.setattr(ingesting, "_assemble_all", overtaken)
        if outcome is not None:
            with pytest.raises(outcome, match="another ingest"):
                take(store, feed("p01", "a"))
        else:
            request = Request(source=feed("p01", "a"))
            assert ingest(request, store, run_id="r", each=here).already_current
        assert set(catalog(store).index) == {row["product_id"] for row in rival.rows}


def test_the_page_shows_what_came_in_and_escapes_it(store: Store) -> None:
    source = feed(*IDS, p03=jpeg("p03")[:-100])
    result = take(store, Feed([*source.rows[:-1], row("p39", "<script>alert(1)</script>")], source.images))
    page, figures = report(store, result)
    assert store.read_bytes("reports", f"catalog-{result.snapshot.name}", "data.html").decode() == page
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert "truncated" in page and page.count("data:image/png;base64,") >= 3
    assert figures["near_duplicate_groups"] == 0 and figures["split_leakage"] == 0 and 0 < figures["balance/articleType"] <= 1
    lines = describe(store, result, figures)
    assert "rows 40 = labelled 39 + missing picture 0 + quarantined 1 + withdrawn 0" in lines


def test_an_ingest_that_changes_nothing_leaves_the_page_as_it_is(store: Store) -> None:
    source = feed(*IDS, p03=jpeg("p03")[:-100])
    page, figures = report(store, take(store, source))
    again = take(store, source, run="r2")
    assert again.already_current and report(store, again) == (page, figures)


def test_another_catalog_builds_on_nothing_of_the_one_before(store: Store, tmp_path: Path) -> None:
    take(store, feed(*IDS))
    take(store, NoFeed(), delta=True, labels="product_id,target,label\np01,articleType,Scarves\n")
    other = Feed([row(each) for each in IDS], {each: jpeg(f"other-{each}") for each in IDS})
    result = ingest(Request(source=other, fresh=True), store, run_id="r", each=here)
    assert result.summary == {"added": 40, "changed": 0, "removed": 40, "unchanged": 0, "quarantined": 0}
    alone = Store(str(tmp_path / "alone"))
    take(alone, other)
    pd.testing.assert_frame_equal(catalog(store), catalog(alone))
    assert take(store, other).already_current
    take(store, Feed([row("n")], {"n": jpeg("n")}, name="a delta"), delta=True)
    current = snapshots.current(store, "catalog")
    assert current is not None and (current.manifest["source"], origin_of(current)) == ("a delta", "a feed")
