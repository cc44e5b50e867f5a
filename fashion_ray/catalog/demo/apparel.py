"""Garments for the upper body, flat, on a hanger or worn by a drawn model. Body units as in figure."""

from __future__ import annotations

from fashion_ray.catalog.demo.canvas import Canvas, Point, along, box, limb, mirrored, smooth
from fashion_ray.catalog.demo.cuts import CUTS, Cut
from fashion_ray.catalog.demo.figure import draw_arms_and_neck, draw_hanger, draw_head, draw_legs, lay_arm, trousers_colour
from fashion_ray.catalog.demo.look import COLOURS, SKINS, Colour, Look, Paint, blend, brightness, shade


def draw_upper(c: Canvas, look: Look, paint: Paint) -> None:
    """A shirt, top, kurta, dress, sweatshirt or jacket: worn (most), lying flat, or on a hanger."""
    cut = CUTS[look.article](c, look)
    worn = c.chance(0.3 if look.child else 0.72)
    skin = c.pick(SKINS)
    arms = (lay_arm(c, worn, 1), lay_arm(c, worn, -1))
    inner = skin if worn else shade(paint.base, 0.55)
    if worn:
        below = trousers_colour(c, light=look.article == "Kurtas")
        bare = look.article == "Dresses" or (look.female and c.chance(0.06))
        draw_legs(c, skin, None if bare else below, covered_to_y=cut.hem_y)
        draw_arms_and_neck(c, skin, arms)
    elif c.chance(0.3):
        draw_hanger(c)
    if cut.neck == "hood":
        c.polygon(smooth(mirrored([(0, -31), (6, -29), (8, -20), (0, -15)])), paint)
    for arm in arms:
        _sleeve(c, paint, cut, arm)
    c.polygon(_torso(c, cut), paint)
    c.folds(8, -12, cut.hem_y - 2, paint.edge, c.pick((1, 2, 4)))
    _neckline(c, paint, cut, inner)
    _front(c, paint, cut)
    _extras(c, paint, cut, look)
    if worn:
        draw_head(c, look, skin)


def _sleeve(c: Canvas, paint: Paint, cut: Cut, arm: list[Point]) -> None:
    part = along(arm, cut.sleeve)
    wide = cut.sleeve_width
    widths = [wide + 1.5, *[wide - 1.2 * k for k in range(len(part) - 1)]]
    c.polygon(limb(part, widths), paint)
    if cut.ribbed or (cut.neck == "collar" and cut.sleeve > 0.9):
        (xa, ya), (xb, yb) = part[-2:]
        start = (xb + (xa - xb) * 0.14, yb + (ya - yb) * 0.14)
        c.polygon(limb([start, part[-1]], (widths[-1] - 1.4, widths[-1] - 1.8)), shade(paint.base, 0.82), edge=paint.edge)


def _torso(c: Canvas, cut: Cut) -> list[Point]:
    half = [
        (0, -21.0),
        (4.0, -22.5),
        (cut.shoulder, -19.5),
        (cut.chest, -9.0),
        (cut.waist, 1.0),
        ((cut.waist + cut.hem) / 2 + 0.6, min(cut.hem_y - 2, 9.0)),
        (cut.hem, cut.hem_y),
        (cut.hem * 0.5, cut.hem_y + cut.hem_drop * 0.8),
        (0, cut.hem_y + cut.hem_drop),
    ]
    return mirrored(half)


def _neckline(c: Canvas, paint: Paint, cut: Cut, inner: Colour) -> None:
    trim = shade(paint.base, 0.84) if brightness(paint.base) > 70 else shade(paint.base, 1.16)
    if cut.neck in ("round", "scoop", "boat"):
        wide, deep = {"round": (4.4, 3.2), "scoop": (5, 6.5), "boat": (7.5, 2.4)}[cut.neck]
        c.oval(0, -22.3, wide + 0.9, deep + 0.9, trim)
        c.oval(0, -22.6, wide, deep, inner)
    elif cut.neck == "v":
        depth = c.between(-16, -11)
        c.polygon([(-5.2, -23), (5.2, -23), (0, depth - 0.5)], trim)
        c.polygon([(-4.2, -23.4), (4.2, -23.4), (0, depth - 2)], inner)
    elif cut.neck == "band":
        c.oval(0, -22.4, 4.6, 2.6, inner)
        c.line([(-4.6, -22.8), (-2.4, -20.2), (0, -19.2), (2.4, -20.2), (4.6, -22.8)], paint.edge, 1.5)
    elif cut.neck == "hood":
        c.oval(0, -22, 4.4, 4.4, inner)
        for side in (-1, 1):
            c.line([(side * 2, -18.5), (side * 2.2, -11)], trim, 0.7)
    else:
        c.polygon([(-3, -23), (3, -23), (0, -18)], inner)
        fill = paint.base if c.chance(0.8) else COLOURS["White"]
        for side in (-1, 1):
            c.polygon([(side * 2.6, -25), (side * 6, -21.5), (side * 4, -16.5), (0, -19.5)], fill, edge=paint.edge)


