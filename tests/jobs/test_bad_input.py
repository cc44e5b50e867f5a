"""What people get wrong: one clear line that names the input and the remedy, status 2, nothing half-written."""

from __future__ import annotations

import json
import runpy
import signal
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_ray import cli, snapshots
from fashion_ray.storage import Store
from tests.jobs.conftest import PROJECT, Run, environment


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    status: object
    stderr: str
    stdout: str


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feeds that are none."""
    folder = tmp_path_factory.mktemp("feeds")
    (folder / "text.zip").write_text("this is no zip")
    with zipfile.ZipFile(folder / "without-styles.zip", "w") as archive:
        archive.writestr("images/1.jpg", b"")
    (folder / "folder").mkdir()
    (folder / "folder" / "readme.txt").write_text("no feed")
    with zipfile.ZipFile(folder / "other-columns.zip", "w") as archive:
        archive.writestr("styles.csv", "sku,title\n1,shoe\n")
    (folder / "tables").mkdir()
    for name in "ab":
        pq.write_table(pa.table({"id": [name], "image": [b""]}), folder / "tables" / f"{name}.parquet")
    (folder / "tables" / "b.parquet").write_bytes((folder / "tables" / "a.parquet").read_bytes()[:-30])
    return folder


CASES = {
    "missing source": ("ingest", ["--source", "{feeds}/nothing.zip"], ["nothing.zip", "expected"]),
    "no zip": ("ingest", ["--source", "{feeds}/text.zip"], ["text.zip", "is not a zip"]),
    "zip without styles.csv": (
        "ingest",
        ["--source", "{feeds}/without-styles.zip"],
        ["without-styles.zip", "images/1.jpg", "styles.csv"],
    ),
    "folder without styles.csv": ("ingest", ["--source", "{feeds}/folder"], ["folder", "readme.txt", "styles.csv"]),
    "other columns": ("ingest", ["--source", "{feeds}/other-columns.zip"], ["sku,title", "articleType"]),
    "damaged table among several": ("ingest", ["--source", "{feeds}/tables"], ["b.parquet", "damaged"]),
    "delta without a feed": ("ingest", ["--delta"], ["--delta", "--source"]),
    "delta onto nothing": ("ingest", ["--source", "demo", "--delta"], ["--delta", "no catalog", "full feed"]),
    "missing corrections": (
        "ingest",
        ["--labels", "{feeds}/nothing.csv"],
        ["--labels", "nothing.csv", "product_id,target,label"],
    ),
    "corrections onto nothing": ("ingest", ["--labels", "{feeds}/text.zip"], ["--labels", "no catalog", "full feed"]),
    "unknown label column": (
        "ingest",
        ["--source", "demo", "--label-column", "colour"],
        ["--label-column", "colour", "baseColour"],
    ),
    "unknown option": ("ingest", ["--sorce", "x"], ["--sorce", "--help"]),
    "unknown backbone": ("train", ["--backbone", "efficientnet_lite9"], ["--backbone", "efficientnet_lite0", "did you mean"]),
    "unknown target": ("train", ["--targets", "articleTyp"], ["--targets", "articleTyp", "did you mean articleType?"]),
    "several at once": ("train", ["--batch-size", "0", "--dropout", "2"], ["--batch-size: got 0", "--dropout: got 2.0"]),
    "bad schedule": ("train", ["--schedule", "heads:3,bottom:1"], ["--schedule", "bottom:1", "heads:EPOCHS"]),
    "unknown preset": ("train", ["--preset", "slow"], ["--preset", "slow", "quick, flagship"]),
    "unknown option of a space": ("tune", ["--space", "learing_rate=1e-4..1e-2"], ["--space", "did you mean learning_rate?"]),
    "tune without a catalog": ("tune", ["--space", "head=linear mlp"], ["no catalog", "jobs/ingest.py"]),
    "train without a catalog": ("train", [], ["no catalog", "jobs/ingest.py"]),
    "audit without a catalog": ("audit", [], ["no catalog", "jobs/ingest.py"]),
    "unknown target of an audit": ("audit", ["--target", "articleTyp"], ["--target", "did you mean articleType?"]),
    "score without a catalog": ("score", [], ["no catalog", "jobs/ingest.py"]),
    "similar without scores": ("similar", [], ["no scores", "jobs/score.py"]),
    "similar to a product without scores": ("similar", ["--product", "1"], ["no scores", "jobs/score.py"]),
    "a baseline without a catalog": ("similar", ["--baseline", "classic"], ["no catalog", "jobs/ingest.py"]),
    "a label that is none": ("similar", ["--same", "color"], ["--same: got 'color'", "gender"]),
    "no picture": ("score", ["--image", "{feeds}/text.zip"], ["text.zip", "no usable picture"]),
}


@pytest.fixture
def call_job(cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a job inside this process, which saves the seconds that its imports take."""

    def call(root: Path | str, job: str, *arguments: str) -> Outcome:
        for name, value in environment(root, cache).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", [job, *arguments])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr(signal, "signal", lambda *arguments: None)
        with pytest.raises(SystemExit) as stopped:
            cli.run(runpy.run_path(str(PROJECT / "jobs" / f"{job}.py"))["main"])
        said = capfd.readouterr()
        return Outcome(status=stopped.value.code, stderr=said.err, stdout=said.out)

    return call


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, feeds: Path, tmp_path: Path, call_job: Callable[..., Outcome]) -> None:
    job, arguments, expected = CASES[case]
    root = tmp_path / "root"
    outcome = call_job(root, job, *[argument.format(feeds=feeds) for argument in arguments])
    last = outcome.stderr.strip().splitlines()[-1]
    assert outcome.status == 2, outcome.stderr
    assert last.startswith("error: ")
    assert all(word in last for word in expected), last
    assert "Traceback" not in outcome.stderr
    assert [path for path in root.rglob("*") if path.is_file() and "mlflow" not in path.parts] == []


