"""The page of a night is complete, self-contained, escapes what it is given, and says what was refused and what was done."""

from __future__ import annotations

import io
import re
from html import unescape
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from fashion_ray.pages.changes_report import MOST_PICTURES, changes_report, movement_bars, pictured
from fashion_ray.scoring.changes import changes, class_counts
from fashion_ray.scoring.drift import drift
from fashion_ray.scoring.gates import Accuracy, Facts, Limits, verdicts
from tests.unit.test_changes import TARGETS, row, table
from tests.unit.test_pages import EVIL, Page, size_of

BEFORE = table(row("kept"), row("flips", "Tops", 0.97), row("picture"), row("gone", "Belts"), row("rare", None))
AFTER = table(
    row("kept"),
    row("flips", "Shirts", 0.83, model_version="m2", score_key="k1"),
    row("picture", image_sha256="other", score_key="k2"),
    row("rare", None, model_version="m2", score_key="k3"),
    row("fresh", "Shirts"),
)
BOOKS = {"catalog": 6, "scored": 4, "carried_over": 1, "quarantined": 1}


def report(before: pa.Table | None = BEFORE, after: pa.Table = AFTER, limits: Limits | None = None, **changed: Any) -> str:
    found = drift(before, after, targets=TARGETS) if before is not None else None
    calm = Limits(bad_share=0.2, coverage=0.8, label_psi=None, probability_psi=None)
    values: dict[str, Any] = {
        "title": "Night of 1 May", "facts": {"run": "r-7"}, "books": BOOKS, "changes": changes(before, after, targets=TARGETS),
        "targets": TARGETS, "classes": {target: class_counts(before, after, target) for target in TARGETS}, "drift": found,
        "verdicts": verdicts(Facts(**BOOKS, drift=found), limits or calm),
        "published": True,
    }  # fmt: skip
    return changes_report(**(values | changed))


def text_of(html: str) -> str:
    """What a reader sees, cells and tiles set apart by a space."""
    body = html.split("<body>")[1]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def picture_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 80), "red").save(buffer, format="PNG")
    return buffer.getvalue()


def test_the_page_has_every_part_and_fetches_nothing() -> None:
    html = report(
        pictures={"flips": picture_bytes()},
        accuracy_pairs={"gender": (Accuracy(rows=400, right=300), Accuracy(rows=400, right=310))},
        warnings=["mind the gap"],
        next_steps=["run `python jobs/score.py`"],
    )
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.tags.count("img") == 1 + 1, "the classes of articleType moved; and the contact sheet"
    assert "script" not in page.tags
    assert all(link.startswith("data:") for link in page.links)
    assert not re.search(r"https?://|@import|url\(", html)
    for said in ("Gates", "What changed, and why", "Drift", "Classes that moved", "Products to look at", "r-7", "mind the gap"):
        assert said in page.text
    assert "75.00%" in page.text and "77.50%" in page.text and "+2.50" in page.text
    assert "<code>python jobs/score.py</code>" in html


def test_the_page_is_the_same_twice() -> None:
    assert report() == report()


def test_the_summary_and_the_books_stand_on_top() -> None:
    top = text_of(report()).split("Gates")[0]
    for said in (
        "published no gate refuses",
        "4 scored, 66.7% of the catalog",
        "1 carried over",
        "1 quarantined",
        "1 with another label",
    ):
        assert said in top
    assert "✓ catalog 6 = scored 4 + carried over 1 + quarantined 1" in top


def test_books_that_do_not_balance_are_marked() -> None:
    assert "✗ catalog 7 ≠ scored 4" in text_of(report(books=BOOKS | {"catalog": 7}))


def test_causes_are_counted_and_explained() -> None:
    text = text_of(report())
    for said in (
        "new product 1 had no scores",
        "withdrawn 1 left",
        "new picture 1 other bytes",
        "new model 2 the same picture",
    ):
        assert said in text
    assert "new engine" not in text.split("Drift")[0], "causes without a product are left out"


