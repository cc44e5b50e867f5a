"""Score the whole catalog, or one picture: python jobs/score.py, python jobs/score.py --image shoe.jpg"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster, tracking
from fashion_ray.config import absolute
from fashion_ray.models import engines
from fashion_ray.scoring.describe import describe
from fashion_ray.scoring.models import resolve
from fashion_ray.scoring.options import ScoreOptions
from fashion_ray.scoring.score import catalog_of, score
from fashion_ray.scoring.single import describe_picture, read_picture, score_picture
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(ScoreOptions, arguments, example="python jobs/score.py --model champion")
    store = Store(absolute(options.root))
    if options.image is not None:
        picture = read_picture(options.image)
        model = resolve(options.model, store, tracking.locate(store))
        choice = engines.choose(options.engine, options.precision, gpus=0, **engines.of_this_node())
        print(describe_picture(options.image, score_picture(picture, model, choice, cache=options.cache)))
        return
    catalog = catalog_of(store)
    store.check_writable()
    tracked = tracking.locate(store)
    model = resolve(options.model, store, tracked)
    parameters = tracking.flat(options) | {"model_version": model.card.model_version, "catalog_snapshot": catalog.name}
    with (
        tracking.run(tracked, "score", parameters) as run,
        cluster.connect(options.address, cpus=options.cpus) as has,
    ):
        choice = engines.choose(options.engine, options.precision, gpus=has.gpus, **engines.of_this_node())
        result = score(store, catalog, model, choice, cache=options.cache, run_id=run.run_id)
        run.metrics({f"score/{name}": value for name, value in {**result.books, **result.timing}.items()})
        run.tags({"scores_snapshot": result.snapshot.name})
    print(describe(result, store, model.card, tracked))


if __name__ == "__main__":
    cli.run(main)
