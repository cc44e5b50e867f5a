"""What the driver needs for catalogs that are not here: python benchmarks/million.py --rows 1000000

Draws the tables of so many products, without pictures and embeddings, and puts them through the functions by which drivers
plan: a night of scoring (the first, a quiet one, one with a hundredth new), the comparison of two nights, an ingest. Each runs
in a process of its own, at a tenth of the rows and at all. Out: processor time, and the bytes that each product takes.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import report
from fashion_ray import cli, snapshots
from fashion_ray.catalog import assembling, labels, schema, splits
from fashion_ray.catalog.pictures import DECODER_VERSION
from fashion_ray.catalog.plan import SHARD_ROWS, plan_ingest
from fashion_ray.config import Problems
from fashion_ray.models.engines import EngineChoice
from fashion_ray.scoring import changes, night, score
from fashion_ray.scoring.drift import drift
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.rows import score_key
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

CHOICE = EngineChoice(name="openvino", precision="f32", device="cpu")
TARGETS = ("masterCategory", "subCategory", "articleType")
CARD = SimpleNamespace(trunk_version="trunk", head_version="head", model_version="model", targets=list(TARGETS))
MODEL = cast(ResolvedModel, SimpleNamespace(name="million", files={}, card=CARD))
"""All that planning asks of a model."""

CHANGED = 100
"""One product in so many has another picture in the second catalog."""


@dataclass(frozen=True, kw_only=True)
class MillionOptions:
    """Plan for catalogs that are not here, and measure the driver's time and memory."""

    rows: int = 1_000_000
    """Products of the larger catalog; the smaller has a tenth."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(self.rows >= 1000, "rows", self.rows, "at least 1000")
        found.raise_if_any()


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(MillionOptions, arguments, example="python benchmarks/million.py --rows 1000000")
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        found = []
        for rows in (options.rows // 10, options.rows):
            store = Store(str(Path(temporary) / str(rows)))
            apart(draw, store, rows)
            found.append({step: apart(STEPS[step], store, rows) for step in STEPS})
    smaller, larger = found
    for step in STEPS:
        more = larger[step]["peak_bytes"] - smaller[step]["peak_bytes"]
        figures[step] = {
            "cpu_s": round(larger[step]["cpu_s"], 2),
            "microseconds_a_product": round(1e6 * larger[step]["cpu_s"] / options.rows, 2),
            "time_ratio": round(larger[step]["cpu_s"] / smaller[step]["cpu_s"], 2),
            "bytes_a_product": round(more / (options.rows - options.rows // 10)),
            "peak_gb": round(larger[step]["peak_bytes"] / 1e9, 3),
        }  # fmt: skip
    parts = "; ".join(
        f"{step}: {one['microseconds_a_product']:.1f} µs and {one['bytes_a_product']:.0f} bytes a product, "
        f"{one['time_ratio']:.1f} times a tenth's time"
        for step, one in figures.items()
    )
    report("million", {"rows": options.rows, "steps": figures}, f"{options.rows} products: {parts}")


def apart(step: Callable[[Store, int], object], store: Store, rows: int) -> dict[str, float]:
    """Processor time and peak resident memory of a step in a process of its own, forked from this one, which keeps nothing."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measured, step, store, rows).result()


