"""A published snapshot of scores beside its catalog. In: a root. Out: products to list, to search and to look at.

What a list needs (ids, titles, labels) is held in columns; pictures, embeddings and older nights are read when they are asked
for. The snapshot stays what it is while newer ones are published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray import snapshots
from fashion_ray.browsing.history import History, commits_kept, histories
from fashion_ray.browsing.nearest import nearest, nearest_to
from fashion_ray.catalog import schema
from fashion_ray.errors import UserError
from fashion_ray.snapshots import MANIFEST, Commit, Snapshot
from fashion_ray.storage import Store

TITLE = "productDisplayName"
FACTS = ("split", "group_id", "year")
"""What else of the catalog is said of a product."""

FLAGS = ("review", "differs")
"""What a search can be narrowed to: answers that need review, answers other than the catalog's label."""

LONGEST_TEXT, MOST_WORDS = 200, 8


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """An open snapshot."""

    store: Store
    scores: Snapshot
    catalog: Snapshot | None
    """Where titles, labels and pictures are from; null if there is none any more."""

    targets: list[str]
    commits: list[Commit]
    table: pa.Table
    """A row a product: product_id, the answers without top 3, `part` and `position` of the row in the scores, the title and
    the catalog's labels, FACTS, and `catalog_part` and `catalog_position`, all null for a product that left the catalog."""

    similar: pa.Table | None
    """What jobs/similar.py published of these very scores: product_id and a list of (product_id, similarity)."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for; an empty field matches everything."""

    text: str = ""
    """Words that must all occur in the id or in the title, in any case."""

    target: str = ""
    """The target that label and flags are about; none is any."""

    label: str | None = None
    """The predicted label; '' is the null one."""

    flags: frozenset[str] = frozenset()


def open_shelf(store: Store, name: str | None = None) -> Shelf:
    """The current snapshot of scores, or the one of this name, with the catalog that it was made of if that is kept.

    Raises UserError if there is no such snapshot.
    """
    commits = commits_kept(store)
    if not commits:
        raise UserError(
            f"no scores below {store.uri!r}; expected some that jobs/score.py published. Run it with the same --root"
        )
    chosen = [commit for commit in commits if name in (None, commit.name)]
    if not chosen:
        kept = ", ".join(dict.fromkeys(commit.name for commit in reversed(commits)))
        raise UserError(f"--snapshot: got {name!r}, expected one of those that are kept: {kept}")
    last = chosen[-1]
    assert last.manifest is not None
    scores = Snapshot(table="scores", name=last.name, sequence=last.sequence, manifest=last.manifest)
    targets = [str(target) for target in last.manifest["targets"]]
    catalog = _catalog_of(store, scores)
    answers = [f"{target}_{what}" for target in targets for what in ("predicted", "probability", "needs_review")]
    own = ["product_id", *answers, "trunk_version", "model_version", "scored_at"]
    rows = snapshots.placed_rows(store, scores, own)
    return Shelf(
        store=store, scores=scores, catalog=catalog, targets=targets, commits=commits,
        table=_beside(rows, store, catalog, [target for target in targets if target in schema.TARGETS]),
        similar=_similar_to(store, scores),
    )  # fmt: skip


def _catalog_of(store: Store, scores: Snapshot) -> Snapshot | None:
    """The catalog that was scored, or the current one where that was removed."""
    name = str(scores.manifest.get("catalog_snapshot", ""))
    if name and store.exists("catalog", "snapshots", name, MANIFEST):
        manifest = store.read_json("catalog", "snapshots", name, MANIFEST)
        return Snapshot(table="catalog", name=name, sequence=0, manifest=manifest)
    return snapshots.current(store, "catalog")


def _similar_to(store: Store, scores: Snapshot) -> pa.Table | None:
    found = snapshots.current(store, "similar")
    if found is None or found.manifest["source"] != f"{scores.table}/{scores.name}":
        return None
    files = [entry["name"] for entry in found.manifest["files"]]
    return pa.concat_tables(snapshots.read_files(store, found.folder, files, ["product_id", "similar"]))


def _beside(rows: pa.Table, store: Store, catalog: Snapshot | None, labels: Sequence[str]) -> pa.Table:
    """The scores with what the catalog says of each product."""
    columns = [TITLE, *FACTS, *labels]
    if catalog is None:
        known = pa.table({name: pa.array([], type=pa.string()) for name in ["product_id", "part", "position", *columns]})
    else:
        known = snapshots.placed_rows(store, catalog, ["product_id", *columns])
    place = pc.index_in(rows["product_id"], known["product_id"].combine_chunks())
    for name, named in [*((name, name) for name in columns), ("part", "catalog_part"), ("position", "catalog_position")]:
        rows = rows.append_column(named, known[name].take(place))
    for target in labels:
        rows = rows.append_column(f"{target}_differs", _differs(rows, target))
    return rows.combine_chunks()


