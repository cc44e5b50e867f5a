"""One product picture: what it is to look like goes in, a 60 x 80 RGB photograph of a drawing comes out.

The photograph is as untidy as a catalog's: pose, crop, backdrop, shadow, foreign things, blur, cast and noise vary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from fashion_ray.catalog.demo import accessories, bottoms, footwear, goods
from fashion_ray.catalog.demo.apparel import draw_upper
from fashion_ray.catalog.demo.canvas import HEIGHT_PX, SUPERSAMPLE, WIDTH_PX, Canvas, Pose, box, limb
from fashion_ray.catalog.demo.look import COLOURS, SKINS, Colour, Look, Paint, blend, brightness, shade

Drawer = Callable[[Canvas, Look, Paint], None]


class Frame(NamedTuple):
    """How an article is drawn, and what of its design units the picture shows."""

    drawer: Drawer
    centre_y: float  # lies in the middle of the picture
    zoom: float
    floor_y: float | None = None  # where a shadow falls; None for what hangs or is worn


FRAMES: dict[str, Frame] = {
    "Tshirts": Frame(draw_upper, -7.0, 1.06),
    "Shirts": Frame(draw_upper, -7.0, 1.06),
    "Tops": Frame(draw_upper, -7.0, 1.04),
    "Kurtas": Frame(draw_upper, 0.0, 0.88),
    "Dresses": Frame(draw_upper, 4.0, 0.8),
    "Sweatshirts": Frame(draw_upper, -8.0, 1.06),
    "Jackets": Frame(draw_upper, -8.0, 1.06),
    "Jeans": Frame(bottoms.draw_trousers, 25.0, 1.06),
    "Trousers": Frame(bottoms.draw_trousers, 25.0, 1.06),
    "Track Pants": Frame(bottoms.draw_trousers, 25.0, 1.06),
    "Shorts": Frame(bottoms.draw_trousers, 17.0, 1.12),
    "Skirts": Frame(bottoms.draw_skirt, 17.0, 1.06),
    "Casual Shoes": Frame(footwear.draw_shoe, 0.0, 1.06, 11.0),
    "Sports Shoes": Frame(footwear.draw_shoe, 0.0, 1.04, 11.0),
    "Formal Shoes": Frame(footwear.draw_shoe, 0.0, 1.02, 11.0),
    "Heels": Frame(footwear.draw_heel, 2.0, 1.06, 11.0),
    "Flats": Frame(footwear.draw_heel, 5.0, 1.06, 11.0),
    "Sandals": Frame(footwear.draw_sandal, 1.0, 1.04, 13.0),
    "Sports Sandals": Frame(footwear.draw_sandal, 1.0, 1.04, 13.0),
    "Flip Flops": Frame(footwear.draw_sandal, 1.0, 1.04, 13.0),
    "Watches": Frame(accessories.draw_watch, 0.0, 1.1, 31.0),
    "Sunglasses": Frame(accessories.draw_sunglasses, -2.0, 1.0, 10.0),
    "Belts": Frame(accessories.draw_belt, 0.0, 1.04, 10.0),
    "Ties": Frame(accessories.draw_tie, -2.0, 1.0, 33.0),
    "Socks": Frame(bottoms.draw_socks, 4.0, 1.2, 20.0),
    "Caps": Frame(accessories.draw_cap, 0.0, 1.1, 12.0),
    "Earrings": Frame(accessories.draw_earrings, 0.0, 1.2, 14.0),
    "Cushion Covers": Frame(accessories.draw_cushion, 0.0, 1.15, 22.0),
    "Handbags": Frame(goods.draw_handbag, 4.0, 1.05, 24.0),
    "Backpacks": Frame(goods.draw_backpack, -2.0, 1.1, 25.0),
    "Clutches": Frame(goods.draw_wallet, -2.0, 1.05, 14.0),
    "Wallets": Frame(goods.draw_wallet, 0.0, 1.08, 14.0),
    "Perfume and Body Mist": Frame(goods.draw_perfume, 2.0, 1.05, 26.0),
    "Deodorant": Frame(goods.draw_deodorant, 0.0, 1.1, 30.0),
    "Nail Polish": Frame(goods.draw_nail_polish, 3.0, 1.1, 25.0),
    "Lipstick": Frame(goods.draw_lipstick, 3.0, 1.1, 27.0),
    "Free Gifts": Frame(goods.draw_gift, 4.0, 1.02, 25.0),
    "Basketballs": Frame(goods.draw_ball, 0.0, 1.1, 23.0),
    "Footballs": Frame(goods.draw_ball, 0.0, 1.1, 23.0),
}
_GIVEN_AWAY = ("Watches", "Sunglasses", "Handbags", "Wallets", "Deodorant", "Backpacks", "Perfume and Body Mist")


def draw_product(look: Look, rng: np.random.Generator) -> Image.Image:
    """The picture of one product; everything that `look` leaves open is drawn from `rng`."""
    if look.article == "Free Gifts" and rng.random() < 0.35:  # in the real catalog a gift is a watch, a bag, ...
        look = replace(look, article=_GIVEN_AWAY[int(rng.random() * len(_GIVEN_AWAY))])
    frame = FRAMES[look.article]
    pose = _pose(rng, look, frame)
    canvas = Canvas(rng, _backdrop(rng, look.studio), pose)
    paint = _paint(canvas, look)
    if frame.floor_y is not None and canvas.chance(0.5):
        _shadow(canvas, frame.floor_y)
    if canvas.chance(0.1 + 0.1 * look.studio):
        _clutter(canvas, paint)
    frame.drawer(canvas, look, paint)
    if canvas.chance(0.05 + 0.1 * look.studio):
        _occlude(canvas)
    return _photograph(canvas.image.reduce(SUPERSAMPLE), rng)


def _pose(rng: np.random.Generator, look: Look, frame: Frame) -> Pose:
    turn, size, stretch, shear, dx, dy = rng.normal(size=6).clip(-2.2, 2.2).tolist()
    loose = 1.0 + 0.4 * look.studio
    upright = frame.floor_y is None
    return Pose(
        centre_y=frame.centre_y,
        zoom=frame.zoom * (0.92 + 0.07 * size * loose),
        stretch=1 + 0.06 * stretch * loose,
        angle_deg=turn * (2.5 if upright else 7.0) * loose,
        shear=shear * (0.03 if upright else 0.09),
        dx=2.0 * dx * loose,
        dy=2.6 * dy * loose,
        mirror=rng.random() < (0.5 if upright else 0.2),
    )


def _paint(c: Canvas, look: Look) -> Paint:
    """The fabric of a look: its colour within a shade or two, and two others that its pattern uses."""
    wobble = c.between(0.82, 1.12)
    base = shade(COLOURS[look.colour], wobble)
    if look.article == "Jeans" and look.colour in ("Blue", "Navy Blue"):
        base = shade(bottoms.denim(c), wobble)
    names = tuple(COLOURS)
    accent, second = COLOURS[c.pick(names)], COLOURS[c.pick(names)]
    if abs(brightness(accent) - brightness(base)) < 50:
        accent = (244, 244, 242) if brightness(base) < 140 else (40, 40, 48)
    return Paint(
        base=base,
        pattern="printed" if look.colour == "Multi" else look.pattern,
        accent=blend(accent, base, c.between(0, 0.4)),
        second=blend(second, base, c.between(0, 0.5)),
        pitch=c.between(4, 9),
        tilt=c.pick(("across", "down", "down", "diagonal")) if look.article != "Ties" else "diagonal",
    )


def _backdrop(rng: np.random.Generator, studio: float) -> Image.Image:
    """White for most early pictures; off-white, grey or a gradient more often for the late ones."""
    size = (WIDTH_PX * SUPERSAMPLE, HEIGHT_PX * SUPERSAMPLE)
    kind = rng.random()
    if kind < 0.72 - 0.35 * studio:
        return Image.new("RGB", size, (255, 255, 255))
    tone = (236 + 16 * rng.random(), 234 + 16 * rng.random(), 230 + 18 * rng.random())
    if kind > 0.9 - 0.2 * studio:
        grey = 120 + 110 * rng.random()
        tone = (grey, grey - 2, grey - 4)
    if rng.random() < 0.5:
        return Image.new("RGB", size, (int(tone[0]), int(tone[1]), int(tone[2])))
    fall = np.linspace(1.06, 0.86 + 0.1 * rng.random(), size[1])[:, None, None]
    rows = np.broadcast_to(np.asarray(tone) * fall, (size[1], size[0], 3))
    return Image.fromarray(rows.clip(0, 255).astype(np.uint8))


def _shadow(c: Canvas, floor_y: float) -> None:
    grey = int(c.between(180, 226))
    c.oval(c.between(-2, 4), floor_y, c.between(14, 27), c.between(1.5, 4), (grey, grey, grey))


def _clutter(c: Canvas, paint: Paint) -> None:
    """A foreign thing behind the product: a box, a swatch, a leaflet or a piece of another product."""
    x, y = c.pick(((-20.0, -26.0), (20.0, -26.0), (-20.0, 24.0), (20.0, 24.0)))
    tone: Colour = c.pick((paint.accent, paint.second, (226, 222, 214), (60, 60, 66)))
    if c.chance(0.5):
        wide, high = c.between(6, 14), c.between(6, 16)
        c.polygon(box(x - wide, y - high, x + wide, y + high), tone, edge=shade(tone, 0.75))
    else:
        c.oval(x, y, c.between(5, 12), c.between(5, 12), tone, edge=shade(tone, 0.75))


def _occlude(c: Canvas) -> None:
    """Something in front of the product: a hand from the edge, or a price tag."""
    if c.chance(0.6):
        skin = c.pick(SKINS)
        side, y = c.pick((-1, 1)), c.between(-10, 26)
        tip_x = side * c.between(6, 14)
        c.polygon(limb([(side * 40, y + 12), (side * 24, y + 3), (tip_x, y)], (11, 9, 5)), skin, edge=shade(skin, 0.8))
        for k in range(3):
            c.line([(tip_x + side * 3, y - 2 + 2 * k), (tip_x - side * 3, y - 3 + 2.6 * k)], shade(skin, 0.94), 1.6)
    else:
        x, y = c.between(-14, 14), c.between(-18, 18)
        c.polygon(box(x - 3.5, y - 5, x + 3.5, y + 5), (250, 250, 246), edge=(150, 150, 150))
        c.line([(x - 2, y), (x + 2, y)], (60, 60, 60), 0.7)
        c.line([(x, y - 5), (x + 3, y - 13)], (130, 130, 130), 0.5)


def _photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur, exposure, colour cast and sensor noise, on the finished 60 x 80 pixels."""
    if rng.random() < 0.14:
        image = image.filter(ImageFilter.BoxBlur(0.3 + 0.4 * rng.random()))
    pixels_HWC = np.asarray(image, dtype=np.float32)
    gain = (1 + 0.04 * rng.normal()) * (1 + 0.018 * rng.normal(size=3))
    sigma = 0.8 + 4.0 * rng.random() ** 2
    noise = rng.standard_normal(pixels_HWC.shape, dtype=np.float32) * np.float32(sigma)
    return Image.fromarray((pixels_HWC * gain.astype(np.float32) + noise).clip(0, 255).astype(np.uint8))
