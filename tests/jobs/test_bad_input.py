"""What people get wrong: one clear line that names the input and the remedy, status 2, nothing half-written."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.jobs.conftest import Run


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feeds that are none."""
    folder = tmp_path_factory.mktemp("feeds")
    (folder / "text.zip").write_text("this is no zip")
    with zipfile.ZipFile(folder / "without-styles.zip", "w") as archive:
        archive.writestr("images/1.jpg", b"")
    with zipfile.ZipFile(folder / "empty.zip", "w") as archive:
        archive.writestr(
            "styles.csv", "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName\n"
        )
    with zipfile.ZipFile(folder / "other-columns.zip", "w") as archive:
        archive.writestr("styles.csv", "sku,title\n1,shoe\n")
    (folder / "folder").mkdir()
    return folder


CASES = {
    "missing source": ("ingest", ["--source", "{feeds}/nothing.zip"], ["nothing.zip", "expected"]),
    "no zip": ("ingest", ["--source", "{feeds}/text.zip"], ["text.zip", "is not a zip"]),
    "zip without styles.csv": ("ingest", ["--source", "{feeds}/without-styles.zip"], ["without-styles.zip", "no styles.csv"]),
    "folder without styles.csv": ("ingest", ["--source", "{feeds}/folder"], ["folder", "no styles.csv"]),
    "empty catalog": ("ingest", ["--source", "{feeds}/empty.zip"], ["empty.zip", "has no pictures"]),
    "other columns": ("ingest", ["--source", "{feeds}/other-columns.zip"], ["sku,title", "articleType"]),
    "unknown option": ("ingest", ["--sorce", "x"], ["--sorce", "--help"]),
    "unknown backbone": ("train", ["--backbone", "efficientnet_lite9"], ["--backbone", "efficientnet_lite0", "did you mean"]),
    "unknown target": ("train", ["--targets", "articleTyp"], ["--targets", "articleTyp", "did you mean articleType?"]),
    "several at once": ("train", ["--batch-size", "0", "--dropout", "2"], ["--batch-size: got 0", "--dropout: got 2.0"]),
    "bad schedule": ("train", ["--schedule", "heads:3,bottom:1"], ["--schedule", "bottom:1", "heads:EPOCHS"]),
    "unknown preset": ("train", ["--preset", "slow"], ["--preset", "slow", "quick, flagship"]),
    "train without a catalog": ("train", [], ["no catalog", "jobs/ingest.py"]),
    "score without a catalog": ("score", [], ["no catalog", "jobs/ingest.py"]),
    "no picture": ("score", ["--image", "{feeds}/text.zip"], ["text.zip", "no usable picture"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, feeds: Path, tmp_path: Path, run_job: Run) -> None:
    job, arguments, expected = CASES[case]
    root = tmp_path / "root"
    done = run_job(root, job, *(argument.format(feeds=feeds) for argument in arguments))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert lines[-1].startswith("error: ")
    assert all(word in lines[-1] for word in expected), lines[-1]
    assert "Traceback" not in done.stderr
    left = [path for path in root.rglob("*") if path.is_file() and "mlflow" not in path.parts]
    assert left == []


def test_a_root_that_cannot_be_written(tmp_path: Path, run_job: Run) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = run_job(tmp_path / "file" / "root", "ingest", "--products", "200")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr.splitlines()[-1] and "--root" in done.stderr.splitlines()[-1]


def test_a_remote_root_needs_a_tracking_server(tmp_path: Path, run_job: Run) -> None:
    done = run_job("memory://bucket/prefix", "ingest", "--products", "200")
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_URI" in done.stderr.splitlines()[-1]
