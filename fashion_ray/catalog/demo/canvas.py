"""A small supersampled canvas: shapes, smooth outlines and fabrics in, one Pillow picture out.

Coordinates are pixels of the finished 60 x 80 picture before the pose, measured from its centre, x to the right and
y downwards. Randomness comes only from the Generator given, so equal seeds give equal pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from fashion_ray.catalog.demo.look import Colour, Paint

WIDTH_PX = 60
HEIGHT_PX = 80
SUPERSAMPLE = 2  # drawn this many times larger, then averaged down: that is the anti-aliasing

Point = tuple[float, float]
T = TypeVar("T")


def _spline_weights(steps: int) -> np.ndarray:
    t = np.arange(steps) / steps
    return 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1)


_SPLINE = _spline_weights(5)
_CIRCLE = [(math.cos(2 * math.pi * k / 28), math.sin(2 * math.pi * k / 28)) for k in range(28)]


def smooth(points: Sequence[Point]) -> list[Point]:
    """A closed Catmull-Rom curve through the points, as a polygon of five times as many."""
    knots = np.asarray(points, dtype=float)
    around = np.stack([np.roll(knots, 1, axis=0), knots, np.roll(knots, -1, axis=0), np.roll(knots, -2, axis=0)])
    curve = np.tensordot(_SPLINE, around, axes=(1, 0)).transpose(1, 0, 2).reshape(-1, 2)
    return [(x, y) for x, y in curve.tolist()]


def curve(points: Sequence[Point]) -> list[Point]:
    """An open Catmull-Rom curve from the first point to the last: straps, handles, belts."""
    knots = np.asarray([points[0], *points, points[-1]], dtype=float)
    around = np.stack([knots[:-3], knots[1:-2], knots[2:-1], knots[3:]])
    bent = np.tensordot(_SPLINE, around, axes=(1, 0)).transpose(1, 0, 2).reshape(-1, 2)
    return [*((x, y) for x, y in bent.tolist()), points[-1]]


def strap(points: Sequence[Point], width: float) -> list[Point]:
    """The outline of a bent band of even width."""
    bent = curve(points)
    return limb(bent, [width] * len(bent))


def mirrored(points: Sequence[Point]) -> list[Point]:
    """A half outline (right side, top to bottom) closed by its own mirror image across x = 0."""
    return [*points, *((-x, y) for x, y in reversed(points))]


def ring(x: float, y: float, rx: float, ry: float) -> list[Point]:
    """An ellipse as a polygon."""
    return [(x + rx * a, y + ry * b) for a, b in _CIRCLE]


def box(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    """An upright rectangle as a polygon."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def limb(points: Sequence[Point], widths: Sequence[float]) -> list[Point]:
    """The outline of a stroke along the points with the given full width at each: arms, sleeves, legs, straps."""
    left: list[Point] = []
    right: list[Point] = []
    last = len(points) - 1
    for k, ((x, y), width) in enumerate(zip(points, widths, strict=True)):
        (xa, ya), (xb, yb) = points[max(k - 1, 0)], points[min(k + 1, last)]
        length = math.hypot(xb - xa, yb - ya) or 1.0
        across_x, across_y = -(yb - ya) / length * width / 2, (xb - xa) / length * width / 2
        left.append((x + across_x, y + across_y))
        right.append((x - across_x, y - across_y))
    return [*left, *reversed(right)]


