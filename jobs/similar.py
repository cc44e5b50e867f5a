"""The most similar others of every product, or of one: python jobs/similar.py, python jobs/similar.py --image shoe.jpg"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster, memory, tracking
from fashion_ray.config import absolute
from fashion_ray.insight.embeddings import scores_of
from fashion_ray.insight.query import answer_query, describe_query
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.insight.similar_report import similar_and_log
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(SimilarOptions, arguments, example="python jobs/similar.py --same gender --other-colour")
    store = Store(absolute(options.root))
    if options.product is not None or options.image is not None:
        print(describe_query(answer_query(options, store), store))
        return
    source = catalog_of(store) if options.baseline else scores_of(store, options.snapshot)
    store.check_writable()
    tracked = tracking.locate(store)
    with (
        tracking.run(tracked, "similar", tracking.flat(options) | {"source": f"{source.table}/{source.name}"}) as run,
        memory.peak() as peak,
        cluster.connect(options.address, cpus=options.cpus),
    ):
        said = similar_and_log(options, store, run, peak)
    print(said)


if __name__ == "__main__":
    cli.run(main)
