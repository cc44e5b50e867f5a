"""How jobs and their workers log: one readable line a step, this project's own alone. Libraries keep their warnings."""

from __future__ import annotations

import logging
import sys

from fashion_ray.config import without_password


def show_progress() -> None:
    """Send this project's log lines to standard error, with the time and without the noise of the libraries below."""
    logger = logging.getLogger("fashion_ray")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Blanking("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        logger.addHandler(handler)


class Blanking(logging.Formatter):
    """Lines without the passwords and secret parameters of the URIs in them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback if it has one."""
        return without_password(super().format(record))
