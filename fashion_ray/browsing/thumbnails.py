"""Pictures for a browser. In: the bytes of a catalog's picture. Out: bytes that are surely a JPEG, and no larger than asked."""

from __future__ import annotations

import base64
import io

from PIL import Image

from fashion_ray.catalog.pictures import BadPicture, jpeg_shape, open_rgb

SMALL = (60, 80)
"""Width and height that pictures of a page to mail fit into."""

LARGE = (480, 640)
QUALITY = 85


def jpeg_within(content: bytes, size: tuple[int, int]) -> bytes | None:
    """A picture as a JPEG that fits into (width, height), untouched if it is one; null if it cannot be decoded.

    Whatever is no JPEG is encoded anew, so that no browser ever takes it for something else than a picture.
    """
    shape = jpeg_shape(content)
    if (
        shape is not None
        and shape[2] in (1, 3)
        and shape[1] <= size[0]
        and shape[0] <= size[1]
        and len(content) <= size[0] * size[1]
    ):
        return content
    try:
        picture = open_rgb(content)
    except BadPicture:
        return None
    picture.thumbnail(size, Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    picture.save(sink, format="JPEG", quality=QUALITY, optimize=True)
    return sink.getvalue()


def data_uri(jpeg: bytes) -> str:
    """A JPEG inside a page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
