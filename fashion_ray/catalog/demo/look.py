"""What a drawn product is to look like: colours by the catalog's names, fabrics, and the wish list of one picture."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

# The catalog's baseColour names.
COLOURS: dict[str, Colour] = {
    "Black": (28, 28, 32),
    "White": (244, 244, 242),
    "Blue": (52, 98, 184),
    "Brown": (106, 66, 42),
    "Grey": (138, 140, 144),
    "Red": (196, 36, 44),
    "Green": (52, 132, 74),
    "Pink": (234, 128, 164),
    "Navy Blue": (30, 40, 84),
    "Purple": (112, 60, 140),
    "Silver": (190, 194, 200),
    "Yellow": (240, 208, 60),
    "Beige": (214, 194, 160),
    "Gold": (206, 166, 72),
    "Maroon": (110, 28, 44),
    "Orange": (238, 126, 42),
    "Olive": (106, 108, 58),
    "Multi": (200, 110, 120),
    "Cream": (240, 230, 204),
    "Steel": (150, 158, 166),
    "Charcoal": (66, 68, 74),
    "Peach": (248, 190, 160),
    "Khaki": (176, 156, 112),
    "Tan": (190, 132, 82),
    "Teal": (24, 122, 128),
    "Turquoise Blue": (64, 190, 204),
    "Lavender": (184, 164, 216),
    "Magenta": (204, 40, 130),
    "Mustard": (208, 160, 44),
    "Bronze": (146, 104, 60),
}
SKINS: tuple[Colour, ...] = ((236, 196, 164), (222, 172, 136), (196, 142, 106), (150, 100, 72), (104, 70, 52))
HAIRS: tuple[Colour, ...] = ((30, 24, 22), (44, 32, 26), (78, 52, 34), (120, 84, 48))


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or mixed with white (above 1, where 2 is white)."""
    if factor <= 1:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    return blend(colour, (255, 255, 255), factor - 1)


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour mixed into the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return (red, green, blue)


def brightness(colour: Colour) -> float:
    """Luma of a colour, 0 (black) to 255 (white)."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


@dataclass(frozen=True, kw_only=True)
class Paint:
    """A fabric: its ground colour, the name of its pattern and the two colours that the pattern adds."""

    base: Colour
    pattern: str = "plain"  # plain, striped, checked, printed, or block; logo is drawn by the garment
    accent: Colour = (255, 255, 255)
    second: Colour = (0, 0, 0)
    pitch: float = 6.0  # distance between two stripes or checks
    tilt: str = "across"  # across, down or diagonal: how stripes run

    @property
    def edge(self) -> Colour:
        """The colour of its outline and folds."""
        return shade(self.base, 0.72)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one picture shows, in the catalog's words."""

    article: str
    gender: str
    colour: str  # a key of COLOURS: what is drawn, whatever the feed's row says
    pattern: str  # plain, striped, checked, printed, block or logo
    studio: float = 0.0  # 0: the early, plain white photographs; 1: the late ones, greyer, closer and busier

    @property
    def female(self) -> bool:
        return self.gender in ("Women", "Girls")

    @property
    def child(self) -> bool:
        return self.gender in ("Boys", "Girls")
