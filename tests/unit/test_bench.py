"""All ratios in one table: read from what each benchmark prints, none lost, failures told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import bench
from benchmarks.bench import RATIOS, BenchOptions, picked
from fashion_ray.errors import UserError

PRINTED = {
    "peers": {"scoring_of": {"bare_engine": 0.9, "ray_pattern default": 18.0, "torch_loop 1": 4.0, "torch_loop 2": 5.0}},
    "faithful": {"engines": {"openvino f32": {"agreement": {"articleType": 1.0}, "embedding_cosine": 0.99999}}},
    "limit": {"median_share": 0.93},
}


def test_figures_are_picked_by_path_and_named_by_what_a_star_stands_for() -> None:
    assert picked(PRINTED["limit"], "median_share") == {"": 0.93}
    assert picked(PRINTED["peers"], "scoring_of.torch_loop *") == {"1": 4.0, "2": 5.0}
    assert picked(PRINTED["faithful"], "engines.*.agreement.*") == {"openvino f32 articleType": 1.0}
    assert picked(PRINTED["faithful"], "engines.*.agreement.nothing") == {} == picked({}, "a.b") == picked({"a": "text"}, "a")


def test_the_table_has_every_ratio_and_whatever_failed() -> None:
    lines = bench.table(PRINTED, {"flat": "status 2: error | no root"})
    assert "| limit | a whole night, of the bare engine | 0.93 |" in lines
    assert "| peers | scoring, times a PyTorch loop | 1 4, 2 5 |" in lines
    assert "| peers | scoring, times that pattern tuned | not measured here |" in lines
    assert "| flat | did not end | status 2: error   no root |" in lines
    assert len(lines) == 2 + sum(len(RATIOS[name]) for name in PRINTED) + 1


def test_a_benchmark_that_fails_hangs_or_says_nothing_is_told() -> None:
    python = [sys.executable, "-S", "-c"]
    assert bench.run([*python, "print('words'); print('{\"a\": 1}')"], 60) == {"a": 1}
    assert bench.run([*python, "print('words')"], 60) == "it printed no line of JSON"
    assert bench.run([*python, "import sys; sys.exit('no root')"], 60) == "status 1: no root"
    assert bench.run([*python, "import time; time.sleep(60)"], 0.2) == "no time left"


@pytest.mark.parametrize("name", RATIOS)
def test_every_benchmark_of_the_table_is_there_and_gets_a_sample(name: str) -> None:
    words = bench.command(name, BenchOptions(source="feed.zip", cpus=2), "/root", 500)
    assert Path(words[1]).is_file() and Path(words[1]).stem == name
    assert ("--root" in words) == (name not in ("million", "ingest"))
    assert [words[at + 1] for at, word in enumerate(words) if word == "--rows"] in (["500"], ["2048"], ["200000"], [])


def test_options_of_the_table_are_checked_at_once() -> None:
    with pytest.raises(UserError, match=r"--only: got \('ingest', 'speed'\).*--minutes: got 0.*--source: got None"):
        BenchOptions(only=("ingest", "speed"), minutes=0)
