"""The catalog page. In: facts of a snapshot and, for a page of one file, its products. Out: HTML that fetches nothing foreign.

Whatever is from outside reaches the page as JSON in a data block, and its script writes text, never markup. Its policy allows
that one script by its hash, and connections only where the page is served.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup

from fashion_ray.pages.rendering import environment


def browse_page(about: Mapping[str, Any], *, products: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The page of a snapshot: with its products inside, or without, for a server that answers the page's requests."""
    return (
        environment()
        .get_template("browse.html.j2")
        .render(
            title=f"Catalog, scored as {about['snapshot']}",
            warnings=[],
            policy=policy(served=products is None),
            data={"about": about, "products": products},
            script=Markup(script()),
        )
    )


def policy(*, served: bool) -> str:
    """What a browser lets the page do, as a Content-Security-Policy."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    own = "connect-src 'self'; img-src 'self' data:" if served else "img-src data:"
    rules = ("default-src 'none'", f"script-src 'sha256-{digest}'", "style-src 'unsafe-inline'", own, "base-uri 'none'")
    return "; ".join((*rules, "form-action 'none'"))


def script() -> str:
    """The page's script, as it stands between its tags: not a byte more, since it is allowed by its hash."""
    return "\n" + resources.files("fashion_ray.pages").joinpath("templates", "browse.js").read_text(encoding="utf-8")
