"""The command line of a job, derived from its options. In: arguments. Out: options, and an exit status.

0 done; 2 the user's input is wrong; 3 done but a gate refused to publish; anything else a failure with its traceback.
"""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import tyro

from fashion_ray.config import JobOptions, without_password
from fashion_ray.errors import GateRefused, UserError, user_error_behind
from fashion_ray.logs import set_format, show_progress

Options = TypeVar("Options")


def parse(
    options: type[Options],
    arguments: Sequence[str],
    *,
    example: str,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    chooser: str = "--preset",
) -> Options:
    """Build a job's options from its arguments; `--preset NAME` (or another `chooser`) is read first and replaces the defaults.

    Raises UserError for anything that is not an option, or not a value of one. `--help` prints and exits with 0.
    """
    defaults: dict[str, Any] = {}
    if presets is not None:
        name = _preset_name(arguments, chooser)
        if name is not None and name not in presets:
            raise UserError(f"{chooser}: got {name!r}, expected one of {', '.join(presets)}")
        defaults = dict(presets[name]) if name is not None else {}
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed = tyro.cli(
                options,
                args=list(arguments),
                default=options(**defaults),
                description=f"{(options.__doc__ or '').strip()}\n\nExample: {example}",
                config=(tyro.conf.OmitSubcommandPrefixes,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise user_error_behind(stop) or UserError(_plain(errors.getvalue()) + " (see --help)") from None
    if isinstance(parsed, JobOptions):
        set_format(parsed.log_format)
    return parsed


def _preset_name(arguments: Sequence[str], chooser: str) -> str | None:
    name = None
    for position, argument in enumerate(arguments):
        if argument.startswith(f"{chooser}="):
            name = argument.split("=", 1)[1]
        elif argument == chooser and position + 1 < len(arguments):
            name = arguments[position + 1]
    return name


def _plain(boxed: str) -> str:
    """Turn tyro's framed message into one line: what is wrong, without its frame, its title and the option's help."""
    lines = [re.sub(r"[│╭╮╰╯─]", "", line).strip() for line in boxed.splitlines()]
    text = " ".join(line for line in lines if line)
    text = re.sub(r"^(Value error|Parsing error|Unrecognized options|Missing required options?) ", "", text)
    text = re.split(r" (?:Argument helptext|For full helptext|Usage:|usage:)", text)[0]
    return re.sub(r"^Error parsing \w+Options: ", "", text).strip() or "the arguments could not be read"


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Run a job's main function and exit with the status that its outcome stands for."""
    show_progress()
    sys.excepthook = _traceback
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = main(sys.argv[1:]) or 0
    except GateRefused as refusal:
        _last_words(f"refused: {refusal}")
        status = 3
    except KeyboardInterrupt:
        _last_words("error: interrupted; nothing unfinished was published. The same command again goes on (train: --name)")
        status = 130
    except Exception as error:
        user_error = user_error_behind(error)
        if user_error is None:
            raise
        _last_words("error: " + " ".join(str(user_error).split()))
        status = 2
    sys.exit(status)


def _traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python prints of an error that nobody caught, without the secrets of the URIs in it."""
    sys.stdout.flush()
    print(without_password("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="", flush=True)


def _terminated(signal_number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _last_words(line: str) -> None:
    sys.stdout.flush()
    print(without_password(line), file=sys.stderr, flush=True)
