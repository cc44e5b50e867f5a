"""Contact sheets show every picture where it belongs, whatever the bytes and the captions are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fashion_ray.pages.contact_sheet import GAP, LINE, SCALE, _fitted, _font, _packed, contact_sheet, group_sheet

CELL = (40, 50)
WIDTH, HEIGHT = round(40 * SCALE), round(50 * SCALE)
RED, BLUE = (200, 0, 0), (0, 0, 200)
GREY = (0xE3, 0xE6, 0xEA)


def picture(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (40, 50)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def at(sheet: np.ndarray, row: int, column: int, *, lines: int = 1, dx: float = 0.5, dy: float = 0.25) -> tuple[int, ...]:
    """The colour at a place within a cell."""
    x = GAP + column * (WIDTH + GAP) + int(dx * WIDTH)
    y = GAP + row * (HEIGHT + lines * LINE + GAP) + int(dy * HEIGHT)
    return tuple(int(value) for value in sheet[y, x])


def test_pictures_stand_in_rows_in_their_order() -> None:
    sheet = pixels(contact_sheet([(picture(RED), "a"), (picture(BLUE), "b"), (picture(BLUE), "c")], columns=2, cell=CELL))
    assert sheet.shape == (2 * (HEIGHT + LINE + GAP) + GAP, 2 * (WIDTH + GAP) + GAP, 3)
    assert [at(sheet, 0, 0), at(sheet, 0, 1), at(sheet, 1, 0), at(sheet, 1, 1)] == [RED, BLUE, BLUE, (255, 255, 255)]


def test_a_sheet_is_no_wider_than_its_pictures_and_the_same_twice() -> None:
    one = contact_sheet([(picture(), "a")], columns=8, cell=CELL)
    assert pixels(one).shape[1] == WIDTH + 2 * GAP
    assert one == contact_sheet([(picture(), "a")], columns=8, cell=CELL)


@pytest.mark.parametrize("content", [None, b"", b"no picture", picture()[:60], picture(size=(4, 4))])
def test_what_cannot_be_decoded_is_a_grey_cell(content: bytes | None) -> None:
    sheet = pixels(contact_sheet([(content, "broken"), (picture(), "fine")], cell=CELL))
    assert at(sheet, 0, 0) == GREY
    assert at(sheet, 0, 1) == RED, "its neighbour is as it was"


def test_a_picture_keeps_its_aspect_and_is_centred() -> None:
    sheet = pixels(contact_sheet([(picture(size=(200, 20)), "")], cell=CELL))
    assert at(sheet, 0, 0, dy=0.5) == RED
    assert at(sheet, 0, 0, dy=0.25) == at(sheet, 0, 0, dy=0.75) == (255, 255, 255)
    assert at(sheet, 0, 0, dx=0.05, dy=0.5) == at(sheet, 0, 0, dx=0.95, dy=0.5) == RED


def test_an_extreme_picture_is_at_least_a_line() -> None:
    sheet = pixels(contact_sheet([(picture(size=(9000, 8)), "")], cell=CELL))
    assert (sheet == RED).all(axis=2).sum() == WIDTH


def test_captions_are_drawn_below_the_picture_in_up_to_three_lines() -> None:
    heights = {lines: pixels(contact_sheet([(None, "\n".join("x" * lines))], cell=CELL)).shape[0] for lines in (1, 2, 3, 4)}
    assert heights[2] - heights[1] == heights[3] - heights[2] == LINE
    assert heights[4] == heights[3]
    said, silent = (pixels(contact_sheet([(picture(), caption)], cell=CELL)) for caption in ("Größe", " "))
    assert (said[GAP + HEIGHT + 2 :] < 100).any()
    assert not (silent[GAP + HEIGHT + 2 :] < 100).any()


@pytest.mark.parametrize("caption", ["W" * 5000, "<b>$x^2$</b> {{ 1 }}", "\ud800 \x00 \u202e odd", "衣服", ""])
def test_no_caption_leaves_its_cell(caption: str) -> None:
    sheet = pixels(contact_sheet([(picture(), caption), (picture(), "")], cell=CELL))
    assert sheet.shape[:2] == (HEIGHT + LINE + 2 * GAP, 2 * (WIDTH + GAP) + GAP)
    assert (sheet[GAP + HEIGHT + 2 :, GAP + WIDTH :] == 255).all()


def test_text_is_cut_off_where_the_cell_ends() -> None:
    assert _fitted("Shirts", _font(), 1000) == "Shirts"
    assert _fitted("a\nb\tc", _font(), 1000) == "a b c"
    cut = _fitted("Perfume and Body Mist", _font(), 90)
    assert cut.endswith("…") and "Perfume and Body Mist".startswith(cut[:-1])
    assert _font().getlength(cut) <= 90 < _font().getlength(cut[:-1] + "mm…")


def test_umlauts_have_a_glyph_each() -> None:
    drawn = [contact_sheet([(None, letter)], cell=CELL) for letter in "äöüß"]
    assert len(set(drawn)) == 4


def test_groups_share_a_row_as_long_as_they_fit() -> None:
    assert _packed([2, 2, 3, 2], 4) == [(0, 0), (0, 2), (1, 0), (2, 0)]
    assert _packed([9, 1], 4) == [(0, 0), (1, 0)]
    pairs = [("one", [(picture(RED), "a"), (picture(BLUE), "b")]), ("two", [(picture(BLUE), "c"), (picture(RED), "d")])]
    sheet = pixels(group_sheet(pairs, columns=4, cell=CELL))
    row = sheet[GAP + LINE + GAP // 2 + HEIGHT // 4]
    colours = [tuple(int(value) for value in row[GAP + column * (WIDTH + GAP) + WIDTH // 2]) for column in range(4)]
    assert colours == [RED, BLUE, BLUE, RED]
    assert pixels(group_sheet(pairs, columns=2, cell=CELL)).shape[0] > sheet.shape[0]


def test_a_long_title_does_not_run_into_the_next_group() -> None:
    members = [(picture(), ""), (picture(), "")]
    sheet = pixels(group_sheet([("W" * 500, members), ("", members)], columns=4, cell=CELL))
    second = GAP + 2 * (WIDTH + GAP)
    assert (sheet[GAP : GAP + LINE, second:] == 255).all()


@pytest.mark.parametrize(("pictures", "columns", "cell"), [([], 8, CELL), ([(None, "")], 0, CELL), ([(None, "")], 8, (0, 50))])
def test_a_sheet_of_nothing_is_refused(pictures: list[tuple[bytes | None, str]], columns: int, cell: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected at least one picture"):
        contact_sheet(pictures, columns=columns, cell=cell)
    with pytest.raises(ValueError, match="expected at least one picture"):
        group_sheet([("title", pictures)] if pictures else [], columns=columns, cell=cell)
