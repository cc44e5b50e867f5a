"""Bags, wallets, bottles and tubes, gifts and balls."""

from __future__ import annotations

import math

from fashion_ray.catalog.demo.apparel import draw_logo
from fashion_ray.catalog.demo.canvas import Canvas, Point, box, curve, smooth, strap
from fashion_ray.catalog.demo.look import COLOURS, Colour, Look, Paint, blend, shade

GOLD = COLOURS["Gold"]
SILVER = COLOURS["Silver"]


def draw_handbag(c: Canvas, look: Look, paint: Paint) -> None:
    """A handbag or tote with one or two handles."""
    top, bottom = c.between(12, 20), c.between(16, 23)
    high = c.between(22, 34)
    y0, y1 = 24 - high, 24.0
    reach = c.between(10, 22)
    dark = shade(paint.base, 0.72)
    arch = [
        (-top * 0.6, y0 + 2),
        (-top * 0.5, y0 - reach * 0.7),
        (0, y0 - reach),
        (top * 0.5, y0 - reach * 0.7),
        (top * 0.6, y0 + 2),
    ]
    if c.chance(0.6):
        c.line([(x + 2, y - 2) for x, y in curve(arch)], shade(dark, 0.8), 1.8)
    c.polygon(strap(arch, c.between(1.8, 3)), dark, edge=shade(dark, 0.7))
    if c.chance(0.5):
        c.polygon(
            smooth(
                [
                    (-top, y0),
                    (0, y0 - 1),
                    (top, y0),
                    (bottom, y1 - 5),
                    (bottom * 0.8, y1),
                    (-bottom * 0.8, y1),
                    (-bottom, y1 - 5),
                ]
            ),
            paint,
        )
    else:
        c.polygon([(-top, y0), (top, y0), (bottom, y1), (-bottom, y1)], paint)
    _ornament(c, paint, y0, high, top, bottom)
    for side in (-1, 1):
        c.dot(side * top * 0.6, y0 + 2.4, 1.2, c.pick((GOLD, SILVER)))


def _ornament(c: Canvas, paint: Paint, y0: float, high: float, top: float, bottom: float) -> None:
    """A bag's flap, band, pocket or tassel, between y0 and y0 + high; top and bottom are half its widths there."""
    y1 = y0 + high
    style = c.pick(("flap", "band", "pocket", "plain", "tassel"))
    if style == "flap":
        lid = [(-top, y0), (top, y0), (top * 0.8, y0 + high * 0.45), (0, y0 + high * 0.55), (-top * 0.8, y0 + high * 0.45)]
        c.polygon(lid, shade(paint.base, 0.85), edge=paint.edge)
        c.dot(0, y0 + high * 0.48, 1.5, c.pick((GOLD, SILVER)))
    elif style == "band":
        c.line([(-bottom * 0.95, y1 - 6), (bottom * 0.95, y1 - 6)], paint.accent, 2.6)
    elif style == "pocket":
        c.polygon(box(-top * 0.6, y0 + high * 0.45, top * 0.6, y1 - 2.5), shade(paint.base, 0.88), edge=paint.edge)
    elif style == "tassel":
        c.polygon([(top * 0.5, y0 + 1), (top * 0.5 + 3, y0 + 12), (top * 0.5 - 2, y0 + 12)], paint.accent)