def _differs(rows: pa.Table, target: str) -> pa.ChunkedArray:
    """Where the catalog has a label and the answer is another; too rare is right of labels that are never predicted."""
    said, label = rows[f"{target}_predicted"], rows[target]
    known = pc.is_in(label, pc.drop_null(pc.unique(said)))
    return pc.fill_null(pc.if_else(pc.is_valid(said), pc.not_equal(said, label), known), False)


def find(shelf: Shelf, search: Search) -> np.ndarray:
    """The rows that a search finds, in the order of the snapshot."""
    table = shelf.table
    mask = np.ones(table.num_rows, dtype=bool)
    for word in search.text[:LONGEST_TEXT].split()[:MOST_WORDS]:
        there = [pc.match_substring(table[name], word, ignore_case=True) for name in ("product_id", TITLE)]
        mask &= _true(there[0]) | _true(there[1])
    asked = [target for target in shelf.targets if search.target in ("", target)]
    if search.label is not None:
        mask &= _any(_true(_says(table[f"{target}_predicted"], search.label)) for target in asked)
    if "review" in search.flags:
        mask &= _any(_true(table[f"{target}_needs_review"]) for target in asked)
    if "differs" in search.flags:
        mask &= _any(_true(table[f"{target}_differs"]) for target in asked if target in table.column_names)
    return np.flatnonzero(mask)


def _says(column: pa.ChunkedArray, label: str) -> pa.ChunkedArray:
    return pc.equal(column, label) if label else pc.is_null(column)


def _any(masks: Iterator[np.ndarray]) -> np.ndarray:
    found = list(masks)
    return np.logical_or.reduce(found) if found else np.zeros(1, dtype=bool)


def _true(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(column, False), dtype=bool)


def row_of(shelf: Shelf, product_id: str) -> int | None:
    """Where a product stands; the id is compared with those that are there, and used for nothing else."""
    place = int(pc.index(shelf.table["product_id"], pa.scalar(product_id, type=pa.string())).as_py())
    return None if place < 0 else place


def described(shelf: Shelf, rows: Sequence[int]) -> list[dict[str, Any]]:
    """What a list says of products: id, title, facts, and per target [label, answer, probability, needs review, differs]."""
    found = []
    for row in shelf.table.take(pa.array(rows, type=pa.int64())).to_pylist():
        answers = [
            [
                row.get(target), row[f"{target}_predicted"], round(row[f"{target}_probability"], 3),
                row[f"{target}_needs_review"], bool(row.get(f"{target}_differs")),
            ]
            for target in shelf.targets
        ]  # fmt: skip
        facts = {name: row[name] for name in (*FACTS, "model_version", "scored_at") if row[name] is not None}
        found.append({"id": row["product_id"], "title": row[TITLE], "answers": answers, "facts": facts})
    return found


def top3(shelf: Shelf, rows: Sequence[int]) -> list[list[list[list[Any]]]]:
    """Of each row, of each target, the likeliest [label, probability]."""
    wanted = pa.schema([(f"{target}_top3", schema.top3_type()) for target in shelf.targets])
    read = _gathered(shelf, rows, wanted).to_pylist()
    return [
        [[[one["label"], round(one["probability"], 3)] for one in row[f"{target}_top3"]] for target in shelf.targets]
        for row in read
    ]


def pictures(shelf: Shelf, rows: Sequence[int]) -> list[bytes | None]:
    """The pictures of rows, read from where they lie; null for what left the catalog."""
    place = shelf.table.select(["catalog_part", "catalog_position"]).take(pa.array(rows, type=pa.int64()))
    there = np.flatnonzero(np.asarray(pc.is_valid(place["catalog_part"])))
    found: list[bytes | None] = [None] * len(rows)
    if shelf.catalog is not None and len(there):
        files = [(shelf.catalog.folder, str(entry["name"])) for entry in shelf.catalog.manifest["files"]]
        kept = place.take(pa.array(there))
        which, positions = (np.asarray(kept[name]).astype(np.int64) for name in place.column_names)
        table = shelf.store.gather(files, which, positions, pa.schema([("image", pa.binary())]))
        for row, content in zip(there.tolist(), table["image"].to_pylist(), strict=True):
            found[row] = content
    return found


