"""A product feed in the published layout, made rather than read: every picture is drawn by this project.

It is what the jobs run on when no feed is at hand, and what the tests run on. It has the real catalog's columns,
class names, imbalance, near-duplicates, wrong labels and dirt, at a twentieth of its size.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from fashion_ray.catalog.demo.drawing import draw_product
from fashion_ray.catalog.demo.plan import FEWEST_PRODUCTS, Plan, Product, make_plan

_STAMP = (2020, 1, 1, 0, 0, 0)
_QUALITY = 85


@dataclass(frozen=True, kw_only=True)
class DemoFeed:
    """A feed in the published layout, made rather than read.

    Equal (seed, products) give equal bytes, in any process and in any order of calls. `products` counts the ids that
    have a picture, a row, or both. Raises ValueError for a negative seed or fewer than 50 products.
    """

    seed: int = 0
    products: int = 2000

    def __post_init__(self) -> None:
        problems = []
        if self.seed < 0:
            problems.append(f"seed: got {self.seed}, expected 0 or more")
        if self.products < FEWEST_PRODUCTS:
            problems.append(f"products: got {self.products}, expected {FEWEST_PRODUCTS} or more, to hold every kind of dirt")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def _plan(self) -> Plan:
        return make_plan(self.seed, self.products)

    def styles_csv(self) -> bytes:
        """The whole styles.csv: UTF-8, a header, rows in no order, dirt included."""
        return self._plan.styles_csv

    def picture_ids(self) -> list[str]:
        """The ids that have a picture file, sorted as numbers; some of the files are corrupt."""
        return [product_id for product_id, product in self._plan.products.items() if product.file != "none"]

    def picture(self, product_id: str) -> bytes:
        """The bytes of one picture file, about 1 ms to make; KeyError for an id without a picture."""
        product = self._plan.products.get(product_id)
        if product is None or product.file == "none":
            raise KeyError(f"no picture for product_id {product_id!r}; picture_ids() lists those that have one")
        return _file_bytes(self.seed, product)

    def write_zip(self, path: str | os.PathLike[str]) -> None:
        """One zip, stored uncompressed: styles.csv and images/<id>.jpg, byte for byte the same every time."""
        with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_STORED) as archive:
            for name, content in self._files():
                entry = zipfile.ZipInfo(name, date_time=_STAMP)
                entry.create_system = 3
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)

    def write_folder(self, path: str | os.PathLike[str]) -> None:
        """The same files below a folder, which is made if it is not there."""
        root = Path(path)
        (root / "images").mkdir(parents=True, exist_ok=True)
        for name, content in self._files():
            (root / name).write_bytes(content)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        yield "styles.csv", self.styles_csv()
        for product_id in self.picture_ids():
            yield f"images/{product_id}.jpg", self.picture(product_id)


def _file_bytes(seed: int, product: Product) -> bytes:
    """The picture of a product as it is stored: encoded, copied from its original, or broken."""
    if product.copy_of is not None:
        return _copied(_file_bytes(seed, product.copy_of), product)
    rng = np.random.default_rng([seed, product.index, 2])
    if product.file == "empty":
        return b""
    if product.file == "html":
        return b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>No such picture</body></html>\n"
    if product.file == "noise":
        return rng.bytes(900)
    if product.file == "pixel":
        return _jpeg(Image.new("RGB", (1, 1), (255, 255, 255)), _QUALITY)
    image = _cropped(draw_product(product.look, rng), product.size_px)
    if product.file == "palette":
        return _png(image.quantize(64))
    if product.file == "rgba":
        return _png(_cut_out(image))
    whole = _jpeg(image.convert("L") if product.file == "grey" else image, int(rng.integers(82, 89)))
    return whole[: len(whole) * 11 // 20] if product.file == "truncated" else whole


def _copied(original: bytes, product: Product) -> bytes:
    """A near-duplicate of a JPEG: the same bytes, another quality, a shift by one pixel or a little more or less light."""
    if product.copy_how == "exact":
        return original
    image = Image.open(io.BytesIO(original))
    image.load()
    even = product.index % 2 == 0
    if product.copy_how == "quality":
        return _jpeg(image, 70 if even else 93)
    if product.copy_how == "shift":
        moved = image.copy()
        moved.paste(image, (1, 0) if even else (0, -1))
        return _jpeg(moved, _QUALITY)
    return _jpeg(ImageEnhance.Brightness(image).enhance(1.05 if even else 0.95), _QUALITY)


def _cropped(image: Image.Image, size_px: tuple[int, int]) -> Image.Image:
    """The middle of the picture, where its file is smaller than 60 x 80."""
    wide, high = size_px
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    return image.crop((left, top, left + wide, top + high)) if image.size != size_px else image


def _cut_out(image: Image.Image) -> Image.Image:
    """RGBA with a transparent background that is black underneath, as cut-outs often are."""
    pixels_HWC = np.asarray(image)
    product_HW = pixels_HWC.min(axis=2) < 235
    alpha_HW = np.where(product_HW, 255, 0).astype(np.uint8)
    return Image.fromarray(np.dstack([pixels_HWC * product_HW[:, :, None], alpha_HW]))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=quality)
    return out.getvalue()


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
