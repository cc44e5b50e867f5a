"""Options that every job has, and how options are checked. In: values and the environment. Out: a checked dataclass.

Config stops at the wiring: pure modules take plain values, never one of these classes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fashion_ray.errors import UserError

ROOT_VARIABLE = "FASHION_RAY_ROOT"
CACHE_VARIABLE = "FASHION_RAY_CACHE"
LOG_VARIABLE = "FASHION_RAY_LOG_FORMAT"
LOG_FORMATS = ("text", "json")
NEEDS_VARIABLE = "FASHION_RAY_NEEDS"
DEFAULT_ROOT = "./workspace"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Problems:
    """Collects everything that is wrong with a set of options, so that the user hears of all of it at once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def check(self, ok: bool, name: str, got: object, expected: str, remedy: str = "") -> None:
        """Note a problem with option `name` unless `ok`."""
        if not ok:
            shown = "--" + name.replace("_", "-")
            self._lines.append(f"{shown}: got {got!r}, expected {expected}" + (f"; {remedy}" if remedy else ""))

    def raise_if_any(self) -> None:
        """Raise one UserError that lists every problem noted so far, on one line."""
        if self._lines:
            raise UserError(" | ".join(self._lines))


def inside_submitted_job() -> bool:
    """Whether this process is the entry point of a `ray job submit`, whose working directory is a temporary copy."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def is_uri(location: str) -> bool:
    """Whether a location names its own storage (s3://, gs://, file://, ...) rather than a path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", location) is not None


def without_password(text: str) -> str:
    """The text without the user, password and secret parameters of the URIs in it: for logs, manifests and MLflow."""
    text = re.sub(r"(?<=://)([^\s/:@]*:\S*|[^\s/@]+)@", "", text)
    secret = r"[^=&\s]*(?:token|secret|signature|credential|key|password)[^=&\s]*|sig"
    return re.sub(rf"(?i)([?&](?:{secret})=)[^&\s]+", r"\1***", text)


def absolute(location: str, *, option: str = "--root") -> str:
    """Return a location that means the same in every process; a relative path is taken from the working directory.

    Raises UserError for a relative path inside a submitted job, where the working directory is a temporary copy.
    """
    if is_uri(location):
        return location.rstrip("/")
    if any(mark in location for mark in ("?", "#", "%", "::")):
        raise UserError(f"{option}: got {location!r}, which reads as a URI's parts; expected a path without ?, #, % and ::")
    path = Path(location).expanduser()
    if not path.is_absolute() and inside_submitted_job():
        raise UserError(
            f"{option}: got the relative path {location!r} inside a submitted job, whose working directory is a temporary "
            f"copy; expected an absolute path or a URI such as s3://bucket/prefix. Pass {option} /absolute/path, or submit "
            f'with --runtime-env-json \'{{"env_vars": {{"{ROOT_VARIABLE}": "/absolute/path"}}}}\' '
            "(variables of the shell that submits are not forwarded)"
        )
    return str(Path(os.path.abspath(path)))


def default_root() -> str:
    """The root of this process's environment."""
    return os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT


def default_cache() -> str:
    """The node-local cache of this process's environment."""
    return os.environ.get(CACHE_VARIABLE) or str(Path.home() / ".cache" / "fashion_ray")


def default_log_format() -> str:
    """How this process's environment wants its log."""
    return os.environ.get(LOG_VARIABLE) or LOG_FORMATS[0]


def needs_of(environment: Mapping[str, str]) -> dict[str, int]:
    """What a cluster is to have before a job plans its work, such as `GPU:2,CPU:16`; nothing if the variable is not set.

    Raises UserError.
    """
    text = environment.get(NEEDS_VARIABLE, "").strip()
    found: dict[str, int] = {}
    for part in text.split(",") if text else []:
        match = re.fullmatch(r"\s*([A-Za-z][\w.-]*)\s*:\s*(\d{1,4})\s*", part)
        if match is None or match[1] in found:
            raise UserError(
                f"{NEEDS_VARIABLE}: got {text!r}, expected NAME:NUMBER,..., each name once, such as GPU:2 or CPU:32"
            )
        found[match[1]] = int(match[2])
    return {name: count for name, count in found.items() if count}


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options of every job."""

    root: str = field(default_factory=default_root)
    """Where everything is read and written: a path or a URI such as s3://bucket/prefix (environment FASHION_RAY_ROOT)."""

    cache: str = field(default_factory=default_cache)
    """Node-local folder for what can be rebuilt: exported engines, activations (environment FASHION_RAY_CACHE)."""

    address: str | None = None
    """Ray cluster to join, for example auto; none starts a Ray of its own (RAY_ADDRESS and submitted jobs join theirs)."""

    cpus: int | None = None
    """Processors that a Ray of its own may use; none means all of this machine."""

    log_format: str = field(default_factory=default_log_format)
    """text, a readable line a step, or json, an object a line (environment FASHION_RAY_LOG_FORMAT)."""

    def problems(self) -> Problems:
        """Check the options common to all jobs."""
        found = Problems()
        found.check(bool(self.root.strip()), "root", self.root, "a path or a URI")
        found.check(not is_uri(self.cache), "cache", self.cache, "a folder of this machine", "caches are node-local")
        found.check(self.cpus is None or self.cpus >= 1, "cpus", self.cpus, "at least 1")
        found.check(self.log_format in LOG_FORMATS, "log_format", self.log_format, f"one of {', '.join(LOG_FORMATS)}")
        return found
