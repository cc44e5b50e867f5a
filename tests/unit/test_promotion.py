"""Who may become champion: comparisons of answers, what models saw of the rows, and the decision."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.errors import UserError
from fashion_ray.models.bundle import Card
from fashion_ray.pages.promotion_report import promotion_report
from fashion_ray.promotion import comparison
from fashion_ray.promotion.comparison import TargetComparison
from fashion_ray.promotion.decision import objections
from fashion_ray.promotion.lineage import Lineage, lineage, warnings_about
from fashion_ray.promotion.options import PromoteOptions
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

NAMES: list[str | None] = ["Belts", "Shirts", "Ties"]


def compared(
    truth: list[str | None],
    champion: list[str | None],
    challenger: list[str | None],
    *,
    target: str = "articleType",
    old: list[str | None] = NAMES,
    new: list[str | None] = NAMES,
) -> TargetComparison:
    found = comparison.compare(
        target, truth=truth, champion=champion, challenger=challenger, champion_classes=old, challenger_classes=new, alpha=0.05
    )
    assert found is not None
    return found


def shifted(won: int, lost: int, both: int = 50, target: str = "articleType") -> TargetComparison:
    """A comparison in which the challenger wins and loses so many rows of shirts."""
    right: list[str | None] = ["Shirts"]
    wrong: list[str | None] = ["Ties"]
    return compared(
        right * (both + won + lost),
        right * (both + lost) + wrong * won,
        right * both + wrong * lost + right * won,
        target=target,
    )


def test_only_rows_that_one_of_the_two_has_right_decide() -> None:
    found = shifted(won=12, lost=2)
    assert (found.rows, found.won, found.lost, found.verdict) == (64, 12, 2, "better")
    assert found.accuracy.value == pytest.approx(10 / 64) == found.challenger_accuracy - found.champion_accuracy
    assert shifted(won=2, lost=12).verdict == "worse"
    assert shifted(won=4, lost=1).verdict == shifted(won=0, lost=0).verdict == "no significant difference"
    assert "12 won and 2 lost" in found.sentence() and all(math.isfinite(value) for value in found.figures().values())


def test_labels_that_one_model_does_not_know_count_against_it_and_those_that_neither_knows_not_at_all() -> None:
    found = compared(
        ["Shirts", "Ties", "Socks", None, "Hats"],
        ["Shirts", "Shirts", None, "Ties", None],
        ["Shirts", "Ties", "Socks", "Shirts", None],
        old=["Shirts", "Ties", None],
        new=["Shirts", "Socks", "Ties", None],
    )
    assert (found.rows, found.left_out, found.won, found.lost) == (3, 1, 2, 0), "(other) is right nowhere"
    assert found.only_challenger == ["Socks"] and found.only_champion == []
    assert dict(zip(found.classes["class"], found.classes["known_to"], strict=True))["Socks"] == "challenger"
    nothing = comparison.compare(
        "season", truth=[None, "Hats"], champion=[None, None], challenger=[None, None], champion_classes=NAMES,
        challenger_classes=NAMES, alpha=0.05,
    )  # fmt: skip
    assert nothing is None


def test_a_class_that_fell_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    names = [f"class {number:02d}" for number in range(40)]
    truth = rng.integers(0, 40, 4000)
    noisy = [np.where(rng.random(4000) < 0.8, truth, rng.integers(0, 40, 4000)) for _ in range(2)]
    broken = np.where((truth == 7) & (rng.random(4000) < 0.5), 8, noisy[1])
    named = [[names[number] for number in column] for column in (truth, noisy[0], noisy[1], broken)]
    known: list[str | None] = [*names]

    def regressions(new: list[str]) -> list[str]:
        return compared([*named[0]], [*named[1]], [*new], old=known, new=known).regressions

    assert regressions(named[2]) == []
    assert set(regressions(named[3])) == {"class 07", "class 08"}, "07 lost its recall, 08 its precision and so its F1"


def seen(role: str = "champion", **values: object) -> Lineage:
    facts: dict[str, object] = {
        "rows": 64, "trained": 0, "chosen": 0, "catalog": "c1", "split": "stored", "known": True, "exact": True
    }  # fmt: skip
    return Lineage(role=role, **{**facts, **values})  # type: ignore[arg-type]


LINEAGES = (seen(), seen("challenger"))


def test_a_better_challenger_that_loses_nowhere_is_not_objected_to() -> None:
    found = {"articleType": shifted(12, 2), "season": shifted(1, 4, target="season")}
    assert objections(found, "articleType", lineages=LINEAGES) == []


def test_every_objection_says_by_how_much() -> None:
    found = {"articleType": shifted(4, 1), "season": shifted(2, 14, target="season")}
    leaky = (seen(), seen("challenger", trained=40, split="fold:1/2 with seed 3"))
    told = objections(found, "articleType", lineages=leaky, unanswered=["usage"], against_champion=False)
    assert len(told) == 5
    assert "not better" in told[0] and "4 won and 1 lost, p 0.38" in told[0]
    assert "worse on another target. season" in told[1] and "-0.1818" in told[1]
    assert "usage" in told[2] and "another model than the champion" in told[3]
    assert "40 of the 64 rows were trained on by the challenger" in told[4]
    assert objections({"season": found["season"]}, "season", lineages=(seen(known=False), LINEAGES[1]))[-1].endswith(
        "trained on"
    )


def test_another_origin_is_a_warning() -> None:
    assert warnings_about(*LINEAGES) == []
    told = warnings_about(LINEAGES[0], seen("challenger", split="80/20 with seed 1", trained=3, chosen=5, exact=False))
    assert len(told) == 4 and "different rows" in told[0] and "3 of the 64" in told[1] and "5 of the 64" in told[2]


def rows(*products: tuple[str, str, str]) -> pa.Table:
    """Products as (id and picture, group, side)."""
    ids, groups, found = zip(*products, strict=True)
    return pa.table({"product_id": ids, "image_sha256": [f"sha {one}" for one in ids], "group_id": groups, "split": found})


CARD = Card(
    backbone="b", embedding_dim=1, mean=(), std=(), decoded_size=(1, 1), input_size=(1, 1), head="linear", dropout=0.0,
    classes={}, levels=(), paths=(), temperatures={}, thresholds={},
)  # fmt: skip


def test_rows_are_trained_on_if_their_picture_or_a_near_duplicate_was_in_the_models_own_catalog(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_table(
        rows(("1", "g1", "train"), ("2", "g2", "validation"), ("3", "g3", "test")), "catalog/snapshots/old", "part-0.parquet"
    )
    today = rows(("1", "g9", "test"), ("2b", "g2", "test"), ("3", "g3", "test"), ("4", "g1", "test"), ("5", "g5", "test"))
    store.write_table(today, "catalog/snapshots/new", "part-0.parquet")
    catalog = Snapshot(table="catalog", name="new", sequence=2, manifest={})
    card = replace(CARD, provenance={"catalog_snapshot": "old", "split": "stored", "split_seed": 0})
    found = lineage(store, catalog, card, today, role="champion")
    assert (found.trained, found.chosen, found.rows, found.exact) == (2, 1, 5, True), "1 by its picture, 4 by its group"
    gone = lineage(
        store, catalog, replace(card, provenance={**card.provenance, "catalog_snapshot": "x"}), today, role="champion"
    )
    assert (gone.trained, gone.chosen, gone.exact) == (0, 0, False)
    halves = [
        lineage(
            store, catalog, replace(CARD, provenance={**card.provenance, "catalog_snapshot": "new", "split": f"fold:{half}/2"}),
            today, role="champion",
        )
        for half in (1, 2)
    ]  # fmt: skip
    assert sum(one.trained + one.chosen for one in halves) == 5, "each row is on the training side of one half"
    assert not lineage(store, catalog, CARD, today, role="champion").known


def test_the_page_tells_the_decision_and_escapes_what_it_is_given() -> None:
    target = shifted(12, 2)
    page = promotion_report(
        title="a against b", decision="promoted", facts={"rows": "<test>"}, objections=["worse <b>"],
        comparisons=[target, shifted(2, 14, target="season")], because="it was asked for", warnings=["beware"],
    )  # fmt: skip
    assert "<strong>promoted</strong>, because: “it was asked for”" in page
    assert "worse &lt;b&gt;" in page and "&lt;test&gt;" in page and "beware" in page
    assert "+15.62" in page and "Worse by more than chance: Shirts" in page
    assert 'alt="Differences of accuracy and macro F1' in page
    with pytest.raises(ValueError, match="no comparison"):
        promotion_report(title="t", decision="refused", facts={}, comparisons=[])


def test_wrong_options_are_told_all_at_once() -> None:
    with pytest.raises(UserError) as caught:
        PromoteOptions(side="train", target="colour", alpha=0.9, because=" ", runs_a=("r",), rollback=True, dry_run=True)
    for name in ("--side", "--target", "--alpha", "--because", "--runs-a", "--rollback"):
        assert f"{name}: " in str(caught.value)
