"""Plots open as pictures and count every row; the report page is complete, self-contained and escapes what it is given."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fashion_ray.pages import plots
from fashion_ray.pages.rendering import percent
from fashion_ray.pages.training_report import training_report, warnings_about
from fashion_ray.training.evaluation import OTHER, TargetEvaluation, evaluate_review, evaluate_target

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "link", "img", "br"}


def evaluation(target: str = "articleType", classes: int = 5, *, rows: int = 400, nulls: bool = False) -> TargetEvaluation:
    """A head that is right four times in five; class 0 is the commonest."""
    rng = np.random.default_rng(classes)
    weights = 1 / np.arange(1, classes + 1)
    truth = np.concatenate([np.arange(classes), rng.choice(classes, rows - classes, p=weights / weights.sum())])
    answers = np.where(rng.random(rows) < 0.8, truth, (truth + 1) % classes)
    predicted = [None if nulls and row % 20 == 0 else f"class {answer:02d}" for row, answer in enumerate(answers)]
    return evaluate_target(
        target,
        truth=[f"class {label:02d}" for label in truth],
        predicted=predicted,
        probability=rng.uniform(0.5, 1.0, rows).tolist(),
        top3=[[label] for label in predicted],
    )


def labelled(*labels: str) -> TargetEvaluation:
    names = list(labels)
    return evaluate_target("gender", truth=names, predicted=names[::-1], probability=[0.5] * len(names), top3=[[]] * len(names))


def history(*stages: tuple[str, int], targets: tuple[str, ...] = ("articleType",)) -> pd.DataFrame:
    names = [name for name, epochs in stages for _ in range(epochs)]
    epochs = np.arange(1, len(names) + 1)
    table = pd.DataFrame({"epoch": epochs, "stage": names, "train_loss": 2 / epochs, "validation_loss": 2.2 / epochs})
    for target in targets:
        table[f"validation_accuracy/{target}"] = 1 - 0.5 / epochs
        table[f"train_accuracy/{target}"] = 1 - 0.4 / epochs
    return table.assign(images_per_second=500.0)


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        assert np.ptp(np.asarray(image.convert("L"))) > 100, "the picture is blank"
        return image.size


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda: plots.learning_curves(history(("heads", 2), ("top1", 3), ("all", 1))), id="curves"),
        pytest.param(lambda: plots.learning_curves(history(("heads", 1))), id="curves of one epoch"),
        pytest.param(lambda: plots.learning_curves(history(("heads", 6))), id="curves of one stage"),
        pytest.param(lambda: plots.confusion_matrix(evaluation()), id="confusion"),
        pytest.param(lambda: plots.confusion_matrix(evaluation(classes=68, nulls=True), most=20), id="confusion of many"),
        pytest.param(lambda: plots.class_recall_bars(evaluation()), id="recall"),
        pytest.param(lambda: plots.rate_curve([1e-6, 1e-4, 1e-2, 1], [4.0, 3.8, 1.0, 90.0], 1e-3), id="learning rates"),
        pytest.param(lambda: plots.rate_curve([1e-6, 1e-4], [4.0, 4.0], None), id="learning rates that teach nothing"),
    ],
)
def test_a_plot_is_a_picture_of_sensible_size_and_the_same_twice(draw: Callable[[], bytes]) -> None:
    png = draw()
    width, height = size_of(png)
    assert 400 <= width <= 1700
    assert 300 <= height <= 1700
    assert png == draw()
    assert b"Software" not in png


def test_drawing_leaves_the_style_of_other_figures_alone() -> None:
    before = dict(matplotlib.rcParams)
    plots.learning_curves(history(("heads", 1)))
    assert dict(matplotlib.rcParams) == before


def test_curves_bear_gaps_missing_training_accuracies_and_any_order() -> None:
    table = history(("heads", 3), ("top1", 3), targets=("a", "b"))
    expected = plots.learning_curves(table)
    assert plots.learning_curves(table.iloc[::-1]) == expected
    table.loc[1, ["validation_loss", "validation_accuracy/a"]] = np.nan
    size_of(plots.learning_curves(table.drop(columns=["train_accuracy/a", "images_per_second"])))


def test_stages_are_ruled_off() -> None:
    assert plots.learning_curves(history(("one", 6))) != plots.learning_curves(history(("one", 3), ("two", 3)))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (history(("heads", 1)).drop(columns="train_loss"), "expected also ['train_loss']"),
        (history(("heads", 1)).iloc[:0], "expected one per epoch"),
    ],
)
def test_curves_of_nothing_are_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match="the history has") as caught:
        plots.learning_curves(table)
    assert message in str(caught.value)


def test_a_large_confusion_matrix_pools_the_rare_classes_and_loses_no_row() -> None:
    one = evaluation(classes=68, rows=900, nulls=True)
    view = plots.confusion_view(one, most=40)
    assert len(view.rows) == 41
    assert view.columns[-2:] == [plots.REST, OTHER]
    assert view.columns[:40] == one.per_class["class"].tolist()[:40]
    assert view.counts.shape == (41, 42)
    assert view.counts.sum() == one.rows
    assert view.correct.sum() == round(one.accuracy * one.rows)
    rest = view.rows.index(plots.REST)
    assert view.correct[rest] < view.counts[rest, view.columns.index(plots.REST)], "confusions within the rest are no hits"


def test_a_small_confusion_matrix_pools_nothing() -> None:
    one = evaluate_target("gender", truth=["b", "b", "a"], predicted=["b", "c", "a"], probability=[0.5] * 3, top3=[["a"]] * 3)
    view = plots.confusion_view(one, most=3)
    assert (view.rows, view.columns) == (["b", "a"], ["b", "a", "c"])
    assert view.counts.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert view.correct.tolist() == [1, 1]
    assert plots.confusion_view(one, most=2).columns == ["b", "a", plots.REST]
    with pytest.raises(ValueError, match="got most=0"):
        plots.confusion_view(one, most=0)


def test_labels_are_text_and_never_formulas() -> None:
    one = labelled(r"$\frac{1$", "a $5 to $10 b", "line\nbreak", "x" * 200)
    size_of(plots.confusion_matrix(one))
    size_of(plots.class_recall_bars(one))
    assert plots.short("line\n break") == "line break"
    assert plots.short("x" * 200) == "x" * 27 + "…"


class Page(HTMLParser):
    """Checks that elements nest, and collects text, tags and what the page points to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        self.ids += [value or "" for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def blank_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the drawing where a test reads only the text of the page."""
    buffer = io.BytesIO()
    Image.new("RGB", (144, 144)).save(buffer, format="png")
    monkeypatch.setattr(plots, "learning_curves", lambda *_: buffer.getvalue())


def report(**changed: object) -> str:
    values: dict[str, object] = {
        "title": "Training run quick",
        "facts": {"model version": "mv-1"},
        "evaluations": {
            "test": [evaluation("articleType"), evaluation("gender", 3)],
            "validation": [evaluation("articleType")],
        },
        "history": history(("heads", 1)),
    }
    return training_report(**(values | changed))  # type: ignore[arg-type]


def test_the_page_has_every_part_and_fetches_nothing() -> None:
    html = report(
        next_steps=["run `python jobs/score.py` next"], warnings=["mind the gap"], split_note="Split stored.",
        drawings={target: {"confusion": plots.confusion_matrix(evaluation())} for target in ("articleType", "gender")},
    )  # fmt: skip
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.tags.count("h2") == 2 + 1 + 1 + 1 + 2
    assert page.tags.count("img") == 1 + 2
    assert page.tags.count("details") == 2 + 1 + 2
    assert "script" not in page.tags
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.search(r"https?://|@import|url\(", html)
    assert {link[1:] for link in page.links if link.startswith("#")} == set(page.ids)
    assert "<code>python jobs/score.py</code>" in html
    for said in (
        "mind the gap",
        "Split stored.",
        "mv-1",
        "Results on the test split",
        "Results on the validation split",
        "class 04",
    ):
        assert said in page.text


@pytest.mark.usefixtures("blank_plots")
def test_the_page_is_the_same_twice() -> None:
    assert report() == report()


def reviewed(*, flagged: bool = False) -> TargetEvaluation:
    """Four rows of three classes, one of which the model does not know; of two answers that pass, one is right."""
    review = evaluate_review(
        ["Men", "Women", None], [0.625, 1.1, 0.5],
        predicted=np.array([0, 0, 1, 2]), right=np.array([True, False, True, True]),
        flagged=np.array([flagged, flagged, True, True]),
    )  # fmt: skip
    return evaluate_target(
        "gender", truth=["Men", "Boys", "Women", None], predicted=["Men", "Men", "Women", None], probability=[0.9] * 4,
        top3=[[]] * 4, review=review,
    )  # fmt: skip


@pytest.mark.usefixtures("blank_plots")
def test_the_page_says_what_needs_no_review_on_every_split_and_of_every_class() -> None:
    html = report(evaluations={"test": [reviewed(), evaluation()], "validation": [reviewed(flagged=True)]})
    text = Page(html).text
    assert "gender450.0%50.00%9.5% to 90.5%40.0%n/an/a" in text, "test, then validation, where nothing passes"
    table = text[text.index("What needs no review") : text.index("Learning curves")]
    assert "articleType" not in table, "a target without thresholds has no row"
    assert "20.625250.0%" in text, "Men: answers, threshold, how many pass, how many of those are right"
    assert "1always0n/a" in text, "Women"
    assert "0n/an/an/a" in text, "Boys, which the model does not know"
    assert "What needs no review" not in report()


@pytest.mark.usefixtures("blank_plots")
def test_the_headline_is_the_evaluations() -> None:
    one = evaluation()
    text = Page(report(evaluations={"test": [one]})).text
    assert f"{one.accuracy:.2%}{one.accuracy_low:.1%} to {one.accuracy_high:.1%}{one.top3_accuracy:.2%}" in text
    assert f"{one.weighted_f1:.2%}{one.macro_f1:.2%}{one.expected_calibration_error:.1%}{one.majority_share:.1%}" in text


@pytest.mark.usefixtures("blank_plots")
def test_the_most_frequent_confusions_come_first() -> None:
    one = evaluate_target(
        "gender",
        truth=["Men"] * 6 + ["Women"] * 4,
        predicted=["Men"] * 5 + ["Women"] + ["Men"] * 3 + ["Women"],
        probability=[0.5] * 10,
        top3=[[]] * 10,
    )
    text = Page(report(evaluations={"test": [one]})).text
    assert "WomenMen375.0%\nMenWomen116.7%" in text


def test_whatever_comes_from_outside_is_escaped() -> None:
    evil = evaluate_target(EVIL, truth=[EVIL, EVIL, "a"], predicted=["a", "a", EVIL], probability=[0.5] * 3, top3=[[EVIL]] * 3)
    html = report(
        title=EVIL,
        facts={EVIL: EVIL, "quote": '" onload="x'},
        evaluations={EVIL: [evil]},
        history=history((EVIL, 1), targets=(EVIL,)),
        warnings=[EVIL, f"`{EVIL}`"],
        next_steps=[EVIL, f"`{EVIL}`"],
    )
    page = Page(html)
    assert "script" not in page.tags
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert 'onload="x' not in html
    assert page.text.count(EVIL) >= 12


@pytest.mark.usefixtures("blank_plots")
def test_a_collapsed_head_is_warned_of_once_for_each_split() -> None:
    one = evaluate_target(
        "gender", truth=["a"] * 4 + ["b"] * 6, predicted=["a"] * 10, probability=[0.9] * 10, top3=[["a"]] * 10
    )
    assert one.collapsed
    page = Page(report(evaluations={"test": [one], "validation": [one, evaluation()]}))
    assert page.text.count("gender: the head has collapsed. 100% of its answers") == 2
    assert "“a”, which is right for 40% of the rows" in page.text
    assert "articleType: the head" not in page.text
    assert "Never recognised: b." in page.text


@pytest.mark.usefixtures("blank_plots")
def test_a_head_no_better_than_a_constant_is_warned_of() -> None:
    one = evaluate_target(
        "gender", truth=["a"] * 6 + ["b"] * 4, predicted=["a"] * 10, probability=[0.9] * 10, top3=[["a"]] * 10
    )
    assert not one.collapsed
    assert "no better than a constant" in warnings_about("test", one)[0]
    assert warnings_about("test", evaluation()) == []
    assert 'class="warnings"' not in report()


@pytest.mark.usefixtures("blank_plots")
def test_drawings_stand_in_the_section_of_their_target() -> None:
    png = plots.class_recall_bars(evaluation("gender", 3))
    html = report(drawings={"gender": {"recall": png, "reliability": png}})
    assert 'alt="Recall of each class of gender"' in html and 'alt="Reliability diagram of gender"' in html
    assert "of articleType" not in re.sub("All classes of articleType", "", html), "a target without drawings has no picture"
    assert f'width="{round(size_of(png)[0] / 1.44)}"' in html
    with pytest.raises(ValueError, match=r"drawings of \['colour'\]"):
        report(drawings={"colour": {"recall": png}})
    with pytest.raises(ValueError, match="expected PNG bytes"):
        report(drawings={"gender": {"recall": b"GIF89a"}})


def test_a_report_without_evaluations_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got the splits \['test'\] without an evaluation"):
        report(evaluations={"test": []})


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100.0%"), (0.99996, ">99.9%"), (0.5, "50.0%"), (0.0, "0.0%"), (0.0001, "<0.1%"), (float("nan"), "n/a")],
)
def test_a_share_is_all_or_nothing_only_if_it_is(share: float, text: str) -> None:
    assert percent(share) == text
