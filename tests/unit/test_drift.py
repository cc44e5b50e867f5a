"""Drift is nothing between equal nights, grows with what moved, and is left out where there is nothing to compare."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.scoring.drift import (
    LEAST_SHARE,
    Centroid,
    centroid_shift,
    centroids,
    drift,
    plain,
    reading,
    stability_index,
)
from tests.unit.test_changes import TARGETS, row, table


def centroid(*values: float, count: int = 1, trunk: str = "t") -> Centroid:
    return Centroid(trunk_version=trunk, sum=np.array(values), count=count)


def night(shirts: int, tops: int, probability: float = 0.95) -> pa.Table:
    labels = ["Shirts"] * shirts + ["Tops"] * tops
    return table(*(row(str(number), label, probability) for number, label in enumerate(labels)))


def test_equal_distributions_have_an_index_of_zero_whatever_their_size() -> None:
    assert stability_index([1, 2, 0], [10, 20, 0]) == pytest.approx(0.0)


def test_the_index_is_the_sum_over_the_bins_and_symmetric() -> None:
    expected = (0.75 - 0.5) * math.log(0.75 / 0.5) + (0.25 - 0.5) * math.log(0.25 / 0.5)
    assert stability_index([50, 50], [75, 25]) == pytest.approx(expected)
    assert stability_index([75, 25], [50, 50]) == pytest.approx(expected)


def test_an_empty_bin_counts_as_the_least_share() -> None:
    expected = (0.01 - LEAST_SHARE) * math.log(0.01 / LEAST_SHARE) + (0.99 - 1) * math.log(0.99)
    assert stability_index([100, 0], [99, 1]) == pytest.approx(expected)
    assert expected == pytest.approx(0.05, abs=0.005), "as the docstring of LEAST_SHARE says"


def test_a_distribution_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        stability_index([0, 0], [1, 1])


def test_equal_nights_do_not_drift() -> None:
    found = drift(night(5, 5), night(5, 5), targets=TARGETS, means=(centroid(1, 2), centroid(1, 2)))
    assert found is not None
    assert found.products_in_both == 10
    assert found.centroid_shift == pytest.approx(0.0)
    for one in found.targets.values():
        assert (one.label_psi, one.probability_psi, one.changed_share) == (0.0, 0.0, 0.0)


def test_labels_and_probabilities_drift_on_their_own() -> None:
    moved = drift(night(5, 5), night(9, 1), targets=TARGETS)
    assert moved is not None
    assert moved.targets["articleType"].label_psi == pytest.approx(stability_index([5, 5], [9, 1]))
    assert moved.targets["articleType"].probability_psi == 0.0
    assert moved.targets["articleType"].changed_share == pytest.approx(0.4)
    assert moved.targets["gender"].label_psi == 0.0
    unsure = drift(night(5, 5), night(5, 5, probability=0.45), targets=TARGETS)
    assert unsure is not None
    assert unsure.targets["articleType"].label_psi == 0.0
    assert unsure.targets["articleType"].probability_psi > 5


def test_probabilities_within_a_tenth_are_alike_and_one_belongs_to_the_last() -> None:
    found = drift(night(5, 5, probability=0.901), night(5, 5, probability=1.0), targets=TARGETS)
    assert found is not None and found.targets["articleType"].probability_psi == 0.0


def test_labels_that_change_places_are_seen_by_their_share_only() -> None:
    before, after = table(row("a", "Tops"), row("b", None)), table(row("b", "Tops"), row("a", None))
    found = drift(before, after, targets=TARGETS)
    assert found is not None
    assert found.targets["articleType"].label_psi == 0.0
    assert found.targets["articleType"].changed_share == 1.0


def test_other_products_altogether_have_no_share_of_changed_labels() -> None:
    found = drift(table(row("a")), table(row("b")), targets=TARGETS)
    assert found is not None
    assert found.products_in_both == 0
    assert found.targets["gender"].changed_share is None


def test_a_target_of_one_model_only_has_no_drift() -> None:
    found = drift(night(5, 5), table(row("0"), targets=("gender",)), targets=TARGETS)
    assert found is not None and list(found.targets) == ["gender"]


def test_there_is_no_drift_from_or_to_nothing() -> None:
    assert drift(night(0, 0), night(1, 1), targets=TARGETS) is None
    assert drift(night(1, 1), night(0, 0), targets=TARGETS) is None


def test_centroids_add_up_over_files_to_that_of_the_table() -> None:
    values = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 4)
    whole = pa.table({"trunk_version": ["t"] * 9, "embedding": column})
    parts = [centroids(part)["t"] for part in (whole.slice(0, 2), whole.slice(2))]
    total = parts[0] + parts[1]
    assert total.count == 9
    np.testing.assert_allclose(total.sum, values.sum(axis=0, dtype=np.float64))
    np.testing.assert_allclose(total.sum, centroids(whole)["t"].sum)


def test_each_trunk_has_its_own_centroid() -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], pa.float32()), 2)
    found = centroids(pa.table({"trunk_version": ["a", "b", "a"], "embedding": column}))
    assert {trunk: (one.sum.tolist(), one.count) for trunk, one in found.items()} == {
        "a": ([6.0, 8.0], 2),
        "b": ([3.0, 4.0], 1),
    }
    with pytest.raises(ValueError, match="one trunk"):
        found["a"] + found["b"]


def test_the_shift_is_the_cosine_distance_of_the_means() -> None:
    assert centroid_shift(centroid(1, 0), centroid(5, 0, count=5)) == pytest.approx(0.0)
    assert centroid_shift(centroid(1, 0), centroid(0, 2)) == pytest.approx(1.0)
    assert centroid_shift(centroid(1, 0), centroid(-1, 0)) == pytest.approx(2.0)


def test_the_shift_is_null_without_a_partner_of_the_same_trunk() -> None:
    assert centroid_shift(None, centroid(1, 0)) is None
    assert centroid_shift(centroid(1, 0), centroid(1, 0, trunk="other")) is None
    assert centroid_shift(centroid(0, 0, count=0), centroid(1, 0)) is None


def test_an_index_is_read_in_words() -> None:
    assert [reading(psi).split()[0] for psi in (0.0, 0.099, 0.1, 0.249, 0.25, 9.0)] == [
        "stable", "stable", "moderate", "moderate", "large", "large",
    ]  # fmt: skip


def test_figures_go_to_a_tracker_by_flat_names_without_nulls() -> None:
    found = plain(drift(night(5, 5), night(9, 1), targets=["articleType"]))
    assert set(found) == {f"drift/articleType/{name}" for name in ("label_psi", "probability_psi", "changed_share")}
    assert plain(None) == {}
