"""From logits to labels: the category levels never contradict the catalog, and probabilities are probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from fashion_ray.catalog import schema
from fashion_ray.models import decisions, taxonomy
from fashion_ray.models.taxonomy import Taxonomy

CLASSES: dict[str, list[str | None]] = {
    "masterCategory": ["Accessories", "Apparel", "Footwear"],
    "subCategory": ["Shoes", "Socks", "Ties", "Topwear"],
    "articleType": ["Shirts", "Socks", "Sports Shoes", "Ties", None],
    "season": ["Fall", "Summer", "Winter"],
}
ROWS: dict[str, list[str | None]] = {
    "masterCategory": ["Apparel", "Accessories", "Apparel", "Footwear", "Accessories", "Accessories", None, "Footwear"],
    "subCategory": ["Topwear", "Socks", "Socks", "Shoes", "Ties", "Ties", "Topwear", "Shoes"],
    "articleType": ["Shirts", "Socks", "Socks", "Sports Shoes", "Ties", "Bow Ties", "Shirts", "Flip Flops"],
    "season": ["Fall"] * 8,
}
SEEN = {
    ("Apparel", "Topwear", "Shirts"),
    ("Accessories", "Socks", "Socks"),
    ("Apparel", "Socks", "Socks"),  # Socks stand under two masterCategories
    ("Footwear", "Shoes", "Sports Shoes"),
    ("Accessories", "Ties", "Ties"),
}
OTHERS = {(master, sub, None) for master, sub, _ in SEEN}
ONES = dict.fromkeys(CLASSES, 1.0)


def tree() -> Taxonomy:
    """The taxonomy of the rows above."""
    return taxonomy.learn(CLASSES, ROWS)


def logits(rows: int, *, scale: float = 3.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Made-up logits of every target."""
    generator = np.random.default_rng(seed)
    return {
        target: (scale * generator.standard_normal((rows, len(names)))).astype(np.float32) for target, names in CLASSES.items()
    }


def named(paths: Taxonomy) -> set[tuple[str | None, ...]]:
    """Paths as names."""
    return {tuple(CLASSES[level][index] for level, index in zip(paths.levels, path, strict=True)) for path in paths.paths}


def test_learns_every_path_once_and_an_other_leaf_for_every_parent() -> None:
    learnt = tree()
    assert learnt.levels == schema.CATEGORY_LEVELS
    assert named(learnt) == SEEN | OTHERS
    assert len(learnt.paths) == len(set(learnt.paths)) == len(SEEN | OTHERS)


def test_without_rare_classes_there_is_no_other_leaf() -> None:
    classes = {**CLASSES, "articleType": ["Shirts", "Socks", "Sports Shoes", "Ties"]}
    learnt = taxonomy.learn(classes, ROWS)
    assert {tuple(classes[level][i] for level, i in zip(learnt.levels, path, strict=True)) for path in learnt.paths} == SEEN


def test_rows_with_a_missing_level_are_no_paths() -> None:
    rows = {level: ["Apparel", "Topwear", "Shirts"][depth : depth + 1] for depth, level in enumerate(schema.CATEGORY_LEVELS)}
    for level in schema.CATEGORY_LEVELS:
        assert taxonomy.learn(CLASSES, {**rows, level: [None]}).paths == ()


@pytest.mark.parametrize("targets", [("season",), ("articleType",), ("masterCategory", "season"), ()])
def test_a_single_level_has_no_taxonomy(targets: tuple[str, ...]) -> None:
    learnt = taxonomy.learn({target: CLASSES[target] for target in targets}, {target: ROWS[target] for target in targets})
    assert learnt == Taxonomy(levels=(), paths=())


def test_two_levels_are_in_the_order_of_the_tree_whatever_the_order_of_the_targets() -> None:
    targets = ("articleType", "season", "masterCategory")
    learnt = taxonomy.learn({target: CLASSES[target] for target in targets}, {target: ROWS[target] for target in targets})
    assert learnt.levels == ("masterCategory", "articleType")
    masters = {path[0] for path in SEEN}
    assert named(learnt) == {(path[0], path[2]) for path in SEEN} | {(master, None) for master in masters}