def draw_backpack(c: Canvas, look: Look, paint: Paint) -> None:
    """A backpack from the front, with pockets and straps."""
    wide, high = c.between(14, 19), c.between(44, 54)
    y0, y1 = -high / 2, high / 2
    if c.chance(0.6):
        for side in (-1, 1):
            c.polygon(
                strap([(side * wide * 0.7, y0 + 4), (side * (wide + 4.5), 0), (side * wide, y1 - 4)], 3),
                shade(paint.base, 0.7),
            )
    c.line([(-4, y0 + 1), (-3, y0 - 5), (3, y0 - 5), (4, y0 + 1)], shade(paint.base, 0.6), 1.8)
    c.polygon(
        smooth(
            [
                (-wide * 0.7, y0 + 1),
                (0, y0 - 2),
                (wide * 0.7, y0 + 1),
                (wide, y0 + 12),
                (wide, y1 - 4),
                (wide * 0.8, y1),
                (-wide * 0.8, y1),
                (-wide, y1 - 4),
                (-wide, y0 + 12),
            ]
        ),
        paint,
    )
    c.line(
        [(-wide * 0.8, y0 + 14), (-wide * 0.6, y0 + 5), (0, y0 + 2), (wide * 0.6, y0 + 5), (wide * 0.8, y0 + 14)],
        paint.edge,
        0.9,
    )
    pocket = paint.accent if c.chance(0.4) else shade(paint.base, 0.86)
    c.polygon(
        smooth([(-wide * 0.8, 4), (0, 2), (wide * 0.8, 4), (wide * 0.82, y1 - 3), (-wide * 0.82, y1 - 3)]),
        pocket,
        edge=paint.edge,
    )
    c.line([(-wide * 0.6, 8), (wide * 0.6, 8)], shade(pocket, 0.6), 0.8)
    if c.chance(0.5):
        draw_logo(c, paint, 0, -8, 0.7)


def draw_wallet(c: Canvas, look: Look, paint: Paint) -> None:
    """Wallets, and Clutches, which are a little larger and have a flap and a clasp more often."""
    clutch = look.article == "Clutches"
    wide, high = (c.between(20, 25), c.between(10, 15)) if clutch else (c.between(16, 24), c.between(9, 15))
    if not clutch and c.chance(0.3):
        c.polygon([(-wide + 3, -high - 3), (wide - 2, -high - 4), (wide, high - 3), (-wide + 3, high)], shade(paint.base, 0.7))
        c.polygon(box(-wide * 0.6, -high - 2, wide * 0.5, -high + 4), (236, 236, 230))
    c.polygon(box(-wide, -high, wide, high), paint)
    c.polygon(box(-wide + 1.5, -high + 1.5, wide - 1.5, high - 1.5), paint, edge=shade(paint.base, 0.8))
    if c.chance(0.8 if clutch else 0.3):
        c.polygon(
            [(-wide, -high), (wide, -high), (wide * 0.9, high * 0.1), (0, high * 0.3), (-wide * 0.9, high * 0.1)],
            shade(paint.base, 0.88),
            edge=paint.edge,
        )
        c.dot(0, high * 0.16, 1.8, c.pick((GOLD, SILVER)))
    elif c.chance(0.5):
        c.line([(0, -high), (0, high)], paint.edge, 0.8)
    if clutch and c.chance(0.5):
        c.line([(-wide + 2, -high), (-wide * 0.6, -high - 13), (wide * 0.6, -high - 13), (wide - 2, -high)], GOLD, 0.9)
    if c.chance(0.5):
        c.polygon(box(wide * 0.5, high * 0.5, wide * 0.8, high * 0.75), paint.accent)


