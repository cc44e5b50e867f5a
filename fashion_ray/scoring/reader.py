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
    return ds.dataset([store.path(file) for file in snapshot.files], filesystem=store.arrow_filesystem(), format="parquet")