def test_reassigned_levels_are_a_tree_like_the_others() -> None:
    classes = {f"reassigned_{level}": CLASSES[level] for level in schema.CATEGORY_LEVELS} | {"season": CLASSES["season"]}
    rows = {f"reassigned_{level}": ROWS[level] for level in schema.CATEGORY_LEVELS} | {"season": ROWS["season"]}
    learnt = taxonomy.learn(classes, rows)
    assert learnt.levels == ("reassigned_masterCategory", "reassigned_subCategory", "reassigned_articleType")
    assert learnt.paths == tree().paths


def test_levels_of_both_families_make_no_tree() -> None:
    with pytest.raises(ValueError, match="not both subCategory and reassigned_articleType"):
        taxonomy.levels_among(["reassigned_articleType", "season", "subCategory"])


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 50.0, 1e4])
def test_decoded_labels_always_form_a_path_that_training_has_seen(scale: float) -> None:
    learnt, allowed = tree(), SEEN | OTHERS
    for seed in range(20):
        answers = decisions.decide(logits(50, scale=scale, seed=seed), learnt, ONES)
        labels = [[CLASSES[level][index] for index in answers[level].predicted] for level in learnt.levels]
        assert set(zip(*labels, strict=True)) <= allowed


def test_every_path_can_be_the_answer() -> None:
    learnt = tree()
    found = decisions.decide(logits(3000, scale=5.0), learnt, ONES)
    assert set(zip(*(found[level].predicted.tolist() for level in learnt.levels), strict=True)) == set(learnt.paths)


def test_the_best_path_wins_over_the_best_class_of_a_level() -> None:
    values = {target: np.zeros((1, len(names)), dtype=np.float32) for target, names in CLASSES.items()}
    values["masterCategory"][0] = [0, 0, 3]  # Footwear
    values["subCategory"][0] = [0, 0, 6, 0]  # but the lower levels are surer that these are Ties
    values["articleType"][0] = [0, 0, 0, 6, 0]
    found = decisions.decide(values, tree(), ONES)
    assert [CLASSES[level][found[level].predicted[0]] for level in schema.CATEGORY_LEVELS] == ["Accessories", "Ties", "Ties"]


@pytest.mark.parametrize(("master", "sub"), sorted({path[:2] for path in SEEN}))
def test_the_other_leaf_of_every_parent_has_no_article_type(master: str, sub: str) -> None:
    values = {target: np.zeros((1, len(names)), dtype=np.float32) for target, names in CLASSES.items()}
    for target, name in (("masterCategory", master), ("subCategory", sub), ("articleType", None)):
        values[target][0, CLASSES[target].index(name)] = 9.0
    found = decisions.decide(values, tree(), ONES)["articleType"]
    assert CLASSES["articleType"][found.predicted[0]] is None
    table = decisions.columns("articleType", found, CLASSES["articleType"], [0.5] * len(CLASSES["articleType"]))
    assert table["articleType_predicted"].to_pylist() == [None]
    assert table["articleType_top3"].to_pylist()[0][0]["label"] is None
    assert table["articleType_probability"].to_pylist()[0] > 0.9


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0, 1e4])
def test_probabilities_lie_in_0_to_1_and_those_of_a_target_sum_to_1(scale: float) -> None:
    values = logits(200, scale=scale)
    tensors = {target: torch.from_numpy(array) for target, array in values.items()}
    found, joint = decisions.log_probabilities(tensors, tree(), ONES)
    assert joint is not None
    assert torch.allclose(joint.exp().sum(1), torch.ones(200), atol=1e-4)
    for target, array in found.items():
        assert array.shape == values[target].shape
        assert torch.allclose(array.exp().sum(1), torch.ones(200), atol=1e-4), target
    for answer in decisions.decide(values, tree(), ONES).values():
        for chances in (answer.probability, answer.top_probabilities):
            assert np.isfinite(chances).all() and (chances >= 0).all() and (chances <= 1).all()
            assert chances.dtype == np.float32


