"""What is settled before a cluster is asked for. In: options and a catalog. Out: sides, classes, first weights, stages.

User mistakes that only the catalog or the trunk can tell come out here.
"""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from dataclasses import dataclass, replace

import pyarrow as pa
import torch

from fashion_ray.catalog.schema import CATEGORY_LEVELS, SPLITS
from fashion_ray.errors import UserError
from fashion_ray.models import backbones
from fashion_ray.models.bundle import Card
from fashion_ray.models.network import Geometry, Network, add_title_head, build_heads, is_batch_norm
from fashion_ray.snapshots import Snapshot, fingerprint
from fashion_ray.storage import Store
from fashion_ray.training import imbalance, sides, titles, vocabulary
from fashion_ray.training.options import TrainOptions, class_rows_of, size_of
from fashion_ray.training.schedule import Stage, parse, settle

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is settled before a cluster is asked for anything."""

    options: TrainOptions
    catalog: Snapshot
    scheme: sides.Scheme
    side_rows: dict[str, int]
    """How many rows of the catalog are on each side."""

    words: vocabulary.Vocabulary
    fed: imbalance.Fed
    card: Card
    network: Network
    stages: tuple[Stage, ...]
    title_words: tuple[str, ...] = ()
    """That training guesses beside the labels."""

    @property
    def data_key(self) -> str:
        """Names the rows and labels that are trained on, for the cache."""
        return fingerprint(
            self.catalog.name, sorted(self.words.classes.items()), self.options.shuffle_labels, self.options.seed, self.scheme,
            sorted(self.fed.copies.items()), *([self.title_words] if self.title_words else []),
        )  # fmt: skip


def prepare(options: TrainOptions, store: Store, catalog: Snapshot) -> Prepared:
    """Sides, classes, first weights and stages. Raises UserError for options that do not fit the catalog or the trunk."""
    scheme = sides.limited(sides.parse(options.split, options.split_seed), options.only)
    options = _labelled(options, store, catalog)
    named = [titles.COLUMN] if options.title_weight else []
    needed = dict.fromkeys(["product_id", "group_id", *options.targets, *scheme.columns, *named])
    missing = [name for name in needed if not any(line.startswith(f"{name}: ") for line in catalog.manifest["schema"])]
    if missing:
        raise UserError(
            f"the catalog {catalog.name} has no column {', '.join(missing)}, which earlier versions did not write; expected a "
            "catalog of this version. Run python jobs/ingest.py again with its feed, or train other --targets"
        )
    table = store.read_table(catalog.folder, columns=list(needed))
    labels = {target: table[target].to_pylist() for target in options.targets}
    found = sides.assign(scheme, table)
    _check_only(scheme, table)
    _tell_sides(options.split, scheme, found, table)
    words = vocabulary.build(options.targets, labels, found, minimum=options.min_class_count)
    rows = [row for row, side in enumerate(found) if side == sides.TRAIN]
    fed = imbalance.feed(
        {target: words.encode(target, [column[row] for row in rows]) for target, column in labels.items()},
        table["product_id"].take(pa.array(rows)).to_pylist(),
        target=(balanced := imbalance.balanced_target(options.balance_target, options.targets)),
        most=options.max_per_class, least=options.oversample_to, exactly=_exactly(options, words, balanced), seed=options.seed,
    )  # fmt: skip
    if fed.copies:
        log.info(
            "%s of %d to %s rows a class: %d of %d training rows are left out, %d are repeated; %d are fed an epoch",
            fed.target, options.oversample_to, options.max_per_class or "any number of", fed.dropped, len(rows), fed.repeated,
            fed.rows,
        )  # fmt: skip
    for target, names in words.classes.items():
        if emptied := fed.emptied(target, len(names)):
            raise UserError(
                f"--max-per-class: got {options.max_per_class}, which leaves {emptied} classes of {target} without training "
                f"rows; expected a row of each. Raise it, leave {target} out of --targets, or pass --balance-target {target}"
            )
    title_words: tuple[str, ...] = ()
    if options.title_weight:
        if not options.shuffle_labels:  # a control must not be told
            title_words = titles.learn(table[titles.COLUMN].take(pa.array(rows)).to_pylist())
        options = options if title_words else _without_titles(options)
    card, network = first_network(options, words, catalog)
    if title_words:
        add_title_head(network, card.head, len(title_words), card.dropout)
    try:
        stages = tuple(settle(parse(options.schedule), len(network.trunk.blocks)))
    except ValueError as error:
        raise UserError(f"--schedule: {error}") from error
    counts = {side: found.count(side) for side in SPLITS}
    return Prepared(
        options=options, catalog=catalog, scheme=scheme, side_rows=counts, words=words, fed=fed, card=card, network=network,
        stages=stages, title_words=title_words,
    )  # fmt: skip


def _labelled(options: TrainOptions, store: Store, catalog: Snapshot) -> TrainOptions:
    """The options without those of the default targets that the catalog, such as a folder per class, has no label of."""
    if options.targets != CATEGORY_LEVELS:
        return options
    table = store.read_table(catalog.folder, columns=list(CATEGORY_LEVELS))
    there = tuple(level for level in CATEGORY_LEVELS if table[level].null_count < table.num_rows)
    if there in ((), CATEGORY_LEVELS):
        return options
    log.info("targets: %s; the catalog has no label of the other category levels", ", ".join(there))
    return replace(options, targets=there)


def _without_titles(options: TrainOptions) -> TrainOptions:
    why = f"no two words stand in the titles ({titles.COLUMN}) of {titles.LEAST_ROWS} training rows each"
    log.info("no --title-weight: %s", "the control's labels must say all that it knows" if options.shuffle_labels else why)
    return replace(options, title_weight=0.0)


def _check_only(scheme: sides.Scheme, table: pa.Table) -> None:
    for target, classes in scheme.only:
        there = sorted(set(table[target].to_pylist()) - {None})
        for name in classes:
            if name not in there:
                near = difflib.get_close_matches(name, there, n=3)
                hint = f"; did you mean {', '.join(near)}?" if near else ""
                raise UserError(f"--only: got {target}={name}, expected classes that the catalog has{hint}")


def _exactly(options: TrainOptions, words: vocabulary.Vocabulary, target: str) -> dict[int, int]:
    """Rows of class indices of the balance target."""
    found = {}
    for name, rows in class_rows_of(options).items():
        if name not in words.classes[target]:
            near = difflib.get_close_matches(name, [one for one in words.classes[target] if one], n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise UserError(f"--class-rows: got {name!r}, expected a class of {target} with training rows{hint}")
        found[words.classes[target].index(name)] = rows
    return found


def _tell_sides(split: str, scheme: sides.Scheme, found: list[str | None], table: pa.Table) -> None:
    counts = Counter(found)
    stored = table["split"].to_pylist()
    log.info(
        "split %s: %s rows; %d labelled rows stand between sides and are on none",
        split, ", ".join(f"{counts[side]} {side}" for side in SPLITS), stored.count("bridge"),
    )  # fmt: skip
    without = sum(side is None and before in SPLITS for side, before in zip(found, stored, strict=True))
    if without:
        log.info("split %s: %d labelled rows without a year are on no side", split, without)
    torn = sides.torn_groups(found, table["group_id"].to_pylist()) if scheme.kind in sides.TEARING else 0
    if torn:
        log.warning(
            "split %s: %d groups of near-duplicates stand on several sides, so the figures flatter the model", split, torn
        )


def first_network(options: TrainOptions, words: vocabulary.Vocabulary, catalog: Snapshot) -> tuple[Card, Network]:
    """The network before its first step, the same for the same options, and a card without versions."""
    torch.manual_seed(options.seed)
    input_size = size_of(options.input_size)
    weights = options.weights.replace("{backbone}", options.backbone)  # a folder of weights, for several trunks
    trunk = backbones.build(options.backbone, weights, input_size=input_size, pooling=options.pooling)
    if options.weights == "none" and options.batchnorm == "frozen" and any(map(is_batch_norm, trunk.modules())):
        log.warning(
            "the batch norm of an untrained %s has seen no pictures, and stays so: pass --batchnorm learned", options.backbone
        )
    decoded = decoded_size(options.decoded_size, input_size, catalog.manifest["picture_sizes"])
    heads = build_heads(options.head_code, trunk.spec.embedding_dim, words.classes, options.dropout)
    network = Network(Geometry(decoded_size=decoded, input_size=input_size), trunk, heads, tta_flip=options.tta_flip)
    card = Card(
        backbone=options.backbone, pooling=trunk.spec.pooling, tta_flip=options.tta_flip,
        other_threshold=options.other_threshold, embedding_dim=trunk.spec.embedding_dim,
        mean=trunk.spec.mean, std=trunk.spec.std,
        decoded_size=decoded, input_size=input_size, head=options.head_code, dropout=options.dropout, classes=words.classes,
        levels=words.paths.levels, paths=words.paths.paths,
        temperatures=dict.fromkeys(words.classes, 1.0), thresholds=dict.fromkeys(words.classes, 0.5),
    )  # fmt: skip
    return card, network


def decoded_size(asked: str, input_size: tuple[int, int], picture_sizes: dict[str, int]) -> tuple[int, int]:
    """The canonical size of pictures: as asked, or the catalog's commonest if it is no larger than the trunk's input."""
    if asked != "auto":
        return size_of(asked)
    commonest = max(picture_sizes, key=lambda size: picture_sizes[size])
    height, width = (int(side) for side in commonest.split("x"))
    return (height, width) if height <= input_size[0] and width <= input_size[1] else input_size
