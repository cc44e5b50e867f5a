"""How jobs and their workers log: one readable line a step, this project's own alone. Libraries keep their warnings."""

from __future__ import annotations

import logging
import sys


def show_progress() -> None:
    """Send this project's log lines to standard error, with the time and without the noise of the libraries below."""
    logger = logging.getLogger("fashion_ray")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        logger.addHandler(handler)
