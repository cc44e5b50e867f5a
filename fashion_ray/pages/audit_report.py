"""The page of a label audit or of a selection. In: ranked rows and pictures. Out: one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fashion_ray.pages.contact_sheet import contact_sheet
from fashion_ray.pages.rendering import environment, picture

SHOWN = 48
"""Products with a picture, of each section."""

PAIRS = 25
"""Pairs of label and suggestion in the table."""


def audit_report(
    *,
    title: str,
    facts: Mapping[str, str],
    books: Mapping[str, int],
    rare: Mapping[str, int],
    suspects: Sequence[Mapping[str, Any]],
    catch_all: Sequence[Mapping[str, Any]],
    selected: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes],
    next_steps: Sequence[str],
) -> str:
    """Suspect labels with their pictures, catch-all classes with what picture and title suggest, and what to label next.

    The rows are those of insight.judging, the most important first; only the first SHOWN of each are drawn. Everything from
    outside is escaped, and the page fetches nothing.
    """
    pairs = Counter((row["label"], row["suggested"]) for row in suspects)
    return (
        environment()
        .get_template("audit_report.html.j2")
        .render(
            title=title,
            warnings=[],
            facts=facts,
            books=books,
            rare=rare,
            pairs=[(*pair, count) for pair, count in pairs.most_common(PAIRS)],
            suspects=[_shown(row) for row in suspects[:SHOWN]],
            suspects_sheet=_sheet(suspects, pictures),
            catch_all=[_shown(row) for row in catch_all[:SHOWN]],
            catch_all_sheet=_sheet(catch_all, pictures),
            selected=[_shown(row) for row in selected[:SHOWN]],
            selected_sheet=_sheet(selected, pictures),
            next_steps=next_steps,
        )
    )


def pictured(*sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """The products whose pictures the page shows."""
    return list(dict.fromkeys(str(row["product_id"]) for rows in sections for row in rows[:SHOWN]))


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "" if value is None else value for name, value in row.items()}


def _sheet(rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes]) -> dict[str, Any] | None:
    cells = [
        (pictures.get(str(row["product_id"])), f"{row['label'] or '(none)'}\n> {row['suggested']}\n{row['product_id']}")
        for row in rows[:SHOWN]
    ]
    return picture(contact_sheet(cells)) if cells else None
