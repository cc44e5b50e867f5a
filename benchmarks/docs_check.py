"""The commands of the docs, run: python benchmarks/docs_check.py

Every block marked sh in README.md and docs/*.md is run by bash, in the project's folder, on a root of the page's own that has
the demo catalog, a champion and its scores; a page's blocks run one after the other. Where a block cannot run here a comment
before it says why, `<!-- not run: REASON -->`, or what stands for it, `<!-- run as: COMMANDS -->`. Out: a line a block, and
status 1 if one failed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from fashion_ray import cli
from fashion_ray.config import Problems
from fashion_ray.errors import UserError

DRAWN = (
    ("ingest", "--source", "demo", "--products", "800"),
    ("train", "--schedule", "heads:2", "--min-class-count", "12", "--cached-views", "1"),
    ("score",),
)
"""What every page finds below its root."""

BLOCK = re.compile(
    r"(?:<!-- (?P<how>not run|run as): (?P<why>[^\n]+?) -->\n)?^```(?:sh|bash)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"`((?:ray|python) [^`]*)`")
JOINTS = {"&&", "||", ";", "|", "&", "--"}


@dataclass(frozen=True, kw_only=True)
class DocsOptions:
    """Run the commands of the docs on the demo catalog."""

    pages: tuple[str, ...] = ()
    """Which pages, such as docs/tuning.md; none means all."""

    patience_s: float = 900.0
    """How long a block may take."""

    def __post_init__(self) -> None:
        found = Problems()
        missing = [page for page in self.pages if not (PROJECT / page).is_file()]
        found.check(not missing, "pages", self.pages, "pages of this project", "such as README.md or docs/tuning.md")
        found.check(self.patience_s > 0, "patience_s", self.patience_s, "more than 0")
        found.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of commands."""

    page: str
    line: int
    text: str
    not_run: str | None = None
    """Why it cannot run here."""

    run_as: str | None = None
    """What is run in its place."""


def pages() -> list[Path]:
    """README.md and docs/*.md."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The commands of a page, in order."""
    text = page.read_text(encoding="utf-8")
    name = str(page.relative_to(PROJECT)) if page.is_relative_to(PROJECT) else page.name
    return [
        Block(
            page=name,
            line=text.count("\n", 0, found.start("text")),
            text=found["text"],
            **({found["how"].replace(" ", "_"): found["why"]} if found["how"] else {}),
        )
        for found in BLOCK.finditer(text)
    ]


def commands(text: str) -> Iterator[list[str]]:
    """The words of every simple command of a block: without comments, redirections, and variables that are set before it."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s\d?>>?(&\d|\s*[\w./-]+)", " ", line)
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split, lexer.commenters = True, "#"
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word not in JOINTS:
                command.append(word)
                continue
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command = command[1:]
            if command:
                yield command
            command = []


def mentioned(page: Path) -> list[str]:
    """Commands in running text and tables."""
    return INLINE.findall(BLOCK.sub("", page.read_text(encoding="utf-8")))


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(DocsOptions, arguments, example="python benchmarks/docs_check.py --pages docs/tuning.md")
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="docs", ignore_cleanup_errors=True) as temporary:
        drawn, variables = Path(temporary) / "drawn", environment(Path(temporary) / "cache")
        for job, *rest in DRAWN:
            command = [sys.executable, f"jobs/{job}.py", *rest, "--root", str(drawn)]
            done = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UserError(f"jobs/{job}.py, which draws what the commands work on, failed: {done.stderr[-1500:]}")
        for page in pages():
            if not options.pages or str(page.relative_to(PROJECT)) in options.pages:
                root = Path(temporary) / page.stem
                shutil.copytree(drawn, root)
                failed += run_page(blocks(page), {**variables, "FASHION_RAY_ROOT": str(root)}, options.patience_s)
    print(json.dumps({"benchmark": "docs_check", "failed": failed}))
    return 1 if failed else 0


def environment(cache: Path) -> dict[str, str]:
    """The variables of a shell on a machine that is set up, with this Python first."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "FASHION_RAY_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**kept, "PATH": path, "FASHION_RAY_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}


def run_page(found: list[Block], variables: dict[str, str], patience_s: float) -> list[str]:
    """Run the blocks of a page; where those stand that failed."""
    failed = []
    for block in found:
        place = f"{block.page}:{block.line}"
        if block.not_run is not None:
            print(f"{place}: not run, {block.not_run}", flush=True)
            continue
        began = time.monotonic()
        try:
            shell = ["bash", "-eu", "-o", "pipefail", "-c", block.run_as or block.text]
            done = subprocess.run(
                shell, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=patience_s, check=False
            )
            ended, said = f"status {done.returncode}", done.stdout[-800:] + done.stderr[-1500:]
        except subprocess.TimeoutExpired:
            ended, said = f"not ended after {patience_s:g} s", ""
        if ended != "status 0":
            failed.append(place)
        print(f"{place}: {ended}, {time.monotonic() - began:.0f} s" + (f"\n{said}" if place in failed else ""), flush=True)
    return failed


if __name__ == "__main__":
    cli.run(main)