def _front(c: Canvas, paint: Paint, cut: Cut) -> None:
    button = shade(paint.base, 0.5) if brightness(paint.base) > 110 else shade(paint.base, 1.6)
    if cut.front == "none":
        return
    end = cut.hem_y - 1 if cut.front != "half" else -21 + c.between(9, 16)
    if cut.front == "zip":
        c.line([(0, -19), (0, end)], (176, 178, 182), 1.0)
        return
    c.line([(1.3, -19), (1.3, end)], paint.edge, 0.5)
    c.line([(-1.3, -19), (-1.3, end)], paint.edge, 0.5)
    y = -17.0
    while y < end:
        c.dot(0, y, 0.6, button)
        y += 4.4


def _extras(c: Canvas, paint: Paint, cut: Cut, look: Look) -> None:
    if cut.pocket == "chest":
        c.polygon(box(3.4, -13, 8, -7.4), paint, edge=paint.edge)
    elif cut.pocket == "pouch":
        c.polygon([(-5, 3), (5, 3), (8, 10), (-8, 10)], shade(paint.base, 0.9), edge=paint.edge)
    if cut.ribbed:
        c.polygon(box(-cut.hem, cut.hem_y - 2.6, cut.hem, cut.hem_y + 0.6), shade(paint.base, 0.82), edge=paint.edge)
    if cut.slits:
        for side in (-1, 1):
            c.line([(side * cut.hem * 0.93, cut.hem_y), (side * (cut.hem * 0.9 - 1), cut.hem_y - 9)], paint.edge, 1.0)
    if look.article == "Kurtas" and c.chance(0.55):
        c.polygon(box(-cut.hem + 0.6, cut.hem_y - 3, cut.hem - 0.6, cut.hem_y), paint.accent)
        c.line([(0, -19), (0, -6)], paint.accent, 2.4)
    if look.article == "Tops" and c.chance(0.45):
        ruffle = [(x, cut.hem_y + cut.hem_drop * 0.5 + (1.2 if k % 2 else -0.6)) for k, x in enumerate(range(-10, 11, 3))]
        c.line([(x * cut.hem / 10, y) for x, y in ruffle], shade(paint.base, 0.82), 2.4)
    if look.article in ("Dresses", "Tops") and c.chance(0.4):
        c.line([(-cut.waist, 0), (cut.waist, 0)], blend(paint.accent, paint.base, 0.3), c.between(1, 2.4))
    if paint.pattern == "logo":
        draw_logo(c, paint, 0, c.between(-11, -5))


def draw_logo(c: Canvas, paint: Paint, x: float, y: float, size: float = 1.0) -> None:
    """A print on the chest or the side of a thing: a disc, a block, bars like lettering, or a star."""
    kind = c.pick(("disc", "block", "bars", "star"))
    s = size * c.between(0.7, 1.3)
    if kind == "disc":
        c.oval(x, y, 4.5 * s, 4.5 * s, paint.accent)
        c.oval(x, y, 2.4 * s, 2.4 * s, paint.second)
    elif kind == "block":
        c.polygon(box(x - 5.5 * s, y - 3.5 * s, x + 5.5 * s, y + 3.5 * s), paint.accent)
        c.line([(x - 4 * s, y), (x + 4 * s, y)], paint.second, 1.2 * s)
    elif kind == "bars":
        for k in range(3):
            wide = c.between(3, 6.5) * s
            c.line([(x - wide, y + 2.4 * s * k), (x + wide, y + 2.4 * s * k)], paint.accent, 1.3 * s)
    else:
        c.polygon([(x, y - 5 * s), (x + 4.6 * s, y + 3.4 * s), (x - 4.6 * s, y + 3.4 * s)], paint.accent)
        c.polygon([(x, y + 5 * s), (x + 4.6 * s, y - 2.6 * s), (x - 4.6 * s, y - 2.6 * s)], paint.second)