def draw_perfume(c: Canvas, look: Look, paint: Paint) -> None:
    """A perfume bottle (square, round or tall as a body mist), sometimes with its box."""
    glass = blend(paint.base, (255, 255, 255), c.between(0.1, 0.6))
    cap = c.pick((GOLD, SILVER, (36, 36, 40), shade(paint.base, 0.6)))
    if c.chance(0.3):
        c.polygon(box(4, -24, 22, 26), shade(paint.base, 0.85), edge=paint.edge)
        draw_logo(c, paint, 13, 0, 0.6)
    shape = c.pick(("square", "square", "round", "tall", "flask"))
    if shape == "tall":
        wide, top = c.between(6, 8.5), -18.0
        c.polygon(box(-wide, top, wide, 27), glass, edge=shade(glass, 0.7))
        c.polygon(box(-wide * 0.9, top - 10, wide * 0.9, top), cap, edge=shade(cap, 0.7))
    else:
        wide, top = c.between(11, 16), c.between(-9, -3)
        outlines: dict[str, list[Point]] = {
            "square": box(-wide, top, wide, 25),
            "round": [(wide * math.cos(k * 0.3), 10 + 15 * math.sin(k * 0.3)) for k in range(21)],
            "flask": smooth([(-4, top), (4, top), (wide, 10), (wide * 0.8, 25), (-wide * 0.8, 25), (-wide, 10)]),
        }
        c.polygon(outlines[shape], glass, edge=shade(glass, 0.65))
        c.polygon(box(-wide * 0.62, 6, wide * 0.62, 22), blend(glass, paint.base, 0.6))
        c.polygon(box(-2.5, top - 5, 2.5, top + 1), (210, 210, 212))
        tall = c.between(7, 14)
        c.polygon(box(-5, top - 4 - tall, 5, top - 4), cap, edge=shade(cap, 0.7))
    if c.chance(0.7):
        c.polygon(box(-5, 11, 5, 16), (244, 242, 236))
        c.line([(-3.4, 13.4), (3.4, 13.4)], (60, 60, 60), 0.7)
    c.line([(-wide * 0.7, top + 4), (-wide * 0.7, 20)], shade(glass, 1.5), 1.0)


def draw_deodorant(c: Canvas, look: Look, paint: Paint) -> None:
    """A spray can or a roll-on."""
    wide, top = c.between(6, 8.5), c.between(-22, -14)
    for k in range(2 if c.chance(0.15) else 1):
        x = 16.0 * k - (8.0 if k else 0.0)
        c.polygon(box(x - wide, top, x + wide, 30), paint, edge=paint.edge)
        c.polygon(smooth([(x - wide, top), (x - wide * 0.7, top - 4), (x + wide * 0.7, top - 4), (x + wide, top)]), SILVER)
        cap = c.pick(((30, 30, 34), paint.accent, SILVER, (240, 240, 240)))
        if c.chance(0.75):
            c.polygon(
                smooth(
                    [
                        (x - wide * 0.86, top - 2),
                        (x - wide * 0.8, top - 12),
                        (x + wide * 0.8, top - 12),
                        (x + wide * 0.86, top - 2),
                    ]
                ),
                cap,
                edge=shade(cap, 0.7),
            )
        else:
            c.oval(x, top - 4, wide * 0.7, 5, cap, edge=shade(cap, 0.7))
        c.polygon(box(x - wide, 0, x + wide, c.between(8, 16)), paint.accent)
        c.line([(x - wide * 0.6, -6), (x + wide * 0.6, -6)], paint.second, 2.0)
        c.line([(x - wide * 0.55, top + 3), (x - wide * 0.55, 28)], shade(paint.base, 1.45), 1.1)


def draw_nail_polish(c: Canvas, look: Look, paint: Paint) -> None:
    """A small bottle of lacquer under a tall cap."""
    cap = c.pick(((26, 26, 30), (26, 26, 30), SILVER, GOLD, (244, 244, 244)))
    wide = c.between(7.5, 11)
    tall = c.between(17, 26)
    if c.chance(0.5):
        c.polygon(
            smooth([(-wide * 0.7, 2), (wide * 0.7, 2), (wide, 12), (wide * 0.8, 24), (-wide * 0.8, 24), (-wide, 12)]),
            paint,
            edge=paint.edge,
        )
    else:
        c.polygon(box(-wide, 3, wide, 25), paint, edge=paint.edge)
    c.polygon([(-3.4, 3 - tall), (3.4, 3 - tall), (5, 4), (-5, 4)], cap, edge=shade(cap, 0.7))
    c.line([(-wide * 0.6, 7), (-wide * 0.6, 20)], shade(paint.base, 1.5), 1.4)
    if c.chance(0.25):
        c.polygon(smooth([(12, 16), (20, 12), (24, 20), (16, 26)]), paint.base)


