"""Garments for the legs, and socks: jeans, trousers, track pants, shorts and skirts, worn or lying flat."""

from __future__ import annotations

from fashion_ray.catalog.demo.canvas import Canvas, Point, box, limb, mirrored, smooth
from fashion_ray.catalog.demo.figure import DENIMS, draw_legs
from fashion_ray.catalog.demo.look import COLOURS, SKINS, Colour, Look, Paint, blend, shade


def draw_trousers(c: Canvas, look: Look, paint: Paint) -> None:
    """Jeans, Trousers, Track Pants or Shorts."""
    kind = look.article
    skin = c.pick(SKINS)
    worn = c.chance(0.3 if look.child else 0.68)
    spread = c.between(0, 2.5) if worn else c.between(1, 4.5)
    end = c.between(20, 33) if kind == "Shorts" else c.between(48, 54)
    wide = {"Jeans": c.between(7, 10), "Trousers": c.between(8, 10.5), "Track Pants": c.between(8.5, 11.5)}.get(
        kind, c.between(10.5, 13.5)
    )
    if worn:
        _upper_body(c, skin)
        draw_legs(c, skin, None, covered_to_y=20)
    legs: list[list[Point]] = []
    for side in (-1, 1):
        leg = [(side * 5.2, 6.0), (side * (5.4 + spread / 2), min(30, end - 4)), (side * (5.2 + spread), end)]
        legs.append(leg)
        cuff = wide * (c.between(0.62, 0.9) if kind == "Track Pants" else c.between(0.8, 1.08))
        c.polygon(limb(leg, (12, wide + 1.2, cuff)), paint)
    c.polygon(mirrored([(0, -1), (9.4, -1), (11.2, 9), (10.8, 16), (0, 14)]), paint)
    c.line([(0, 0), (0, 13)], paint.edge, 0.6)
    _details(c, kind, paint, legs, end)
    if worn:
        _shirt_hem(c)


def _details(c: Canvas, kind: str, paint: Paint, legs: list[list[Point]], end: float) -> None:
    elastic = kind == "Track Pants" or (kind == "Shorts" and c.chance(0.5))
    band = shade(paint.base, 0.8)
    c.polygon(box(-9.6, -2.4, 9.6, 0.6), band, edge=paint.edge)
    if elastic:
        c.line([(-1, 0.6), (-1.6, 6)], paint.accent, 0.6)
        c.line([(1, 0.6), (1.4, 5)], paint.accent, 0.6)
    elif c.chance(0.6):
        c.polygon(box(-1.2, -1.8, 1.2, 0), (190, 170, 110))
    for (x0, y0), (x1, y1), (x2, y2) in legs:
        side = 1 if x0 > 0 else -1
        pocket = (176, 128, 70) if kind == "Jeans" and c.chance(0.7) else paint.edge
        c.line([(side * 6, 0.8), (side * 7.4, 4.4), (side * 10.4, 5.6)], pocket, 0.7)
        if kind == "Jeans":
            worn_off = blend(paint.base, (214, 224, 236), c.between(0.05, 0.45))
            c.polygon(smooth([(x0, y0 + 8), (x1 + 1.6, y1 - 7), (x1, y1 + 3), (x1 - 1.6, y1 - 7)]), worn_off)
        elif kind == "Trousers" and c.chance(0.75):
            c.line([(x0, y0 + 5), (x1, y1), (x2, y2)], paint.edge, 0.6)
        elif kind in ("Track Pants", "Shorts") and c.chance(0.5):
            c.line([(side * 10.2, 6), (x1 + side * 3.6, y1), (x2 + side * 3, y2)], paint.accent, 1.2)
        if kind == "Jeans" and c.chance(0.3):
            c.line([(x2 - 4, y2 - 2.4), (x2 + 4, y2 - 2.4)], blend(paint.base, (220, 226, 236), 0.5), 2.0)


def _upper_body(c: Canvas, skin: Colour) -> None:
    for side in (-1, 1):
        c.polygon(limb([(side * 14, -18), (side * 14.5, 0), (side * 12.5, 13)], (4, 3.6, 2.8)), skin)
        c.oval(side * 12.4, 14.5, 1.9, 2.6, skin)


def _shirt_hem(c: Canvas) -> None:
    cloth = c.pick((COLOURS["White"], COLOURS["White"], COLOURS["Grey"], COLOURS["Black"], COLOURS["Blue"]))
    bottom = c.between(-3, 5)
    c.polygon(mirrored([(0, -20), (11.5, -20), (10, -6), (11, bottom), (0, bottom + 1.5)]), cloth, edge=shade(cloth, 0.75))


def draw_skirt(c: Canvas, look: Look, paint: Paint) -> None:
    """A skirt from mini to ankle length, straight or flared, sometimes pleated or of denim."""
    worn = c.chance(0.3 if look.child else 0.62)
    skin = c.pick(SKINS)
    end, hem = c.between(16, 46), c.between(9.5, 19)
    if worn:
        _upper_body(c, skin)
        draw_legs(c, skin, None, covered_to_y=20)
    half = [
        (0, -1.0),
        (8.4, -1),
        (10.6, 8),
        ((10.6 + hem) / 2, (8 + end) / 2),
        (hem, end),
        (0, end + c.between(0, 2.5)),
    ]
    c.polygon(mirrored(half), paint)
    for k in range(c.pick((0, 2, 5))):
        at = -0.8 + 0.4 * k
        c.line([(at * 8, 2), (at * hem * 0.95, end)], paint.edge, 0.6)
    c.polygon(box(-8.6, -2.2, 8.6, 0.6), shade(paint.base, 0.82), edge=paint.edge)
    if c.chance(0.3):
        c.line([(-hem + 1, end - 2.5), (hem - 1, end - 2.5)], paint.accent, 2.0)
    if worn:
        _shirt_hem(c)


def draw_socks(c: Canvas, look: Look, paint: Paint) -> None:
    """A pair of socks, or three, from ankle to knee length."""
    tall = c.pick((8.0, 13.0, 18.0, 24.0))
    toe = paint.accent if c.chance(0.5) else shade(paint.base, 0.85)
    for k in range(c.pick((2, 2, 3))):
        x = -9 + 13 * k + c.between(-1, 1)
        y = 10 + c.between(-2, 2)
        c.polygon(
            smooth(
                [
                    (x - 5, y - tall),
                    (x + 5, y - tall),
                    (x + 5, y),
                    (x + 2, y + 7),
                    (x - 8, y + 10),
                    (x - 11, y + 6),
                    (x - 5, y),
                ]
            ),
            paint,
        )
        c.polygon(smooth([(x - 7, y + 3.4), (x - 6.6, y + 9.6), (x - 10, y + 9), (x - 11, y + 6)]), toe)
        c.polygon(box(x - 5, y - tall - 1, x + 5, y - tall + 2.6), toe, edge=paint.edge)
        c.line([(x - 5, y - tall + 5), (x + 5, y - tall + 5)], paint.accent, 1.0)


def denim(c: Canvas) -> Colour:
    """A blue that jeans have."""
    return c.pick(DENIMS[:3])
