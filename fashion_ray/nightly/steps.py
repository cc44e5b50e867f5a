"""The steps of a night, in order. In: the plan and an open MLflow run. Out: what each has to say.

A step is a function; STEPS is the list, and a new step is a line in it. Each does what the job of its name does, can be done
again without harm, and raises what ends the night.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from fashion_ray import memory, metrics, snapshots
from fashion_ray.catalog.reporting import ingest_and_log, page_path
from fashion_ray.catalog.running import on_cluster
from fashion_ray.cluster import Resources
from fashion_ray.insight.similar_options import SimilarOptions
from fashion_ray.insight.similar_report import publish_and_log
from fashion_ray.models import engines
from fashion_ray.nightly.book import Book, StepReport, opened
from fashion_ray.nightly.options import NightlyOptions
from fashion_ray.nightly.plan import NightPlan, feed_of, prepare, source_is_feed
from fashion_ray.scoring.describe import score_and_log
from fashion_ray.scoring.score import How, catalog_of
from fashion_ray.storage import Store
from fashion_ray.tracking import TrackedRun, flat, inside, run

ALL = 10**9
"""Snapshots, where all are kept."""

Act = Callable[[NightPlan, TrackedRun, Resources], StepReport]


@dataclass(frozen=True)
class Step:
    """A step by the name that it has in the log, in MLflow and in the document."""

    name: str
    act: Act


def take_in(plan: NightPlan, tracked: TrackedRun, has: Resources) -> StepReport:
    """The feed becomes, or goes into, the catalog."""
    if plan.request is None:
        return StepReport(
            sentence="no feed tonight; the catalog stays as it is", snapshots={"catalog": catalog_of(plan.store).name}
        )
    with source_is_feed():
        result, _ = ingest_and_log(tracked, plan.store, plan.request, on_cluster)
    snapshots.retain(plan.store, "catalog", plan.options.keep_catalogs or ALL)  # and what refused feeds left behind
    summary, books = result.summary, result.books
    counts = {f"products_{name}": summary[name] for name in ("added", "changed", "removed", "unchanged")}
    counts |= {"feed_rows": books["rows"], "feed_pictures": books["pictures"], "catalog_quarantined": summary["quarantined"]}
    return StepReport(
        sentence=f"{summary['added']} added, {summary['changed']} changed, {summary['removed']} removed, "
        f"{summary['unchanged']} as they were, {summary['quarantined']} in quarantine",
        counts=counts,
        unchanged=result.already_current,
        snapshots={"catalog": result.snapshot.name},
        links={"data": plan.store.show(*page_path(result.snapshot))},
    )


def score_changes(plan: NightPlan, tracked: TrackedRun, has: Resources) -> StepReport:
    """What changed is scored; the gates look; the scores are published."""
    options, store, model = plan.options, plan.store, plan.model
    choice = engines.choose(options.engine, options.precision, gpus=has.gpus, **engines.of_this_node())
    how = How(
        choice=choice, cache=options.cache, run_id=tracked.run_id, limits=options.limits, publish_anyway=options.publish_anyway
    )
    with memory.peak() as peak:
        result = score_and_log(tracked, store, catalog_of(store), model, how, peak)
    snapshots.retain(store, "scores", options.keep)
    books, manifest = result.books, result.snapshot.manifest
    mine = manifest["run_id"] == tracked.run_id  # published tonight, be it by an attempt that died before it could say so
    page = ("reports", f"scores-{result.snapshot.name}", "changes.html")
    return StepReport(
        sentence=("nothing changed: " if result.already_current else "published: ")
        + f"catalog {books['catalog']} = scored {books['scored']} + carried over {books['carried_over']} "
        f"+ quarantined {books['quarantined']}",
        counts=as_it_stands(books) if result.already_current and not mine else books,
        figures=manifest.get("figures", {}) if mine else {},
        snapshots={"scores": result.snapshot.name},
        links={"changes": store.show(*page), "scores": store.show(result.snapshot.folder)},
    )


def as_it_stands(books: dict[str, int]) -> dict[str, int]:
    """The books of a night that published nothing: every row of the snapshot is carried over."""
    return {**books, "scored": 0, "from_embeddings": 0, "carried_over": books["scored"] + books["carried_over"]}


def find_similar(plan: NightPlan, tracked: TrackedRun, has: Resources) -> StepReport:
    """The most similar others of every product, where the scores can have changed them."""
    options, store = plan.options, plan.store
    if not options.similar:
        return StepReport(sentence="not asked for")
    asked = SimilarOptions(
        root=options.root, cache=options.cache, keep=options.keep, engine=options.engine, precision=options.precision
    )
    with memory.peak() as peak:
        result, page = publish_and_log(asked, store, tracked, peak)
    books = result.books
    if result.already_current and result.snapshot.manifest["run_id"] != tracked.run_id:
        books = {**books, "computed": 0, "carried_over": books["computed"] + books["carried_over"]}
    return StepReport(
        sentence=f"{books['computed']} computed, {books['carried_over']} carried over, {books['quarantined']} left out",
        counts={f"similar_{name}": books[name] for name in ("computed", "carried_over", "quarantined")},
        unchanged=result.already_current,
        snapshots={"similar": result.snapshot.name},
        links={"similar": page},
    )


STEPS: tuple[Step, ...] = (
    Step("ingest", take_in),
    Step("score", score_changes),
    Step("similar", find_similar),
)
"""In the order of the night. A step after `score` sees the scores that were published."""


def hold(options: NightlyOptions, store: Store, connect: Callable[[], AbstractContextManager[Resources]]) -> tuple[Book, bool]:
    """A whole night; its closed book, and whether it had been done before, which costs no connection to Ray.

    Raises UserError for a wrong feed or model, ConflictError while another night is under way, GateRefused if a gate refuses.
    """
    with opened(store, options.night, feed=feed_of(options), status_file=options.status_file) as book:
        plan = prepare(options, store)
        if book.is_done(plan.key):
            return book, True
        book.begin(plan.key, model_version=plan.model.card.model_version, feed_missing=plan.feed_missing)
        with connect() as has:
            walk(plan, book, has)
    return book, False


def walk(plan: NightPlan, book: Book, has: Resources, steps: Sequence[Step] = STEPS) -> None:
    """Every step in its order, each as a child of the night's MLflow run; the first that fails ends the night.

    A night that died goes on in the MLflow runs that it had begun.
    """
    parameters = flat(plan.options) | {"model_version": plan.model.card.model_version}
    nightly = run(plan.tracked, "nightly", parameters, claim=book.claim("nightly"))
    with metrics.stage("night"), nightly as parent:
        book.tracked("nightly", parent.run_id)
        parent.tags({"night": plan.options.night})
        for step in steps:
            with (
                book.step(step.name),
                run(plan.tracked, step.name, parameters, tags=inside(parent), claim=book.claim(step.name)) as tracked,
            ):
                book.tracked(step.name, tracked.run_id)
                report = step.act(plan, tracked, has)
            book.note(step.name, report)
            parent.metrics({f"night/{name}": value for name, value in report.counts.items()})
        parent.metrics({f"night/{name}_s": seconds for name, seconds in book.document["seconds"].items()})
