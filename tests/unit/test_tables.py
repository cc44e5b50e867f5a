"""Parquet feeds: every row once, only the columns that are needed, pictures in bounded memory, and damage by name."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_ray.catalog import tables
from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.catalog.sources import open_source
from fashion_ray.catalog.tables import TableSource
from fashion_ray.errors import UserError
from tests.unit.feeds import (
    Maker,
    bad,
    contents_of,
    folder_of,
    kinds,
    opened,
    picture,
    reasons,
    rows_of,
    usable,
    zip_of,
)

IMAGES = [picture(shade) for shade in range(10)]


def parquet(columns: dict[str, Any], *, group_rows: int = 4, features: dict[str, Any] | None = None, **options: Any) -> bytes:
    """A Parquet file; with Hugging Face's metadata if features are given."""
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=group_rows, **options)
    return out.getvalue()


def plain(count: int = 10, **columns: Any) -> dict[str, Any]:
    """A table with ids, one label and pictures; columns may be added or (None) removed."""
    base = {"product_id": [f"P{number}" for number in range(count)], "articleType": ["Shirts"] * count, "image": IMAGES[:count]}
    return {name: column for name, column in {**base, **columns}.items() if column is not None}


def hugging_face(count: int = 10) -> bytes:
    """A file as `datasets` writes it."""
    struct = pa.array(
        [{"bytes": content, "path": f"{number}.jpg"} for number, content in enumerate(IMAGES[:count])],
        type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["T - shirt", "Trouser", "Dress"], "_type": "ClassLabel"},
    }
    return parquet({"image": struct, "label": pa.array([n % 3 for n in range(count)], type=pa.int64())}, features=features)


@kinds
def test_rows_and_pictures_come_from_any_place(make: Maker, tmp_path: Path) -> None:
    extra = {"gender": ["Men"] * 10, "year": list(range(2010, 2020)), "price": [1.5] * 10, "season": [None] * 10}
    files = {
        "data/a.parquet": parquet(plain(**extra)),
        "data/notes.md": b"x",
        "b.parquet": parquet(plain(3, product_id=[7, 8, 9])),
    }
    source = opened(make, tmp_path / "feed", files)
    assert isinstance(source, TableSource) and source.in_order and source.pictures().num_rows == 0
    assert source.row_files() == ["b.parquet", "data/a.parquet"]
    rows = rows_of(source)
    assert rows["product_id"].to_pylist() == ["7", "8", "9", *(f"P{number}" for number in range(10))] and reasons(rows) == []
    assert rows["source_row"].to_pylist() == [1, 2, 3, *range(1, 11)]
    assert rows["locator"].to_pylist()[3:9] == [f"data/a.parquet#{n // 4}#{n % 4}" for n in range(6)]
    assert set(rows["articleType"].to_pylist()) == {"Shirts"} and rows["year"].to_pylist()[3] == 2010
    assert rows["season"].null_count == 13
    assert list(contents_of(source).values()) == [*IMAGES[:3], *IMAGES]


