"""An audit of labels, or a selection of what to label next. In: options, a catalog. Out: a published table, a CSV, a page.

audit/ and selection/ hold the snapshots; reports/audit-<name>/ and reports/selection-<name>/ the CSV and the page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from fashion_ray import snapshots
from fashion_ray.catalog.lookup import pictures
from fashion_ray.errors import ConflictError, UserError
from fashion_ray.insight import features as cached
from fashion_ray.insight import heads
from fashion_ray.insight.annotating import audit_csv, selection_csv
from fashion_ray.insight.audit_options import SCORES, AuditOptions
from fashion_ray.insight.judging import SUSPECT, answers, audit_rows, selection_rows
from fashion_ray.insight.material import Material, columns, material, scored_features
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

log = logging.getLogger(__name__)

AUDIT_TABLE, SELECTION_TABLE = "audit", "selection"
CSV, PAGE = "corrections.csv", "page.html"

SAME = ("root", "cache", "address", "cpus", "keep")
"""Options that change nothing in the result."""

RULE = 2
"""Of judging: another number for another way, so that what an earlier one published is not taken for the answer."""

Embed = Callable[[list[str], dict[str, bytes]], np.ndarray]
"""Picture hashes and the bundle of a pretrained trunk to features (products, dimensions), wherever they are computed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What is to be audited, settled before a cluster is asked for."""

    options: AuditOptions
    catalog: Snapshot
    scores: Snapshot | None
    """Whose embeddings are used; none if a pretrained trunk's are."""

    products: pa.Table
    trunk: dict[str, bytes] = field(default_factory=dict)
    """The bundle of the pretrained trunk."""

    @property
    def table(self) -> str:
        """Where the result is published."""
        return SELECTION_TABLE if self.options.select else AUDIT_TABLE

    @property
    def name(self) -> str:
        """Of the result, by everything that decides it."""
        decides = {name: value for name, value in vars(self.options).items() if name not in SAME}
        return snapshots.fingerprint(RULE, self.catalog.name, self.scores.name if self.scores else "", sorted(decides.items()))


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What was published."""

    snapshot: Snapshot
    figures: dict[str, float]
    already_current: bool

    @property
    def folder(self) -> str:
        """Of the CSV and the page, below the root."""
        return f"reports/{self.snapshot.table}-{self.snapshot.name}"


def prepare(options: AuditOptions, store: Store, catalog: Snapshot) -> Asked:
    """Read what is audited. Raises UserError where there is nothing to read or no label of the target."""
    products = store.read_table(catalog.folder, columns=columns(options.target))
    material(products, options.target, folds=options.folds, catch_all=options.catch_all)
    if options.features != SCORES:
        size = max(catalog.manifest["picture_sizes"], key=lambda size: catalog.manifest["picture_sizes"][size])
        height, width = (int(side) for side in size.split("x"))
        decoded = (height, width) if height <= cached.INPUT_SIZE[0] and width <= cached.INPUT_SIZE[1] else cached.INPUT_SIZE
        trunk = cached.raw_bundle(options.backbone, options.weights, decoded)
        return Asked(options=options, catalog=catalog, scores=None, products=products, trunk=trunk)
    scores = snapshots.current(store, "scores")
    if scores is None:
        raise UserError(
            f"--features: no scores below {store.uri!r}, whose embeddings were asked for; expected some that jobs/score.py "
            "published. Run it with the same --root, or pass --features pretrained"
        )
    return Asked(options=options, catalog=catalog, scores=scores, products=products)


def audit(asked: Asked, store: Store, embed: Embed, run_id: str) -> Audited:
    """Judge every label, or select, and publish. The same question about the same snapshots again changes nothing."""
    base = snapshots.current(store, asked.table)
    if base is not None and base.name == asked.name and snapshots.is_whole(store, base):
        return Audited(snapshot=base, figures=base.manifest["figures"], already_current=True)
    options, products = asked.options, asked.products
    hashes = products["image_sha256"].to_pylist()
    embedded = None
    if asked.scores is None:
        vectors = embed(hashes, asked.trunk)
    else:
        vectors, embedded = scored_features(store, asked.scores, products["product_id"].to_pylist(), hashes)
    subject = material(products, options.target, folds=options.folds, catch_all=options.catch_all, embedded=embedded)
    values = heads.standardised(vectors)
    found = answers(subject, values, subject.folds(options.folds, options.seed), with_titles=options.titles)
    if options.select:
        rows = selection_rows(
            subject, values, found, wanted=options.select, strategy=options.strategy, pool=options.pool, seed=options.seed
        )
        if rows.num_rows < options.select:
            log.warning("--select: got %d, but only %d products can be asked about", options.select, rows.num_rows)
        figures = {"selected": float(rows.num_rows)}
    else:
        rows = audit_rows(subject, values, found)
        figures = _figures(rows, subject)
    return _publish(asked, store, rows, subject, figures, base, run_id)


def _figures(rows: pa.Table, subject: Material) -> dict[str, float]:
    frame = rows.to_pandas()
    judged = frame[frame["kind"] == SUSPECT]
    suspect = judged["suggested"] != judged["label"]
    return {
        "judged": float(len(judged)),
        "suspects": float(suspect.sum()),
        "confident_learning": float((judged["confident_learning"] == True).sum()),  # noqa: E712
        "near_duplicates_disagree": float((judged["near_duplicates_disagree"] == True).sum()),  # noqa: E712
        "picture_agrees": float((judged["picture_label"] == judged["label"]).mean()),
        "title_agrees": float((judged["title_label"] == judged["label"]).mean()),
        "classes_too_rare": float(len(subject.rare)),
    }


def _publish(
    asked: Asked, store: Store, rows: pa.Table, subject: Material, figures: dict[str, float], base: Snapshot | None, run_id: str
) -> Audited:
    options = asked.options
    folder = snapshots.staging(asked.table, asked.name)
    written = store.write_table(rows, folder, "part-00000.parquet", row_group_rows=8192)
    manifest: dict[str, Any] = {
        "files": [snapshots.file_entry("part-00000.parquet", rows.num_rows, written)], "rows": rows.num_rows,
        "books": subject.books, "figures": figures, "catalog_snapshot": asked.catalog.name,
        "scores_snapshot": asked.scores.name if asked.scores else None, "target": options.target, "run_id": run_id,
        "features": options.features, "titles": options.titles, "base": base.name if base else None,
        "schema": [f"{one.name}: {one.type}" for one in rows.schema],
    }  # fmt: skip
    _write_reports(asked, store, rows, subject)
    try:
        snapshot = snapshots.publish(store, asked.table, asked.name, manifest, base=base)
    except ConflictError:
        published = snapshots.current(store, asked.table)
        if published is None or published.name != asked.name:
            raise
        snapshot = published  # another run published the same first: both end right
    return Audited(snapshot=snapshot, figures=figures, already_current=False)


def _write_reports(asked: Asked, store: Store, rows: pa.Table, subject: Material) -> None:
    from fashion_ray.pages.audit_report import SHOWN, audit_report, pictured  # plots take a second to import

    options, folder = asked.options, f"reports/{asked.table}-{asked.name}"
    selected, suspects, caught = rows.slice(0, SHOWN).to_pylist(), [], []
    if options.select:
        content = selection_csv(rows, prefill=options.prefill)
    else:
        listed, apart = _listed(rows, options.top)
        content = audit_csv(pa.concat_tables([listed, apart]), prefill=options.prefill)
        selected, suspects, caught = [], listed.to_pylist(), apart.to_pylist()
    store.write_bytes(content, folder, CSV)
    page = audit_report(
        title=f"What to label next: {options.target}" if options.select else f"Label audit: {options.target}",
        facts={
            "catalog snapshot": asked.catalog.name,
            "features": f"scores {asked.scores.name}" if asked.scores else f"{options.backbone}, {options.weights}",
            "judged by": "picture and title" if options.titles else "picture",
            "folds": f"{options.folds}, near-duplicates in one",
            **({"strategy": options.strategy} if options.select else {}),
        },
        books=subject.books, rare=subject.rare, suspects=suspects, catch_all=caught, selected=selected,
        pictures=pictures(store, asked.catalog, pictured(selected, suspects, caught)),
        next_steps=[
            f"fill in the column `label` of `{store.show(folder, CSV)}`; an empty one changes nothing",
            f"`python jobs/ingest.py --labels {store.show(folder, CSV)}` applies it, `python jobs/train.py` learns from it",
        ],
    )  # fmt: skip
    store.write_bytes(page.encode(), folder, PAGE)


def _listed(rows: pa.Table, top: int) -> tuple[pa.Table, pa.Table]:
    """The suspects that people are asked about, and the products of catch-all classes."""
    kinds = np.array(rows["kind"].to_pylist())
    disputed = np.array(rows["suggested"].to_pylist(), dtype=object) != np.array(rows["label"].to_pylist(), dtype=object)
    suspects = np.flatnonzero((kinds == SUSPECT) & disputed)[:top]
    return rows.take(pa.array(suspects)), rows.take(pa.array(np.flatnonzero(kinds != SUSPECT)))


def describe(result: Audited, store: Store) -> str:
    """The books, the figures and where everything lies."""
    manifest, books = result.snapshot.manifest, result.snapshot.manifest["books"]
    lines = [
        f"catalog {books['catalog']} = judged {books['judged']} + unlabelled {books['unlabelled']} + catch-all "
        f"{books['catch_all']} + too rare {books['too_rare']} + without embedding {books['no_embedding']}"
    ]
    if result.snapshot.table == AUDIT_TABLE:
        lines.append(
            f"{manifest['target']}: {result.figures['suspects']:.0f} labels are less likely than another; the picture's answer "
            f"is the label in {result.figures['picture_agrees']:.1%}, the title's in {result.figures['title_agrees']:.1%}"
        )
    else:
        lines.append(f"{manifest['target']}: {result.figures['selected']:.0f} products to label next")
    return "\n".join(
        [
            *lines,
            f"{result.snapshot.table:<9} {store.show(result.snapshot.folder)}"
            + (" (unchanged)" if result.already_current else ""),
            f"CSV       {store.show(result.folder, CSV)}",
            f"page      {store.show(result.folder, PAGE)}",
        ]
    )
