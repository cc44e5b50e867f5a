"""Look through the published scores: python jobs/browse.py --output catalog.html, python jobs/browse.py --serve"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli
from fashion_ray.browsing.options import BrowseOptions
from fashion_ray.browsing.running import serve, write
from fashion_ray.browsing.server import Site, open_server
from fashion_ray.browsing.shelf import open_shelf
from fashion_ray.config import absolute
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(BrowseOptions, arguments, example="python jobs/browse.py --output catalog.html")
    shelf = open_shelf(Store(absolute(options.root)), options.snapshot)
    if not options.serve:
        print(write(shelf, options))
        return
    with open_server(Site(shelf=shelf, neighbours=options.neighbours), options.host, options.port) as server:
        print(
            f"serving {shelf.table.num_rows} products on http://{options.host}:{server.server_port}/ until interrupted",
            flush=True,
        )
        serve(server)


if __name__ == "__main__":
    cli.run(main)
