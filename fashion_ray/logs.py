"""How jobs and their workers log: one readable line a step, this project's own alone. Libraries keep their warnings.

In: log records. Out: lines on standard error, as text or as a JSON object each.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from fashion_ray.config import without_password


class Blanking(logging.Formatter):
    """Lines without the passwords and secret parameters of the URIs in them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback if it has one."""
        return without_password(super().format(record))


class JsonLines(logging.Formatter):
    """A record as a JSON object on one line: time (UTC), level, logger, message, the record's `fields`, traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_password(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = without_password(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def show_progress() -> None:
    """Send this project's log lines to standard error, with the time and without the noise of the libraries below."""
    logger = logging.getLogger("fashion_ray")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler(sys.stderr))
    set_format("text")


def set_format(kind: str) -> None:
    """Let the lines of `show_progress` be `text` or `json`; nothing happens where there are none."""
    plain = Blanking("%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for handler in logging.getLogger("fashion_ray").handlers:
        handler.setFormatter(JsonLines() if kind == "json" else plain)
