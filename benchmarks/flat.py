"""Whether scoring's memory stays flat: python benchmarks/flat.py --root ROOT --times 10

Scores the catalog, and the same catalog so many times over under new ids, each in a root of its own with the job itself, and
prints the peak memory of all its processes (sum of PSS, sampled) and the ratio of the two peaks.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ingest import PROJECT, measure, renamed
from benchmarks.material import BenchmarkOptions, model_of, report
from fashion_ray import cli, snapshots
from fashion_ray.config import absolute
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


@dataclass(frozen=True, kw_only=True)
class FlatOptions(BenchmarkOptions):
    """Score a catalog and a longer one, and compare the peaks of memory."""

    times: int = 10
    """How many times as long the second catalog is."""


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(FlatOptions, arguments, example="python benchmarks/flat.py --root workspace --times 10")
    model, source = model_of(options), Store(absolute(options.root))
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for times in (1, options.times):
            store = Store(str(Path(temporary) / str(times)))
            rows = repeated(source, store, times)
            place(model, store)
            command = ["jobs/score.py", "--model", model.card.model_version, "--publish-anyway", "--cache", options.cache]
            if options.cpus:
                command += ["--cpus", str(options.cpus)]
            found.append({"rows": rows, **measure([sys.executable, str(PROJECT / command[0]), *command[1:]], Path(store.uri))})
    once, longer = found
    ratio = longer["peak_gb"] / once["peak_gb"]
    report(
        "flat",
        {"once": once, "longer": longer, "peak_ratio": round(ratio, 3)},
        f"{options.times} times the rows: peak memory {ratio:.2f} times ({once['peak_gb']:.2f} GB, then "
        f"{longer['peak_gb']:.2f} GB), time {longer['wall_s'] / once['wall_s']:.1f} times",
    )


def repeated(source: Store, target: Store, times: int) -> int:
    """Publish the catalog so many times over, every product under new ids, in another root; how many rows it has."""
    catalog = catalog_of(source)
    files = []
    for entry, file in zip(catalog.manifest["files"], catalog.files, strict=True):
        table = source.read_table(file)
        for number in range(times):
            ids = [renamed(product_id, number) for product_id in table["product_id"].to_pylist()]
            longer = table.set_column(0, table.schema.field("product_id"), pa.array(ids, type=pa.string()))
            name = f"{number:03d}-{entry['name']}"
            written = target.write_table(longer, catalog.folder, name, compression="none", row_group_rows=512)
            files.append(snapshots.file_entry(name, longer.num_rows, written))
    rows = int(sum(file["rows"] for file in files))
    snapshots.publish(target, "catalog", catalog.name, {**catalog.manifest, "files": files, "rows": rows}, base=None)
    return rows


def place(model: ResolvedModel, target: Store) -> None:
    """Put a bundle where the job finds it by its version."""
    for name, content in model.files.items():
        target.write_bytes(content, "models", model.card.model_version, name)


if __name__ == "__main__":
    cli.run(main)