def test_a_refusal_stands_above_the_table_with_its_sentence() -> None:
    html = report(limits=Limits(bad_share=0.1, coverage=None), published=False)
    text = text_of(html)
    assert "not published" in text
    assert "bad_share: the quarantined share of the catalog is 0.1667, highest allowed 0.1, 0.06667 too high" in text
    assert text.count("✗ refused") == text.count("too high") > 0


def test_publishing_against_the_gates_is_said() -> None:
    assert "published anyway" in text_of(report(limits=Limits(bad_share=0.1), published=True))
    assert "published anyway" not in text_of(report())


def test_drift_is_read_in_plain_words() -> None:
    text = text_of(report())
    assert "large shift: another population" in text
    assert "33.33%" not in text and "25.00%" in text, "one of the four products in both has another articleType"
    assert "The mean embeddings cannot be compared" in text


def test_a_first_night_compares_with_nothing() -> None:
    page = Page(report(None))
    assert "This is the first night" in page.text
    for absent in ("Drift", "Products to look at", "with another label"):
        assert absent not in page.text
    assert page.tags.count("img") == 0
    assert "no scores last night to compare with" in page.text


def test_a_night_without_changes_says_so() -> None:
    text = text_of(report(BEFORE, BEFORE))
    assert "nothing changed: every row was carried over" in text
    assert "articleType: no class has more or fewer products" in text
    assert "Products to look at" not in text


def test_a_changed_label_shows_both_answers_and_too_rare_is_named() -> None:
    text = text_of(report(BEFORE, table(row("flips", None, 0.83, score_key="k"))))
    assert "Tops 97.0% → (too rare) 83.0%" in text
    assert "was Belts 90.0%" in text


def test_a_target_of_the_new_model_only_is_shown_without_a_change() -> None:
    text = text_of(report(table(row("a"), targets=("gender",)), table(row("a", score_key="k"))))
    assert "articleType: no scores last night to compare with" in text
    assert "→" not in text.split("Products to look at")[1]


def test_pictures_are_asked_for_only_of_products_that_are_still_there() -> None:
    found = changes(BEFORE, AFTER, targets=TARGETS)
    assert pictured(found, targets=TARGETS)[0] == "flips"
    assert sorted(pictured(found, targets=TARGETS)) == ["flips", "fresh", "picture", "rare"]
    many = changes(None, table(*(row(str(number)) for number in range(99))), targets=TARGETS)
    assert len(pictured(many, targets=TARGETS)) == MOST_PICTURES


def test_without_pictures_there_is_no_sheet() -> None:
    assert Page(report()).tags.count("img") == 1
    assert Page(report(pictures={"somebody else": picture_bytes()})).tags.count("img") == 1


def test_everything_from_outside_is_escaped() -> None:
    evil = table(row("flips", EVIL, score_key="k"), row(EVIL, EVIL))
    html = report(BEFORE, evil, title=EVIL, facts={EVIL: EVIL}, warnings=[EVIL], next_steps=[EVIL])
    assert EVIL not in html
    assert "script" not in Page(html).tags
    assert Page(html).text.count(EVIL) >= 8


def test_books_that_lack_a_figure_are_refused() -> None:
    with pytest.raises(ValueError, match="carried_over"):
        report(books={"catalog": 1, "scored": 1, "quarantined": 0})


def test_the_bars_show_classes_that_moved_up_to_the_most() -> None:
    counts = pd.DataFrame({"class": [f"c{n}" for n in range(30)], "before": range(30), "after": [0] * 30})
    counts["difference"] = counts["after"] - counts["before"]
    counts = counts.sort_values("difference", ignore_index=True)
    assert size_of(movement_bars(counts, title="x", most=20))[1] > size_of(movement_bars(counts, title="x", most=5))[1]
    assert movement_bars(counts, title="x", most=20) == movement_bars(counts.head(20), title="x", most=30)


def test_bars_of_classes_that_kept_still_are_refused() -> None:
    with pytest.raises(ValueError, match="no class that moved"):
        movement_bars(pd.DataFrame({"class": ["a"], "before": [1], "after": [1], "difference": [0]}), title="gender")