def measured(step: Callable[[Store, int], object], store: Store, rows: int) -> dict[str, float]:
    """The same of a step in this process."""
    started = time.process_time()
    kept = step(store, rows)
    cpu_s = time.process_time() - started
    del kept
    return {"cpu_s": cpu_s, "peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)}


def identifiers(rows: int) -> pa.Array:
    """Product ids."""
    return pc.cast(pa.array(np.arange(10**8, 10**8 + rows)), pa.string())


def hashes(rows: int, *, seed: int, digits: int = 64) -> pa.Array:
    """Hexadecimal digests, no two alike."""
    drawn = np.random.default_rng(seed).integers(0, 256, size=(rows, digits // 2), dtype=np.uint8).tobytes().hex()
    return pa.array([drawn[start : start + digits] for start in range(0, len(drawn), digits)], type=pa.string())


def some(rows: int, classes: int, *, seed: int) -> pa.Array:
    """Class names."""
    drawn = np.random.default_rng(seed).integers(0, classes, size=rows)
    return pa.array([f"class {number}" for number in range(classes)]).take(pa.array(drawn))


def draw(store: Store, rows: int) -> None:
    """Publish a catalog, its scores, and beside them a catalog in which a hundredth of the pictures is another."""
    ids, digests = identifiers(rows), hashes(rows, seed=0)
    later = pc.if_else(pa.array(np.arange(rows) % CHANGED == 0), hashes(rows, seed=1), digests)
    words = {target: some(rows, 40 * (level + 1), seed=level) for level, target in enumerate(TARGETS)}
    for table, pictures in (("catalog", digests), ("later", later)):
        publish(store, table, pa.table({"product_id": ids, "image_sha256": pictures, **words}), {})
    keys = [score_key(sha, cast(Any, CARD), CHOICE) for sha in digests.to_pylist()]
    answers: dict[str, Any] = {}
    for target in TARGETS:
        answers[f"{target}_predicted"] = words[target]
        answers[f"{target}_probability"] = pa.array(np.full(rows, 0.9, dtype=np.float32))
    constant = {
        name: pa.array(np.full(rows, value)) for name, value in (("trunk_version", "trunk"), ("model_version", "model"))
    }
    scores = pa.table({"product_id": ids, "image_sha256": digests, "score_key": keys, **constant, **answers})
    facts = {"engine": CHOICE.name, "precision": CHOICE.precision, "decoder_version": DECODER_VERSION}
    publish(store, "scores", scores, facts)


def publish(store: Store, table: str, content: pa.Table, facts: dict[str, Any]) -> None:
    """A snapshot in files as long as an ingest makes them."""
    entries: list[dict[str, Any]] = []
    for start in range(0, content.num_rows, SHARD_ROWS):
        name = f"part-{len(entries):05d}.parquet"
        written = store.write_table(content.slice(start, SHARD_ROWS), table, "snapshots", "one", name)
        entries.append(snapshots.file_entry(name, min(SHARD_ROWS, content.num_rows - start), written))
    snapshots.publish(store, table, "one", {"files": entries, "rows": content.num_rows, **facts}, base=None)


def planned(store: Store, catalog: str, base: Snapshot | None, *, expected: int) -> list[pa.Table]:
    """The work of a night by file, as the driver hands it out; `expected` products are for the network."""
    snapshot = snapshots.current(store, catalog)
    assert snapshot is not None
    how = score.How(choice=CHOICE, cache="", run_id="million")
    found = score._plan(store, snapshot, MODEL, how, base, schema.QUARANTINE.empty_table())
    assert found.counts[night.SCORE] == expected, found.counts
    return night.by_part(found.work, [entry["name"] for entry in snapshot.manifest["files"]])


def first_night(store: Store, rows: int) -> object:
    """Nothing was scored before."""
    return planned(store, "catalog", None, expected=rows)


def quiet_night(store: Store, rows: int) -> object:
    """Everything is as it was."""
    return planned(store, "catalog", snapshots.current(store, "scores"), expected=0)


def busy_night(store: Store, rows: int) -> object:
    """A hundredth of the pictures is new."""
    return planned(store, "later", snapshots.current(store, "scores"), expected=-(-rows // CHANGED))


def compared(store: Store, rows: int) -> object:
    """Two nights side by side: what changed, and drift."""
    scores = snapshots.current(store, "scores")
    assert scores is not None
    names = [entry["name"] for entry in scores.manifest["files"]]
    before, after = (
        pa.concat_tables(snapshots.read_files(store, scores.folder, names, changes.columns(TARGETS))).combine_chunks()
        for _ in range(2)
    )
    keys = after["score_key"].combine_chunks()
    other = pc.if_else(pa.array(np.arange(rows) % CHANGED == 0), pc.binary_join_element_wise(keys, "new", ""), keys)
    after = after.set_column(after.column_names.index("score_key"), "score_key", other)
    table = changes.changes(before, after, targets=TARGETS)
    assert table.num_rows == -(-rows // CHANGED)
    return table, drift(before, after, targets=TARGETS)


def ingested(store: Store, rows: int) -> object:
    """The driver's part of a first ingest: rows matched with pictures, near-duplicates, groups, sides, files."""
    ids = identifiers(rows)
    words = {target: some(rows, 40 * (level + 1), seed=level) for level, target in enumerate(TARGETS)}
    given: dict[str, Any] = {"product_id": ids, "source_row": pa.array(np.arange(rows)), **words}
    feed = pa.table({field.name: given.get(field.name, pa.nulls(rows, field.type)) for field in schema.FEED_ROWS}).set_column(
        schema.FEED_ROWS.get_field_index("withdrawn"), "withdrawn", pa.array(np.zeros(rows, dtype=bool))
    )
    locators = pc.binary_join_element_wise("images/", pc.binary_join_element_wise(ids, "jpg", "."), "")
    pictures = pa.table({"locator": locators, "size_bytes": pa.nulls(rows, pa.int64())}, schema=schema.PICTURES)
    plan = plan_ingest(
        feed.cast(schema.FEED_ROWS), pictures, existing=pa.array([], pa.string()), delta=False, in_order=False, seen_at="now"
    )
    assert sum(portion.num_rows for portion in plan.portions) == rows
    looks = {"image_sha256": hashes(rows, seed=0), "perceptual_hash": hashes(rows, seed=2)}
    sizes = {name: pa.array(np.full(rows, 80, dtype=np.int32)) for name in ("width", "height", "piece", "position")}
    known = {**given, **looks, **sizes}
    facts = pa.table({name: known.get(name, pa.nulls(rows, pa.string())) for name in assembling.READY.names})
    facts = facts.append_column("stratum", pa.array(labels.stratum(facts), type=pa.string()))
    settled = splits.settle(facts, schema.KNOWN.empty_table())
    return plan.portions, settled, list(runs_of(facts, settled))


def runs_of(facts: pa.Table, settled: splits.Settled) -> Iterator[int]:
    """The second pass's tasks, one at a time as the driver makes them."""
    ready = facts.drop_columns(["stratum"])
    for name in ("group_id", "split"):
        ready = ready.set_column(ready.column_names.index(name), name, settled.groups[name])
    for run in assembling.plan_runs(schema.cast(ready, assembling.READY), row_bytes=1700):
        yield run.num_rows


STEPS: dict[str, Callable[[Store, int], object]] = {
    "first night": first_night, "quiet night": quiet_night, "busy night": busy_night, "comparison": compared,
    "ingest": ingested,
}  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