def test_one_file_is_a_feed_of_its_own(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.parquet": parquet(plain(2)), "b.parquet": parquet(plain(3))})
    source = open_source(str(tmp_path / "a.parquet"))
    assert source.row_files() == ["a.parquet"] and list(contents_of(source).values()) == IMAGES[:2]
    assert source.name == str(tmp_path / "a.parquet")


@kinds
def test_a_hugging_face_data_set_gives_names_and_numbers_of_its_own(make: Maker, tmp_path: Path) -> None:
    files = {"data/train-00000-of-00001.parquet": hugging_face(), "data/test-00000-of-00001.parquet": hugging_face(2)}
    source = opened(make, tmp_path / "feed", files, label_column="subCategory")
    rows = rows_of(source)
    tests = [f"test-00000-of-00001-{number:07d}" for number in range(2)]
    assert rows["product_id"].to_pylist() == [*tests, *(f"train-00000-of-00001-{number:07d}" for number in range(10))]
    assert rows["subCategory"].to_pylist()[2:6] == ["T - shirt", "Trouser", "Dress", "T - shirt"]
    assert rows["articleType"].null_count == 12 and reasons(rows) == []
    assert list(contents_of(source).values()) == [*IMAGES[:2], *IMAGES]


def test_files_of_one_name_in_several_folders_have_rows_of_their_own(tmp_path: Path) -> None:
    content = parquet(plain(3, product_id=None))
    rows = rows_of(opened(zip_of, tmp_path / "feed.zip", {f"{part}/0.parquet": content for part in ("test", "train", "data")}))
    assert rows["product_id"].to_pylist()[::3] == ["0-0000000", "test.0-0000000", "train.0-0000000"]
    assert len(set(rows["product_id"].to_pylist())) == 9


def test_pictures_come_in_the_order_asked_for(tmp_path: Path) -> None:
    source = opened(zip_of, tmp_path / "feed.zip", {"a.parquet": parquet(plain()), "b.parquet": parquet(plain())})
    wanted = [3, 4, 9, 9, 0, 1, 2, 7, 5]
    locators = [f"{'ab'[n % 2]}.parquet#{n // 4}#{n % 4}" for n in wanted]
    assert list(source.read(locators)) == [IMAGES[n] for n in wanted]
    assert list(source.read([])) == []


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1, 2, 3], type=pa.int8()), pa.array([1, 2, 3], type=pa.uint64()), pa.array([" 1", "2 ", "3"]),
        pa.array(["1", "2", "3"], type=pa.large_string()), pa.array(["1", "2", "3"]).dictionary_encode(),
    ],
    ids=lambda ids: str(ids.type),
)  # fmt: skip
@pytest.mark.parametrize("column", ["id", "product_id"])
def test_ids_are_whole_numbers_or_text(column: str, ids: pa.Array, tmp_path: Path) -> None:
    source = opened(folder_of, tmp_path, {"a.parquet": parquet(plain(3, **{"product_id": None, column: ids}))})
    assert rows_of(source)["product_id"].to_pylist() == ["1", "2", "3"]


def test_an_id_that_is_none_is_a_bad_id(tmp_path: Path) -> None:
    rows = rows_of(opened(folder_of, tmp_path, {"a.parquet": parquet(plain(4, product_id=["1", None, "../x", "4"]))}))
    assert [reason for _, reason in reasons(rows)] == ["bad_id"] * 2 and usable(rows)["product_id"].to_pylist() == ["1", "4"]
    assert rows["locator"].null_count == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["a", None, "NA", ""]), ["a", None, None, None]),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", None, "a"]),
        (pa.array([3, 4, None, 5]), ["3", "4", None, "5"]),
        (pa.nulls(4), [None] * 4),
        (pa.array([[1], None, [2], []]), ["bad_row", None, "bad_row", "bad_row"]),
        (pa.array([1.5, None, 2.0, float("nan")]), ["bad_row", None, "bad_row", None]),
        (pa.array([True, None, False, None]), ["bad_row", None, "bad_row", None]),
        (pa.array([b"a", None, b"", b"\xff"]), ["bad_row", None, "bad_row", "bad_row"]),
        (pa.array([10**14, None, 0, 1], type=pa.timestamp("s")), ["bad_row", None, "bad_row", "bad_row"]),
        (pa.array([{"a": 1}, None, {"a": 2}, None]), ["bad_row", None, "bad_row", None]),
        (pa.array(["(other)", None, "a", "b"]), ["bad_row", None, "a", "b"]),
    ],
    ids=lambda values: str(values.type) if isinstance(values, pa.Array) else "",
)
@pytest.mark.parametrize("column", ["usage", "label"])
def test_a_label_that_its_column_cannot_hold_is_a_bad_row(
    column: str, values: pa.Array, expected: list[str | None], tmp_path: Path
) -> None:
    content = parquet(plain(4, articleType=None, **{column: values}))
    rows = rows_of(opened(folder_of, tmp_path, {"a.parquet": content}, label_column="articleType"))
    target = "articleType" if column == "label" else "usage"
    assert [
        reason or label for reason, label in zip(rows["reason"].to_pylist(), rows[target].to_pylist(), strict=True)
    ] == expected
    assert rows["product_id"].to_pylist() == ["P0", "P1", "P2", "P3"]


def test_text_that_is_no_utf8_is_a_bad_row_and_its_neighbours_are_not(tmp_path: Path) -> None:
    raw = pa.array([b"Shirts", b"\xff\xfe", None, b"Gr\xc3\xb6\xc3\x9fe"])
    wrong = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    rows = rows_of(opened(folder_of, tmp_path, {"a.parquet": parquet(plain(4, articleType=wrong), store_schema=False)}))
    assert reasons(rows) == [("P1", "bad_row")] and rows["articleType"].to_pylist() == ["Shirts", None, None, "Größe"]


