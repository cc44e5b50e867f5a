"""The main job on the demo catalog, as `make demo` runs it: hard enough to fail on, and honest about chance."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fashion_ray import tracking
from fashion_ray.storage import Store
from tests.jobs.conftest import Run, command, environment


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, run_job: Run) -> Path:
    """A root with the demo catalog in it."""
    root = tmp_path_factory.mktemp("root")
    done = run_job(root, "ingest", "--source", "demo")
    assert done.returncode == 0, done.stderr
    return root


def bundle_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The card of the bundle that a training job said it wrote."""
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("bundle ")]
    return dict(json.loads((Path(line.split(maxsplit=1)[1]) / "card.json").read_text()))


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [("--weights", "/nowhere/weights.pth", "cannot be read"), ("--schedule", "top9:1", "the trunk has 7 blocks")],
)
def test_what_does_not_fit_the_catalog_or_the_trunk_is_refused_before_anything_starts(
    option: str, value: str, expected: str, root: Path, run_job: Run
) -> None:
    before = sorted(root.rglob("*.json"))
    done = run_job(root, "train", option, value)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {option}") and expected in done.stderr.splitlines()[-1]
    assert sorted(root.rglob("*.json")) == before


@pytest.fixture(scope="module")
def champion(root: Path, run_job: Run) -> dict[str, Any]:
    """The card of the quick preset's bundle."""
    return bundle_of(run_job(root, "train"))


@pytest.mark.timeout(600)
def test_the_quick_preset_learns_the_demo_but_not_by_heart(champion: dict[str, Any]) -> None:
    assert 0.60 <= champion["provenance"]["metrics"]["test/articleType/accuracy"] <= 0.95


def test_score_says_where_everything_is(root: Path, champion: dict[str, Any], run_job: Run) -> None:
    done = run_job(root, "score")
    assert done.returncode == 0, done.stderr
    said = dict(
        line.split(maxsplit=1)
        for line in done.stdout.splitlines()
        if line.split(maxsplit=1)[0] in ("scores", "report", "MLflow")
    )
    scores = pd.read_parquet(said["scores"])
    assert set(scores["model_version"]) == {champion["model_version"]}, "the first model is the champion"
    assert Path(said["report"]).read_text().startswith("<!doctype html>")
    assert Path(said["MLflow"].removeprefix("sqlite:///")).exists()
    assert sum(line.startswith("product ") for line in done.stdout.splitlines()) == 3
    assert "mlflow ui --host 127.0.0.1" in done.stdout


def test_one_picture_gets_the_answer_that_its_row_got(
    root: Path, champion: dict[str, Any], run_job: Run, tmp_path: Path
) -> None:
    pointer = json.loads((root / "catalog" / "CURRENT.json").read_text())
    catalog = pd.read_parquet(root / "catalog" / pointer["snapshot"])
    scores = pd.read_parquet(root / "scores" / json.loads((root / "scores" / "CURRENT.json").read_text())["snapshot"])
    row = scores[scores["masterCategory_probability"] > 0.9].iloc[0]
    picture = tmp_path / "unseen.jpg"
    picture.write_bytes(catalog.set_index("product_id").loc[row["product_id"], "image"])
    done = run_job(root, "score", "--image", str(picture))
    assert done.returncode == 0, done.stderr
    said = re.search(r"^  masterCategory +(?P<label>.+?) (?P<chance>[0-9.]+),", done.stdout, re.MULTILINE)
    assert said is not None, done.stdout
    label, chance = said["label"], said["chance"]
    assert label == row["masterCategory_predicted"]
    assert float(chance) == pytest.approx(row["masterCategory_probability"], abs=2e-3)


@pytest.mark.timeout(600)  # with the champion's training, which it needs
def test_a_killed_control_goes_on_under_its_name_and_stays_near_chance(
    root: Path, cache: Path, champion: dict[str, Any], run_job: Run
) -> None:
    """On labels drawn at random. Chance is what always answering the commonest class of the test side gets."""
    options = ["--name", "killed", "--shuffle-labels", "--patience", "0", "--schedule", "heads:2,top2:1", "--cached-views", "1"]
    child = subprocess.Popen(
        command("train", *options), env=environment(root, cache), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "epoch 2 (" in line:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(3)
    noted = json.loads((root / "runs" / "killed" / "start" / "run.json").read_text())
    done = run_job(root, "train", *options)
    control = bundle_of(done)
    assert "continuing after epoch" in done.stderr
    runs = tracking.locate(Store(str(root))).client()
    (run,) = runs.search_runs([one.experiment_id for one in runs.search_experiments()], f"tags.claim = '{noted['claim']}'")
    assert control["provenance"]["run_id"] == run.info.run_id, "one MLflow run"
    epochs = [int(number) for number in re.findall(r" epoch (\d+) \(\w+\): loss", done.stderr)]
    assert epochs and min(epochs) >= 2 and max(epochs) == 3
    assert re.search(r"best epoch \d of 3,", done.stderr), "the history is whole, whichever epoch was the best"
    assert "not registered" in done.stdout
    pointer = json.loads((root / "catalog" / "CURRENT.json").read_text())
    catalog = pd.read_parquet(root / "catalog" / pointer["snapshot"], columns=["articleType", "split"])
    classes = [name for name in control["classes"]["articleType"] if name is not None]
    counts = Counter(catalog[(catalog["split"] == "test") & catalog["articleType"].isin(classes)]["articleType"])
    chance = max(counts.values()) / sum(counts.values())
    assert control["provenance"]["metrics"]["test/articleType/accuracy"] <= 2 * chance
    assert control["model_version"] != champion["model_version"]
