"""The page of a night. In: its books, changes, movements of classes, drift and verdicts. Out: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fashion_ray.pages import plots
from fashion_ray.pages.contact_sheet import contact_sheet
from fashion_ray.pages.rendering import environment, picture
from fashion_ray.scoring.changes import cause_counts, most_telling, target_changed
from fashion_ray.scoring.drift import Drift, reading
from fashion_ray.scoring.gates import Accuracy, Verdict

TOO_RARE, NO_ANSWER = "(too rare)", "not asked"
MOST_CLASSES, MOST_PRODUCTS, MOST_PICTURES = 12, 48, 24

CAUSE_MEANINGS = {
    "new_product": "had no scores last night",
    "withdrawn": "left the catalog",
    "quarantined": "had scores last night and could not be scored tonight",
    "new_picture": "other bytes under the same product_id",
    "new_model": "the same picture, another model",
    "new_engine": "the same picture and model, another engine, precision or decoder",
}


def changes_report(
    *,
    title: str,
    facts: Mapping[str, str],
    books: Mapping[str, int],
    changes: pa.Table,
    targets: Sequence[str],
    classes: Mapping[str, pd.DataFrame],
    verdicts: Sequence[Verdict],
    published: bool,
    drift: Drift | None = None,
    accuracy_pairs: Mapping[str, tuple[Accuracy, Accuracy]] | None = None,
    pictures: Mapping[str, bytes] | None = None,
    warnings: Sequence[str] = (),
    next_steps: Sequence[str] = (),
) -> str:
    """What changed since last night, whether it may be published, which classes moved, and the products to look at.

    `books` has catalog, scored, carried_over and quarantined. `changes` is of scoring.changes.changes_schema(targets),
    `classes` has class_counts by target and `verdicts` is every gate's. `published` says what was done in the end, which may be
    against the gates. Without `drift` the page is that of a first
    night, when all products are new and none says more than another. `pictures` has the bytes of `pictured(changes)`, as
    far as they are known; without any there is no contact sheet. Everything from outside is escaped, except that `backticks` in
    warnings and next steps set code; the page fetches nothing. Raises ValueError if the books lack a figure.
    """
    if absent := [name for name in ("catalog", "scored", "carried_over", "quarantined") if name not in books]:
        raise ValueError(f"got books without {', '.join(absent)}; expected a count for each, 0 where there is none")
    telling = most_telling(changes, targets=targets, most=MOST_PRODUCTS if drift is not None else 0)
    causes = cause_counts(changes)
    return (
        environment()
        .get_template("changes_report.html.j2")
        .render(
            title=title,
            facts=facts,
            warnings=warnings,
            next_steps=next_steps,
            books=books,
            balanced=books["catalog"] == books["scored"] + books["carried_over"] + books["quarantined"],
            first=drift is None,
            published=published,
            causes=[{"cause": name, "count": causes[name], "meaning": CAUSE_MEANINGS[name]} for name in causes],
            relabelled=_relabelled(changes, targets, causes),
            verdicts=verdicts,
            refused=[verdict for verdict in verdicts if verdict.refused],
            idle=[verdict for verdict in verdicts if verdict.value is None or verdict.limit is None],
            drift=drift,
            readings={
                name: _readings(one.label_psi, one.probability_psi) for name, one in (drift.targets if drift else {}).items()
            },
            accuracy_pairs=accuracy_pairs or {},
            movements=[_movement(target, classes[target]) for target in targets if target in classes],
            telling=[_told(row, targets) for row in telling.to_pylist()],
            telling_of=changes.num_rows,
            sheet=_sheet(telling, targets, pictures or {}),
        )
    )


def pictured(changes: pa.Table, *, targets: Sequence[str]) -> list[str]:
    """The products whose pictures the page shows: the most telling ones that are still in the catalog."""
    telling = most_telling(changes, targets=targets, most=MOST_PRODUCTS)
    ids: list[str] = _with_picture(telling)["product_id"].to_pylist()
    return ids


def movement_bars(counts: pd.DataFrame, *, title: str, most: int = MOST_CLASSES) -> bytes:
    """How many products more or fewer the classes that moved most have, as a PNG; classes that did not move are left out.

    `counts` is of scoring.changes.class_counts. Raises ValueError if no class moved.
    """
    moved = counts[counts["difference"] != 0].head(most)
    if moved.empty:
        raise ValueError(
            f"{title}: got no class that moved, expected one at least. Leave out the plot of a target that kept still"
        )
    names = [plots.short(label_text(name)) for name in moved["class"]]
    rows = moved[["before", "after", "difference"]].to_numpy().tolist()
    widest = int(moved["difference"].abs().max())

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        colours = [plots.BLUE if difference > 0 else plots.ORANGE for _, _, difference in rows]
        axes.barh(range(len(rows)), [difference for _, _, difference in rows], height=0.72, color=colours)
        for row, (before, after, difference) in enumerate(rows):
            place, side = ((4, 0), "left") if difference > 0 else ((-4, 0), "right")
            beyond: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8}
            axes.annotate(f"{difference:+,}", (difference, row), place, ha=side, **beyond)
            edge = axes.get_yaxis_transform()
            axes.annotate(f"{before:,} → {after:,}", (1, row), (4, 0), xycoords=edge, ha="left", **beyond)
        falls, rises = (max([0, *(sign * difference for *_, difference in rows)]) for sign in (-1, 1))
        axes.set_xlim(*(sign * (side + widest * (0.3 if side else 0.02)) for sign, side in ((-1, falls), (1, rises))))
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=plots.INK, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+,.0f}" if value else "0"))
        axes.grid(axis="x", color=plots.FAINT, linewidth=0.6)
        axes.set_xlabel("products more (blue) or fewer (orange) than last night")
        axes.set_title(plots.short(title, 60))

    return plots.png(5.6, 1.0 + 0.22 * max(len(moved), 3), paint)


def label_text(label: object) -> str:
    """A predicted label for a reader: a null one stands for the classes too rare to be learned."""
    return TOO_RARE if label is None or label != label else str(label)


def _relabelled(changes: pa.Table, targets: Sequence[str], causes: Mapping[str, int]) -> dict[str, Any]:
    """How many products got another label, at all and by target and cause."""
    by_target = [
        {
            "target": target,
            "count": int(pc.sum(mask).as_py() or 0),
            "causes": cause_counts(changes.filter(mask)),
        }
        for target in targets
        for mask in [target_changed(changes, target)]
    ]
    shown = [cause for cause in ("new_picture", "new_model", "new_engine") if causes[cause]]
    return {"count": int(pc.sum(changes["label_changed"]).as_py() or 0), "targets": by_target, "causes": shown}


def _readings(label_psi: float, probability_psi: float) -> dict[str, str]:
    return {"label": reading(label_psi), "probability": reading(probability_psi)}


def _movement(target: str, counts: pd.DataFrame) -> dict[str, Any]:
    rows = counts.assign(**{"class": counts["class"].map(label_text)}).to_dict("records")
    moved = bool((counts["difference"] != 0).any())
    return {
        "target": target,
        "rows": rows,
        "moved": int((counts["difference"] != 0).sum()),
        "bars": picture(movement_bars(counts, title=target)) if moved and counts["before"].sum() else None,
    }


def _told(row: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """A row of changes with, for each target, both answers as text; null where a side has none."""
    cells = []
    for target in targets:
        sides = [(row[f"{target}_{side}"], row[f"{target}_{side}_probability"]) for side in ("old", "new")]
        texts = [None if probability is None else label_text(label) for label, probability in sides]
        cells.append(
            {
                "old": texts[0], "new": texts[1], "old_probability": sides[0][1], "new_probability": sides[1][1],
                "changed": None not in texts and sides[0][0] != sides[1][0],
            }
        )  # fmt: skip
    return {"product_id": row["product_id"], "cause": row["cause"], "cells": cells}


def _with_picture(telling: pa.Table) -> pa.Table:
    here = pc.invert(pc.is_in(telling["cause"], pa.array(["withdrawn", "quarantined"])))
    return telling.filter(here).slice(0, MOST_PICTURES)


def _sheet(telling: pa.Table, targets: Sequence[str], pictures: Mapping[str, bytes]) -> dict[str, Any] | None:
    rows = [_told(row, targets) for row in _with_picture(telling).to_pylist()]
    shown = [(pictures.get(row["product_id"]), _caption(row)) for row in rows]
    return picture(contact_sheet(shown)) if any(content is not None for content, _ in shown) else None


def _caption(row: Mapping[str, Any]) -> str:
    """The finest target that changed, else the finest: what it was, what it is; then the product."""
    changed = [cell for cell in row["cells"] if cell["changed"]]
    cell = (changed or row["cells"])[-1]
    if not changed:
        return f"{cell['new'] or NO_ANSWER}\n{row['cause'].replace('_', ' ')}\n{row['product_id']}"
    return f"→ {cell['new']}\nwas {cell['old']}\n{row['product_id']}"
