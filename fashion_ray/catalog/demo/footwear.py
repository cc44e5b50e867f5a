"""Shoes seen from the side, toe to the left, and open footwear seen from the side or from above."""

from __future__ import annotations

from dataclasses import replace

from fashion_ray.catalog.demo.canvas import Canvas, Point, box, curve, limb, smooth, strap
from fashion_ray.catalog.demo.look import Colour, Look, Paint, blend, brightness, shade


def draw_shoe(c: Canvas, look: Look, paint: Paint) -> None:
    """Casual Shoes, Sports Shoes or Formal Shoes: one, or a pair with the second one behind."""
    draw = {"Casual Shoes": _casual, "Sports Shoes": _sports, "Formal Shoes": _formal}[look.article]
    draw(c, paint)


def _upper(toe_height: float, collar: float, toe_x: float = -23.0) -> list[Point]:
    """The outline of a closed shoe above its sole; collar is how high the opening stands."""
    return [
        (toe_x, 7.0),
        (toe_x + 1.5, 7 - toe_height),
        (toe_x + 8, 5.5 - toe_height),
        (-6, -4.5),
        (2, -collar + 1),
        (6, -collar),
        (12, -collar + 3.0),
        (19, -collar - 0.5),
        (21, -2.0),
        (21.5, 7.0),
    ]


def _laces(c: Canvas, paint: Paint, count: int) -> None:
    colour = c.pick(((240, 240, 240), paint.accent, shade(paint.base, 0.6)))
    for k in range(count):
        x, y = -8 + 3.4 * k, -2.4 - 2.1 * k
        c.line([(x - 1.5, y - 1), (x + 2.4, y + 2.2)], colour, 0.9)


def _opening(c: Canvas, paint: Paint, collar: float) -> None:
    c.polygon(smooth([(5, -collar + 0.5), (12, -collar - 1.5), (19, -collar), (12, -collar + 3.4)]), shade(paint.base, 0.5))


def _casual(c: Canvas, paint: Paint) -> None:
    collar = c.pick((9.0, 10.0, 11.0, 15.0))
    thick = c.between(2.5, 5)
    sole = c.pick(((238, 236, 230), (238, 236, 230), (150, 110, 70), (60, 50, 46), shade(paint.accent, 1.2)))
    c.polygon(smooth(_upper(c.between(5, 7.5), collar)), paint)
    _opening(c, paint, collar)
    c.polygon(
        smooth([(-24, 5), (-10, 6.6), (10, 6.6), (22.5, 5), (22.5, 6 + thick), (0, 7.4 + thick), (-23, 6 + thick)]),
        sole,
        edge=shade(sole, 0.75),
    )
    style = c.pick(("canvas", "canvas", "slip", "derby", "stripes", "panel"))
    if style == "canvas":
        c.polygon(smooth([(-23, 6), (-22, 1), (-16, -1), (-14.5, 6.5)]), c.pick((sole, paint.accent)))
        _laces(c, paint, 4)
    elif style == "slip":
        c.polygon([(-4, -5), (4, -8.6), (7, -4), (-1, 1)], paint.accent)
    elif style == "derby":
        c.line([(-4, 6), (-8, -3)], paint.edge, 0.8)
        _laces(c, paint, 3)
    elif style == "stripes":
        for k in range(c.pick((1, 2, 3))):
            c.line([(-3 + 3.6 * k, 6), (1 + 3.2 * k, -4)], paint.accent, 1.5)
        _laces(c, paint, 4)
    else:
        c.polygon(smooth([(12, -6), (20, -8), (21, 6), (12, 6)]), paint.accent)
        _laces(c, paint, 3)


def _sports(c: Canvas, paint: Paint) -> None:
    collar = c.pick((10.0, 11.0, 12.0, 14.0))
    thick = c.between(3.5, 7)
    sole = c.pick(((244, 244, 242), (244, 244, 242), (60, 60, 64), shade(paint.base, 1.2)))
    c.polygon(smooth(_upper(c.between(5, 7), collar)), paint)
    _opening(c, paint, collar)
    if c.chance(0.7):
        c.polygon(smooth([(-23, 6), (-22, 1.5), (-15, -1.5), (-10, 5.5)]), blend(paint.base, paint.accent, c.between(0.2, 1)))
    if c.chance(0.7):
        c.polygon(smooth([(12, -7), (20, -9.5), (21.5, 5), (13, 5)]), paint.accent)
    c.polygon(
        smooth(
            [
                (-25, 3.4),
                (-14, 5.6),
                (0, 4.4),
                (14, 5),
                (23.5, 2),
                (24.5, 5 + thick),
                (10, 6 + thick),
                (-4, 5 + thick),
                (-20, 6 + thick),
            ]
        ),
        sole,
        edge=shade(sole, 0.75),
    )
    tread = c.pick((paint.accent, paint.base, paint.second))
    c.line([(-22, 5.2 + thick), (-4, 4.6 + thick), (10, 5.4 + thick), (23, 4.4 + thick)], tread, c.between(0.8, 2))
    mark = paint.accent if c.chance(0.8) else (240, 240, 240)
    style = c.pick(("bars", "swoop", "mesh", "none"))
    if style == "bars":
        for k in range(3):
            c.line([(-5 + 4 * k, 4.6), (0 + 3.4 * k, -4.4)], mark, 1.6)
    elif style == "swoop":
        c.polygon(smooth([(-9, 3.4), (0, 3.6), (14, -4), (2, 1)]), mark)
    elif style == "mesh":
        for k in range(5):
            c.line([(-15 + 4 * k, 4), (-13 + 4 * k, -1.5 - k)], paint.edge, 0.6)
    _laces(c, paint, 5)