def test_probabilities_of_levels_are_sums_over_paths() -> None:
    values = {target: torch.from_numpy(array) for target, array in logits(4, scale=1.0).items()}
    learnt = tree()
    found, _ = decisions.log_probabilities(values, learnt, ONES)
    for row in range(4):
        weights = {
            path: float(np.exp(sum(float(values[level][row, index]) for level, index in zip(learnt.levels, path, strict=True))))
            for path in learnt.paths
        }
        for depth, level in enumerate(learnt.levels):
            for index in range(len(CLASSES[level])):
                share = sum(weight for path, weight in weights.items() if path[depth] == index) / sum(weights.values())
                assert float(found[level][row, index].exp()) == pytest.approx(share, abs=1e-5)


def test_top3_starts_with_the_predicted_label_and_repeats_none() -> None:
    for seed in range(10):
        for target, answer in decisions.decide(logits(100, seed=seed), tree(), ONES).items():
            assert answer.top_classes.shape == (100, min(3, len(CLASSES[target])))
            assert np.array_equal(answer.top_classes[:, 0], answer.predicted)
            assert np.array_equal(answer.top_probabilities[:, 0], answer.probability)
            assert all(len(set(row)) == len(row) for row in answer.top_classes.tolist())


def test_a_target_of_two_classes_has_a_top_of_two() -> None:
    found = decisions.decide({"usage": np.array([[0.0, 2.0]], dtype=np.float32)}, Taxonomy(levels=(), paths=()), {"usage": 1.0})
    assert found["usage"].top_classes.tolist() == [[1, 0]]
    table = decisions.columns("usage", found["usage"], ["Casual", "Sports"], [0.5, 0.5])
    assert [entry["label"] for entry in table["usage_top3"].to_pylist()[0]] == ["Sports", "Casual"]


def test_other_targets_stand_alone() -> None:
    values = logits(50)
    with_tree, without = decisions.decide(values, tree(), ONES), decisions.decide(values, Taxonomy(levels=(), paths=()), ONES)
    expected = torch.softmax(torch.from_numpy(values["season"]), dim=1).numpy()
    for found in (with_tree, without):
        assert np.array_equal(found["season"].predicted, values["season"].argmax(1))
        assert np.allclose(found["season"].probability, expected.max(1), atol=1e-6)
    assert np.array_equal(without["articleType"].predicted, values["articleType"].argmax(1))


def test_a_temperature_makes_less_sure_and_changes_no_single_answer() -> None:
    values = {"season": logits(100)["season"]}
    none = Taxonomy(levels=(), paths=())
    sure, unsure = (decisions.decide(values, none, {"season": t})["season"] for t in (1.0, 4.0))
    assert np.array_equal(sure.predicted, unsure.predicted)
    assert (unsure.probability < sure.probability).all()


def test_no_rows_give_no_answers() -> None:
    answers = decisions.decide({target: values[:0] for target, values in logits(1).items()}, tree(), ONES)
    for target, answer in answers.items():
        assert all(
            len(column) == 0
            for column in decisions.columns(target, answer, CLASSES[target], [0.5] * len(CLASSES[target])).values()
        )


def unsure(share: float) -> dict[str, np.ndarray]:
    """Logits of a picture that is surely one of Topwear, and `other` with this probability, or else a Shirt."""
    values = {target: np.zeros((1, len(names)), dtype=np.float32) for target, names in CLASSES.items()}
    values["masterCategory"][0, 1] = values["subCategory"][0, 3] = 40.0
    values["articleType"][0] = [np.log(1 - share), -40, -40, -40, np.log(share)]
    return values