def neighbours_among(shelf: Shelf, rows: Sequence[int], count: int) -> list[list[list[Any]]]:
    """Of each row the most similar others: [product_id, cosine]. Where none were published they are found among these rows;
    trunks of two versions are never compared."""
    if shelf.similar is not None:
        return _published(shelf, shelf.similar, rows, count)
    found: list[list[list[Any]]] = [[] for _ in rows]
    if not count or not len(rows):
        return found
    ids = shelf.table["product_id"].take(pa.array(rows, type=pa.int64())).to_pylist()
    trunks = np.asarray(shelf.table["trunk_version"].take(pa.array(rows, type=pa.int64())).to_pylist())
    for trunk in np.unique(trunks):
        own = np.flatnonzero(trunks == trunk)
        places, cosines = nearest(_embeddings(shelf, [rows[place] for place in own.tolist()]), count)
        for row, near, cosine in zip(own.tolist(), places.tolist(), cosines.tolist(), strict=True):
            found[row] = [[ids[own[place]], round(value, 3)] for place, value in zip(near, cosine, strict=True)]
    return found


def neighbours_of(shelf: Shelf, row: int, count: int) -> list[list[Any]]:
    """The most similar of all products: [product_id, cosine]; one file of embeddings is in memory at a time."""
    if not count:
        return []
    if shelf.similar is not None:
        return _published(shelf, shelf.similar, [row], count)[0]
    own, trunk = _embeddings(shelf, [row])[0], shelf.table["trunk_version"][row].as_py()
    rows = np.flatnonzero(np.asarray(pc.equal(shelf.table["trunk_version"], trunk)))
    parts = np.asarray(shelf.table["part"])[rows]
    blocks = (_embeddings(shelf, rows[parts == part].tolist()) for part in np.unique(parts))
    order = np.concatenate([rows[parts == part] for part in np.unique(parts)])
    near = [(int(order[place]), cosine) for place, cosine in nearest_to(own, blocks, count + 1)]
    kept = [(place, cosine) for place, cosine in near if place != row][:count]
    return [[shelf.table["product_id"][place].as_py(), round(cosine, 3)] for place, cosine in kept]


def _published(shelf: Shelf, similar: pa.Table, rows: Sequence[int], count: int) -> list[list[list[Any]]]:
    ids = shelf.table["product_id"].take(pa.array(rows, type=pa.int64()))
    lists = similar["similar"].take(pc.index_in(ids, similar["product_id"].combine_chunks())).to_pylist()
    return [[[one["product_id"], round(one["similarity"], 3)] for one in (near or [])[:count]] for near in lists]


def _embeddings(shelf: Shelf, rows: Sequence[int]) -> np.ndarray:
    column = _gathered(shelf, rows, pa.schema([("embedding", pa.list_(pa.float32()))]))["embedding"].combine_chunks()
    return np.asarray(column.flatten(), dtype=np.float32).reshape(len(rows), -1)


def _gathered(shelf: Shelf, rows: Sequence[int], wanted: pa.Schema) -> pa.Table:
    files = [(shelf.scores.folder, str(entry["name"])) for entry in shelf.scores.manifest["files"]]
    which, positions = (np.asarray(shelf.table[name])[np.asarray(rows, dtype=np.int64)] for name in ("part", "position"))
    return shelf.store.gather(files, which.astype(np.int64), positions.astype(np.int64), wanted)


def history(shelf: Shelf, product_ids: Sequence[str]) -> dict[str, History]:
    """The answers to products in every snapshot that is kept."""
    return histories(shelf.store, shelf.commits, product_ids, shelf.targets)


def about(shelf: Shelf) -> dict[str, Any]:
    """What a page must know of a snapshot: its name, targets, the labels that were predicted with their counts, its commits."""
    labels: Mapping[str, list[list[Any]]] = {target: _counts(shelf.table[f"{target}_predicted"]) for target in shelf.targets}
    commits = [
        {
            "sequence": commit.sequence, "at": commit.published_at, "name": commit.name,
            "model": (commit.manifest or {}).get("model_version", ""),
        }
        for commit in shelf.commits
    ]  # fmt: skip
    return {
        "snapshot": shelf.scores.name, "rows": shelf.table.num_rows, "targets": shelf.targets, "labels": labels,
        "commits": commits,
    }  # fmt: skip


def _counts(column: pa.ChunkedArray) -> list[list[Any]]:
    """[label or '', rows], the commonest first."""
    counted = pc.value_counts(column.combine_chunks()).to_pylist()
    pairs = [[entry["values"] or "", entry["counts"]] for entry in counted]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