def test_class_numbers_without_a_name_are_bad_rows_and_minus_one_is_not_available(tmp_path: Path) -> None:
    features = {
        "usage": {"names": ["Casual", "Sports"]},
        "articleType": {"dtype": "string"},
        "image": None,
        "label": {"names": 3},
    }
    content = parquet(plain(4, usage=[1, -1, 2, None]), features=features)
    rows = rows_of(opened(folder_of, tmp_path, {"a.parquet": content}))
    assert rows["usage"].to_pylist() == ["Sports", None, None, None] and reasons(rows) == [("P2", "bad_row")]


@pytest.mark.parametrize(
    "metadata", [b"", b"{", b"[]", b"null", b'{"info": 3}', b'{"info": {"features": []}}', b"\xff", b"[" * 9999]
)
def test_metadata_that_nobody_can_read_is_no_metadata(metadata: bytes, tmp_path: Path) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table(plain(2, usage=[1, 0])).replace_schema_metadata({"huggingface": metadata}), out)
    assert rows_of(opened(folder_of, tmp_path, {"a.parquet": out.getvalue()}))["usage"].to_pylist() == ["1", "0"]


def test_label_gives_way_to_the_column_itself(tmp_path: Path) -> None:
    source = opened(folder_of, tmp_path, {"a.parquet": parquet(plain(2, label=["x", "y"]))})
    assert rows_of(source)["articleType"].to_pylist() == ["Shirts", "Shirts"]


def test_rows_that_are_withdrawn_leave_and_need_no_picture_and_no_labels(tmp_path: Path) -> None:
    columns = plain(3, withdrawn=[True, False, None], image=[None, *IMAGES[:2]], usage=["(other)", "a", "b"])
    source = opened(
        folder_of, tmp_path, {"a.parquet": parquet(columns), "b.parquet": parquet({"id": [7, 8], "withdrawn": [True, False]})}
    )
    rows = rows_of(source)
    assert rows["withdrawn"].to_pylist() == [True, False, False, True, False]
    assert [locator is None for locator in rows["locator"].to_pylist()] == [True, False, False, True, True]
    assert reasons(rows) == [("8", "no_picture")]


# Pictures.


def test_a_picture_that_is_null_is_missing_and_an_empty_one_is_handed_on(tmp_path: Path) -> None:
    source = opened(folder_of, tmp_path, {"a.parquet": parquet(plain(4, image=[IMAGES[0], None, b"", IMAGES[3]]))})
    first, null, empty, last = contents_of(source).values()
    assert (first, empty, last) == (IMAGES[0], b"", IMAGES[3]) and bad(null).reason == "no_picture"


