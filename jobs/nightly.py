"""A night: take the feed, score what changed, publish, tell the pager: python jobs/nightly.py --feed s3://feeds/{night}.zip"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # inside a submitted job nothing is installed

from fashion_ray import cli, cluster
from fashion_ray.config import absolute
from fashion_ray.nightly.document import summary
from fashion_ray.nightly.options import NightlyOptions
from fashion_ray.nightly.steps import hold
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    example = "python jobs/nightly.py --feed /feeds/{night}.zip --delta --status-file /var/run/nightly.json"
    options = cli.parse(NightlyOptions, arguments, example=example)
    store = Store(absolute(options.root))
    book, done = hold(options, store, lambda: cluster.connect(options.address, cpus=options.cpus))
    print(summary(book.document) + (" (done before, nothing to do)" if done else ""))
    for what, place in book.document["links"].items():
        print(what, place)


if __name__ == "__main__":
    cli.run(main)
