"""Ingest as people run it: a feed, the feed again, a delta, corrections, class folders; and killed in the middle."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fashion_ray import snapshots
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.storage import Store
from tests.jobs.conftest import Run, command, environment

FEED = DemoFeed(seed=7, products=200)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, run_job: Run) -> Path:
    """A root with a catalog from a zip, ingested twice."""
    folder = tmp_path_factory.mktemp("ingest")
    FEED.write_zip(folder / "feed.zip")
    first = ingested(run_job, folder / "root", "--source", str(folder / "feed.zip"))
    assert "catalog published" in first and "added 193" in first
    again = ingested(run_job, folder / "root", "--source", str(folder / "feed.zip"))
    assert "catalog unchanged" in again and "added 0" in again
    return folder / "root"


def ingested(run_job: Run, root: Path, *arguments: str) -> str:
    """What an ingest that ends well says."""
    done = run_job(root, "ingest", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def catalog(root: Path) -> pd.DataFrame:
    """The current catalog, by product_id."""
    found = snapshots.current(Store(str(root)), "catalog")
    assert found is not None
    return pd.read_parquet(root / found.folder).set_index("product_id").sort_index()


def write_delta(folder: Path, before: pd.DataFrame) -> tuple[str, str, str]:
    """A feed of one new product, one that is relabelled and one that leaves; their ids."""
    relabelled, leaving = before.index[before["articleType"].notna()][:2]
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "n1.png").write_bytes(picture(1))
    (folder / "styles.csv").write_text(f"id,articleType\nn1,Scarves\n{relabelled},Mufflers\n")
    (folder / "withdrawn.csv").write_text(f"id\n{leaving}\n")
    return "n1", relabelled, leaving


def picture(seed: int) -> bytes:
    """A small picture that is like no other."""
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 24, 3), dtype=np.uint8)).save(sink, format="PNG")
    return sink.getvalue()


def test_nights_in_a_row(root: Path, tmp_path: Path, run_job: Run) -> None:
    before = catalog(root)
    new, relabelled, leaving = write_delta(tmp_path / "delta", before)
    said = ingested(run_job, root, "--source", str(tmp_path / "delta"), "--delta")
    assert f"products {len(before)} = unchanged {len(before) - 2} + changed 1 + added 1; removed 1" in said
    after = catalog(root)
    assert after.loc[new, "articleType"] == "Scarves" and after.loc[relabelled, "articleType"] == "Mufflers"
    untouched = before.index.difference([relabelled, leaving])
    assert leaving not in after.index
    assert (after.loc[untouched, ["split", "group_id"]] == before.loc[untouched, ["split", "group_id"]]).sum().min() > 150
    assert after.loc[untouched, "image"].equals(before.loc[untouched, "image"])

    (tmp_path / "labels.csv").write_text(f"product_id,target,label\n{new},articleType,Stoles\n")
    said = ingested(run_job, root, "--labels", str(tmp_path / "labels.csv"))
    assert "changed 1 + added 0; removed 0" in said
    assert catalog(root).loc[new, "articleType"] == "Stoles"

    for number in range(20):
        file = tmp_path / "classes" / ("Men", "Women")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(100 + number))
    said = ingested(run_job, root, "--source", str(tmp_path / "classes"), "--delta", "--label-column", "gender")
    assert "added 20; removed 0" in said
    assert catalog(root).loc[["Men.0", "Women.1"], "gender"].tolist() == ["Men", "Women"]
    assert catalog(root).loc[new, "articleType"] == "Stoles"
    assert len(list((root / "reports").glob("catalog-*/data.html"))) == 4


def test_an_ingest_that_is_killed_leaves_nothing_to_see_and_ends_well_the_next_time(
    tmp_path: Path, cache: Path, run_job: Run
) -> None:
    products, root, feed = 6000, tmp_path / "root", str(tmp_path / "feed.parquet")
    pq.write_table(
        pa.table(
            {
                "id": [f"p{number}" for number in range(products)],
                "image": [picture(number) for number in range(products)],
                "articleType": [("Ties", "Belts", "Shirts")[number % 3] for number in range(products)],
            }
        ),
        feed,
    )
    child = subprocess.Popen(
        command("ingest", "--source", feed), env=environment(root, cache), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    assert child.stderr is not None
    assert any("inspected 2048 of 6000" in line for line in child.stderr)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(3)  # its workers notice and end
    store = Store(str(root))
    assert snapshots.current(store, "catalog") is None
    assert list((root / "catalog" / "staging").glob("*/portion-*.facts.parquet"))
    assert "added 6000" in ingested(run_job, root, "--source", feed)
    assert catalog(root)["image"].to_dict() == {f"p{number}": picture(number) for number in range(products)}
    assert store.names("catalog", "staging") == []
