"""How each upper garment is cut: articleType in, a Cut with its random measures out. Body units as in figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fashion_ray.catalog.demo.canvas import Canvas
from fashion_ray.catalog.demo.look import Look


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How an upper garment is cut, in body units; sleeve is the share of the arm that it covers."""

    hem_y: float
    sleeve: float
    shoulder: float = 12.0
    chest: float = 11.0
    waist: float = 10.5
    hem: float = 11.5
    sleeve_width: float = 7.0
    neck: str = "round"  # round, scoop, v, boat, collar, band or hood
    front: str = "none"  # none, buttons, half or zip
    pocket: str = "none"  # none, chest or pouch
    ribbed: bool = False
    slits: bool = False
    hem_drop: float = 1.0


def _shirt(c: Canvas, look: Look) -> Cut:
    slim = 1.2 if look.female else 0.0
    return Cut(
        hem_y=c.between(11, 17),
        sleeve=c.pick((0.32, 0.38, 0.6, 0.95, 0.97, 0.97)),
        waist=c.between(9.5, 11.5) - slim,
        hem=c.between(10.8, 12.5),
        sleeve_width=c.between(6, 8),
        neck=c.pick(("collar", "collar", "collar", "collar", "band")),
        front=c.pick(("buttons", "buttons", "buttons", "buttons", "half")),
        pocket=c.pick(("none", "chest")),
        hem_drop=c.between(0, 3),
    )


def _tshirt(c: Canvas, look: Look) -> Cut:
    polo = c.chance(0.36)
    slim = 1.4 if look.female else 0.0
    return Cut(
        hem_y=c.between(10, 16),
        sleeve=c.pick((0.26, 0.32, 0.36, 0.4, 0.4, 0.95)),
        waist=c.between(9.8, 11.5) - slim,
        hem=c.between(10.5, 12.2),
        sleeve_width=c.between(6.5, 8.5),
        neck="collar" if polo else c.pick(("round", "round", "round", "v", "scoop")),
        front=c.pick(("half", "half", "none")) if polo else c.pick(("none", "none", "none", "none", "half")),
        pocket=c.pick(("none", "none", "none", "none", "chest")),
        hem_drop=c.between(0, 1.5),
    )


def _top(c: Canvas, look: Look) -> Cut:
    return Cut(
        hem_y=c.between(8, 18),
        sleeve=c.pick((0.04, 0.04, 0.16, 0.24, 0.36, 0.55, 0.8)),
        shoulder=c.between(8.5, 11.5),
        waist=c.between(7, 9.5),
        hem=c.between(10.5, 15.5),
        sleeve_width=c.between(5, 10),
        neck=c.pick(("round", "scoop", "scoop", "boat", "boat", "v", "v", "band")),
        front=c.pick(("none", "none", "none", "buttons", "half")),
        hem_drop=c.between(-1, 4),
    )


def _kurta(c: Canvas, look: Look) -> Cut:
    return Cut(
        hem_y=c.between(25, 41) if look.female else c.between(23, 37),
        sleeve=c.pick((0.04, 0.36, 0.6, 0.7, 0.95, 0.95)),
        waist=c.between(8.5, 10) if look.female else c.between(10, 11.5),
        hem=c.between(11.5, 15),
        sleeve_width=c.between(5.5, 8),
        neck=c.pick(("band", "band", "round", "v", "scoop")),
        front=c.pick(("half", "half", "none", "buttons")),
        slits=c.chance(0.8),
        hem_drop=c.between(-0.5, 1),
    )


def _dress(c: Canvas, look: Look) -> Cut:
    return Cut(
        hem_y=c.between(23, 49),
        sleeve=c.pick((0.04, 0.04, 0.04, 0.18, 0.34, 0.6)),
        shoulder=c.between(8.5, 11.5),
        chest=c.between(9, 10.5),
        waist=c.between(7, 9.5),
        hem=c.between(11, 20),
        sleeve_width=c.between(4.5, 7),
        neck=c.pick(("round", "scoop", "boat", "v", "scoop", "collar")),
        front=c.pick(("none", "none", "none", "none", "buttons")),
        hem_drop=c.between(-1, 3),
    )


def _sweatshirt(c: Canvas, look: Look) -> Cut:
    hood = c.chance(0.45)
    return Cut(
        hem_y=c.between(10, 14),
        sleeve=0.97,
        shoulder=12.5,
        chest=12,
        waist=c.between(10.5, 12),
        hem=c.between(10.2, 11.5),
        sleeve_width=c.between(7.5, 9.5),
        neck="hood" if hood else c.pick(("round", "v", "band")),
        front=c.pick(("none", "none", "zip")),
        pocket="pouch" if hood else "none",
        ribbed=c.chance(0.85),
    )


def _jacket(c: Canvas, look: Look) -> Cut:
    return Cut(
        hem_y=c.between(9, 15),
        sleeve=0.97,
        shoulder=12.8,
        chest=12,
        waist=c.between(10, 12),
        hem=c.between(10.5, 12.5),
        sleeve_width=c.between(7.5, 9.5),
        neck=c.pick(("band", "collar", "band", "hood")),
        front=c.pick(("zip", "zip", "zip", "buttons")),
        pocket=c.pick(("none", "chest")),
        ribbed=c.chance(0.6),
    )


CUTS: dict[str, Callable[[Canvas, Look], Cut]] = {
    "Shirts": _shirt,
    "Tshirts": _tshirt,
    "Tops": _top,
    "Kurtas": _kurta,
    "Dresses": _dress,
    "Sweatshirts": _sweatshirt,
    "Jackets": _jacket,
}
