"""What the HTML pages share. In: pictures and figures. Out: data URIs, text for a reader, the templates' environment."""

from __future__ import annotations

import base64
import struct
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from fashion_ray.pages import plots


def picture(png: bytes) -> dict[str, Any]:
    """A PNG as a data URI, with the size in CSS pixels at which its text is meant to be read.

    Raises ValueError if the bytes are no PNG.
    """
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"got a picture that begins with {png[:8]!r}, expected PNG bytes. Pass what pages.plots returns")
    width, height = (round(pixels * 100 / plots.DPI) for pixels in struct.unpack(">II", png[16:24]))
    return {"uri": "data:image/png;base64," + base64.b64encode(png).decode(), "width": width, "height": height}


def environment() -> jinja2.Environment:
    """The templates of this package, escaping whatever they are given, with the filters that the pages share."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("fashion_ray.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["percent"] = percent
    templates.filters["number"] = number
    templates.filters["area"] = plots.area
    # Odd pieces stood between backticks. A lone backtick opens nothing.
    templates.filters["pieces"] = lambda text: text.split("`") if text.count("`") % 2 == 0 else [text]
    return templates


def percent(share: float, digits: int = 1) -> str:
    """A share as text that says 100% or 0% only if it is."""
    if np.isnan(share):
        return "n/a"
    text, least = f"{share:.{digits}%}", 10.0 ** -(digits + 2)
    if share < 1 and text == f"{1:.{digits}%}":
        return f">{1 - least:.{digits}%}"
    return f"<{least:.{digits}%}" if share > 0 and text == f"{0:.{digits}%}" else text


def number(value: float, digits: int = 0) -> str:
    """A figure with thousands set apart, n/a where there is none."""
    return "n/a" if pd.isna(value) else f"{value:,.{digits}f}"
