"""What a run of jobs/similar.py says and shows. In: options. Out: lines for a log, a page, figures and files for MLflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import metrics, snapshots, spreadsheets, tracking
from fashion_ray.catalog.lookup import pictures
from fashion_ray.insight.comparing import Comparison, compare_features
from fashion_ray.insight.query import caption
from fashion_ray.insight.similar import SimilarResult, similar_products, table_of
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.memory import Peak
from fashion_ray.storage import Store

EXAMPLES = 10
COLUMNS = ("articleType", "productDisplayName")


def similar_and_log(options: SimilarOptions, store: Store, run: tracking.TrackedRun, peak: Peak) -> str:
    """Publish similar products, or compare features with --compare, on a connected Ray; what to print."""
    if options.compare:
        return _compared(compare_features(options, store, run_id=run.run_id), options, store, run)
    result, page = publish_and_log(options, store, run, peak)
    return _describe(result, options, store, page)


def publish_and_log(options: SimilarOptions, store: Store, run: tracking.TrackedRun, peak: Peak) -> tuple[SimilarResult, str]:
    """Publish similar products on a connected Ray, with figures, files and a page; the page's place beside them."""
    with metrics.stage("similar"):
        result = similar_products(options, store, run_id=run.run_id)
    peak.sample()
    figures = {**result.books, **result.seconds, "peak_memory_gb": peak.size_bytes / 1e9}
    run.metrics({f"similar/{name}": value for name, value in figures.items()})
    if result.recall is not None:
        run.metrics({"similar/recall": result.recall})
    run.tags({"similar_snapshot": result.snapshot.name, "source": result.snapshot.manifest["source"]})
    page = (f"reports/{table_of(options)}-{result.snapshot.name}", "similar.html")
    if not result.already_current or not store.exists(*page):
        store.write_bytes(_page(result, options, store, run).encode(), *page)
    run.file(store.read_bytes(*page), "similar.html")
    snapshots.retain(store, table_of(options), options.keep)
    return result, store.show(*page)


def _describe(result: SimilarResult, options: SimilarOptions, store: Store, page: str) -> str:
    books = result.books
    lines = [
        f"catalog {books['catalog']} = computed {books['computed']} + carried over {books['carried_over']} "
        f"+ quarantined {books['quarantined']}; {books['pairs']} pairs, {books['fewer_than_k']} products have fewer than "
        f"{options.k}",
    ]
    if result.recall is not None:
        lines.append(f"recall at {options.k} {result.recall:.4f} against the exact neighbours of a sample")
    if result.seconds:
        lines.append(", ".join(f"{name.removesuffix('_s')} {spent:.1f} s" for name, spent in result.seconds.items()))
    unchanged = " (unchanged)" if result.already_current else ""
    return "\n".join([*lines, f"similar {store.show(result.snapshot.folder)}{unchanged}", f"page    {page}"])


def _page(result: SimilarResult, options: SimilarOptions, store: Store, run: tracking.TrackedRun) -> str:
    from fashion_ray.pages.similar_report import similar_report  # plots take a second to import
    from fashion_ray.pages.similar_sheet import similarity_histogram

    files = [entry["name"] for entry in result.snapshot.manifest["files"]]
    table = pa.concat_tables(snapshots.read_files(store, result.snapshot.folder, files, ["product_id", "similar"]))
    lists = table["similar"].combine_chunks()
    counts = pc.list_value_length(lists).to_numpy()
    similarity = pc.struct_field(pc.list_flatten(lists), "similarity").to_numpy()
    ends = np.cumsum(counts)
    first = similarity[(ends - counts)[counts > 0]]
    last = similarity[ends[counts >= options.k] - 1]
    histogram = similarity_histogram(first.tolist(), last.tolist(), options.k) if len(first) else None
    if histogram is not None:
        run.file(histogram, "plots/similarity.png")
    manifest = result.snapshot.manifest
    shown = ("source", "catalog_snapshot", "trunk_version", "base", "run_id")
    facts = {name.replace("_", " "): str(manifest[name] or "none") for name in shown}
    facts |= {name.replace("_", " "): str(value) for name, value in manifest["settings"].items()}
    if result.recall is not None:
        facts["recall"] = f"{result.recall:.4f} of the exact neighbours of a sample"
    return similar_report(
        title=f"Similar products {result.snapshot.name}",
        facts=facts,
        books=result.books,
        histogram=histogram,
        examples=_examples(result, table, store, options.seed),
    )


def _examples(
    result: SimilarResult, table: pa.Table, store: Store, seed: int
) -> list[tuple[str, list[tuple[bytes | None, str]]]]:
    """Some products and their neighbours; longer lists are cut to seven."""
    having = np.flatnonzero(pc.list_value_length(table["similar"]).to_numpy())
    drawn = np.random.default_rng(seed).permutation(having)[:EXAMPLES]
    rows = table.take(pa.array(np.sort(drawn))).to_pylist()
    wanted = {row["product_id"] for row in rows} | {one["product_id"] for row in rows for one in row["similar"][:7]}
    catalog = result.products.catalog
    labels = store.read_table(catalog.folder, columns=["product_id", *COLUMNS])
    labels = labels.filter(pc.is_in(labels["product_id"], pa.array(sorted(wanted), pa.string())))
    about = {one["product_id"]: one for one in labels.to_pylist()}
    seen = pictures(store, catalog, sorted(wanted))
    groups = []
    for row in rows:
        own: dict[str, Any] = about[row["product_id"]]
        members = [(seen.get(row["product_id"]), f"{own['articleType'] or '(no label)'}\n{row['product_id']}")]
        members += [(seen.get(one["product_id"]), caption(about[one["product_id"]] | one)) for one in row["similar"][:7]]
        groups.append((own["productDisplayName"] or row["product_id"], members))
    return groups


def _compared(found: Comparison, options: SimilarOptions, store: Store, run: tracking.TrackedRun) -> str:
    from fashion_ray.pages.similar_report import comparison_report

    facts = {
        "queries": f"{found.queries} products of the test side", "candidates": f"{found.candidates} labelled products",
        "neighbours": f"{found.k}, near-duplicates of the query left out", "run id": run.run_id,
    }  # fmt: skip
    page = comparison_report(title="Features compared", facts=facts, table=found.table)
    place = ("reports", f"similar-compare-{run.run_id[:16]}", "comparison.html")
    store.write_bytes(page.encode(), *place)
    run.file(page, "comparison.html")
    run.file(spreadsheets.to_csv(found.table), "tables/precision.csv")
    for row in found.table.to_dict("records"):
        name = str(row["features"]).replace(" ", "_")
        run.metrics({f"precision_at_{found.k}/{name}/{target}": row[target] for target in found.table.columns[1:]})
    shown = found.table.to_string(index=False, float_format=lambda value: f"{value:.4f}")
    head = f"precision at {found.k} of {found.queries} test products against {found.candidates}"
    return f"{head}\n{shown}\npage {store.show(*place)}"
