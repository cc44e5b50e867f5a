"""The fortnight's shop and its judgement: the same for a seed, truthful feeds, and every difference is seen."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.morning import Morning, differing, digest, line
from benchmarks.nights import NightsOptions, happenings
from benchmarks.shop import Shop
from fashion_ray.catalog.sources import open_source
from fashion_ray.errors import UserError
from tests.unit.feeds import reasons, rows_of, usable


def shop(folder: Path, seed: int = 3) -> Shop:
    """A shop with its shelves full."""
    found = Shop(seed=seed, folder=folder)
    found.open(300, 60)
    return found


def test_two_shops_with_one_seed_live_through_the_same(tmp_path: Path) -> None:
    one, other = shop(tmp_path / "a"), shop(tmp_path / "b")
    nights = [[delivery.title for delivery in happenings(each)] for each in (one, other)]
    assert nights[0] == nights[1] and len(nights[0]) == len(set(nights[0])) == 14
    assert one.expected() == other.expected() and one.pictures == other.pictures
    assert one.expected() != shop(tmp_path / "c").expected()


def test_feeds_say_what_happens(tmp_path: Path) -> None:
    here = shop(tmp_path)
    before = dict(here.pictures)
    delivery = here.changes("all", arrive=5, leave=3, repaint=2)
    rows = rows_of(open_source(str(delivery.feed)))
    arrived = set(here.rows) - set(before)
    assert delivery.delta and not reasons(rows)
    described = usable(rows)
    leaving = described.filter(described["withdrawn"])["product_id"].to_pylist()
    assert set(leaving) == set(before) - set(here.rows) and len(leaving) == 3
    assert set(described["product_id"].to_pylist()) == arrived | set(leaving) and len(arrived) == 5
    repainted = {key for key in set(before) & set(here.pictures) if before[key] != here.pictures[key]}
    assert {
        Path(each).stem for each in open_source(str(delivery.feed)).pictures()["locator"].to_pylist()
    } == arrived | repainted
    assert len(repainted) == 2


def test_bad_feeds_are_bad_and_leave_the_shop_alone(tmp_path: Path) -> None:
    here = shop(tmp_path)
    expected = here.expected()
    half = here.half_a_zip("half").feed
    assert half is not None and not zipfile.is_zipfile(half)
    few = rows_of(open_source(str(here.cut_short("few").feed))).num_rows
    assert 0 < few < len(here.rows) // 9
    assert set(
        rows_of(open_source(str(here.without_column("no articles", "articleType").feed)))["articleType"].to_pylist()
    ) == {None}
    missing = here.nothing("none").feed
    assert missing is not None and not missing.exists() and here.expected() == expected


def test_a_digest_sees_every_value_and_neither_order_nor_run() -> None:
    def table(*rows: tuple[str, float], run: str = "r1") -> pa.Table:
        ids, values = zip(*rows, strict=True)
        return pa.table({"product_id": ids, "p": pa.array(values, pa.float32()), "run_id": [run] * len(ids)})

    one = digest(table(("a", 0.5), ("b", 0.25)))
    assert one == digest(table(("b", 0.25), ("a", 0.5), run="r2")) != digest(table(("a", 0.5), ("b", 0.2500001)))


def test_other_tables_in_the_second_round_are_named() -> None:
    def morning(night: int, scores: str) -> Morning:
        return Morning(night=night, title="arrivals", ended="ok", catalog_digest="c", scores_digest=scores)

    assert differing([[morning(1, "x")], [morning(1, "x")]]) == []
    assert differing([[morning(1, "x"), morning(2, "y")], [morning(1, "x"), morning(2, "z")]]) == [
        "night 2 (arrivals): round 2 published another scores"
    ]
    found = morning(1, "x")
    assert line(found).endswith("books right")
    found.problems.append("a product has two rows of scores")
    assert line(found).endswith("FAILED: a product has two rows of scores")


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match=r"--rounds: got 0.*--products: got 10"):
        NightsOptions(rounds=0, products=10)