def _formal(c: Canvas, paint: Paint) -> None:
    collar = c.pick((8.5, 9.5, 10.5, 15.0))
    thick = c.between(1.2, 2.4)
    sole = c.pick(((34, 26, 24), (70, 48, 34), shade(paint.base, 0.6)))
    toe = c.between(3.2, 5)
    c.polygon(smooth(_upper(toe, collar, toe_x=c.between(-27, -24))), paint)
    _opening(c, paint, collar)
    c.polygon([(-26, 6.4), (22, 6.4), (22, 6.4 + thick), (-25, 6.4 + thick)], sole)
    c.polygon([(11, 6.4), (22, 6.4), (21.4, 9.6 + thick), (12, 9.6 + thick)], sole)
    c.line([(-20, 3.4), (-13, 0.6)], shade(paint.base, 1.45), 0.9)
    style = c.pick(("oxford", "derby", "monk", "loafer"))
    if style == "loafer":
        c.polygon([(-5, -4.6), (1, -7.6), (4, -3), (-2, 0.4)], shade(paint.base, 0.75))
    elif style == "monk":
        c.polygon(limb([(-4, 2), (0, -3), (3, -7)], (3.4, 3.4, 3)), shade(paint.base, 0.8))
        c.dot(-1.5, -1, 1.1, (206, 190, 130))
    else:
        c.line([(-12, 5.6), (-10, -1.8)], paint.edge, 0.7)
        c.line([(-2, 6), (2, -6.8)], paint.edge, 0.7)
        _laces(c, paint, 3)


def draw_heel(c: Canvas, look: Look, paint: Paint) -> None:
    """Heels (a raised foot on a heel, a wedge or a platform) or Flats (the same shoe lying low)."""
    rise = c.between(8, 18) if look.article == "Heels" else c.between(0.6, 2.6)
    back_y, sole = 9 - rise, shade(paint.base, 0.6)
    wedge = c.chance(0.25)
    bed = [(-22.0, 8.0), (-12.0, 8.6), (2.0, 8 - rise * 0.45), (18.0, back_y), (20.0, back_y + 2.2)]
    if wedge:
        c.polygon([(-22, 9), *bed[1:], (20.5, 10.5), (-20, 10.5)], c.pick((sole, (176, 134, 86), shade(paint.base, 0.8))))
    else:
        thick = c.between(1.2, 4)
        c.polygon([(20 - thick - 2.5, back_y + 1), (20.5, back_y), (19.5, 10.5), (19.5 - thick * 0.7, 10.5)], sole)
        c.polygon(smooth([*bed, (2, 11 - rise * 0.5), (-12, 10.4), (-22, 10)]), sole)
    if c.chance(0.55):
        c.polygon(
            smooth(
                [
                    (-23, 8.6),
                    (-22, 3.4),
                    (-13, 1.6),
                    (-4, 6 - rise * 0.3),
                    (8, 3 - rise * 0.72),
                    (17, back_y - 8),
                    (20.6, back_y - 7),
                    (20.4, back_y + 2),
                    (2, 9 - rise * 0.45),
                    (-12, 9.6),
                ]
            ),
            paint,
        )
        c.polygon(
            smooth([(-12, 2.6), (-4, 5 - rise * 0.3), (8, 2 - rise * 0.7), (16, back_y - 6), (7, 5.4 - rise * 0.6)]),
            shade(paint.base, 0.5),
        )
    else:
        c.line(bed[:4], (206, 170, 130), 1.4)
        c.line(curve([(-18, 8), (-14, 2), (-8, 8)]), paint.base, c.between(1.8, 3.6))
        if c.chance(0.7):
            c.line(curve([(-11, 7.6), (-6, 0), (0, 8 - rise * 0.4)]), paint.base, c.between(1.2, 3))
        c.polygon(smooth([(12, back_y + 1), (18.5, back_y - 7), (20.5, back_y - 6), (20, back_y + 1)]), paint)
        c.line(
            curve([(19, back_y - 6), (12, back_y - 9.5), (7, back_y - 7.5), (12, back_y - 5.5), (19, back_y - 5)]),
            paint.base,
            1.3,
        )
    if c.chance(0.4):
        c.dot(-15, 3.6, 1.8, paint.accent)