def draw_lipstick(c: Canvas, look: Look, paint: Paint) -> None:
    """A lipstick turned out of its tube, often with the cap or a swatch of its colour beside it."""
    tube = c.pick(((28, 28, 32), GOLD, SILVER, (120, 24, 40), (240, 236, 230)))
    wide = c.between(5, 6.5)
    c.polygon(box(-wide, 4, wide, 27), tube, edge=shade(tube, 0.7))
    c.polygon(box(-wide * 0.85, -6, wide * 0.85, 5), c.pick((GOLD, SILVER)), edge=(130, 120, 90))
    c.polygon(
        [(-wide * 0.66, -6), (-wide * 0.66, -16), (wide * 0.2, -22), (wide * 0.66, -19), (wide * 0.66, -6)],
        paint.base,
        edge=paint.edge,
    )
    c.line([(-wide * 0.55, 7), (-wide * 0.55, 25)], shade(tube, 1.5), 1.0)
    if c.chance(0.5):
        c.polygon(box(wide + 5, 3, wide + 16, 27), tube, edge=shade(tube, 0.7))
    if c.chance(0.35):
        c.polygon(box(12, -30, 22, -20), paint.base)


def draw_gift(c: Canvas, look: Look, paint: Paint) -> None:
    """A wrapped box with a ribbon, or a pouch."""
    ribbon = paint.accent
    if c.chance(0.3):
        c.polygon(smooth([(-8, -16), (8, -16), (5, -8), (20, 10), (14, 24), (-14, 24), (-20, 10), (-5, -8)]), paint)
        c.line([(-6, -9), (6, -9)], ribbon, 2.0)
        return
    wide, top = c.between(16, 23), c.between(-16, -4)
    c.polygon(box(-wide, top, wide, 25), paint)
    c.polygon(box(-wide - 1.5, top - 7, wide + 1.5, top), shade(paint.base, 0.88), edge=paint.edge)
    c.polygon(box(-3, top - 7, 3, 25), ribbon)
    for side in (-1, 1):
        c.polygon(
            smooth([(0, top - 7), (side * 6, top - 15), (side * 12, top - 12), (side * 8, top - 7)]),
            ribbon,
            edge=shade(ribbon, 0.7),
        )


def draw_ball(c: Canvas, look: Look, paint: Paint) -> None:
    """Basketballs with their seams, Footballs with their patches."""
    size = c.between(20, 25)
    c.oval(0, 0, size, size, paint, edge=paint.edge)
    ink: Colour = c.pick(((24, 22, 22), (24, 22, 22), shade(paint.base, 0.4)))
    if look.article == "Basketballs":
        c.line([(-size, 0), (size, 0)], ink, 1.2)
        c.line([(0, -size), (0, size)], ink, 1.2)
        for side in (-1, 1):
            c.line(
                curve([(side * size * 0.72, -size * 0.7), (side * size * 0.38, 0), (side * size * 0.72, size * 0.7)]),
                ink,
                1.2,
            )
    else:
        patch = ink if c.chance(0.6) else paint.accent
        for k in range(6):
            turn = 2 * math.pi * k / 5
            x, y = (0.0, 0.0) if k == 5 else (size * 0.72 * math.sin(turn), -size * 0.72 * math.cos(turn))
            reach = size * (0.3 if k == 5 else 0.22)
            c.polygon(
                [(x + reach * math.sin(turn + j * 1.2566), y - reach * math.cos(turn + j * 1.2566)) for j in range(5)],
                patch,
            )
            c.line([(x * 0.4, y * 0.4), (x * 0.75, y * 0.75)], shade(paint.base, 0.7), 0.7)
    if c.chance(0.4):
        draw_logo(c, paint, 0, -size * 0.4, 0.6)