def test_a_struct_without_bytes_is_missing(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": IMAGES[0], "path": None}, {"bytes": None, "path": "/etc/hostname"}, None], type=kind)
    first, path, null = contents_of(opened(folder_of, tmp_path, {"a.parquet": parquet(plain(3, image=column))})).values()
    assert first == IMAGES[0] and bad(path).reason == bad(null).reason == "no_picture"


def test_pictures_that_are_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(folder_of, tmp_path, {"a.parquet": parquet(plain(3, image=[IMAGES[0], bytes(5000), IMAGES[2]]))})
    monkeypatch.setattr(tables, "MAX_BYTES", 4999)
    one, large, two = contents_of(source).values()
    assert (one, two) == (IMAGES[0], IMAGES[2]) and bad(large).reason == "too_large" and "5000" in bad(large).detail


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_pictures_may_be_any_binary(kind: pa.DataType, tmp_path: Path) -> None:
    contents = [bytes([number]) * 100 for number in range(3)]
    source = opened(folder_of, tmp_path, {"a.parquet": parquet(plain(3, image=pa.array(contents, type=kind)))})
    assert list(contents_of(source).values()) == contents


def test_a_row_group_is_read_a_few_pictures_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [bytes([number]) * 100_000 for number in range(60)]
    columns = plain(60, product_id=list(range(60)), articleType=["a"] * 60, image=contents, other=["x"] * 60)
    content = parquet(
        columns, group_rows=60, use_dictionary=False, data_page_size=100_000, write_batch_size=1, compression="none"
    )
    source = opened(folder_of, tmp_path, {"a.parquet": content})
    monkeypatch.setattr(tables, "BATCH_BYTES", 500_000)
    pa.default_memory_pool().release_unused()
    before, most = pa.total_allocated_bytes(), 0
    for number, found in enumerate(source.read([f"a.parquet#0#{number}" for number in range(60)])):
        assert found == contents[number]
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 3_000_000


def test_reading_rows_does_not_read_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(folder_of, tmp_path, {"a.parquet": parquet(plain())})
    asked: list[list[str]] = []
    read = pq.ParquetFile.read_row_group

    def watched(self: pq.ParquetFile, group: int, columns: list[str], use_threads: bool) -> pa.Table:
        asked.append(columns)
        return read(self, group, columns=columns, use_threads=use_threads)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", watched)
    source.read_rows(["a.parquet"])
    assert asked == [["product_id", "articleType"]] * 3


# Damage and misunderstandings.


@kinds
@pytest.mark.parametrize("damage", ["empty", "text", "cut", "footer", "middle"])
def test_a_damaged_file_is_named(damage: str, make: Maker, tmp_path: Path) -> None:
    content = bytearray(parquet(plain(), compression="none", use_dictionary=False))
    if damage == "middle":
        content[4:60] = bytes(56)
    elif damage == "footer":
        content[-60:-8] = bytes(52)
    content = {"empty": bytearray(), "text": bytearray(b"no table"), "cut": content[:-30]}.get(damage, content)
    source = opened(make, tmp_path / "feed", {"good.parquet": parquet(plain(2)), "wrong.parquet": bytes(content)})
    with pytest.raises(UserError, match=r"wrong\.parquet.*no Parquet file, or a damaged one"):
        rows_of(source)
        list(source.read([f"wrong.parquet#{n // 4}#{n % 4}" for n in range(10)]))
    assert source.read_rows(["good.parquet"]).num_rows == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (plain(2, image=None), "expected `image`"),
        (plain(2, image=["a.jpg", "b.jpg"]), "image is string, expected binary"),
        (plain(2, image=[{"path": "a"}, {"path": "b"}]), "expected binary or a struct"),
        (plain(2, withdrawn=["yes", "no"]), "withdrawn is string, expected bool"),
        (plain(2, product_id=[1.0, 2.0]), "product_id is double, expected whole numbers or text"),
    ],
)
def test_a_table_that_is_no_feed_is_the_users_mistake(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = opened(folder_of, tmp_path, {"wrong.parquet": parquet(columns)})
    with pytest.raises(UserError, match=message) as caught:
        rows_of(source)
    assert "wrong.parquet" in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_column_that_is_there_twice_is_the_users_mistake(tmp_path: Path) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table([pa.array(IMAGES[:1]), pa.array(["a"]), pa.array(["b"])], names=["image", "usage", "usage"]), out)
    with pytest.raises(UserError, match="usage twice"):
        rows_of(opened(folder_of, tmp_path, {"a.parquet": out.getvalue()}))


def test_a_table_without_rows_has_none(tmp_path: Path) -> None:
    empty = pa.table(
        {"image": pa.array([], type=pa.binary()), **{name: pa.array([], type=pa.string()) for name in LABEL_COLUMNS}}
    )
    out = io.BytesIO()
    pq.write_table(empty, out)
    assert rows_of(opened(folder_of, tmp_path, {"a.parquet": out.getvalue()})).num_rows == 0


def test_a_table_of_pictures_only_is_a_feed(tmp_path: Path) -> None:
    source = opened(folder_of, tmp_path, {"a.parquet": parquet({"image": IMAGES})})
    rows = rows_of(source)
    assert rows["product_id"].to_pylist() == [f"a-{number:07d}" for number in range(10)] and reasons(rows) == []
    assert list(contents_of(source).values()) == IMAGES


def test_a_row_says_how_large_its_picture_is_on_average_so_that_no_task_gets_too_many(tmp_path: Path) -> None:
    images = [bytes([number]) * (20_000 if number < 4 else 90_000) for number in range(8)]
    struct = pa.array([{"bytes": image} for image in images], type=pa.struct([("bytes", pa.binary())]))
    for number, column in enumerate((images, struct)):
        file = parquet(plain(8, image=column), use_dictionary=False, compression="zstd")
        rows = rows_of(opened(folder_of, tmp_path / str(number), {"a.parquet": file}))
        small, large = rows["size_bytes"].to_pylist()[:4], rows["size_bytes"].to_pylist()[4:]
        assert len(set(small)) == len(set(large)) == 1
        assert small[0] == pytest.approx(20_000, rel=0.6) and large[0] == pytest.approx(90_000, rel=0.6), "statistics count too"
