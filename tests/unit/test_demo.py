"""The demo catalog: repeatable bytes, the promised classes, and every kind of dirt in the promised number."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.catalog.demo.classes import COLUMNS, KINDS
from fashion_ray.catalog.demo.drawing import FRAMES, draw_product
from fashion_ray.catalog.demo.look import COLOURS, Look
from fashion_ray.catalog.demo.plan import make_plan

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1, 7)


def parsed(feed: DemoFeed) -> list[list[str]]:
    """The rows of styles.csv without the header, as a plain csv reader sees them."""
    return list(csv.reader(io.StringIO(feed.styles_csv().decode())))[1:]


def labelled(feed: DemoFeed) -> dict[str, list[str]]:
    """The first full row of every id that has a picture."""
    pictured, rows = set(feed.picture_ids()), {}
    for row in parsed(feed):
        if len(row) >= len(COLUMNS) and row[0] in pictured:
            rows.setdefault(row[0], row)
    return rows


def digest(feed: DemoFeed) -> str:
    """One hash over styles.csv and every picture."""
    whole = hashlib.sha256(feed.styles_csv())
    for product_id in feed.picture_ids():
        whole.update(product_id.encode() + feed.picture(product_id))
    return whole.hexdigest()


def decoded(feed: DemoFeed) -> dict[str, Image.Image | str]:
    """Every picture, or "broken" where Pillow cannot read it."""
    pictures: dict[str, Image.Image | str] = {}
    for product_id in feed.picture_ids():
        try:
            picture = Image.open(io.BytesIO(feed.picture(product_id)))
            picture.load()
            pictures[product_id] = picture
        except (UnidentifiedImageError, OSError):
            pictures[product_id] = "broken"
    return pictures


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_makes_the_same_bytes(hash_seed: str) -> None:
    program = "from tests.unit.test_demo import *; print(digest(DemoFeed(seed=3, products=60)))"
    made = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip() == digest(DemoFeed(seed=3, products=60))


def test_a_picture_does_not_depend_on_the_order_of_calls() -> None:
    feed = DemoFeed(products=60)
    forwards = {k: feed.picture(k) for k in feed.picture_ids()}
    make_plan.cache_clear()
    backwards = {k: feed.picture(k) for k in reversed(feed.picture_ids())}
    assert forwards == backwards


def test_seeds_and_sizes_differ() -> None:
    feeds = [DemoFeed(products=60), DemoFeed(seed=1, products=60), DemoFeed(products=61)]
    assert len({digest(feed) for feed in feeds}) == len(feeds)


def test_it_pickles_small_even_after_use() -> None:
    feed = DemoFeed(seed=5, products=60)
    before = digest(feed)
    pickled = pickle.dumps(feed)
    assert len(pickled) < 200
    assert digest(pickle.loads(pickled)) == before


def test_importing_it_needs_no_cluster_and_no_network_library() -> None:
    program = "import sys, fashion_ray.catalog.demo; print([m for m in ('ray', 'mlflow', 'torch') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_wrong_arguments_are_all_reported() -> None:
    with pytest.raises(ValueError, match=r"seed: got -1.*products: got 10, expected 50"):
        DemoFeed(seed=-1, products=10)


def test_columns_are_the_catalogs_own() -> None:
    header = DemoFeed(products=60).styles_csv().decode().splitlines()[0]
    assert header == "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"


@pytest.mark.parametrize("seed", SEEDS)
def test_ids_labels_and_gaps_come_in_the_promised_shares(seed: int) -> None:
    feed = DemoFeed(seed=seed)
    pictured = feed.picture_ids()
    rows = {row[0] for row in parsed(feed) if row[0].isdigit()}
    assert pictured == sorted(set(pictured), key=int)
    assert len(rows | set(pictured)) == 2000
    assert len(set(pictured) - rows) / len(pictured) == pytest.approx(0.10, abs=0.005)
    assert len(rows - set(pictured)) / len(rows) == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_are_as_many_and_as_uneven_as_promised(seed: int) -> None:
    rows = labelled(DemoFeed(seed=seed)).values()
    articles = Counter(row[4] for row in rows)
    assert len({row[2] for row in rows}) >= 6
    assert len(articles) >= 24
    assert sum(count >= 50 for count in articles.values()) >= 20
    assert sum(count < 50 for count in articles.values()) >= 3
    assert max(articles.values()) <= 0.12 * len(rows)


def test_paths_are_no_function_of_the_article() -> None:
    parents = defaultdict(set)
    for row in labelled(DemoFeed()).values():
        parents[row[4]].add((row[2], row[3]))
    assert parents["Socks"] == {("Accessories", "Socks"), ("Apparel", "Socks")}
    assert {("Accessories", "Ties"), ("Free Items", "Free Gifts")} <= parents["Ties"]


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_as_dirty_as_promised(seed: int) -> None:
    feed = DemoFeed(seed=seed)
    rows, lines = parsed(feed), feed.styles_csv().decode().splitlines()[1:]
    widths = Counter(len(row) for row in rows)
    assert (widths[11], widths[6], set(widths)) == (6, 1, {6, 10, 11})
    assert sum(line.endswith('"') for line in lines) == 8
    assert all("," in row[9] for row, line in zip(rows, lines, strict=True) if line.endswith('"'))
    assert [row[0] for row in rows if not row[0].isdigit()] == ["../../etc/passwd"]
    assert sorted(Counter(row[0] for row in rows).values())[-2:] == [1, 2]
    full = [row for row in rows if len(row) >= 10]
    assert all(sum(row[column] == "" for row in full) >= 1 for column in (6, 7, 8))
    assert sum(row[8] == "NA" for row in full) >= 10
    assert sum(row[5] == "NA" for row in full) >= 4


def test_the_repeated_id_contradicts_its_first_row() -> None:
    rows = parsed(DemoFeed())
    (twice,) = (key for key, count in Counter(row[0] for row in rows).items() if count == 2)
    first, second = (row for row in rows if row[0] == twice)
    assert first[5] != second[5]
    assert first[4] == second[4]


def test_files_are_as_odd_as_promised() -> None:
    feed = DemoFeed(products=200)
    pictures = decoded(feed)
    broken = [feed.picture(k) for k, picture in pictures.items() if picture == "broken"]
    assert len(broken) == 4
    assert sum(content == b"" for content in broken) == 1
    assert sum(content.startswith(b"<!DOCTYPE html>") for content in broken) == 1
    assert sum(content.startswith(b"\xff\xd8") for content in broken) == 1  # the truncated one
    read = [picture for picture in pictures.values() if isinstance(picture, Image.Image)]
    sizes = Counter(picture.size for picture in read)
    assert sizes[(1, 1)] == 1
    assert {(60, 80), (60, 60), (53, 80), (60, 79), (1, 1)} == set(sizes)
    assert sizes[(60, 80)] >= 0.95 * len(read)
    kinds = Counter((picture.format, picture.mode) for picture in read)
    assert kinds[("PNG", "P")] == kinds[("PNG", "RGBA")] == kinds[("JPEG", "L")] == 1
    assert kinds[("JPEG", "RGB")] == len(read) - 3


@pytest.mark.parametrize("seed", SEEDS)
def test_near_duplicates_are_as_many_and_as_contradictory_as_promised(seed: int) -> None:
    products = make_plan(seed, 2000).products.values()
    copies = [product for product in products if product.copy_of is not None]
    assert len(copies) == 100
    assert {copy.copy_how for copy in copies} == {"exact", "quality", "shift", "light"}
    rows = labelled(DemoFeed(seed=seed))
    groups = defaultdict(set)
    for copy in copies:
        assert copy.copy_of is not None
        groups[copy.copy_of.product_id] |= {copy.product_id, copy.copy_of.product_id}
    filed = [{tuple(rows[key][2:5]) for key in group if key in rows} for group in groups.values()]
    assert sum(len(paths) > 1 for paths in filed) / len(groups) == pytest.approx(0.12, abs=0.015)
    assert all(len({path[:2] for path in paths}) <= 1 for paths in filed)


def test_near_duplicates_look_alike_and_the_rest_does_not() -> None:
    feed = DemoFeed(products=400)
    pixels = {
        key: np.asarray(picture.convert("RGB"), dtype=float)
        for key, picture in decoded(feed).items()
        if isinstance(picture, Image.Image) and picture.size == (60, 80)
    }
    copies = [product for product in make_plan(0, 400).products.values() if product.copy_of is not None]
    ordinary = [product.product_id for product in make_plan(0, 400).products.values() if product.product_id in pixels]
    for number, copy in enumerate(copies):
        assert copy.copy_of is not None
        apart = np.abs(pixels[copy.product_id] - pixels[copy.copy_of.product_id]).mean()
        stranger = next(key for key in ordinary[number * 7 :] if key not in (copy.product_id, copy.copy_of.product_id))
        assert apart < 16 < np.abs(pixels[copy.product_id] - pixels[stranger]).mean()
        same_bytes = feed.picture(copy.product_id) == feed.picture(copy.copy_of.product_id)
        assert same_bytes == (copy.copy_how == "exact")


def test_wrong_labels_stay_within_their_sub_category() -> None:
    plan = make_plan(0, 2000).products
    paths = {(kind.master, kind.sub, kind.article) for kind in KINDS}
    rows = labelled(DemoFeed())
    wrong = [key for key, row in rows.items() if row[4] != plan[key].kind.article]
    assert 0.02 < len(wrong) / len(rows) < 0.05
    assert all(tuple(rows[key][2:5]) in paths for key in wrong)


@pytest.mark.parametrize("article", sorted(FRAMES))
def test_every_article_is_drawn(article: str) -> None:
    look = Look(article=article, gender="Women", colour="Navy Blue", pattern="striped")
    picture = draw_product(look, np.random.default_rng(0))
    pixels_HWC = np.asarray(picture, dtype=float)
    assert (picture.size, picture.mode) == ((60, 80), "RGB")
    backdrop = np.median(pixels_HWC[[0, -1]].reshape(-1, 3), axis=0)
    assert (np.abs(pixels_HWC - backdrop).max(axis=2) > 60).mean() > 0.03


def test_the_colour_of_a_row_can_be_seen() -> None:
    def middle(colour: str) -> np.ndarray:
        look = Look(article="Backpacks", gender="Unisex", colour=colour, pattern="plain")
        pictures = [np.asarray(draw_product(look, np.random.default_rng(k)), dtype=float) for k in range(9)]
        return np.median([picture[28:36, 20:40].mean(axis=(0, 1)) for picture in pictures], axis=0)

    for colour in ("Black", "White", "Red", "Blue", "Yellow"):
        assert np.abs(middle(colour) - COLOURS[colour]).max() < 45


def test_every_kind_can_be_drawn_and_sold() -> None:
    assert {kind.article for kind in KINDS} == set(FRAMES)
    assert {row[4] for row in labelled(DemoFeed()).values()} == set(FRAMES)


@pytest.mark.parametrize("products", [50, 51, 77, 130])
def test_small_feeds_hold_every_kind_of_dirt(products: int) -> None:
    for seed in range(5):
        feed = DemoFeed(seed=seed, products=products)
        files = Counter(product.file for product in make_plan(seed, products).products.values())
        assert all(files[file] == 1 for file in ("truncated", "empty", "html", "noise", "pixel", "palette", "rgba"))
        assert files["none"] >= 1
        assert {6, 10, 11} == {len(row) for row in parsed(feed)}
        assert any(product.copy_of for product in make_plan(seed, products).products.values())


def test_the_zip_has_the_published_layout_and_repeats(tmp_path: Path) -> None:
    feed = DemoFeed(products=60)
    for name in ("one.zip", "two.zip"):
        feed.write_zip(tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["styles.csv", *(f"images/{key}.jpg" for key in feed.picture_ids())]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(2020, 1, 1, 0, 0, 0)}
        assert archive.read("styles.csv") == feed.styles_csv()
        assert all(archive.read(f"images/{key}.jpg") == feed.picture(key) for key in feed.picture_ids())


def test_the_folder_holds_the_same_files(tmp_path: Path) -> None:
    feed = DemoFeed(products=60)
    feed.write_folder(tmp_path / "feed")
    assert (tmp_path / "feed" / "styles.csv").read_bytes() == feed.styles_csv()
    files = {path.stem: path.read_bytes() for path in (tmp_path / "feed" / "images").iterdir()}
    assert files == {key: feed.picture(key) for key in feed.picture_ids()}


def test_ids_without_a_picture_are_a_key_error() -> None:
    feed = DemoFeed(products=60)
    (missing, *_) = {row[0] for row in parsed(feed) if row[0].isdigit()} - set(feed.picture_ids())
    for key in (missing, "../../etc/passwd", "0"):
        with pytest.raises(KeyError, match="picture_ids"):
            feed.picture(key)