def test_without_a_source_another_catalog_is_not_replaced_by_the_demo(tmp_path: Path, call_job: Callable[..., Outcome]) -> None:
    snapshots.publish(Store(str(tmp_path)), "catalog", "real", {"source": "feed.zip", "files": []}, base=None)
    outcome = call_job(tmp_path, "ingest")
    assert outcome.status == 2
    last = outcome.stderr.strip().splitlines()[-1]
    assert "--source: none given" in last and "feed.zip" in last and "--source demo" in last
    assert (tmp_path / "catalog" / "CURRENT.json").exists()


def test_a_night_with_a_bad_feed_tells_the_pager_and_logs_json(
    feeds: Path, tmp_path: Path, call_job: Callable[..., Outcome]
) -> None:
    pager = tmp_path / "pager.json"
    for feed, said in (
        ("nothing", "--feed: nothing at"),
        ("text", "is not a zip"),
        ("without-styles", "expected a zip or a folder"),
    ):
        asked = ["--feed", f"{feeds}/{{night}}.zip", "--night", feed, "--status-file", str(pager), "--log-format", "json"]
        outcome = call_job(tmp_path / "root", "nightly", *asked)
        *lines, last = outcome.stderr.strip().splitlines()
        told = json.loads(pager.read_text())
        assert outcome.status == told["exit_status"] == 2 and said in last and "--source" not in last
        assert f"error: {told['message']}" == last and (told["status"], told["step"]) == ("failed", "prepare")
        (night,) = [line for line in map(json.loads, filter(lambda line: line.startswith("{"), lines)) if "night" in line]
        assert night["level"] == "error" and night["night"] == feed and night["status"] == "failed"
    assert snapshots.current(Store(str(tmp_path / "root")), "catalog") is None


JOBS = sorted(path.stem for path in (PROJECT / "jobs").glob("*.py"))


@pytest.mark.parametrize("job", ["promote", "tune"])  # the others are run as processes by other tests
def test_a_process_that_was_given_a_bad_option_exits_with_status_2(job: str, tmp_path: Path, run_job: Run) -> None:
    done = run_job(tmp_path / "root", job, "--cpus", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: --cpus: got 0, expected at least 1"
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("job", JOBS)
def test_a_bad_option_of_any_job_is_status_2(job: str, call_job: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = call_job(tmp_path / "root", job, "--cpus", "0")
    assert outcome.status == 2 and outcome.stderr.splitlines()[-1] == "error: --cpus: got 0, expected at least 1"
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("job", JOBS)
def test_help_shows_an_example_that_can_be_run(job: str, call_job: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = call_job(tmp_path, job, "--help")
    assert outcome.status == 0
    assert f"Example: python jobs/{job}.py" in outcome.stdout


def test_a_root_that_cannot_be_written(tmp_path: Path, call_job: Callable[..., Outcome]) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = call_job(tmp_path / "file" / "root", "ingest", "--products", "200")
    assert outcome.status == 2
    assert "cannot be written" in outcome.stderr.splitlines()[-1] and "--root" in outcome.stderr.splitlines()[-1]


def test_a_remote_root_needs_a_tracking_server(call_job: Callable[..., Outcome]) -> None:
    outcome = call_job("memory://bucket/prefix", "ingest", "--products", "200")
    assert outcome.status == 2
    assert "MLFLOW_TRACKING_URI" in outcome.stderr.splitlines()[-1]
