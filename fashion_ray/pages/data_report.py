"""The page of an ingest. In: its books, what the catalog is like, contact sheets. Out: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fashion_ray.catalog.schema import LABEL_COLUMNS, REASONS
from fashion_ray.catalog.statistics import CatalogStatistics, Leakage
from fashion_ray.pages import data_plots
from fashion_ray.pages.examples import SHEETS, QuarantinedExample
from fashion_ray.pages.rendering import environment, percent, picture

EQUATIONS: Mapping[str, Sequence[str]] = {
    "rows": ("rows_labelled", "rows_missing_picture", "rows_quarantined", "rows_withdrawn"),
    "pictures": ("pictures_in_catalog", "pictures_quarantined"),
}
"""The books of catalog.ingest: a total, and the parts that must add up to it."""

CHARTED = (*LABEL_COLUMNS, "joined_category")
"""The label columns whose classes are drawn; the reassigned ones look nearly like those that they come from."""

MANY_QUARANTINED = 0.05
MOST_SIZES = 8


def data_report(
    *,
    title: str,
    facts: Mapping[str, str],
    books: Mapping[str, int],
    summary: Mapping[str, int],
    statistics: CatalogStatistics,
    reasons: Mapping[str, int],
    reason_meanings: Mapping[str, str] = REASONS,
    equations: Mapping[str, Sequence[str]] = EQUATIONS,
    sheets: Mapping[str, bytes] | None = None,
    quarantined: Sequence[QuarantinedExample] = (),
    leakage: Leakage | None = None,
    warnings: Sequence[str] = (),
    next_steps: Sequence[str] = (),
) -> str:
    """What went in and what came out, then the labels, splits, sizes, gaps and duplicates of the catalog, with pictures.

    `summary` has added, changed, removed, unchanged and quarantined. `books` has totals and their parts, `equations` says
    which parts make which total; what does not add up is warned of, as is a `summary` that does not add up to the catalog or
    to the `reasons`. `reasons` counts the quarantined by reason. `sheets` has PNGs as pages.examples.sheets names them, and
    `quarantined` some of the quarantined rows. `leakage` is that of a plain random split. Everything from outside is escaped,
    except that `backticks` in warnings and next steps set code; the page fetches nothing. Raises ValueError for a sheet of
    another name, or if the books lack a part or the summary a figure.
    """
    pictures = dict(sheets or {})
    if unknown := sorted(set(pictures) - set(SHEETS)):
        raise ValueError(f"got the sheets {unknown}, expected only {list(SHEETS)}. Take them from examples.sheets")
    sums = balance_sheet(books, summary, statistics, reasons, equations)
    return (
        environment()
        .get_template("data_report.html.j2")
        .render(
            title=title,
            facts=facts,
            warnings=[*warnings, *warnings_about(statistics, sums, summary)],
            next_steps=next_steps,
            books=books,
            sums=sums,
            summary=summary,
            statistics=statistics,
            reasons=[
                {"reason": name, "count": count, "meaning": reason_meanings.get(name, "")}
                for name, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
            ],
            quarantined=quarantined,
            labels=_labels(statistics),
            sections=[_section(statistics, name) for name in statistics.labels["column"] if len(statistics.classes[name])],
            sizes=statistics.sizes.head(MOST_SIZES).to_dict("records"),
            more_sizes=statistics.sizes.iloc[MOST_SIZES:],
            leakage=leakage,
            sheets={name: picture(pictures[name]) if name in pictures else None for name in SHEETS},
        )
    )


def balance_sheet(
    books: Mapping[str, int],
    summary: Mapping[str, int],
    statistics: CatalogStatistics,
    reasons: Mapping[str, int],
    equations: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Each total with its parts, and whether they add up to it: of the books, of the catalog, of the quarantine.

    Raises ValueError if a part of a total is unknown.
    """
    needed = [("summary", summary, name) for name in ("added", "changed", "removed", "unchanged", "quarantined")]
    needed += [("books", books, part) for total, parts in equations.items() if total in books for part in parts]
    if absent := [f"{name} of the {where}" for where, figures, name in needed if name not in figures]:
        raise ValueError(f"got no {', '.join(absent)}; expected a count for each, 0 where there is none")
    parts_of = {total: {part: books[part] for part in parts} for total, parts in equations.items() if total in books}
    totals = {total: books[total] for total in parts_of}
    parts_of["products in the catalog"] = {name: summary[name] for name in ("added", "changed", "unchanged")}
    totals["products in the catalog"] = statistics.products
    if summary["quarantined"] or reasons:
        parts_of["quarantined"], totals["quarantined"] = dict(reasons), summary["quarantined"]
    return [
        {"total": total, "count": count, "parts": parts_of[total], "balanced": count == sum(parts_of[total].values())}
        for total, count in totals.items()
    ]


def warnings_about(statistics: CatalogStatistics, sums: Sequence[Mapping[str, Any]], summary: Mapping[str, int]) -> list[str]:
    """What a reader must know before training on this catalog."""
    found = [
        f"The books do not balance: {one['total']} {one['count']:,}, but the parts add up to {sum(one['parts'].values()):,}."
        for one in sums
        if not one["balanced"]
    ]
    if not statistics.labelled:
        found.append("No product has a label: there is nothing to train on.")
    seen = statistics.products + summary["quarantined"]
    if summary["quarantined"] > MANY_QUARANTINED * seen:
        found.append(f"{percent(summary['quarantined'] / seen)} of the feed is quarantined. Look at the reasons below.")
    rows = dict(zip(statistics.splits["split"], statistics.splits["products"], strict=True))
    if statistics.labelled and (empty := [side for side in ("train", "validation", "test") if not rows.get(side)]):
        found.append(f"No product in the {' and the '.join(empty)} split: the catalog is too small to be split.")
    leaks = {"validation": statistics.leakage.validation_share, "test": statistics.leakage.test_share}
    found += [
        f"{percent(share)} of the {side} rows have a near-duplicate among the training rows: figures on them flatter."
        for side, share in leaks.items()
        if share > 0
    ]
    return found


def _labels(statistics: CatalogStatistics) -> list[dict[str, Any]]:
    """The table of label columns, with the number of classes that no test row has."""
    rows: list[dict[str, Any]] = []
    for row in statistics.labels.to_dict("records"):
        untested = int((statistics.classes[row["column"]]["test"] == 0).sum())
        rows.append({str(name): value for name, value in row.items()} | {"untested": untested})
    return rows


def _section(statistics: CatalogStatistics, column: str) -> dict[str, Any]:
    counts = statistics.classes[column]
    bars = data_plots.class_bars(counts, title=column, minimum=statistics.minimum) if column in CHARTED else None
    return {
        "column": column,
        "bars": picture(bars) if bars is not None else None,
        "sides": [name for name in counts.columns if name not in ("class", "products")],
        "rows": counts.to_dict("records"),
    }
