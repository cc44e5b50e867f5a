"""Fine-tune a network on the catalog and register the bundle: python jobs/train.py"""

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
from fashion_ray.training import publish
from fashion_ray.training.options import PRESETS, TrainOptions
from fashion_ray.training.preparing import prepare
from fashion_ray.training.run import claim, new_name, parameters_of, train


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(TrainOptions, arguments, example="python jobs/train.py --schedule heads:3,top2:5", presets=PRESETS)
    store = Store(absolute(options.root))
    catalog = catalog_of(store)
    store.check_writable()
    prepared = prepare(options, store, catalog)
    name = options.name or new_name()
    with (
        claim(store, options, catalog, name) as noted,
        tracking.run(
            tracking.locate(store), "train", parameters_of(options, catalog, name), name=name, claim=noted["claim"]
        ) as run,
    ):
        print(f"run {name}; if it is interrupted, the same command with --name {name} continues it", flush=True)
        with cluster.connect(options.address, cpus=options.cpus, dashboard=True) as has:
            choice = engines.choose(options.engine, options.precision, gpus=has.gpus, **engines.of_this_node())
            result = train(prepared, store, choice, has, run, name)
        became = publish.publish(result, store, catalog, run, name)
    print(publish.summary(result))
    print(became)
    print("bundle", store.show("models", result.card.model_version))
    print("report", store.show("reports", name, "training.html"))


if __name__ == "__main__":
    cli.run(main)
