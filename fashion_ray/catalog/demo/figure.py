"""Who wears the garments: arms, neck, head and legs of a drawn model, or a hanger.

Body units: the crown at y = -42, shoulders at -21, waist at 0, hip at 11, knees at 33, soles at 57.
"""

from __future__ import annotations

from fashion_ray.catalog.demo.canvas import Canvas, Point, box, limb, mirrored, smooth
from fashion_ray.catalog.demo.look import COLOURS, HAIRS, Colour, Look, shade

DENIMS: tuple[Colour, ...] = ((44, 62, 98), (70, 96, 140), (120, 146, 180), (34, 38, 52))


def lay_arm(c: Canvas, worn: bool, side: int) -> list[Point]:
    if worn:
        bend = c.pick((0.0, 0.0, 0.0, 5.0, -4.0))
        elbow = (side * c.between(15, 18), -4 + c.between(-1, 2))
        wrist = (side * (c.between(15, 19) + bend), 13 - abs(bend) * 0.9)
    else:
        spread = c.between(0, 7)
        elbow = (side * (17 + spread * 0.7), -7 - spread * 0.2)
        wrist = (side * (20 + spread * 1.3), 10 - spread * 0.9)
    return [(side * 10, -19), elbow, wrist]


def draw_arms_and_neck(c: Canvas, skin: Colour, arms: tuple[list[Point], list[Point]]) -> None:
    edge = shade(skin, 0.8)
    for arm in arms:
        c.polygon(limb(arm, (5, 4.2, 3.2)), skin, edge=edge)
        x, y = arm[-1]
        c.oval(x, y + 1.5, 2, 2.8, skin)
    c.polygon(box(-3, -29, 3, -19), shade(skin, 0.9))


def draw_head(c: Canvas, look: Look, skin: Colour) -> None:
    hair = c.pick(HAIRS)
    tilt = c.between(-1.5, 1.5)
    if look.female:
        length = c.between(-30, -12)
        c.polygon(limb([(tilt - 5, -37), (tilt - 6.4, length)], (5, 3)), hair)
        c.polygon(limb([(tilt + 5, -37), (tilt + 6.4, length)], (5, 3)), hair)
    c.oval(tilt, -33.5, 5, 6.6, skin, edge=shade(skin, 0.8))
    c.polygon(
        smooth([(tilt - 5.6, -34), (tilt - 4.5, -40), (tilt, -42), (tilt + 4.5, -40), (tilt + 5.6, -34), (tilt, -38)]),
        hair,
    )
    for side in (-1, 1):
        c.dot(tilt + side * 2, -33.5, 0.5, shade(hair, 0.8))
    c.line([(tilt - 1.4, -29.6), (tilt + 1.4, -29.6)], (176, 88, 84), 0.7)


def trousers_colour(c: Canvas, *, light: bool) -> Colour:
    """What a model wears below: mostly denim, or mostly white and cream as under a kurta."""
    if light and c.chance(0.75):
        return c.pick((COLOURS["White"], COLOURS["White"], COLOURS["Cream"], COLOURS["Beige"]))
    return c.pick((*DENIMS, COLOURS["Charcoal"], COLOURS["Khaki"], COLOURS["Beige"], COLOURS["White"]))


def draw_legs(c: Canvas, skin: Colour, cloth: Colour | None, *, covered_to_y: float) -> None:
    """A model's legs, bare or in trousers of the given colour, with the hips where no garment covers them."""
    for side in (-1, 1):
        leg = [(side * 5, 8.0), (side * 5.5, 33.0), (side * 5.0, 53.0)]
        c.polygon(limb(leg, (9, 6.4, 4)), skin, edge=shade(skin, 0.85))
        if cloth is not None:
            c.polygon(limb(leg, (11, 8.4, 7)), cloth, edge=shade(cloth, 0.75))
        c.oval(side * 6.0, 55, 3, 1.8, (40, 36, 36))
    if covered_to_y < 14:
        c.polygon(mirrored([(10, 4), (10.5, 14), (0, 17)]), cloth or skin)


def draw_hanger(c: Canvas) -> None:
    wood = c.pick(((150, 110, 70), (60, 60, 64), (200, 200, 204)))
    c.line([(0, -22), (0, -28), (2.5, -31), (0, -33)], (120, 120, 124), 0.8)
    c.line([(-11, -18), (0, -23), (11, -18)], wood, 1.6)
