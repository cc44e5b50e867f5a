"""What an ingest builds on: a catalog of the first layout too, as a root may hold one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fashion_ray import snapshots
from fashion_ray.catalog import earlier, schema
from fashion_ray.catalog.ingest import ingest
from fashion_ray.catalog.request import Request
from fashion_ray.catalog.sources import DemoSource, NoFeed
from fashion_ray.catalog.tasks import here
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store

DEMO = DemoSource(seed=0, products=200)
FIRST_LAYOUT = ("product_id", "image", *schema.FACTS.names[1:], "group_id", "split")
FIRST_MANIFEST = (
    "files", "books", "rows", "source", "run_id", "quarantine", "quarantine_reasons", "split_ratios", "picture_sizes",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A root with the demo."""
    store = Store(str(tmp_path_factory.mktemp("made")))
    ingest(Request(source=DEMO), store, run_id="r0", each=here)
    return store


@pytest.fixture
def old(made: Store, tmp_path: Path) -> tuple[Store, Snapshot]:
    """A root with the same catalog in the first layout: fewer columns, fewer files, fewer keys."""
    store, snapshot = Store(str(tmp_path)), snapshots.current(made, "catalog")
    assert snapshot is not None
    for file in snapshot.files:
        store.write_table(made.read_table(file).select(FIRST_LAYOUT), file)
    quarantine = str(snapshot.manifest["quarantine"])
    store.write_table(made.read_table(quarantine).drop_columns(["image_sha256"]), quarantine)
    manifest = {key: snapshot.manifest[key] for key in FIRST_MANIFEST}
    return store, snapshots.publish(store, "catalog", snapshot.name, manifest, base=None)


def test_a_catalog_of_the_first_layout_is_read_with_nothing_remembered(old: tuple[Store, Snapshot]) -> None:
    store, snapshot = old
    before = earlier.load(store, snapshot)
    assert before.facts.num_rows == before.known.num_rows == snapshot.manifest["rows"]
    assert before.corrections.num_rows == 0 and not before.decoded_alike
    assert before.quarantine.schema.equals(schema.QUARANTINE)
    assert before.quarantine.num_rows == sum(snapshot.manifest["quarantine_reasons"].values())
    assert before.quarantine["image_sha256"].null_count == before.quarantine.num_rows


@pytest.mark.parametrize("what", ["the same feed", "a delta", "corrections"])
def test_an_ingest_onto_the_first_layout_gives_the_present_one_and_keeps_the_sides(
    what: str, old: tuple[Store, Snapshot]
) -> None:
    store, snapshot = old
    sides = store.read_table(snapshot.folder, columns=["product_id", "split"]).to_pydict()
    labels = f"product_id,target,label\n{sides['product_id'][0]},season,Winter\n".encode()
    request = {
        "the same feed": Request(source=DEMO),
        "a delta": Request(source=DEMO, delta=True),
        "corrections": Request(source=NoFeed(), delta=True, corrected=labels),
    }[what]
    result = ingest(request, store, run_id="r", each=here)
    assert not result.already_current and result.summary["removed"] == result.summary["added"] == 0
    assert result.snapshot.sequence == 2
    table = pa.concat_tables([store.read_table(file) for file in result.snapshot.files])
    assert table.schema.equals(schema.CATALOG)
    now = dict(zip(table["product_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert now == dict(zip(sides["product_id"], sides["split"], strict=True))
    assert ingest(request, store, run_id="r2", each=here).already_current


def test_a_file_that_is_gone_from_the_present_layout_is_no_first_layout(made: Store, tmp_path: Path) -> None:
    snapshot = snapshots.current(made, "catalog")
    assert snapshot is not None
    with pytest.raises(FileNotFoundError):
        earlier.load(Store(str(tmp_path)), snapshot)
