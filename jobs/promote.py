"""Compare the challenger with the champion, and promote it if it is better: python jobs/promote.py"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster, tracking
from fashion_ray.config import absolute
from fashion_ray.errors import GateRefused
from fashion_ray.models import engines
from fashion_ray.promotion.describe import describe, look, report
from fashion_ray.promotion.options import PromoteOptions
from fashion_ray.promotion.promote import hold, prepare, settle
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(PromoteOptions, arguments, example="python jobs/promote.py --target articleType")
    store = Store(absolute(options.root))
    tracked = tracking.locate(store)
    if (text := look(options, tracked)) is not None:
        print(text)
        return
    catalog = catalog_of(store)
    store.check_writable()
    contest = prepare(options, store, catalog, tracked)
    with tracking.run(tracked, "promote", tracking.flat(options) | {"catalog_snapshot": catalog.name}) as run:
        with cluster.connect(options.address, cpus=options.cpus) as has:
            choice = engines.choose(options.engine, options.precision, gpus=has.gpus, **engines.of_this_node())
            outcome = hold(contest, store, choice)
        page = report(outcome, store, run)
        became = settle(outcome, run)
    print(describe(outcome))
    print(became)
    print("report", page)
    if not outcome.promoted:
        raise GateRefused("; ".join(outcome.objections) + ". Pass --because REASON to promote it all the same")


if __name__ == "__main__":
    cli.run(main)
