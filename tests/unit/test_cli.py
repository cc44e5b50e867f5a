"""The command line: what arguments become, what a wrong one says, and what a job's outcome becomes for the shell."""

from __future__ import annotations

import logging
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fashion_ray import cli
from fashion_ray.config import Problems
from fashion_ray.errors import ConflictError, GateRefused, ReconciliationError, UserError

ROOT = Path(__file__).parents[2]
EXAMPLE = "python jobs/paint.py --coats 3"
PRESETS = {"quick": {}, "thick": {"preset": "thick", "coats": 9, "colour": "blue"}}
BOX = "│╭╮╰╯─┃━"


@dataclass(frozen=True, kw_only=True)
class PaintOptions:
    """Paint a wall."""

    preset: str = "quick"
    """Named defaults."""

    colour: str = "red"
    """What it shall look like afterwards."""

    coats: int = 2
    """How many layers."""

    place: str | None = None
    """Which wall."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(self.coats >= 1, "coats", self.coats, "1 or more")
        found.check(self.colour != "none", "colour", self.colour, "a colour")
        found.check(self.place is None or self.place.startswith("/"), "place", self.place, "an absolute path")
        found.raise_if_any()


def parse(*arguments: str) -> PaintOptions:
    """The options of the job that these tests make up."""
    return cli.parse(PaintOptions, arguments, example=EXAMPLE, presets=PRESETS)


def complaint(*arguments: str) -> str:
    """What a user is told about wrong arguments."""
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert not any(character in message for character in BOX), message
    return message


def test_no_arguments_give_the_defaults() -> None:
    assert parse() == PaintOptions()


def test_values_become_what_their_fields_hold() -> None:
    assert parse("--coats", "3", "--colour=green", "--place", "/a b") == PaintOptions(coats=3, colour="green", place="/a b")


@pytest.mark.parametrize("chosen", [["--preset", "thick"], ["--preset=thick"]])
def test_a_preset_replaces_the_defaults_and_arguments_replace_the_preset(chosen: list[str]) -> None:
    assert parse(*chosen) == PaintOptions(preset="thick", coats=9, colour="blue")
    assert parse(*chosen, "--coats", "4") == PaintOptions(preset="thick", coats=4, colour="blue")
    assert parse("--colour", "red", *chosen) == PaintOptions(preset="thick", coats=9, colour="red")


def test_the_last_of_two_presets_gives_its_name_and_its_values() -> None:
    assert parse("--preset", "quick", "--preset", "thick") == PaintOptions(preset="thick", coats=9, colour="blue")


def test_an_unknown_preset_is_named_with_the_known_ones() -> None:
    message = complaint("--preset", "shiny")
    assert "--preset" in message and "'shiny'" in message and "quick" in message and "thick" in message


def test_an_unknown_option_is_named() -> None:
    assert "--wobble" in complaint("--wobble", "3")


def test_a_misspelt_option_is_named_with_the_one_that_was_meant() -> None:
    message = complaint("--colur", "blue")
    assert "--colur" in message and "--colour" in message


def test_a_stray_argument_is_named() -> None:
    assert "thick-paint" in complaint("thick-paint")


@pytest.mark.parametrize("arguments", [["--coats", "many"], ["--coats=many"], ["--coats", "2.5"]])
def test_a_value_of_the_wrong_type_is_named_with_its_option(arguments: list[str]) -> None:
    message = complaint(*arguments)
    assert "--coats" in message and arguments[-1].removeprefix("--coats=") in message


def test_an_option_without_its_value_is_named() -> None:
    assert "--coats" in complaint("--coats")


def test_all_problems_of_the_values_are_told_at_once() -> None:
    message = complaint("--coats", "0", "--colour", "none")
    for part in ("--coats", "got 0", "1 or more", "--colour", "got 'none'", "a colour"):
        assert part in message
    assert "PaintOptions" not in message


def test_a_long_value_is_shown_as_it_was_typed() -> None:
    place = "catalogs/" + "/".join(f"folder-{number}" for number in range(30))
    assert repr(place) in complaint("--place", place)


def test_help_shows_every_option_and_an_example_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse("--help")
    assert stopped.value.code in (0, None)
    shown = capsys.readouterr().out
    for part in ("Paint a wall", EXAMPLE, "--coats", "How many layers", "--colour", "--place", "--preset"):
        assert part in shown


# What a job's outcome becomes for the shell.


@pytest.fixture
def restored() -> Iterator[None]:
    """A job's signal handler and log lines end with the test."""
    handler = signal.getsignal(signal.SIGTERM)
    loggers = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in map(logging.getLogger, LOGGERS)]
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    signal.signal(signal.SIGTERM, handler)
    for logger, level, propagate, handlers in loggers:
        logger.level, logger.propagate, logger.handlers = level, propagate, handlers


