"""From logits to everything that is told of a model: figures, tables, pictures and the page, by the code that a run calls."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fashion_ray.models.bundle import Card
from fashion_ray.models.taxonomy import Taxonomy
from fashion_ray.pages.evaluation_pictures import gallery
from fashion_ray.pages.probability_plots import probability_curves, reliability_diagram
from fashion_ray.pages.training_report import training_report
from fashion_ray.training import artifacts
from fashion_ray.training.calibrate import calibrate, evaluate
from fashion_ray.training.curves import evaluate_curves
from fashion_ray.training.deployed import HeldOut, TrainingSide
from fashion_ray.training.reliability import calibration_bins, calibration_error
from fashion_ray.training.vocabulary import Vocabulary

EVIL = "<script>alert(1)</script>"
ARTICLES = [EVIL, "Shirts", "Tops", "Watches"]
GENDERS = ["Men", "Women"]
CLASSES: dict[str, list[str | None]] = {"articleType": [*ARTICLES, None], "gender": [*GENDERS]}

WORDS = Vocabulary(classes=CLASSES, paths=Taxonomy(levels=(), paths=()), rare=frozenset({"Rare"}))
CARD = Card(
    backbone="efficientnet_lite0", embedding_dim=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), decoded_size=(80, 60),
    input_size=(160, 120), head="batchnorm", dropout=0.0, classes=CLASSES, levels=(), paths=(),
    temperatures=dict.fromkeys(CLASSES, 1.0), thresholds=dict.fromkeys(CLASSES, 0.5),
)  # fmt: skip
TRAINING = TrainingSide(
    rows={"articleType": {EVIL: 2000, "Shirts": 300, "Tops": 60, "Watches": 10}, "gender": {"Men": 1500, "Women": 900}},
    groups=frozenset({"g8", "g9"}),
)


def held_out(rows: int = 300, *, seed: int = 0, sure: float = 4.0) -> HeldOut:
    """Rows of which a few have no label, a rare one or one that training never saw; the model is far too sure of itself."""
    rng = np.random.default_rng(seed)
    labels: dict[str, list[str | None]] = {}
    logits = {}
    for target, names in (("articleType", ARTICLES), ("gender", GENDERS)):
        truth = rng.integers(len(names), size=rows)
        values = rng.normal(size=(rows, len(CLASSES[target])))
        values[np.arange(rows), truth] += 1.5
        logits[target] = (sure * values).astype(np.float32)
        labels[target] = [names[number] for number in truth]
    labels["articleType"][:6] = [None, None, "Rare", "Rare", "Unseen", "Unseen"]
    return HeldOut(
        product_ids=[f"p{row}" for row in range(rows)], labels=labels, logits=logits,
        groups=[f"g{row // 2}" for row in range(rows)],
        slicing={"gender": labels["gender"], "year": [2012 + row % 3 for row in range(rows)], "season": [None] * rows},
    )  # fmt: skip


def test_temperature_scaling_lowers_the_calibration_error_and_both_are_told() -> None:
    card = calibrate(CARD, held_out(seed=1), WORDS, review_precision=0.9)
    for one in evaluate(card, held_out(), WORDS, TRAINING).values():
        figures = one.figures()
        assert figures["expected_calibration_error"] + 0.03 < figures["expected_calibration_error_before"]
        assert figures["expected_calibration_error"] == pytest.approx(calibration_error(one.calibration))
        assert one.uncalibrated is not None and one.uncalibrated["rows"].sum() == one.rows


def test_all_figures_are_of_the_same_rows_and_finite() -> None:
    one = evaluate(CARD, held_out(), WORDS, TRAINING)["articleType"]
    assert one.rows == 296, "without the unlabelled and the rare ones; labels that training never saw are misses"
    assert one.curves is not None and one.slices is not None and one.mistakes is not None
    assert one.curves.areas["class"].tolist() == ARTICLES and one.curves.areas["support"].sum() == 294
    assert one.slices.groupby("by", sort=False)["rows"].sum().to_dict() == {
        "gender": 296, "year": 296, "training rows of the class": 296, "near-duplicate in training": 296,
    }  # fmt: skip
    unseen = one.slices.set_index("value").loc["0"]
    assert (unseen["rows"], unseen["accuracy"]) == (2, 0)
    assert one.unseen_share == pytest.approx(2 / 296) and one.seen_accuracy == pytest.approx(one.accuracy * 296 / 294)
    assert {"unseen_share", "seen_accuracy"} <= set(one.figures())
    assert "0.7% of articleType (accuracy of the others" in artifacts.split_note("year:2016", {"articleType": one})
    hits = (one.slices["accuracy"] * one.slices["rows"]).groupby(one.slices["by"]).sum()
    assert hits.to_numpy() == pytest.approx(one.accuracy * one.rows)
    figures = one.figures()
    assert all(type(value) is float and math.isfinite(value) for value in figures.values())
    assert figures["macro_f1_low"] < figures["macro_f1"] < figures["macro_f1_high"]
    assert figures["weighted_f1_low"] < figures["weighted_f1"] < figures["weighted_f1_high"]
    assert {"roc_auc_micro", "roc_auc_macro", "average_precision_micro", "average_precision_macro"} <= set(figures)


def test_rows_whose_near_duplicates_were_trained_on_are_counted_and_sliced() -> None:
    found = evaluate(CARD, held_out(), WORDS, TRAINING)
    assert found["gender"].leaked_share == pytest.approx(4 / 300)
    assert found["gender"].slices is not None
    leaked = found["gender"].slices.query("by == 'near-duplicate in training'").set_index("value")["rows"]
    assert leaked.to_dict() == {"yes": 4, "no": 296}
    assert set(found["gender"].slices["by"]) == {"year", "training rows of the class", "near-duplicate in training"}
    clean = evaluate(CARD, held_out(), WORDS, replace(TRAINING, groups=frozenset()))["gender"]
    assert clean.leaked_share == 0.0
    assert "1.3% of the test rows have" in artifacts.split_note("random:80/10/10", {"gender": found["gender"]})
    assert artifacts.split_note("72/18/10", {"gender": clean}).endswith("together on one.")


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("stored", "catalog's own"), ("72/18/10", "together"), ("fold:2/5", "folds"), ("random:80/10/10", "flatter"),
        ("year:2016", "later years"),
    ],
)  # fmt: skip
def test_the_note_names_the_split_and_what_it_means(split: str, said: str) -> None:
    note = artifacts.split_note(split, {})
    assert note.startswith(f"Split {split}. ") and said in note


def test_a_target_without_labels_is_left_out_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    rows = held_out(20)
    rows.labels["gender"][:] = [None] * 20
    assert set(evaluate(CARD, rows, WORDS, TRAINING)) == {"articleType"}
    assert "gender: none of 20 rows has a label" in caplog.text


def test_a_single_row_has_figures_that_are_finite(recwarn: pytest.WarningsRecorder) -> None:
    rows = held_out(1)
    rows.labels["articleType"][:] = ["Shirts"]
    found = evaluate(CARD, rows, WORDS, TRAINING)
    for one in found.values():
        assert all(math.isfinite(value) for value in one.figures().values())
        assert not {"macro_f1_low", "roc_auc_macro"} & set(one.figures()), "what is not defined is left out, not nought"
    assert not recwarn.list
    drawn = artifacts.drawings({"test": {}, "validation": {"gender": found["gender"]}})
    assert set(drawn["gender"]) == {"confusion", "recall", "reliability", "curves"}
    json.loads(artifacts.tables({"test": found})["tables/figures.json"])


def jpeg(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 80), colour).save(buffer, format="JPEG")
    return buffer.getvalue()


def test_everything_is_a_table_and_a_picture_and_a_metric() -> None:
    evaluations = {"test": evaluate(CARD, held_out(), WORDS, TRAINING), "validation": evaluate(CARD, held_out(seed=1), WORDS)}
    tables = artifacts.tables(evaluations)
    kinds = ("per_class", "confusion", "calibration", "calibration_before", "areas", "slices", "mistakes", "review")
    assert set(tables) == {
        "tables/figures.json",
        *(f"tables/{split}_{target}_{kind}.csv" for split in evaluations for target in CLASSES for kind in kinds),
    }
    confusion = pd.read_csv(io.StringIO(tables["tables/test_gender_confusion.csv"]), index_col="true")
    assert confusion.to_numpy().tolist() == evaluations["test"]["gender"].confusion.tolist()
    figures = json.loads(tables["tables/figures.json"])
    assert figures["validation"]["gender"]["accuracy"] == evaluations["validation"]["gender"].accuracy
    metrics = artifacts.metrics_of_slices(evaluations)
    assert "test/articleType/slice/year/2013/accuracy" in metrics and all(map(math.isfinite, metrics.values()))
    shown = artifacts.mistaken(evaluations)
    wrong = {target: one.mistakes for target, one in evaluations["test"].items()}
    assert set(shown) == {product for table in wrong.values() if table is not None for product in table["product_id"]}
    sheets = artifacts.mistake_sheets(evaluations, {shown[0]: jpeg((9, 9, 9)), shown[1]: b"no picture"})
    assert set(sheets) == {"plots/articleType_mistakes.png", "plots/gender_mistakes.png"}
    for png in sheets.values():
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG" and image.width > 400


def test_the_page_shows_curves_slices_and_mistakes_and_escapes_labels() -> None:
    found = evaluate(CARD, held_out(), WORDS, TRAINING)
    one = found["articleType"]
    assert one.mistakes is not None
    history = pd.DataFrame({"epoch": [1], "stage": ["heads"], "train_loss": [1.0], "validation_loss": [1.0]})
    html = training_report(
        title="Training run", facts={}, evaluations={"test": [one]}, history=history, split_note=f"Split {EVIL}",
        drawings={"articleType": {"curves": probability_curves(one.curves)}} if one.curves else {},
        products={str(one.mistakes["product_id"].iloc[0]): jpeg((200, 0, 0))},
    )  # fmt: skip
    assert "<script" not in html and html.count("&lt;script&gt;") > 5
    assert html.count("data:image/jpeg;base64,") == 1 and html.count("no picture") == len(one.mistakes) - 1
    assert 'alt="ROC and precision-recall curves of articleType"' in html
    for said in ("By slice", "near-duplicate in training", "Surest mistakes", "200 to 999", "ROC area", "before scaling"):
        assert said in html
    low, high = one.figures()["macro_f1_low"], one.figures()["macro_f1_high"]
    assert f"{low:.1%} to {high:.1%}" in html


def test_a_picture_in_the_page_is_of_our_own_making_and_small() -> None:
    mistakes = pd.DataFrame({"product_id": ["1", "2", "3"], "truth": "a", "predicted": "b", "probability": 0.5})
    large = io.BytesIO()
    Image.new("RGB", (1800, 2400)).save(large, format="PNG")
    shown, *rest = gallery(mistakes, {"1": large.getvalue(), "2": b"<svg onload=x>"})
    assert shown["uri"].startswith("data:image/jpeg;base64,") and len(shown["uri"]) < 20_000
    assert [row["uri"] for row in rest] == [None, None]


def test_what_there_is_nothing_of_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="Leave the picture out"):
        probability_curves(evaluate_curves(["a"], np.array([0]), np.ones((1, 1))))
    with pytest.raises(ValueError, match="expected one row at least"):
        reliability_diagram(calibration_bins([], []), None, title="x")


def test_the_reliability_diagram_shows_what_temperature_scaling_did() -> None:
    one = evaluate(CARD, held_out(), WORDS)["gender"]
    after, both = (reliability_diagram(one.calibration, before, title="x") for before in (None, one.uncalibrated))
    assert after != both
    assert reliability_diagram(one.calibration, None, title="x") == after
