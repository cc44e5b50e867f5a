"""The page of the last nights. In: their documents (nightly.document). Out: one self-contained HTML page, newest on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fashion_ray.pages.rendering import environment

COUNTS = ("products_added", "products_changed", "products_removed", "catalog", "scored", "carried_over", "quarantined")


def nights_report(nights: Sequence[Mapping[str, Any]]) -> str:
    """A line a night: how it ended, its counts, its drift, how long it took. Everything from outside is escaped."""
    ordered = sorted(nights, key=lambda night: (str(night["started_at"]), str(night["night"])), reverse=True)
    psi = sorted({name for night in ordered for name in night["figures"] if name.startswith("drift/")})
    shown = [name for name in psi if name.endswith(("/label_psi", "/centroid_shift")) or name == "drift/centroid_shift"]
    troubled = [night for night in ordered if night["status"] not in ("ok", "running")]
    warnings = (
        [f"the last night ({ordered[0]['night']}) is {ordered[0]['status']}"] if troubled[:1] == ordered[:1] != [] else []
    )
    return environment().get_template("nights_report.html.j2").render(
        title="The last nights", nights=ordered, counts=COUNTS, drift=shown, warnings=warnings
    )  # fmt: skip