@pytest.mark.parametrize(
    ("share", "threshold", "answer"),
    [
        (0.6, 0.0, None),
        (0.6, 0.5, None),
        (0.6, 0.7, "Shirts"),
        (0.6, 1.0, "Shirts"),
        (0.4, 0.0, "Shirts"),
        (0.4, 0.3, "Shirts"),
    ],
)
@pytest.mark.parametrize("tree_too", [True, False])
def test_other_is_answered_where_it_is_likelier_than_its_threshold(
    share: float, threshold: float, answer: str | None, tree_too: bool
) -> None:
    learnt = tree() if tree_too else Taxonomy(levels=(), paths=())
    found = decisions.decide(unsure(share), replace(learnt, others={"articleType": 4}, other_threshold=threshold), ONES)
    assert CLASSES["articleType"][found["articleType"].predicted[0]] == answer
    assert found["articleType"].top_classes[0, 0] == found["articleType"].predicted[0]
    assert found["articleType"].probability[0] == pytest.approx(share if answer is None else 1 - share, abs=1e-4)


def test_other_competes_with_all_classes_together() -> None:
    """0.4 is more than any class has, but less than all of them."""
    values = unsure(0.4)
    values["articleType"][0, :2] = np.log(0.3)
    parts = Taxonomy(levels=(), paths=(), others={"articleType": 4}, other_threshold=0.5)
    assert decisions.decide(values, replace(parts, other_threshold=0.0), ONES)["articleType"].predicted[0] == 4
    assert decisions.decide(values, parts, ONES)["articleType"].predicted[0] != 4


def test_a_parent_without_classes_keeps_other_as_its_only_leaf() -> None:
    rows = {
        target: [*labels, label]
        for (target, labels), label in zip(ROWS.items(), ("Footwear", "Socks", "Rare", "Fall"), strict=True)
    }
    learnt = replace(taxonomy.learn(CLASSES, rows), others={"articleType": 4}, other_threshold=1.0)
    values = {target: np.zeros((1, len(names)), dtype=np.float32) for target, names in CLASSES.items()}
    values["masterCategory"][0, 2] = values["subCategory"][0, 1] = 9.0
    found = decisions.decide(values, learnt, ONES)
    assert [CLASSES[level][found[level].predicted[0]] for level in learnt.levels] == ["Footwear", "Socks", None]


def test_columns_have_the_types_of_the_scores_table() -> None:
    targets = list(CLASSES)
    answers = decisions.decide(logits(20), tree(), ONES)
    wanted = schema.scores(targets, 4)
    for target in targets:
        table = decisions.columns(target, answers[target], CLASSES[target], [0.5] * len(CLASSES[target]))
        assert list(table) == [f"{target}_{part}" for part in ("predicted", "probability", "top3", "needs_review")]
        for name, column in table.items():
            assert column.type == wanted.field(name).type, name
            assert len(column) == 20


def test_columns_say_what_the_answer_says() -> None:
    answer = decisions.Answer(
        predicted=np.array([1, 0]),
        probability=np.array([0.9, 0.4], dtype=np.float32),
        top_classes=np.array([[1, 2], [0, 2]]),
        top_probabilities=np.array([[0.9, 0.05], [0.4, 0.35]], dtype=np.float32),
    )
    table = pa.table(decisions.columns("season", answer, ["Fall", "Summer", None], [0.5, 0.5, 0.5])).to_pylist()
    assert [row["season_predicted"] for row in table] == ["Summer", "Fall"]
    assert [row["season_needs_review"] for row in table] == [False, True]
    assert [[entry["label"] for entry in row["season_top3"]] for row in table] == [["Summer", None], ["Fall", None]]
    assert [entry["probability"] for entry in table[1]["season_top3"]] == pytest.approx([0.4, 0.35])
    assert [row["season_probability"] for row in table] == pytest.approx([0.9, 0.4])


def test_an_answer_needs_review_below_the_threshold_of_its_predicted_class() -> None:
    probability = np.array([0.7, 0.7, 0.7, 1.0], dtype=np.float32)
    answer = decisions.Answer(
        predicted=np.array([0, 1, 2, 2]), probability=probability,
        top_classes=np.array([[0], [1], [2], [2]]), top_probabilities=probability[:, None],
    )  # fmt: skip
    thresholds = [float(np.float32(0.7)), 0.8, 1.1]
    marked = decisions.columns("season", answer, ["Fall", "Summer", None], thresholds)["season_needs_review"]
    assert marked.to_pylist() == [False, True, True, True], "at the threshold is enough, and nothing reaches one above 1"
