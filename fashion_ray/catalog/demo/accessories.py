"""Things worn or carried: watches, sunglasses, belts, ties, caps, earrings, and a cushion."""

from __future__ import annotations

import math

from fashion_ray.catalog.demo.apparel import draw_logo
from fashion_ray.catalog.demo.canvas import Canvas, box, limb, mirrored, ring, smooth, strap
from fashion_ray.catalog.demo.look import COLOURS, Colour, Look, Paint, blend, brightness, shade

METALS: tuple[Colour, ...] = (COLOURS["Silver"], COLOURS["Gold"], COLOURS["Steel"], (60, 60, 66))


def draw_watch(c: Canvas, look: Look, paint: Paint) -> None:
    """A wrist watch from the front: round or square, on leather, rubber or metal, sometimes digital."""
    wide = c.between(5.5, 8.5) if look.female else c.between(7.5, 10.5)
    size = c.between(10, 13) if look.female else c.between(12.5, 16)
    metal = c.chance(0.4)
    case = c.pick(METALS)
    band = case if metal else paint.base
    half = [(wide * 0.6, -32.0), (wide, -size + 2), (wide, size - 2), (wide * 0.6, 32.0)]
    c.polygon(mirrored(half), band, edge=shade(band, 0.7))
    step = 3.2 if metal else 6.5
    y = size + 1.0
    while y < 31:
        for at in (y, -y):
            c.line([(-wide * 0.7, at), (wide * 0.7, at)], shade(band, 0.78), 0.7)
        y += step
    dial = c.pick(((240, 240, 238), (30, 30, 34), paint.base, paint.accent))
    square = c.chance(0.26)
    c.polygon(box(size * 0.9, -2, size + 2.5, 2), shade(case, 0.8))
    if square:
        c.polygon(box(-size * 0.85, -size, size * 0.85, size), case, edge=shade(case, 0.6))
        c.polygon(box(-size * 0.66, -size * 0.78, size * 0.66, size * 0.78), dial, edge=shade(case, 0.6))
    else:
        c.oval(0, 0, size, size, case, edge=shade(case, 0.6))
        c.oval(0, 0, size * 0.8, size * 0.8, dial, edge=shade(case, 0.6))
    _dial(c, size, dial, paint, digital=square and c.chance(0.35))


def _dial(c: Canvas, size: float, dial: Colour, paint: Paint, *, digital: bool) -> None:
    ink: Colour = (24, 24, 28) if brightness(dial) > 120 else (236, 236, 232)
    if digital:
        c.polygon(box(-size * 0.5, -size * 0.3, size * 0.5, size * 0.3), (168, 180, 160), edge=ink)
        c.line([(-size * 0.34, 0), (size * 0.34, 0)], (30, 34, 30), 2.2)
        return
    for k in range(12):
        turn = math.pi * k / 6
        c.dot(size * 0.64 * math.sin(turn), -size * 0.64 * math.cos(turn), 0.8 if k % 3 == 0 else 0.45, ink)
    if c.chance(0.35):
        for x, y in ((-0.3, 0.0), (0.3, 0.0), (0.0, 0.34)):
            c.oval(size * x, size * y, size * 0.17, size * 0.17, blend(dial, ink, 0.2), edge=ink)
    for reach, width in ((0.36, 1.2), (0.56, 0.9)):
        turn = c.between(0, 2 * math.pi)
        c.line([(0, 0), (size * reach * math.sin(turn), -size * reach * math.cos(turn))], ink, width)


def draw_sunglasses(c: Canvas, look: Look, paint: Paint) -> None:
    """Sunglasses from the front or half from the side."""
    frame = paint.base if c.chance(0.75) else c.pick(METALS)
    lens = c.pick(((44, 40, 42), (78, 56, 44), (70, 84, 78), (96, 70, 110), (60, 80, 120)))
    wide, high = c.between(9.5, 12), c.between(6, 9)
    slant = c.between(-1.5, 3)
    reach = c.pick((0.0, 8.0, 14.0))
    thick = c.between(0.8, 2.2)
    for side in (-1, 1):
        hinge = (side * (wide * 2 + 1.5), -high * 0.55)
        tip = (hinge[0] * 0.72 + reach * 0.9, -high - c.between(4, 9) + slant)
        c.line([hinge, tip, (tip[0] + 3, tip[1] + 4)], shade(frame, 0.85), thick * 0.8 + 0.5)
    shape = c.pick(("aviator", "round", "square"))
    for side in (-1, 1):
        x = side * (wide + 1.4)
        if shape == "aviator":
            outline = smooth(
                [
                    (x - wide, -high),
                    (x + wide, -high),
                    (x + wide * 0.8, high * 0.4),
                    (x + side * wide * 0.2, high),
                    (x - wide * 0.8, high * 0.4),
                ]
            )
        elif shape == "round":
            outline = ring(x, 0, wide * 0.96, high)
        else:
            outline = smooth(
                [
                    (x - wide, -high * 0.8),
                    (x, -high),
                    (x + wide, -high * 0.8),
                    (x + wide * 0.9, high * 0.8),
                    (x, high),
                    (x - wide * 0.9, high * 0.8),
                ]
            )
        c.polygon(outline, frame)
        middle_y = sum(y for _, y in outline) / len(outline)
        glass = [(x + (px - x) * (1 - thick / wide), middle_y + (py - middle_y) * (1 - thick / high)) for px, py in outline]
        c.polygon(glass, lens)
        c.line([(x - wide * 0.4, high * 0.3), (x + wide * 0.2, -high * 0.5)], blend(lens, (255, 255, 255), 0.35), 1.2)
    c.line([(-2.5, -high * 0.4), (0, -high * 0.6), (2.5, -high * 0.4)], frame, thick + 0.4)


