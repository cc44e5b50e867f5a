"""From logits to rows of the scores table: exactly its columns, every picture accounted for, and a key for what decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fashion_ray.catalog import schema
from fashion_ray.catalog.pictures import BadPicture
from fashion_ray.models.bundle import Card
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring import rows
from fashion_ray.scoring.inference import Output
from fashion_ray.scoring.rows import quarantined, score_key, score_rows

DIM = 5
CHOICE = EngineChoice(name="openvino", precision="bf16", device="cpu")
CARD = Card(
    backbone="efficientnet_lite0", embedding_dim=DIM, mean=(0.5,) * 3, std=(0.5,) * 3, decoded_size=(80, 60),
    input_size=(160, 120), head="linear", dropout=0.0,
    classes={
        "masterCategory": ["Apparel", "Footwear"],
        "articleType": ["Shirts", "Shoes", None],
        "season": ["Fall", "Spring", "Summer", "Winter"],
    },
    levels=("masterCategory", "articleType"),
    paths=((0, 0), (0, 2), (1, 1), (1, 2)),
    temperatures={"masterCategory": 1.0, "articleType": 2.0, "season": 1.0},
    thresholds={"masterCategory": 0.9, "articleType": 0.9, "season": 0.0},
    trunk_version="t" * 16, head_version="h" * 16, model_version="m" * 16,
)  # fmt: skip
ALLOWED = {("Apparel", "Shirts"), ("Apparel", None), ("Footwear", "Shoes"), ("Footwear", None)}


def catalog(count: int) -> pa.Table:
    """A catalog's columns that scoring reads; in several chunks, as tables from Parquet are."""
    table = pa.table(
        {
            "product_id": [f"p{row}" for row in range(count)],
            "image": [b"picture"] * count,
            "image_sha256": [f"{row:064x}" for row in range(count)],
        },
        schema=pa.schema([schema.CATALOG.field(name) for name in ("product_id", "image", "image_sha256")]),
    )
    return pa.concat_tables([table.slice(0, count // 2), table.slice(count // 2)])


def output(count: int, bad: dict[int, BadPicture] | None = None, *, seed: int = 0) -> Output:
    """Made-up answers of a network; the embedding of a row is its number."""
    generator = np.random.default_rng(seed)
    logits = {
        target: (3 * generator.standard_normal((count, len(names)))).astype(np.float32)
        for target, names in CARD.classes.items()
    }
    embeddings = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None], (count, DIM)).copy()
    return Output(embeddings=embeddings, logits=logits, bad=bad or {})


def scored(count: int, bad: dict[int, BadPicture] | None = None) -> pa.Table:
    """Their rows of the scores table."""
    return score_rows(catalog(count), output(count, bad), CARD, CHOICE, run_id="run-1", scored_at="2026-01-01T00:00:00Z")


BAD = {
    0: BadPicture("truncated", "JPEG: ends early"),
    7: BadPicture("not_an_image", "9 bytes"),
    19: BadPicture("too_large", "x"),
}


@pytest.mark.parametrize("bad", [{}, BAD, {row: BadPicture("truncated", "") for row in range(20)}])
def test_the_schema_is_that_of_the_scores_table(bad: dict[int, BadPicture]) -> None:
    table = scored(20, bad)
    assert table.schema == schema.scores(CARD.targets, DIM)
    assert table.num_rows == 20 - len(bad)
    table.validate(full=True)


def test_no_rows_give_an_empty_table() -> None:
    table = scored(0)
    assert table.schema == schema.scores(CARD.targets, DIM) and table.num_rows == 0


def test_every_picture_is_scored_or_quarantined_once() -> None:
    table, bad = scored(20, BAD), quarantined(catalog(20), output(20, BAD), run_id="run-1", seen_at="now")
    ids = [*table["product_id"].to_pylist(), *(row["product_id"] for row in bad)]
    assert sorted(ids) == sorted(catalog(20)["product_id"].to_pylist())


def test_rows_keep_the_catalogs_order_and_their_own_embeddings_and_hashes() -> None:
    kept = [row for row in range(20) if row not in BAD]
    found = scored(20, BAD).to_pylist()
    assert [row["product_id"] for row in found] == [f"p{row}" for row in kept]
    assert [row["embedding"] for row in found] == [[float(row)] * DIM for row in kept]
    assert [row["image_sha256"] for row in found] == [f"{row:064x}" for row in kept]


def test_a_bad_neighbour_changes_nothing() -> None:
    whole, without = scored(20), scored(20, BAD)
    kept = [row for row in range(20) if row not in BAD]
    assert without.equals(whole.take(kept).combine_chunks()) or without.to_pylist() == whole.take(kept).to_pylist()


def test_answers_are_consistent_calibrated_and_marked() -> None:
    for row in scored(200).to_pylist():
        assert (row["masterCategory_predicted"], row["articleType_predicted"]) in ALLOWED
        for target, names in CARD.classes.items():
            top = row[f"{target}_top3"]
            assert top[0] == {"label": row[f"{target}_predicted"], "probability": row[f"{target}_probability"]}
            assert len(top) == min(3, len(names))
            assert 0 <= row[f"{target}_probability"] <= 1
            assert row[f"{target}_needs_review"] == (row[f"{target}_probability"] < np.float32(CARD.thresholds[target]))
    reviewed = [row["masterCategory_needs_review"] for row in scored(200).to_pylist()]
    assert any(reviewed) and not all(reviewed)


def test_the_cards_temperatures_count() -> None:
    hot = replace(CARD, temperatures={**CARD.temperatures, "season": 50.0})
    table = score_rows(catalog(50), output(50), hot, CHOICE, run_id="r", scored_at="now")
    assert max(table["season_probability"].to_pylist()) < 0.35 < max(scored(50)["season_probability"].to_pylist())


def test_rows_say_where_they_come_from() -> None:
    expected = {
        "model_version": "m" * 16, "trunk_version": "t" * 16, "run_id": "run-1", "scored_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    for row in scored(3).to_pylist():
        assert {key: row[key] for key in expected} == expected
        assert row["score_key"] == score_key(row["image_sha256"], CARD, CHOICE)


def test_logits_are_taken_by_name_and_not_by_order() -> None:
    made = output(20)
    made.logits = dict(reversed(made.logits.items()))
    table = score_rows(catalog(20), made, CARD, CHOICE, run_id="run-1", scored_at="2026-01-01T00:00:00Z")
    assert table.to_pylist() == scored(20).to_pylist()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("image_sha256", "1" * 64),
        ("decoder", "2"),
        ("trunk_version", "x" * 16),
        ("head_version", "x" * 16),
        ("engine", "torch"),
        ("precision", "f32"),
    ],
)
def test_the_key_follows_all_that_decides_a_row(part: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = score_key("0" * 64, CARD, CHOICE)
    sha, card, choice = "0" * 64, CARD, CHOICE
    if part == "image_sha256":
        sha = value
    elif part == "decoder":
        monkeypatch.setattr(rows, "DECODER_VERSION", value)
    elif part in ("engine", "precision"):
        choice = replace(CHOICE, **{"name" if part == "engine" else part: value})
    else:
        card = replace(CARD, **{part: value})
    assert score_key(sha, card, choice) != before
    assert score_key("0" * 64, replace(CARD, provenance={"run": 2}), CHOICE) == (
        before if part != "decoder" else score_key("0" * 64, CARD, CHOICE)
    )


def test_versions_that_run_into_each_other_are_told_apart() -> None:
    one, other = replace(CARD, trunk_version="ab", head_version="c"), replace(CARD, trunk_version="a", head_version="bc")
    assert score_key("0" * 64, one, CHOICE) != score_key("0" * 64, other, CHOICE)


def test_quarantine_rows_fit_their_table_and_say_what_was_wrong() -> None:
    found: list[dict[str, Any]] = quarantined(
        catalog(20), output(20, dict(reversed(BAD.items()))), run_id="run-1", seen_at="now"
    )
    table = pa.Table.from_pylist(found, schema=schema.QUARANTINE)
    assert schema.cast(table, schema.QUARANTINE).num_rows == 3
    assert [row["product_id"] for row in found] == ["p0", "p7", "p19"]
    assert all(
        (row["stage"], row["reason"], row["run_id"], row["seen_at"]) == ("score", "decode_failed", "run-1", "now")
        for row in found
    )
    assert [row["detail"].split(":")[0] for row in found] == ["truncated", "not_an_image", "too_large"]
    assert "ends early" in found[0]["detail"]


def test_nothing_bad_is_nothing_quarantined() -> None:
    assert quarantined(catalog(5), output(5), run_id="r", seen_at="now") == []
