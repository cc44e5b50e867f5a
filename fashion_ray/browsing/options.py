"""The options of jobs/browse.py."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fashion_ray.config import JobOptions

ANY_ADDRESS = ("", "0.0.0.0", "::", "[::]", "*")
HOST_PATTERN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class BrowseOptions(JobOptions):
    """Look through the published scores in a browser: one page to mail, or with --serve the whole catalog on localhost."""

    output: str = "catalog.html"
    """The file of the page, replaced as a whole."""

    limit: int = 2000
    """How many products the page has, drawn at random; 0 is all, and makes it large."""

    seed: int = 0
    """Which products are drawn."""

    neighbours: int = 5
    """How many most similar products are shown of each; 0 is none."""

    snapshot: str | None = None
    """The snapshot of scores that is shown: its name, as jobs/score.py --list has it; none is the current one."""

    serve: bool = False
    """Serve every product, page by page, until interrupted, and write no file."""

    host: str = "localhost"
    """With --serve: the name or address to listen on; requests that ask for another are refused. There is no password."""

    port: int = 8000
    """With --serve: the port; 0 takes a free one."""

    def __post_init__(self) -> None:
        found = self.problems()
        found.check(bool(self.output.strip()), "output", self.output, "a file, for example catalog.html")
        found.check(self.limit >= 0, "limit", self.limit, "0 (all) or more")
        found.check(self.seed >= 0, "seed", self.seed, "0 or more")
        found.check(0 <= self.neighbours <= 50, "neighbours", self.neighbours, "0 to 50")
        found.check(0 <= self.port <= 65535, "port", self.port, "0 to 65535")
        found.check(
            self.host not in ANY_ADDRESS and HOST_PATTERN.fullmatch(self.host) is not None, "host", self.host,
            "the one name or IPv4 address that browsers will use, such as localhost",
        )  # fmt: skip
        found.raise_if_any()
