"""Every ratio of the benchmarks in one table, in less than 25 minutes: python benchmarks/bench.py --root ROOT (make bench)

Runs the benchmarks beside this one, each as a process on seeded samples, one after the other, and takes the ratios from the
line of JSON that each prints. Out: a Markdown table, all figures as JSON, and status 1 if one failed or had no time left.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from fashion_ray import cli
from fashion_ray.config import JobOptions, absolute
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store

SAMPLE = 2048
"""Rows that peers score, at most."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions(JobOptions):
    """Run the benchmarks on a catalog and its champion, and print their ratios in one table."""

    source: str | None = None
    """A feed in the published layout, as a zip, for the ingest; none leaves that out."""

    only: tuple[str, ...] = ()
    """Which benchmarks; none means all that can run."""

    minutes: float = 25.0
    """What all of them may take together; what has not begun by then is left out, and the table says so."""

    out: str = "build/bench.json"
    """Where all figures go."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(set(self.only) <= {*RATIOS}, "only", self.only, f"among {', '.join(RATIOS)}")
        found.check(self.minutes > 0, "minutes", self.minutes, "more than 0")
        found.check("ingest" not in self.only or bool(self.source), "source", self.source, "a zip, for the ingest")
        found.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A figure of a benchmark's JSON."""

    path: str
    """Keys, by dots; `*` stands for each of several."""

    meaning: str


RATIOS: Mapping[str, tuple[Ratio, ...]] = {
    "bare_engine": (Ratio(path="scoring_setting_of_best", meaning="engine as scoring sets it, of the best setting"),),
    "peers": (
        Ratio(path="scoring_of.bare_engine", meaning="scoring, of the bare engine"),
        Ratio(path="scoring_of.ray_pattern default", meaning="scoring, times Ray's documented pattern"),
        Ratio(path="scoring_of.ray_pattern tuned", meaning="scoring, times that pattern tuned"),
        Ratio(path="scoring_of.torch_loop *", meaning="scoring, times a PyTorch loop"),
    ),
    "limit": (Ratio(path="median_share", meaning="a whole night, of the bare engine"),),
    "faithful": (
        Ratio(path="engines.*.agreement.*", meaning="labels as PyTorch in float32 gives them"),
        Ratio(path="engines.*.embedding_cosine", meaning="cosine of embeddings with PyTorch's in float32"),
    ),
    "flat": (Ratio(path="peak_ratio", meaning="scoring's peak memory, three times the rows over once"),),
    "similar": (
        Ratio(path="peak_ratio", meaning="similar products' peak memory, ten times the products over once"),
        Ratio(path="*.wrong", meaning="of 200 checked queries, other neighbours than numpy finds"),
    ),
    "audit": (Ratio(path="mean.*", meaning="planted wrong labels in the top 4% of the ranking, of all planted"),),
    "selection": (Ratio(path="of_random.*", meaning="labels that reach what random ones do, of those"),),
    "studies": (Ratio(path="ratio", meaning="a study's grid without the shared features, times as long as with them"),),
    "tuning": (
        Ratio(path="mean.*", meaning="the best of random search and, in half the trials, of TPE"),
        Ratio(path="cold_over_warm", meaning="a trial that computes its features, times as long as one that finds them"),
    ),
    "training": (
        Ratio(path="cached_over_pictures.*", meaning="an epoch from the cache, times as fast as from pictures"),
        Ratio(path="streamed_over_memory.*", meaning="streamed training, of the speed from memory"),
        Ratio(path="streamed_over_memory_without_ray.*", meaning="the same, of that in a process without Ray"),
    ),
    "million": (
        Ratio(path="steps.*.time_ratio", meaning="the driver's time, ten times the products over once"),
        Ratio(path="steps.*.bytes_a_product", meaning="the driver's memory, bytes a product"),
    ),
    "ingest": (
        Ratio(path="peak_ratio", meaning="ingest's peak memory, twice the feed over once"),
        Ratio(path="time_ratio_a_picture", meaning="ingest's time a picture, twice the feed over once"),
    ),
}
"""In the order in which they run."""


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(BenchOptions, arguments, example="python benchmarks/bench.py --root workspace --only peers limit")
    root = absolute(options.root)
    rows = int(catalog_of(Store(root)).manifest["rows"])
    ends, figures, problems = time.monotonic() + 60 * options.minutes, dict[str, Any](), dict[str, str]()
    for name in options.only or [name for name in RATIOS if name != "ingest" or options.source]:
        left_s = ends - time.monotonic()
        if left_s <= 0:
            problems[name] = "no time left"
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = run(command(name, options, root, rows), left_s)
        if isinstance(found, str):
            problems[name] = found
        else:
            figures[name] = found
    machine = {"processors": os.cpu_count(), "system": platform.platform(terse=True), "rows": rows}
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps({"machine": machine, "figures": figures, "problems": problems}, indent=1) + "\n")
    print("\n".join(table(figures, problems)))
    return 1 if problems else 0


