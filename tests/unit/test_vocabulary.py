"""The vocabulary: which classes a model can answer, and what becomes of labels that are none of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fashion_ray.errors import UserError
from fashion_ray.training import vocabulary
from fashion_ray.training.vocabulary import Vocabulary, bucket, known_truth, shuffled

Column = list[str | None]


def catalog(*rows: tuple[int, str, str | None, str | None, str | None]) -> tuple[dict[str, Column], Column]:
    """Label columns and splits from (count, split, masterCategory, articleType, season)."""
    labels: dict[str, Column] = {"masterCategory": [], "articleType": [], "season": []}
    splits: Column = []
    for count, split, *names in rows:
        splits += [split or None] * count
        for column, name in zip(labels.values(), names, strict=True):
            column += [name] * count
    return labels, splits


LABELS, SPLITS = catalog(
    (6, "train", "Apparel", "Shirts", "Summer"),
    (2, "validation", "Apparel", "Shirts", "Summer"),
    (2, "test", "Apparel", "Shirts", None),
    (7, "train", "Footwear", "Shoes", "Winter"),
    (3, "test", "Footwear", "Shoes", "Winter"),
    (3, "train", "Apparel", "Capes", "Fall"),  # 4 Capes in all
    (1, "test", "Apparel", "Capes", None),
    (2, "", None, None, None),
)


def build(*targets: str, minimum: int = 5) -> Vocabulary:
    """The vocabulary of the catalog above."""
    return vocabulary.build(targets, LABELS, SPLITS, minimum=minimum)


def test_the_minimum_counts_labelled_products_of_every_split() -> None:
    assert build("articleType", minimum=4).classes["articleType"] == ["Capes", "Shirts", "Shoes"]
    assert build("articleType", minimum=5).classes["articleType"] == ["Shirts", "Shoes", None]


def test_the_minimum_applies_to_article_types_only() -> None:
    found = build("masterCategory", "articleType", "season", minimum=10)
    assert found.classes == {
        "masterCategory": ["Apparel", "Footwear"],
        "articleType": ["Shirts", "Shoes", None],  # 10 of each, and 4 Capes
        "season": ["Fall", "Summer", "Winter"],  # Fall has 3
    }


def test_the_minimum_applies_to_reassigned_article_types_too() -> None:
    labels = {"reassigned_articleType": LABELS["articleType"], "joined_category": LABELS["articleType"]}
    found = vocabulary.build(list(labels), labels, SPLITS, minimum=5)
    assert found.classes["reassigned_articleType"] == ["Shirts", "Shoes", None]
    assert found.classes["joined_category"] == ["Capes", "Shirts", "Shoes"]
    assert known_truth(found, "reassigned_articleType", ["Capes", "Shirts"]) == [None, "Shirts"]


def test_the_order_of_targets_is_kept_and_that_of_classes_is_the_alphabets() -> None:
    assert list(build("season", "masterCategory").classes) == ["season", "masterCategory"]
    assert build("season").classes["season"] == sorted(name for name in build("season").classes["season"] if name)


def test_encodes_labels_as_indices() -> None:
    found = build("articleType").encode(
        "articleType", ["Shoes", "Shirts", None, "Capes", "Spaceships"]
    )  # the last one training never saw
    assert found.dtype == np.int64
    assert found.tolist() == [1, 0, -1, 2, -1]


def test_without_an_other_class_unknown_labels_are_no_labels() -> None:
    assert build("season").encode("season", ["Winter", "Spring", None]).tolist() == [2, -1, -1]
    assert build("articleType", minimum=1).encode("articleType", ["Spaceships"]).tolist() == [-1]


def test_encoding_nothing_gives_nothing() -> None:
    found = build("season").encode("season", [])
    assert found.shape == (0,) and found.dtype == np.int64


def test_encoding_and_reading_back_gives_the_label() -> None:
    found = build("masterCategory", "articleType", "season", minimum=1)
    for target, names in found.classes.items():
        assert [names[index] for index in found.encode(target, names)] == names


def test_a_rare_class_that_training_has_not_seen_makes_no_other() -> None:
    labels, splits = catalog(
        (6, "train", "Apparel", "Shirts", None),
        (6, "train", "Apparel", "Shoes", None),
        (2, "validation", "Apparel", "Capes", None),
        (2, "test", "Apparel", "Capes", None),
    )
    found = vocabulary.build(["articleType"], labels, splits, minimum=5)
    assert found.classes["articleType"] == ["Shirts", "Shoes"]


@pytest.mark.parametrize("missing", ["train", "validation", "test"])
def test_an_empty_split_is_a_user_error(missing: str) -> None:
    splits = [None if split == missing else split for split in SPLITS]
    with pytest.raises(UserError, match=f"no {missing} rows"):
        vocabulary.build(["season"], LABELS, splits, minimum=1)


@pytest.mark.parametrize("target", ["masterCategory", "season", "articleType"])
def test_a_target_of_one_class_is_a_user_error(target: str) -> None:
    labels, splits = catalog(
        (6, "train", "Apparel", "Shirts", "Summer"),
        (6, "validation", "Footwear", "Shoes", "Winter"),
        (1, "test", None, None, None),
    )
    with pytest.raises(UserError, match=f"--targets: {target} has 1 classes"):
        vocabulary.build([target], labels, splits, minimum=1)


def test_a_target_without_labels_is_a_user_error() -> None:
    labels, splits = catalog((6, "train", "Apparel", "Shirts", None), (3, "validation", *["x"] * 3), (3, "test", *["y"] * 3))
    with pytest.raises(UserError, match="season has 0 classes"):
        vocabulary.build(["season"], labels, splits, minimum=1)


def test_a_minimum_that_leaves_too_few_classes_says_what_to_lower() -> None:
    with pytest.raises(UserError, match=r"--min-class-count is \d+ and .* has \d+ .*labelled pictures: lower it"):
        build("articleType", minimum=11)


def test_paths_are_those_of_training_rows_with_other_leaves() -> None:
    found = build("masterCategory", "articleType")
    masters, articles = found.classes["masterCategory"], found.classes["articleType"]
    named = {(masters[path[0]], articles[path[1]]) for path in found.paths.paths}
    assert found.paths.levels == ("masterCategory", "articleType")
    assert named == {("Apparel", "Shirts"), ("Footwear", "Shoes"), ("Apparel", None), ("Footwear", None)}


def test_paths_seen_in_other_splits_alone_do_not_count() -> None:
    labels, splits = catalog(
        (6, "train", "Apparel", "Shirts", None),
        (6, "train", "Footwear", "Shoes", None),
        (6, "validation", "Footwear", "Shirts", None),
        (6, "test", "Apparel", "Shoes", None),
    )
    found = vocabulary.build(["masterCategory", "articleType"], labels, splits, minimum=1)
    assert found.paths.paths == ((0, 0), (1, 1))


def test_a_single_level_has_no_paths() -> None:
    assert build("articleType", "season").paths.paths == ()


def test_known_truth_leaves_out_rare_article_types_and_nothing_else() -> None:
    found = build("articleType", "season")
    assert known_truth(found, "articleType", ["Shirts", "Capes", None, "Shoes"]) == ["Shirts", None, None, "Shoes"]
    assert known_truth(found, "season", ["Winter", "Spring", None]) == ["Winter", "Spring", None]


def test_known_truth_keeps_classes_unseen_in_training_as_misses() -> None:
    labels, splits = catalog(
        (6, "train", "Apparel", "Shirts", None),
        (6, "train", "Apparel", "Shoes", None),
        (2, "train", "Apparel", "Capes", None),
        (1, "validation", "Apparel", "Shoes", None),
        (9, "test", "Apparel", "Saris", None),  # common enough, but all on one side
    )
    found = vocabulary.build(["articleType"], labels, splits, minimum=5)
    assert found.classes["articleType"] == ["Shirts", "Shoes", None]
    assert known_truth(found, "articleType", ["Shirts", "Saris", "Capes"]) == ["Shirts", "Saris", None]


def test_known_truth_leaves_out_rare_article_types_that_training_has_not_seen() -> None:
    labels, splits = catalog(
        (6, "train", "Apparel", "Shirts", None),
        (6, "train", "Apparel", "Shoes", None),
        (2, "validation", "Apparel", "Capes", None),
        (1, "test", "Apparel", "Capes", None),
    )
    found = vocabulary.build(["articleType"], labels, splits, minimum=5)
    assert known_truth(found, "articleType", ["Shirts", "Capes"]) == ["Shirts", None]


@pytest.mark.parametrize(
    ("product_id", "expected"),
    [
        # printf '%s' ID | b2sum -l 32, without the highest bit
        ("10001", 0x73BE67E7),
        ("0/10001", 0x67E8B568),
        ("été", 0x4FF80859),
    ],
)
def test_a_bucket_is_the_same_everywhere(product_id: str, expected: int) -> None:
    assert bucket(product_id) == expected


@pytest.mark.parametrize("world", [2, 3, 8, 64])
def test_buckets_deal_rows_out_evenly(world: int) -> None:
    rows = 500 * world
    counts = Counter(bucket(str(number)) % world for number in range(rows))
    assert set(counts) == set(range(world))
    # Five standard deviations of a fair deal.
    assert all(abs(count - 500) < 5 * 500**0.5 for count in counts.values())
    assert all(bucket(str(number)) >= 0 for number in range(rows))


def labels_of(rows: int) -> dict[str, np.ndarray]:
    """Two targets that go together, 3 to 1."""
    season = np.array([0 if row % 4 else 1 for row in range(rows)])
    return {"season": season, "usage": season + 5}


def test_shuffled_labels_keep_their_distribution_and_lose_their_link() -> None:
    rows = 4000
    labels, ids = labels_of(rows), [f"p{row}" for row in range(rows)]
    found = shuffled(labels, ids, labels, seed=0)
    assert found.keys() == labels.keys()
    assert found["season"].shape == (rows,)
    assert (found["season"] == 1).mean() == pytest.approx(0.25, abs=0.03)
    # As often right as chance has it, 0.75 * 0.75 + 0.25 * 0.25.
    assert (found["season"] == labels["season"]).mean() == pytest.approx(0.625, abs=0.03)
    assert np.corrcoef(found["season"], labels["season"])[0, 1] == pytest.approx(0.0, abs=0.06)
    # The targets of a row come from one other row, so that paths stay possible.
    assert np.array_equal(found["usage"], found["season"] + 5)


def test_shuffled_labels_depend_on_the_id_and_the_seed_alone() -> None:
    pool, ids = labels_of(1000), [f"p{row}" for row in range(200)]
    labels = {target: values[:200] for target, values in pool.items()}
    one = shuffled(labels, ids, pool, seed=0)
    other = shuffled({target: values[100:] for target, values in labels.items()}, ids[100:], pool, seed=0)
    assert np.array_equal(one["season"][100:], other["season"])
    assert not np.array_equal(one["season"], shuffled(labels, ids, pool, seed=1)["season"])
