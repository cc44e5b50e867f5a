"""Contact sheets. In: the bytes of pictures with captions, both from outside. Out: one PNG that shows them side by side.

A picture that cannot be decoded becomes a grey cell with its caption. Captions are drawn, never parsed. The same input
gives the same bytes. Sizes are CSS pixels: the sheet itself is finer (`plots.DPI`), for sharp screens.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import lru_cache

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from fashion_ray.catalog.pictures import BadPicture, open_rgb
from fashion_ray.pages import plots

SCALE = plots.DPI / 100
GAP = round(9 * SCALE)
TEXT_SIZE = round(10.5 * SCALE)
LINE = round(14 * SCALE)
MOST_LINES = 3
CELL = (112, 149)
LONGEST_LINE = 300

PAPER, GREY, DIM = "#ffffff", "#e3e6ea", "#59636e"


def contact_sheet(pictures: Sequence[tuple[bytes | None, str]], *, columns: int = 8, cell: tuple[int, int] = CELL) -> bytes:
    """Pictures with captions, `columns` side by side, each fitted into a `cell` of (width, height) and centred there.

    A caption has up to three lines, each cut off with an ellipsis where the cell ends. A picture that is null or cannot be
    decoded is a grey cell. Raises ValueError if there is no picture or no room for one.
    """
    _check(len(pictures), columns, cell)
    shown = min(columns, len(pictures))
    width, height, text_height = *_pixels(cell), _text_height([caption for _, caption in pictures])
    rows = -(-len(pictures) // columns)
    sheet = _sheet(shown * (width + GAP) + GAP, rows * (height + text_height + GAP) + GAP)
    for number, (content, caption) in enumerate(pictures):
        row, column = divmod(number, columns)
        place = (GAP + column * (width + GAP), GAP + row * (height + text_height + GAP))
        _paint(sheet, content, caption, place, (width, height))
    return _png(sheet)


def group_sheet(
    groups: Sequence[tuple[str, Sequence[tuple[bytes | None, str]]]], *, columns: int = 8, cell: tuple[int, int] = CELL
) -> bytes:
    """Groups of pictures that belong together, each below its title, with captions as in `contact_sheet`.

    A group stands side by side in one row; as many groups share a row as fit into `columns`. A group of more than that has
    a wider sheet. Raises ValueError if a group is empty or there is none.
    """
    sizes = [len(members) for _, members in groups]
    _check(min(sizes, default=0), columns, cell)
    places = _packed(sizes, columns)
    width, height = _pixels(cell)
    taken = LINE + GAP // 2 + height + _text_height([caption for _, members in groups for _, caption in members]) + 2 * GAP
    shown = max(column + size for (_, column), size in zip(places, sizes, strict=True))
    sheet = _sheet(shown * (width + GAP) + GAP, (places[-1][0] + 1) * taken + GAP)
    draw = ImageDraw.Draw(sheet)
    for (title, members), (row, column) in zip(groups, places, strict=True):
        left, top = GAP + column * (width + GAP), GAP + row * taken
        right = left + len(members) * (width + GAP) - GAP
        draw.line([(left, top - GAP // 2), (right, top - GAP // 2)], fill="#8c959f", width=2)
        draw.text((left, top), _fitted(title, _font(bold=True), right - left), fill=plots.INK, font=_font(bold=True))
        for number, (content, caption) in enumerate(members):
            _paint(sheet, content, caption, (left + number * (width + GAP), top + LINE + GAP // 2), (width, height))
    return _png(sheet)


def _packed(sizes: Sequence[int], columns: int) -> list[tuple[int, int]]:
    """The (row, first column) of each group: the next one in the same row, or in a new one if it does not fit there."""
    places, row, column = [], 0, 0
    for size in sizes:
        if column and column + size > columns:
            row, column = row + 1, 0
        places.append((row, column))
        column += size
    return places


def _check(pictures: int, columns: int, cell: tuple[int, int]) -> None:
    if pictures < 1 or columns < 1 or min(cell) < 8:
        raise ValueError(
            f"got {pictures} pictures in {columns} columns of cells of {cell[0]} x {cell[1]}, expected at least one "
            "picture (in each group), one column and 8 x 8 CSS pixels. Leave out a sheet that has nothing to show"
        )


def _paint(sheet: Image.Image, content: bytes | None, caption: str, place: tuple[int, int], cell: tuple[int, int]) -> None:
    """Draw one picture with the lines of its caption below, at `place` (left, top), all in pixels of the sheet."""
    draw, (left, top), (width, height) = ImageDraw.Draw(sheet), place, cell
    picture = _thumbnail(content, cell)
    if picture is None:
        draw.rectangle([left, top, left + width - 1, top + height - 1], fill=GREY)
        draw.text((left + width / 2, top + height / 2), "cannot be shown", fill=DIM, font=_font(), anchor="mm")
    else:
        corner = (left + (width - picture.width) // 2, top + (height - picture.height) // 2)
        sheet.paste(picture, corner)
        draw.rectangle(
            [corner[0] - 1, corner[1] - 1, corner[0] + picture.width, corner[1] + picture.height], outline=plots.FAINT
        )
    for number, line in enumerate(caption.split("\n")[:MOST_LINES]):
        colour = plots.INK if number == 0 else DIM
        draw.text((left, top + height + 3 + number * LINE), _fitted(line, _font(), width), fill=colour, font=_font())


def _thumbnail(content: bytes | None, cell: tuple[int, int]) -> Image.Image | None:
    """The picture, scaled to fit the cell with its aspect kept; none if there is none or it cannot be decoded."""
    if content is None:
        return None
    try:
        picture = open_rgb(content)
    except BadPicture:
        return None
    scale = min(cell[0] / picture.width, cell[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """One line of text that is no wider than `width`; what is cut off is marked by an ellipsis."""
    line = plots.short("".join(letter if letter.isprintable() else " " for letter in text), LONGEST_LINE)
    if font.getlength(line) <= width:
        return line
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(line[:middle] + "…") <= width else (low, middle - 1)
    return line[:low].rstrip() + "…"


def _text_height(captions: Sequence[str]) -> int:
    return LINE * min(MOST_LINES, max(caption.count("\n") + 1 for caption in captions))


def _pixels(cell: tuple[int, int]) -> tuple[int, int]:
    return round(cell[0] * SCALE), round(cell[1] * SCALE)


def _sheet(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), PAPER)


@lru_cache(maxsize=2)
def _font(bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib; the basic layout is the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name)
    return ImageFont.truetype(path, TEXT_SIZE, layout_engine=ImageFont.Layout.BASIC)


def _png(sheet: Image.Image) -> bytes:
    """In full colour: fewer would make the file smaller, but a product's colour is one of its labels."""
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
