"""The shop of the simulated nights. In: a seed. Out: what is for sale, what happens to it night by night, and the feeds of it.

A feed is a folder in the published layout. Everything is drawn from the seed, so two shops with one seed live through the same.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from PIL import Image, ImageOps

from fashion_ray.catalog import styles
from fashion_ray.catalog.demo import DemoFeed
from fashion_ray.catalog.pictures import BadPicture, inspect
from fashion_ray.catalog.schema import FEED_COLUMNS

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What comes on a night, and how the night must end."""

    title: str
    feed: Path | None = None
    delta: bool = False
    labels: Path | None = None
    ends: str = "ok"
    killed: bool = False
    """Whether the night's process is killed in the middle, and the same command given again."""

    again: bool = False
    """Whether the same command is given again after its end."""

    promotes: bool = False
    """Whether another model becomes champion before the night."""


@dataclass(kw_only=True)
class Shop:
    """What is for sale, by product id, and what is still to come."""

    seed: int
    folder: Path
    rows: dict[str, Row] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    corrected: dict[str, str] = field(default_factory=dict)
    """The articleTypes that people corrected, which every later feed gives way to."""

    _store_room: list[tuple[str, Row, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def open(self, products: int, kept_back: int) -> None:
        """Fill the shelves from the demo catalog; some products come later."""
        demo = DemoFeed(seed=self.seed, products=products)
        table = styles.parse(demo.styles_csv(), name="demo")
        table = table.filter(pc.is_null(table["reason"]))
        pictured = set(demo.picture_ids())
        found: dict[str, Row] = {}
        for row in table.to_pylist():
            row["id"] = row["product_id"]
            if row["id"] in pictured:
                found.setdefault(row["id"], {name: str(row[name] or "") for name in FEED_COLUMNS})
        goods = [(key, row, demo.picture(key)) for key, row in found.items()]
        self._store_room = goods[:kept_back]
        for key, row, content in goods[kept_back:]:
            self.rows[key], self.pictures[key] = row, content

    def expected(self) -> dict[str, str | None]:
        """The products that the catalog must have tonight, with their articleType."""
        return {
            key: self.corrected.get(key, row["articleType"]) or None
            for key, row in self.rows.items()
            if usable(self.pictures[key])
        }

    def full_feed(self, title: str = "a full feed") -> Delivery:
        """Everything that is for sale."""
        return Delivery(title=title, feed=self._write(title, self.rows.values(), self.pictures))

    def changes(
        self, title: str, *, arrive: int = 0, leave: int = 0, repaint: int = 0, killed: bool = False, again: bool = False,
        promotes: bool = False,
    ) -> Delivery:  # fmt: skip
        """A delta: products that arrive, that leave, and that get another picture."""
        leaving = self._some(leave)
        for key in leaving:
            del self.rows[key], self.pictures[key]
        repainted = self._some(repaint)
        for key, other in zip(repainted, self._some(repaint), strict=True):
            self.pictures[key] = mirrored(self.pictures[other])
        arriving = [self._store_room.pop() for _ in range(arrive)]
        for key, row, content in arriving:
            self.rows[key], self.pictures[key] = row, content
        new = [key for key, _, _ in arriving]
        feed = self._write(
            title, [self.rows[key] for key in new], {key: self.pictures[key] for key in [*new, *repainted]}, withdrawn=leaving
        )
        return Delivery(title=title, feed=feed, delta=True, killed=killed, again=again, promotes=promotes)

    def corrections(self, title: str, count: int) -> Delivery:
        """Labels that people corrected, and no feed."""
        labels = sorted({row["articleType"] for row in self.rows.values()})
        lines = []
        for key in self._some(count):
            label = labels[int(self._rng.integers(len(labels)))]
            self.corrected[key] = label
            lines.append(f"{key},articleType,{label}\n")
        path = self._place(title).with_suffix(".csv")
        path.write_text("product_id,target,label\n" + "".join(lines))
        return Delivery(title=title, labels=path)

    def half_a_zip(self, title: str) -> Delivery:
        """A full feed whose transfer broke off."""
        whole = self._write(title, self.rows.values(), self.pictures)
        path = whole.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(whole.rglob("*.*")):
                archive.write(file, str(file.relative_to(whole)))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return Delivery(title=title, feed=path, ends="failed")

    def cut_short(self, title: str) -> Delivery:
        """A full feed of a tenth of the products."""
        few = dict(list(self.rows.items())[: len(self.rows) // 10])
        return Delivery(
            title=title, feed=self._write(title, few.values(), {key: self.pictures[key] for key in few}), ends="gated"
        )

    def without_column(self, title: str, column: str) -> Delivery:
        """A full feed that has lost a column."""
        columns = [name for name in FEED_COLUMNS if name != column]
        return Delivery(title=title, feed=self._write(title, self.rows.values(), self.pictures, columns=columns), ends="gated")

    def nothing(self, title: str) -> Delivery:
        """A feed that did not come."""
        return Delivery(title=title, feed=self._place(title))

    def _some(self, count: int) -> list[str]:
        """Products at random, with good pictures."""
        good = sorted(key for key in self.rows if usable(self.pictures[key]))
        return [good[place] for place in self._rng.permutation(len(good))[:count]]

    def _place(self, title: str) -> Path:
        return self.folder / title.replace(" ", "-").replace(",", "")

    def _write(
        self, title: str, rows: Iterable[Row], pictures: Mapping[str, bytes], *, withdrawn: Sequence[str] = (),
        columns: Sequence[str] = FEED_COLUMNS,
    ) -> Path:  # fmt: skip
        place = self._place(title)
        (place / "images").mkdir(parents=True)
        with open(place / "styles.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        for key, content in pictures.items():
            (place / "images" / f"{key}.jpg").write_bytes(content)
        if withdrawn:
            (place / "withdrawn.csv").write_text("id\n" + "".join(f"{key}\n" for key in withdrawn))
        return place


def usable(content: bytes) -> bool:
    """Whether a catalog takes a picture."""
    try:
        inspect(content)
    except BadPicture:
        return False
    return True


def mirrored(content: bytes) -> bytes:
    """Another picture with the same things on it."""
    out = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(content)).convert("RGB")).save(out, format="JPEG", quality=90)
    return out.getvalue()
