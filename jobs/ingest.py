"""Read a product feed into the catalog: python jobs/ingest.py --source feed.zip"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster, tracking
from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.options import IngestOptions
from fashion_ray.catalog.sources import open_source
from fashion_ray.config import absolute
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(IngestOptions, arguments, example="python jobs/ingest.py --source fashion-product-images-small.zip")
    source = open_source(options.source, seed=options.seed, products=options.products)
    store = Store(absolute(options.root))
    store.check_writable()
    tracked = tracking.run(tracking.locate(store), "ingest", tracking.flat(options))
    with tracked as run, cluster.connect(options.address, cpus=options.cpus):
        result = ingest(source, store, run_id=run.run_id)
        run.tags({"catalog_snapshot": result.snapshot.name})
        run.metrics({f"ingest/{name}": count for name, count in result.books.items()})
    books = result.books
    print("catalog unchanged" if result.already_current else "catalog published", store.show(result.snapshot.folder))
    print(
        f"pictures {books['pictures']} = catalog {books['pictures_in_catalog']} + quarantined {books['pictures_quarantined']}"
        f"; {books['pictures_without_row']} of the catalog are unlabelled"
    )
    print(
        f"rows {books['rows']} = labelled {books['rows_labelled']} + missing picture {books['rows_missing_picture']}"
        f" + quarantined {books['rows_quarantined']}"
    )
    print("quarantine", store.show(result.snapshot.manifest["quarantine"]))


if __name__ == "__main__":
    cli.run(main)
