"""What a processor does of the work beside the network: python benchmarks/rates.py --root ROOT

In: a catalog and its scores. Out: products for each second of processor time, whatever else the machine does: pictures that are
inspected as an ingest does it, pictures that are read and written again, scores that are carried over. benchmarks/scale.py
computes with these.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import BenchmarkOptions, report, sample
from fashion_ray import cli, snapshots
from fashion_ray.catalog.pictures import inspect
from fashion_ray.config import absolute
from fashion_ray.errors import UserError
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(BenchmarkOptions, arguments, example="python benchmarks/rates.py --root workspace --rows 1000")
    store = Store(absolute(options.root))
    scores, catalog = snapshots.current(store, "scores"), catalog_of(store)
    if scores is None:
        raise UserError(f"--root: {store.uri!r} has no scores, expected some to carry over; run jobs/score.py with it first")
    pictures = sample(options, ["image"], at_most=True)["image"].to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        target = Store(folder)

        def copied(file: str) -> int:
            table = store.read_table(file)
            target.write_table(table, "part.parquet")
            return int(table.num_rows)

        found = {
            "inspected": rate(lambda: len([inspect(content) for content in pictures]), options.repeats),
            "assembled": rate(lambda: copied(catalog.files[0]), options.repeats),
            "carried": rate(lambda: copied(scores.files[0]), options.repeats),
        }
    found["ingested"] = 1 / (1 / found["inspected"] + 2 / found["assembled"])  # read, staged and written: two passes
    sizes = {
        f"{snapshot.table}_bytes": sum(entry["size_bytes"] for entry in snapshot.manifest["files"]) / snapshot.manifest["rows"]
        for snapshot in (catalog, scores)
    }
    figures = {name: round(value, 1) for name, value in (found | sizes).items()}
    report(
        "rates",
        {"rows": len(pictures), **figures},
        f"a second of a processor: {found['inspected']:.0f} pictures inspected, {found['assembled']:.0f} read and written, so "
        f"{found['ingested']:.0f} ingested; {found['carried']:.0f} scores carried over; a product takes "
        f"{sizes['catalog_bytes']:.0f} bytes of catalog and {sizes['scores_bytes']:.0f} of scores",
    )


def rate(work: Callable[[], int], repeats: int) -> float:
    """Products a second of processor time, of all threads."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        rows = work()
        found.append(rows / max(1e-9, time.process_time() - started))
    return median(found)


if __name__ == "__main__":
    cli.run(main)
