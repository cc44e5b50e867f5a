"""Read a product feed into the catalog: python jobs/ingest.py --source feed.zip"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster, tracking
from fashion_ray.catalog.options import IngestOptions
from fashion_ray.catalog.reporting import describe, ingest_and_log
from fashion_ray.catalog.request import requested
from fashion_ray.catalog.running import on_cluster
from fashion_ray.config import absolute
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(IngestOptions, arguments, example="python jobs/ingest.py --source fashion-product-images-small.zip")
    store = Store(absolute(options.root))
    store.check_writable()
    request = requested(options, store)
    tracked = tracking.run(tracking.locate(store), "ingest", tracking.flat(options) | {"source": request.source.name})
    with tracked as run, cluster.connect(options.address, cpus=options.cpus):
        result, figures = ingest_and_log(run, store, request, on_cluster)
    for line in describe(store, result, figures):
        print(line)


if __name__ == "__main__":
    cli.run(main)
