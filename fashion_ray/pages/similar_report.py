"""The pages of similar products. In: facts, books and examples, or a table. Out: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fashion_ray.pages.rendering import environment, picture
from fashion_ray.pages.similar_sheet import Shown, examples_sheet


def similar_report(
    *,
    title: str,
    facts: Mapping[str, str],
    books: Mapping[str, int],
    histogram: bytes | None,
    examples: Sequence[tuple[str, Sequence[Shown]]],
    warnings: Sequence[str] = (),
) -> str:
    """What was compared, whether the books balance, how near neighbours are, and some of them. Everything is escaped."""
    return (
        environment()
        .get_template("similar_report.html.j2")
        .render(
            title=title,
            facts=facts,
            books=books,
            warnings=warnings,
            balanced=books["catalog"] == books["computed"] + books["carried_over"] + books["quarantined"],
            histogram=picture(histogram) if histogram else None,
            sheet=picture(examples_sheet(examples)) if examples else None,
            columns=[],
            rows=[],
        )
    )


def comparison_report(*, title: str, facts: Mapping[str, str], table: pd.DataFrame) -> str:
    """Precision at k by features (the first column) and label (the others)."""
    names = [str(name) for name in table.columns[1:]]
    best = {name: table[name].max() for name in names}
    rows = [
        {
            "name": row[0],
            "cells": [{"value": value, "best": value == best[name]} for name, value in zip(names, row[1:], strict=True)],
        }
        for row in table.itertuples(index=False, name=None)
    ]
    return (
        environment()
        .get_template("similar_report.html.j2")
        .render(title=title, facts=facts, books=None, warnings=(), histogram=None, sheet=None, columns=names, rows=rows)
    )