def draw_sandal(c: Canvas, look: Look, paint: Paint) -> None:
    """Sandals, Sports Sandals or Flip Flops, from the side, or from above in perspective."""
    if look.article == "Sports Sandals" or (look.article == "Sandals" and c.chance(0.6)):
        _side_sandal(c, look, paint)
    else:
        _footbeds(c, look, paint)


def _side_sandal(c: Canvas, look: Look, paint: Paint) -> None:
    sporty = look.article == "Sports Sandals" or c.chance(0.15)
    thick = c.between(4, 6.5) if sporty else c.between(2, 5)
    sole = c.pick(((50, 46, 46), (120, 90, 62), shade(paint.base, 0.55)))
    c.polygon(smooth([(-24, 6), (-12, 7), (4, 6), (22, 4), (23, 6 + thick), (0, 7.4 + thick), (-23, 6 + thick)]), sole)
    c.line([(-22, 6.2), (-8, 6.8), (8, 5.6), (21, 4.2)], blend(sole, (230, 200, 160), 0.5), 1.4)
    if sporty:
        for k in range(9):
            c.line([(-21 + 5 * k, 7.6 + thick), (-20 + 5 * k, 5 + thick)], paint.accent, 0.8)
    broad = c.between(4, 6.5) if sporty else c.between(2.2, 5)
    dark = shade(paint.base, 0.8)
    c.polygon(strap([(-18, 6), (-13, -2), (-6, 6)], broad), paint)
    if c.chance(0.75):
        c.polygon(strap([(-8, 6), (-2, -4), (6, 5)], broad * 0.9), dark, edge=paint.edge)
    c.polygon(smooth([(13, 4), (17, -7), (21, -6), (21.5, 4)]), paint)
    c.polygon(strap([(19, -5), (11, -9), (4, -7), (0, -2)], broad * 0.8), paint)
    if c.chance(0.6):
        c.polygon(box(9, -10, 12, -6.6), (200, 186, 140) if not sporty else paint.accent)


def _footbeds(c: Canvas, look: Look, paint: Paint) -> None:
    pair = c.chance(0.45)
    thong = (look.article == "Flip Flops" and c.chance(0.92)) or c.chance(0.1)
    bed = paint.accent if c.chance(0.6) else blend(paint.base, (60, 50, 44), 0.5)
    for k in range(2 if pair else 1):
        ox, oy = (7.0 * k, -9.0 + 15.0 * k) if pair else (0.0, 0.0)
        outline = smooth(
            [
                (ox - 22, oy + 5),
                (ox - 19, oy - 3),
                (ox - 8, oy - 6),
                (ox + 6, oy - 5),
                (ox + 19, oy - 6),
                (ox + 23, oy - 1),
                (ox + 18, oy + 5),
                (ox + 4, oy + 5),
                (ox - 10, oy + 9),
            ]
        )
        c.polygon([(x, y + 2.6) for x, y in outline], shade(bed, 0.55))
        fabric = replace(paint, base=bed, accent=paint.base)
        c.polygon(outline, fabric if thong else bed, edge=shade(bed, 0.7))
        band = paint.base if abs(brightness(paint.base) - brightness(bed)) > 24 else shade(paint.base, 0.5)
        _straps(c, ox, oy, paint, band if thong else paint.base, thong=thong)


def _straps(c: Canvas, x: float, y: float, paint: Paint, band: Colour, *, thong: bool) -> None:
    """A thong between the toes, or bands across the foot and often one around the heel."""
    edge = shade(band, 0.7)
    if thong:
        wide = c.between(2, 3.8)
        c.polygon(limb(curve([(x - 14, y + 1), (x - 7, y - 5), (x + 6, y - 6)]), [1.6, *[wide] * 10]), band, edge=edge)
        c.polygon(limb(curve([(x - 14, y + 1), (x - 6, y + 3), (x + 6, y + 5)]), [1.6, *[wide] * 10]), band, edge=edge)
        return
    fabric = replace(paint, base=band)
    for at in c.pick(((-15, -6), (-15, -8), (-13,))):
        broad = c.between(4, 7) if at < -10 else c.between(3, 5)
        c.polygon(strap([(x + at, y + 8), (x + at + 1, y - 1), (x + at + 4, y - 7)], broad), fabric, edge=edge)
    if c.chance(0.8):
        c.polygon(strap([(x + 9, y + 6), (x + 17, y - 4), (x + 9, y - 8)], 2.6), band, edge=edge)
