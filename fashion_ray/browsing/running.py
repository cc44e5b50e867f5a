"""What jobs/browse.py does. In: its options and a root. Out: a file, or a server until it is interrupted."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path

from fashion_ray.browsing import mail
from fashion_ray.browsing.options import BrowseOptions
from fashion_ray.browsing.shelf import Shelf
from fashion_ray.errors import UserError


def write(shelf: Shelf, options: BrowseOptions) -> str:
    """Write the page to mail; a line about it. Raises UserError where it cannot be written."""
    page, products = mail.page(shelf, limit=options.limit, seed=options.seed, neighbours=options.neighbours)
    content = page.encode()
    target = Path(options.output).expanduser()
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"--output: {options.output!r} cannot be written ({error.strerror}); expected a file in a folder that is there"
        ) from error
    return f"page {target} ({products} of {shelf.table.num_rows} products, {len(content) / 1e6:.1f} MB)"


def serve(server: ThreadingHTTPServer) -> None:
    """Answer until interrupted, which is how it is meant to end."""
    with suppress(KeyboardInterrupt):
        server.serve_forever()
