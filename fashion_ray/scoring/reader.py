"""The scores for readers. In: a root. Out: the current snapshot as a pyarrow dataset.

Other tools read the same files by path: `scores/CURRENT.json` names the folder under the key `snapshot`.
"""

from __future__ import annotations

import pyarrow.dataset as ds

from fashion_ray import snapshots
from fashion_ray.config import absolute
from fashion_ray.errors import UserError
from fashion_ray.storage import Store


def open_scores(root: str) -> ds.Dataset:
    """The current scores below a root: a snapshot, which stays as it is while newer ones are published.

    Raises UserError if nothing was published yet.
    """
    store = Store(absolute(root))
    snapshot = snapshots.current(store, "scores")
    if snapshot is None:
        raise UserError(
            f"no scores below {store.uri!r}; expected some that jobs/score.py published. Run it with the same --root"
        )
    # The manifest knows the files, and all have one schema: none but the first is asked for anything before it is read.
    filesystem, kind = store.arrow_filesystem(), ds.ParquetFileFormat()
    fragments = [kind.make_fragment(store.path(file), filesystem=filesystem) for file in snapshot.files]
    return ds.FileSystemDataset(fragments, fragments[0].physical_schema, kind, filesystem)