def draw_belt(c: Canvas, look: Look, paint: Paint) -> None:
    """A belt, rolled into a ring with its buckle in front, or stretched out."""
    metal = c.pick(METALS)
    high = c.between(3, 5.5)
    if c.chance(0.8):
        wide, deep = c.between(20, 25), c.between(5, 9)
        c.oval(0, -deep * 0.5, wide, deep, shade(paint.base, 0.62))
        c.oval(0, -deep * 0.5 + 0.6, wide - 1.4, deep - 1.6, (246, 246, 246))
        front = [(wide * math.sin(t / 8), deep * math.cos(t / 8) - deep * 0.5) for t in range(-12, 13)]
        c.polygon(limb(front, [high] * len(front)), paint)
        y = deep * 0.5
    else:
        y = 0.0
        c.polygon(strap([(-28, y + 4), (-9, y), (8, y - 1), (28, y + 3)], high), paint)
    for k in range(4):
        c.dot(8 + 3 * k, y - 0.3 * k, 0.5, shade(paint.base, 0.45))
    tall = high * c.between(0.8, 1.2)
    c.polygon(box(-4.5, y - tall, 4, y + tall), metal, edge=shade(metal, 0.6))
    if c.chance(0.7):
        c.polygon(box(-2.6, y - tall + 1.4, 2.2, y + tall - 1.4), shade(paint.base, 0.8))
        c.line([(-3, y), (4, y)], shade(metal, 0.9), 0.9)
    c.line([(6.4, y - high * 0.6), (6.4, y + high * 0.6)], shade(paint.base, 0.6), 1.4)


def draw_tie(c: Canvas, look: Look, paint: Paint) -> None:
    """A neck tie hanging down, knotted or folded over."""
    wide = c.between(4, 7.5)
    bottom = c.between(28, 34)
    if c.chance(0.5):
        c.polygon(
            [(1, -30), (4, -30), (wide * 0.9 + 3, bottom - 12), (wide * 0.4 + 3, bottom - 7), (2, bottom - 10)],
            shade(paint.base, 0.75),
        )
    c.polygon(mirrored([(2, -28), (wide * 0.55, -4), (wide, bottom - 7), (0, bottom)]), paint)
    if c.chance(0.7):
        c.polygon([(-4.4, -34), (4.4, -34), (2.6, -26), (-2.6, -26)], paint, edge=shade(paint.base, 0.5))
        if c.chance(0.4):
            c.line([(-4, -33), (-9, -38), (0, -40), (9, -38), (4, -33)], paint.base, 2.0)


def draw_cap(c: Canvas, look: Look, paint: Paint) -> None:
    """A baseball cap from the side, or a knitted cap."""
    if c.chance(0.2):
        c.polygon(smooth([(-16, 8), (-14, -8), (0, -18), (14, -8), (16, 8)]), paint)
        c.polygon(box(-17, 4, 17, 11), shade(paint.base, 0.85), edge=paint.edge)
        c.dot(0, -18, 3, paint.accent)
        return
    c.polygon(smooth([(-14, 8), (-14, -4), (-4, -14), (8, -13), (18, -2), (19, 8), (2, 10)]), paint)
    visor = paint.base if c.chance(0.6) else paint.accent
    c.polygon(smooth([(-14, 7), (-4, 8), (4, 10), (-8, 13), (-25, 12), (-24, 9)]), shade(visor, 0.88), edge=shade(visor, 0.6))
    c.line([(0, -14), (-4, -4), (-5, 8)], paint.edge, 0.7)
    c.line([(2, -14), (10, -6), (12, 8)], paint.edge, 0.7)
    c.dot(2, -14, 1.3, shade(visor, 0.8))
    if c.chance(0.7):
        draw_logo(c, paint, -8, -2, 0.6)


def draw_earrings(c: Canvas, look: Look, paint: Paint) -> None:
    """A pair of earrings: drops, hoops or studs."""
    metal = c.pick(METALS[:3])
    stone = paint.base
    style = c.pick(("drop", "hoop", "stud", "chain"))
    for x in (-10.0, 10.0):
        if style == "hoop":
            c.oval(x, 2, 7.5, 9, metal)
            c.oval(x, 2, 6, 7.5, (248, 248, 248))
            continue
        if style != "stud":
            c.line([(x, -14), (x + 1.6, -17), (x + 2.6, -13)], metal, 0.8)
            c.line([(x, -14), (x, 2)], metal, 0.9)
        if style == "chain":
            for k in range(4):
                c.oval(x, -10 + 5.5 * k, 1.4 + 0.9 * k, 2.2, stone if k % 2 else metal, edge=shade(metal, 0.7))
        else:
            c.polygon(smooth([(x, -2), (x + 4.5, 6), (x, 11), (x - 4.5, 6)]), metal, edge=shade(metal, 0.7))
            c.oval(x, 5.4, 2.2, 3, stone)


def draw_cushion(c: Canvas, look: Look, paint: Paint) -> None:
    """A square cushion."""
    c.polygon(
        smooth(
            [
                (-21, -21),
                (-8, -20),
                (8, -20),
                (21, -21),
                (20, -8),
                (20, 8),
                (21, 21),
                (8, 20),
                (-8, 20),
                (-21, 21),
                (-20, 8),
                (-20, -8),
            ]
        ),
        paint,
    )
    for x, y in ((-21, -21), (21, -21), (21, 21), (-21, 21)):
        c.dot(x, y, 1.8, paint.accent)
    c.polygon(box(-15, -15, 15, 15), paint, edge=paint.edge)
