"""What is settled before training: a catalog that lacks a column is the user's to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from fashion_ray.errors import UserError
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.preparing import prepare


def test_a_catalog_of_an_earlier_layout_is_refused_for_derived_targets(tmp_path: Path) -> None:
    columns = ["product_id: string", "group_id: string", "split: string", "articleType: string"]
    catalog = Snapshot(table="catalog", name="old", sequence=1, manifest={"schema": columns})
    options = TrainOptions(root=str(tmp_path), targets=("articleType", "joined_category"))
    with pytest.raises(UserError, match=r"has no column joined_category, .* Run python jobs/ingest.py again"):
        prepare(options, Store(str(tmp_path)), catalog)