def along(points: Sequence[Point], share: float) -> list[Point]:
    """The first `share` (0 to 1] of a polyline, its parts counted as equally long."""
    parts = len(points) - 1
    end = share * parts
    whole = min(int(end), parts - 1)
    (xa, ya), (xb, yb) = points[whole], points[whole + 1]
    rest = end - whole
    return [*points[: whole + 1], (xa + (xb - xa) * rest, ya + (yb - ya) * rest)]


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the drawing lands: the design point (centre_x, centre_y) goes to the middle, moved by (dx, dy)."""

    centre_x: float = 0.0
    centre_y: float = 0.0
    zoom: float = 1.0
    stretch: float = 1.0  # width over height
    angle_deg: float = 0.0
    shear: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    mirror: bool = False

    def matrix(self) -> tuple[float, float, float, float, float, float]:
        """(a, b, c, d, e, f): x' = a x + b y + c and y' = d x + e y + f, in supersampled pixels from the corner."""
        zoom = self.zoom * SUPERSAMPLE
        turn = math.radians(self.angle_deg)
        wide = zoom * self.stretch * (-1 if self.mirror else 1)
        a, d = wide * math.cos(turn), zoom * math.sin(turn)
        b, e = wide * self.shear - zoom * math.sin(turn), zoom * math.cos(turn)
        c = SUPERSAMPLE * (WIDTH_PX / 2 + self.dx) - a * self.centre_x - b * self.centre_y
        f = SUPERSAMPLE * (HEIGHT_PX / 2 + self.dy) - d * self.centre_x - e * self.centre_y
        return a, b, c, d, e, f


class Canvas:
    """One picture being drawn, through one pose."""

    def __init__(self, rng: np.random.Generator, background: Image.Image, pose: Pose) -> None:
        self.rng = rng
        self.image = background
        self._draw = ImageDraw.Draw(background)
        self._matrix = pose.matrix()
        self._scale = SUPERSAMPLE * pose.zoom
        self._fabrics: dict[Paint, Image.Image] = {}

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return low + (high - low) * self.rng.random()

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self.rng.random() * len(options))]

    def polygon(self, points: Sequence[Point], fill: Colour | Paint, *, edge: Colour | None = None) -> None:
        """A filled outline; a Paint brings its own pattern and edge."""
        placed = self._place(points)
        if isinstance(fill, Paint):
            edge = fill.edge if edge is None else edge
            if fill.pattern in ("striped", "checked", "printed", "block"):
                mask = Image.new("L", self.image.size)
                ImageDraw.Draw(mask).polygon(placed, fill=255)
                self.image.paste(self._fabric(fill), mask=mask)
                self._draw.polygon(placed, outline=edge)
                return
            fill = fill.base
        self._draw.polygon(placed, fill=fill, outline=edge)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 0.6) -> None:
        """An open stroke; width as in the design, never thinner than half a finished pixel."""
        self._draw.line(self._place(points), fill=colour, width=max(1, round(width * self._scale)), joint="curve")

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A small disc, drawn upright whatever the pose: buttons, rivets, prints."""
        ((px, py),) = self._place([(x, y)])
        r = radius * self._scale
        self._draw.ellipse((px - r, py - r, px + r, py + r), fill=colour)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour | Paint, *, edge: Colour | None = None) -> None:
        """An ellipse that turns with the pose."""
        self.polygon(ring(x, y, rx, ry), fill, edge=edge)

    def folds(self, x: float, y0: float, y1: float, colour: Colour, count: int) -> None:
        """Creases: faint slanted strokes somewhere within x to either side, between y0 and y1."""
        for _ in range(count):
            start_x, start_y = self.between(-x, x), self.between(y0, y1)
            end = (start_x + self.between(-3, 3), min(start_y + self.between(3, 9), y1))
            self.line([(start_x, start_y), end], colour, 0.5)

    def _place(self, points: Sequence[Point]) -> list[Point]:
        a, b, c, d, e, f = self._matrix
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def _fabric(self, paint: Paint) -> Image.Image:
        """The whole canvas covered with the pattern, drawn once for each paint, to be pasted through a mask."""
        if paint not in self._fabrics:
            layer = Image.new("RGB", self.image.size, paint.base)
            front, self._draw = self._draw, ImageDraw.Draw(layer)
            self._pattern(paint)
            self._draw = front
            self._fabrics[paint] = layer
        return self._fabrics[paint]

    def _pattern(self, paint: Paint) -> None:
        reach = 64
        if paint.pattern == "block":
            split = self.between(-14, 0)
            self.polygon(box(-reach, split, reach, reach), paint.accent)
        elif paint.pattern == "printed":
            low, high = paint.pitch * 0.16, paint.pitch * 0.42
            for _ in range(round(2600 / paint.pitch**2)):
                x, y = self.between(-26, 26), self.between(-40, 50)
                self.dot(x, y, self.between(low, high), paint.accent if self.chance(0.6) else paint.second)
        else:
            count = int(reach / paint.pitch)
            for k in range(-count, count + 1):
                at = k * paint.pitch
                if paint.pattern == "checked" or paint.tilt == "across":
                    self.line([(-reach, at), (reach, at)], paint.accent, paint.pitch * 0.36)
                if paint.pattern == "checked" or paint.tilt == "down":
                    self.line([(at, -reach), (at, reach)], paint.second, paint.pitch * 0.22)
                if paint.pattern == "striped" and paint.tilt == "diagonal":
                    self.line([(at - reach, -reach), (at + reach, reach)], paint.accent, paint.pitch * 0.36)
