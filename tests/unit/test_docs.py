"""The docs say what is there: every command parses, every target, file and link exists, each topic has its page."""

from __future__ import annotations

import functools
import re
import runpy
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import docs_check
from benchmarks.docs_check import PROJECT, Block
from fashion_ray import cli
from fashion_ray.errors import UserError
from fashion_ray.models import scratch

PAGES = docs_check.pages()
TOPICS = ("catalog", "training", "scoring", "tuning", "clusters", "extending", "benchmarks", "scale")


class ParsedError(BaseException):
    """The options are built: nothing more is to happen."""


@functools.cache
def main_of(script: str) -> Callable[[Sequence[str]], Any]:
    """The main function of a job or benchmark."""
    return runpy.run_path(str(PROJECT / script))["main"]


def parse(script: str, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give arguments to a script's own parser. Raises UserError if it does not take them."""
    real = cli.parse

    def parse_only(*given: Any, **named: Any) -> None:
        real(*given, **named)
        raise ParsedError

    monkeypatch.setattr(cli, "parse", parse_only)
    try:
        main_of(script)([re.sub(r"\$\{?[a-z_]+\}?", "1", word) for word in arguments])  # a loop's variable
    except (ParsedError, SystemExit):
        return


def scripts(commands: list[list[str]]) -> list[tuple[str, list[str]]]:
    """Those that call a job or a benchmark of this project: its file and its arguments."""
    found = [words for words in commands if words[0].startswith("python") and len(words) > 1]
    return [(words[1], words[2:]) for words in found if words[1].startswith(("jobs/", "benchmarks/"))]


def of(page: Path) -> list[list[str]]:
    """Every simple command of a page, in blocks and in running text."""
    blocks = docs_check.blocks(page)
    texts = [*(block.text for block in blocks), *(block.run_as or "" for block in blocks), *docs_check.mentioned(page)]
    return [command for text in texts for command in docs_check.commands(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_docs_is_taken_by_its_job(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    for script, arguments in scripts(of(page)):
        if not (PROJECT / script).is_file():
            wrong.append(f"{script} is not there")
        elif script != "benchmarks/ingest.py":  # measures with the standard library alone
            try:
                parse(script, arguments, monkeypatch)
            except UserError as error:
                wrong.append(f"{script} {arguments}: {error}")
    assert wrong == []


def test_a_command_that_its_job_does_not_take_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--full-of-it"):
        parse("jobs/score.py", ["--full-of-it"], monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_and_link_of_the_docs_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    asked = {command[1] for command in of(page) if command[0] == "make" and len(command) > 1 and "=" not in command[1]}
    asked |= set(re.findall(r"`make ([a-z-]+)", page.read_text()))
    assert asked - targets == set()
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_each_topic_has_its_page_and_the_front_door_leads_there() -> None:
    front = (PROJECT / "README.md").read_text()
    assert [topic for topic in TOPICS if not (PROJECT / "docs" / f"{topic}.md").is_file()] == []
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in front] == []


def test_blocks_that_cannot_run_here_say_why(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    blocks = ["```sh\nA=1 make demo  # yes\n```", "<!-- not run: needs a cloud -->\n```sh\nray up cluster.yaml\n```"]
    blocks.append("<!-- run as: make some -k > /dev/null -->\n```bash\nmake all\n```")
    page.write_text("\n\n".join(["# Page", *blocks, "```python\nx\n```\n"]))
    assert docs_check.blocks(page) == [
        Block(page="page.md", line=3, text="A=1 make demo  # yes\n"),
        Block(page="page.md", line=8, text="ray up cluster.yaml\n", not_run="needs a cloud"),
        Block(page="page.md", line=13, text="make all\n", run_as="make some -k > /dev/null"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=b python jobs/x.py --y 'z w'  # why", [["python", "jobs/x.py", "--y", "z w"]]),
        ("ray job submit -- python x.py -a", [["ray", "job", "submit"], ["python", "x.py", "-a"]]),
        ("one && two; three | four", [["one"], ["two"], ["three"], ["four"]]),
        ("one \\\n  two\n\n# nothing", [["one", "two"]]),
    ],
)  # fmt: skip
def test_commands_are_taken_apart_as_a_shell_does(text: str, expected: list[list[str]]) -> None:
    assert list(docs_check.commands(text)) == expected


def test_a_block_that_fails_is_told_and_the_others_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        Block(page="p.md", line=1, text="false\ntrue\n"),
        Block(page="p.md", line=5, text='test "$X" = 1\n'),
        Block(page="p.md", line=9, text="false", not_run="no cloud"),
    ]
    assert docs_check.run_page(found, {"X": "1", "PATH": "/usr/bin:/bin"}, 60) == ["p.md:1"]
    said = capsys.readouterr().out
    assert "p.md:1: status 1" in said and "p.md:5: status 0" in said and "p.md:9: not run, no cloud" in said
    assert docs_check.run_page([found[0]], {"PATH": "/usr/bin:/bin"}, 60) == ["p.md:1"], sys.executable


EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (PROJECT / "docs" / "extending.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_extending_run_as_they_stand(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "NETWORKS", scratch.NETWORKS)  # put back what an example adds
    module = types.ModuleType("an_example")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(EXAMPLES[number], f"docs/extending.md, example {number}", "exec"), module.__dict__)
    assert "assert " in EXAMPLES[number]
