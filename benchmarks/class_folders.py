"""A folder of pictures a class, as a newcomer has them, out of a catalog: python benchmarks/class_folders.py --root ROOT"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fashion_ray import cli
from fashion_ray.config import JobOptions, absolute
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


@dataclass(frozen=True, kw_only=True)
class FolderOptions(JobOptions):
    """Write the labelled pictures of the catalog below --root into a folder for each articleType."""

    output: str = "pictures"
    """Where the folders go; what is there stays."""


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(
        FolderOptions, arguments, example="python benchmarks/class_folders.py --root workspace --output pictures"
    )
    store, output = Store(absolute(options.root)), Path(absolute(options.output, option="--output"))
    table = store.read_table(catalog_of(store).folder, columns=["product_id", "articleType", "image"])
    labelled = [row for row in table.to_pylist() if row["articleType"]]
    for row in labelled:
        folder = output / row["articleType"].replace("/", " ")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row['product_id']}{_suffix(row['image'])}").write_bytes(row["image"])
    print(f"{len(labelled)} pictures in {len({row['articleType'] for row in labelled})} folders below {output}")


def _suffix(picture: bytes) -> str:
    return ".png" if picture.startswith(b"\x89PNG") else ".webp" if picture[8:12] == b"WEBP" else ".jpg"


if __name__ == "__main__":
    cli.run(main)
