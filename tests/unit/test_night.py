"""What a night has to do: nothing twice, nothing forgotten."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fashion_ray.scoring.night import BAD, BEFORE, CARRY, CATALOG, REUSE, SCORE, Night, by_part, plan_night

NO_BAD = pa.table({"product_id": pa.array([], type=pa.string()), "image_sha256": pa.array([], type=pa.string())})


def catalog(**pictures: str) -> pa.Table:
    """Tonight's products by name, with the key that head `h2` of trunk `t1` gives."""
    rows = [
        {
            "part": f"part-{n % 2}",
            "position": n // 2,
            "product_id": name,
            "image_sha256": picture,
            "score_key": f"{picture}/t1/h2",
        }
        for n, (name, picture) in enumerate(pictures.items())
    ]
    return pa.Table.from_pylist(rows, schema=CATALOG)


def before(head: str = "h2", trunk: str = "t1", **pictures: str) -> pa.Table:
    """Last night's rows."""
    rows = [
        {"product_id": name, "image_sha256": picture, "score_key": f"{picture}/{trunk}/{head}", "trunk_version": trunk,
         "old_part": "part-9", "old_position": n}
        for n, (name, picture) in enumerate(pictures.items())
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=BEFORE)


def plan(
    now: pa.Table, then: pa.Table, bad: pa.Table = NO_BAD, *, comparable: bool = True, full: bool = False, trunk: str = "t1"
) -> Night:
    """A night."""
    return plan_night(now, then, bad, trunk_version=trunk, comparable=comparable, full=full)


def actions(night: Night) -> dict[str, str]:
    """What is done for each product."""
    return dict(zip(night.work["product_id"].to_pylist(), night.work["action"].to_pylist(), strict=True))


def test_the_first_night_scores_everything() -> None:
    night = plan(catalog(a="1", b="2"), BEFORE.empty_table())
    assert actions(night) == {"a": SCORE, "b": SCORE} and night.withdrawn == 0 and not night.quiet
    assert night.counts == {CARRY: 0, REUSE: 0, SCORE: 2, BAD: 0}


def test_a_night_without_changes_is_quiet() -> None:
    night = plan(catalog(a="1", b="2"), before(b="2", a="1"))
    assert night.quiet and night.counts[CARRY] == 2
    assert night.work.select(["product_id", "old_part", "old_position"]).to_pylist() == [
        {"product_id": "a", "old_part": "part-9", "old_position": 1},
        {"product_id": "b", "old_part": "part-9", "old_position": 0},
    ]


def test_a_new_picture_and_a_new_product_are_scored_and_a_withdrawn_one_leaves() -> None:
    night = plan(catalog(a="1", b="22", c="3"), before(a="1", b="2", gone="4"))
    assert actions(night) == {"a": CARRY, "b": SCORE, "c": SCORE} and night.withdrawn == 1 and not night.quiet


def test_a_withdrawal_alone_is_not_quiet() -> None:
    night = plan(catalog(a="1"), before(a="1", gone="4"))
    assert not night.quiet and night.counts == {CARRY: 1, REUSE: 0, SCORE: 0, BAD: 0}


def test_the_withdrawal_of_a_product_that_could_not_be_scored_is_not_quiet() -> None:
    bad = pa.table({"product_id": ["x", "gone"], "image_sha256": ["8", "9"]})
    night = plan(catalog(a="1", x="8"), before(a="1"), bad)
    assert night.withdrawn == 1 and not night.quiet, "or the books of tonight would be last night's"
    assert plan(catalog(a="1", x="8"), before(a="1"), bad.slice(0, 1)).quiet


def test_a_new_head_on_the_same_trunk_uses_the_embeddings_of_unchanged_pictures() -> None:
    night = plan(catalog(a="1", b="22", c="3"), before(head="h1", a="1", b="2"))
    assert actions(night) == {"a": REUSE, "b": SCORE, "c": SCORE}


def test_a_new_trunk_scores_everything() -> None:
    assert set(actions(plan(catalog(a="1", b="2"), before(trunk="t0", a="1", b="2"))).values()) == {SCORE}


def test_embeddings_of_another_engine_are_not_used_again() -> None:
    assert actions(plan(catalog(a="1"), before(head="h1", a="1"), comparable=False)) == {"a": SCORE}


@pytest.mark.parametrize(("comparable", "full", "expected"), [(True, False, BAD), (False, False, SCORE), (True, True, SCORE)])
def test_a_picture_that_failed_is_tried_again_only_if_it_could_come_out_otherwise(
    comparable: bool, full: bool, expected: str
) -> None:
    bad = pa.table({"product_id": ["x", "y"], "image_sha256": ["8", "9"]})
    night = plan(catalog(x="8", y="99", a="1"), before(a="1"), bad, comparable=comparable, full=full)
    assert actions(night) == {"x": expected, "y": SCORE, "a": SCORE if full else CARRY}


def test_full_forces_everything() -> None:
    night = plan(catalog(a="1", b="2"), before(a="1", b="2"), full=True)
    assert set(actions(night).values()) == {SCORE} and not night.quiet


def test_the_work_of_each_file_is_its_rows_in_their_order() -> None:
    work = plan(catalog(a="1", b="2", c="3", d="4", e="5").sort_by("part"), before()).work
    first, nothing, zeroth = by_part(work, ["part-1", "part-7", "part-0"])
    assert first["product_id"].to_pylist() == ["b", "d"] and zeroth["product_id"].to_pylist() == ["a", "c", "e"]
    assert nothing.num_rows == 0 and nothing.schema == zeroth.schema == work.schema
    assert first["product_id"].chunk(0).get_total_buffer_size() < work["product_id"].chunk(0).get_total_buffer_size()
    assert [table.num_rows for table in by_part(work.slice(0, 0), ["part-0"])] == [0]
