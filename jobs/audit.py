"""Find labels that are probably wrong, or choose what to label next: python jobs/audit.py, python jobs/audit.py --select 500"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, snapshots, tracking
from fashion_ray.config import absolute
from fashion_ray.insight.audit import CSV, PAGE, audit, describe, prepare
from fashion_ray.insight.audit_options import AuditOptions
from fashion_ray.insight.embedding import features_of
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(AuditOptions, arguments, example="python jobs/audit.py --target articleType --titles")
    store = Store(absolute(options.root))
    catalog = catalog_of(store)
    store.check_writable()
    asked = prepare(options, store, catalog)
    parameters = tracking.flat(options) | {"catalog_snapshot": catalog.name}
    embed = partial(
        features_of, store=store, catalog=catalog, cache=options.cache, engine=options.engine, precision=options.precision,
        address=options.address, cpus=options.cpus,
    )  # fmt: skip
    with tracking.run(tracking.locate(store), asked.table, parameters) as run:
        result = audit(asked, store, embed, run.run_id)
        run.metrics({f"{asked.table}/{name}": value for name, value in result.figures.items()})
        run.tags({f"{asked.table}_snapshot": result.snapshot.name})
        for name in (CSV, PAGE):
            run.file(store.read_bytes(result.folder, name), name)
    snapshots.retain(store, asked.table, options.keep)
    print(describe(result, store))


if __name__ == "__main__":
    cli.run(main)