def command(name: str, options: BenchOptions, root: str, rows: int) -> list[str]:
    """The command line of a benchmark on a sample that leaves time for the others."""
    own: dict[str, list[str]] = {
        "bare_engine": ["--rows", str(min(rows, SAMPLE))],
        "peers": ["--rows", str(min(rows, SAMPLE)), "--repeats", "1"],
        "limit": ["--rows", str(SAMPLE), "--repeats", "1"],
        "faithful": ["--rows", str(min(rows, SAMPLE // 2))],
        "flat": ["--times", "3"],
        "similar": ["--times", "10"],
        "audit": ["--seeds", "1"],
        "selection": ["--seeds", "1", "--start", "100", "--batch", "100", "--most", str(max(200, min(2000, rows // 4)))],
        "studies": ["--points", "2"],
        "tuning": ["--trials", "8", "--seeds", "1"],
        "training": ["--max-per-class", "40"],
    }
    if name == "million":
        return [sys.executable, str(PROJECT / "benchmarks" / "million.py"), "--rows", "200000"]
    if name == "ingest":
        return [sys.executable, str(PROJECT / "benchmarks" / "ingest.py"), "--source", str(options.source), "--times", "2"]
    common = ["--root", root, "--cache", options.cache, *(["--cpus", str(options.cpus)] if options.cpus else [])]
    return [sys.executable, str(PROJECT / "benchmarks" / f"{name}.py"), *own[name], *common]


def run(command: Sequence[str], patience_s: float) -> dict[str, Any] | str:
    """The figures that a benchmark prints, or what went wrong."""
    try:
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired:
        return "no time left"
    if done.returncode:
        return f"status {done.returncode}: " + " ".join(done.stderr[-500:].split())
    return figures_in(done.stdout) or "it printed no line of JSON"


def figures_in(output: str) -> dict[str, Any]:
    """The line of JSON among what a benchmark printed; nothing if there is none."""
    for line in output.splitlines():
        if line.startswith("{"):
            return dict(json.loads(line))
    return {}


def picked(figures: object, path: str) -> dict[str, float]:
    """The figures at a path, by what its stars stand for: `cached.*` of {"cached": {"a": 1}} is {"a": 1}."""
    found: dict[str, object] = {"": figures}
    for key in path.split("."):
        deeper: dict[str, object] = {}
        for name, value in found.items():
            if not isinstance(value, Mapping):
                continue
            start, star, _ = key.partition("*")
            for one, inner in value.items():
                if one == key or (star and one.startswith(start)):
                    deeper[" ".join(filter(None, (name, one.removeprefix(start) if star else "")))] = inner
        found = deeper
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def table(figures: Mapping[str, Any], problems: Mapping[str, str]) -> list[str]:
    """A Markdown table: a line a ratio, and one for each benchmark that gave none."""
    lines = ["| benchmark | ratio | value |", "|---|---|---|"]
    for name, ratios in RATIOS.items():
        if name in problems:
            lines.append(f"| {name} | did not end | {problems[name].replace('|', ' ')} |")
        for ratio in ratios if name in figures else ():
            found = picked(figures[name], ratio.path)
            shown = ", ".join(f"{what} {value:g}".strip() for what, value in found.items())
            lines.append(f"| {name} | {ratio.meaning} | {shown or 'not measured here'} |")
    return lines


if __name__ == "__main__":
    cli.run(main)
