"""The data page of an ingest. In: a published catalog. Out: an HTML page below reports/, and figures for MLflow."""

from __future__ import annotations

import pyarrow.compute as pc

from fashion_ray import metrics, tracking
from fashion_ray.catalog import schema
from fashion_ray.catalog.ingest import IngestResult, ingest
from fashion_ray.catalog.lookup import pictures
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.statistics import CatalogStatistics, Leakage, catalog_statistics, random_split_leakage
from fashion_ray.catalog.tasks import Each
from fashion_ray.pages.data_report import data_report
from fashion_ray.pages.examples import examples, sheets
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

SEED = 0
"""Of the plain random split whose leakage is stated, and of the pictures that are shown."""


def ingest_and_log(
    run: tracking.TrackedRun, store: Store, request: Request, each: Each
) -> tuple[IngestResult, dict[str, float]]:
    """Ingest, write the page, and put the figures and the page into MLflow; the result and the page's figures."""
    with metrics.stage("ingest"):
        result = ingest(request, store, run_id=run.run_id, each=each)
    if not result.already_current:
        books = result.books
        metrics.add(
            "fashion_ray_feed_rows",
            {name: books[f"rows_{name}"] for name in ("labelled", "missing_picture", "quarantined", "withdrawn")},
        )
    run.tags({"catalog_snapshot": result.snapshot.name})
    page, figures = report(store, result)
    run.metrics({f"ingest/{name}": value for name, value in (result.books | result.summary | figures).items()})
    run.file(page, "data.html")
    return result, figures


def report(store: Store, result: IngestResult) -> tuple[str, dict[str, float]]:
    """Write the page of a published catalog; its HTML, and what is worth following from ingest to ingest.

    An ingest that published nothing leaves the page of the one that did: it says what came in then.
    """
    snapshot = result.snapshot
    columns = [field.name for field in schema.CATALOG if field.name != "image"]
    table = store.read_table(snapshot.folder, columns=columns)
    quarantine = store.read_table(str(snapshot.manifest["quarantine"]))
    statistics = catalog_statistics(table)
    leaked = random_split_leakage(
        table["product_id"].to_pylist(),
        table["group_id"].to_pylist(),
        pc.is_valid(table["split"]).to_pylist(),
        tuple(snapshot.manifest["split_ratios"]),
        SEED,
    )
    figures = _figures(statistics, leaked)
    if result.already_current and store.exists(*page_path(snapshot)):
        return store.read_bytes(*page_path(snapshot)).decode(), figures
    chosen = examples(table, quarantine, SEED)
    page = data_report(
        title=f"Catalog {snapshot.name}",
        facts=_facts(snapshot),
        books=result.books,
        summary=result.summary,
        statistics=statistics,
        reasons=snapshot.manifest["quarantine_reasons"],
        sheets=sheets(chosen, pictures(store, snapshot, chosen.product_ids), result.previews),
        quarantined=chosen.quarantined,
        leakage=leaked,
        next_steps=["`python jobs/train.py` trains on this catalog", "`python jobs/score.py` scores it with the champion"],
    )
    store.write_bytes(page.encode(), *page_path(snapshot))
    return page, figures


def page_path(snapshot: Snapshot) -> tuple[str, ...]:
    """Where the page lies below the root."""
    return ("reports", f"catalog-{snapshot.name}", "data.html")


def _facts(snapshot: Snapshot) -> dict[str, str]:
    manifest = snapshot.manifest
    return {
        "source": manifest["source"],
        "kind": "delta" if manifest["delta"] else "full feed",
        "published": manifest["published_at"],
        "snapshot": snapshot.folder,
        "built on": manifest["base"] or "nothing",
        "corrections by people": f"{manifest['corrections']:,}",
        "kept out as bridges": f"{manifest['bridges']:,} this time",
        "MLflow run": manifest["run_id"],
    }


def _figures(statistics: CatalogStatistics, leaked: Leakage) -> dict[str, float]:
    noise = statistics.duplicates.noise
    found = {
        "near_duplicate_groups": statistics.duplicates.groups,
        "near_duplicate_pictures": statistics.duplicates.pictures,
        "exact_duplicate_pictures": statistics.duplicates.exact_pictures,
        "random_split_leakage": leaked.test_share,
        "split_leakage": statistics.leakage.test_share,
    }
    found |= {f"balance/{row['column']}": row["balance"] for row in statistics.labels.to_dict("records")}
    found |= {f"disagreement/{row['column']}": row["share"] for row in noise.to_dict("records")}
    return {name: float(value) for name, value in found.items() if value == value}


def describe(store: Store, result: IngestResult, figures: dict[str, float]) -> list[str]:
    """What an ingest says at its end."""
    books, summary, snapshot = result.books, result.summary, result.snapshot
    return [
        ("catalog unchanged " if result.already_current else "catalog published ") + store.show(snapshot.folder),
        f"pictures {books['pictures']} = catalog {books['pictures_in_catalog']} + quarantined {books['pictures_quarantined']}"
        f"; {books['pictures_without_row']} came without a row",
        f"rows {books['rows']} = labelled {books['rows_labelled']} + missing picture {books['rows_missing_picture']}"
        f" + quarantined {books['rows_quarantined']} + withdrawn {books['rows_withdrawn']}",
        f"products {snapshot.manifest['rows']} = unchanged {summary['unchanged']} + changed {summary['changed']}"
        f" + added {summary['added']}; removed {summary['removed']}, quarantined {summary['quarantined']}",
        f"near-duplicates: {figures['near_duplicate_groups']:.0f} groups of {figures['near_duplicate_pictures']:.0f} pictures; "
        f"a random split would leak into {figures.get('random_split_leakage', 0):.1%} of its test rows, this one into "
        f"{figures.get('split_leakage', 0):.1%}",
        f"quarantine {store.show(snapshot.manifest['quarantine'])}",
        f"page {store.show(*page_path(snapshot))}",
    ]