LOGGERS = ("", "fashion_ray")


class Wrapped(Exception):
    """An error that came back from a worker, in the manner of ray.exceptions.RayTaskError."""

    def __init__(self, cause: object) -> None:
        super().__init__("a task failed")
        self.cause = cause


class WrappedUserError(Wrapped, UserError):
    """The same, made to be caught as what it wraps."""


def raises(error: BaseException, behind: BaseException | None = None) -> Callable[[Sequence[str]], int | None]:
    """A main function that fails."""

    def main(arguments: Sequence[str]) -> int | None:
        raise error from behind

    return main


def outcome(main: Callable[[Sequence[str]], int | None], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit status and the last line on standard error."""
    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return stopped.value.code, (err.splitlines() or [""])[-1]


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_a_job_that_ends_exits_with_its_status(
    returned: int | None, status: int, restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(lambda arguments: returned, capsys) == (status, "")


def test_a_job_gets_the_arguments(restored: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs/paint.py", "--coats", "3"])
    got: list[str] = []
    outcome(lambda arguments: got.extend(arguments), capsys)
    assert got == ["--coats", "3"]


@pytest.mark.parametrize(
    ("main", "status", "line"),
    [
        (raises(UserError("--root: got ''")), 2, "error: --root: got ''"),
        (raises(ConflictError("catalog: another run")), 2, "error: catalog: another run"),
        (raises(GateRefused("too many changes")), 3, "refused: too many changes"),
        (raises(RuntimeError("outer"), UserError("inner")), 2, "error: inner"),
        (raises(Wrapped(UserError("on a worker"))), 2, "error: on a worker"),
        (raises(RuntimeError("outer"), Wrapped(UserError("on a worker"))), 2, "error: on a worker"),
        (raises(Wrapped(Wrapped(UserError("on a worker")))), 2, "error: on a worker"),
        (raises(WrappedUserError(UserError("on a worker"))), 2, "error: on a worker"),
    ],
)
def test_the_users_mistakes_and_refusals_are_one_line_and_a_status(
    main: Callable[[Sequence[str]], int | None], status: int, line: str, restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(main, capsys) == (status, line)


def test_the_last_line_starts_with_error_also_for_a_message_of_several_lines(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line = outcome(raises(UserError("--weights: cannot be read (line one\nline two)")), capsys)
    assert status == 2
    assert line.startswith("error: --weights") and "line two" in line


def test_an_interrupted_job_says_so(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = outcome(raises(KeyboardInterrupt()), capsys)
    assert status == 130 and line.startswith("error: interrupted")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        ReconciliationError("3 rows in, 2 out"),
        Wrapped(ValueError("a bug")),
        Wrapped("only text"),
        Wrapped(None),
    ],
)
def test_any_other_error_comes_through_as_it_is(error: Exception, restored: None) -> None:
    with pytest.raises(type(error)) as caught:
        cli.run(raises(error))
    assert caught.value is error


def test_errors_that_point_at_each_other_end_the_search(restored: None) -> None:
    one, other = Wrapped(None), Wrapped(None)
    one.cause, other.cause = other, one
    with pytest.raises(Wrapped):
        cli.run(raises(one))


@pytest.mark.parametrize("kind", [UserError, ConflictError, GateRefused, ReconciliationError])
def test_errors_travel_between_processes(kind: type[Exception]) -> None:
    back = pickle.loads(pickle.dumps(kind("what, expected, remedy")))
    assert type(back) is kind and str(back) == "what, expected, remedy"


def test_a_bug_shows_its_traceback_and_a_termination_is_an_interruption() -> None:
    script = (
        "import os, signal, sys, time\n"
        "from fashion_ray import cli\n"
        "def main(arguments):\n"
        "    if arguments: raise ValueError('a bug')\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(20)\n"
        "cli.run(main)\n"
    )
    command = [sys.executable, "-c", script]
    terminated, failed = (
        subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        for arguments in ([], ["bug"])
    )
    assert terminated.returncode == 130
    assert terminated.stderr.splitlines()[-1].startswith("error: interrupted")
    assert failed.returncode not in (0, 2, 3, 130)
    assert "Traceback" in failed.stderr and "ValueError: a bug" in failed.stderr.splitlines()[-1]
