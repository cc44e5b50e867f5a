"""Search for better options of training, train the winner and register its bundle: python jobs/tune.py"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster, tracking
from fashion_ray.config import absolute
from fashion_ray.models import engines
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store
from fashion_ray.tuning import conducting, search
from fashion_ray.tuning.options import TuneOptions, plan_of
from fashion_ray.tuning.studies import STUDIES, defaults


def main(arguments: Sequence[str]) -> None:
    example = "python jobs/tune.py --search tpe --trials 20 --set schedule=heads:4"
    studies = {study: defaults(study) for study in STUDIES}
    options = cli.parse(TuneOptions, arguments, example=example, presets=studies, chooser="--study")
    store = Store(absolute(options.root))
    plan = plan_of(options, store.uri)
    catalog = catalog_of(store)
    store.check_writable()
    name = options.name or search.new_name()
    parameters = tracking.flat(options) | {"name": name, "catalog_snapshot": catalog.name}
    tags = {"study": options.study} if options.study else {}
    with (
        search.hold(plan, store, catalog, name) as noted,
        tracking.run(tracking.locate(store), "tune", parameters, name=name, tags=tags, claim=noted["claim"]) as run,
    ):
        print(f"search {name}; if it is interrupted, the same command with --name {name} continues it", flush=True)
        with cluster.connect(options.address, cpus=options.cpus, dashboard=True) as has:
            base = plan.base
            choice = engines.choose(base.engine, base.precision, gpus=has.gpus, **engines.of_this_node())
            for line in conducting.conduct(plan, store, catalog, choice, has, run, name):
                print(line, flush=True)


if __name__ == "__main__":
    cli.run(main)
