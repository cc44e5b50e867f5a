"""Score the whole catalog, or one picture: python jobs/score.py, python jobs/score.py --image shoe.jpg"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster, memory, snapshots, tracking
from fashion_ray.config import absolute
from fashion_ray.models import engines
from fashion_ray.scoring.describe import describe, look, score_and_log
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.options import ScoreOptions
from fashion_ray.scoring.score import How, catalog_of
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(ScoreOptions, arguments, example="python jobs/score.py --model champion")
    store = Store(absolute(options.root))
    if (text := look(options, store)) is not None:
        print(text)
        return
    catalog = catalog_of(store)
    store.check_writable()
    tracked = tracking.locate(store)
    model = resolve(options.model, store, tracked)
    parameters = tracking.flat(options) | {"model_version": model.card.model_version, "catalog_snapshot": catalog.name}
    with (
        tracking.run(tracked, "score", parameters) as run,
        memory.peak() as peak,
        cluster.connect(options.address, cpus=options.cpus) as has,
    ):
        choice = engines.choose(options.engine, options.precision, gpus=has.gpus, **engines.of_this_node())
        how = How(
            choice=choice, cache=options.cache, run_id=run.run_id, limits=options.limits, full=options.full,
            publish_anyway=options.publish_anyway,
        )  # fmt: skip
        result = score_and_log(run, store, catalog, model, how, peak)
    snapshots.retain(store, "scores", options.keep)
    print(describe(result, store, model.card, tracked))


if __name__ == "__main__":
    cli.run(main)
