"""What the demo catalog sells: classes with their paths and sizes, and the words of its rows.

Names of columns, classes, colours, seasons and usages are the real catalog's; every brand is invented.
"""

from __future__ import annotations

from dataclasses import dataclass

Weights = dict[str, float]

COLUMNS = (
    "id",
    "gender",
    "masterCategory",
    "subCategory",
    "articleType",
    "baseColour",
    "season",
    "year",
    "usage",
    "productDisplayName",
)

_CLOTHES: Weights = {
    "Black": 16, "White": 11, "Blue": 12, "Grey": 8, "Red": 8, "Green": 7, "Navy Blue": 7, "Pink": 6, "Purple": 5,
    "Brown": 4, "Yellow": 3, "Maroon": 3, "Orange": 2, "Olive": 2, "Beige": 2, "Cream": 2, "Multi": 2, "Charcoal": 2,
    "Peach": 1, "Teal": 1, "Turquoise Blue": 1, "Lavender": 1, "Magenta": 1, "Mustard": 1,
}  # fmt: skip
_LEATHER: Weights = {
    "Black": 36, "Brown": 28, "Tan": 8, "White": 4, "Blue": 4, "Red": 4, "Grey": 4, "Beige": 4, "Navy Blue": 3,
    "Pink": 2, "Purple": 2, "Maroon": 2, "Olive": 1, "Gold": 2, "Green": 2, "Khaki": 1,
}  # fmt: skip
_DENIM: Weights = {"Blue": 56, "Navy Blue": 14, "Black": 16, "Grey": 9, "White": 3, "Olive": 1, "Brown": 1}
_TROUSER: Weights = {"Black": 28, "Grey": 14, "Beige": 12, "Khaki": 12, "Navy Blue": 11, "Brown": 9, "Charcoal": 6,
                     "Cream": 4, "Blue": 3, "Olive": 3}  # fmt: skip
_METAL: Weights = {"Black": 40, "Silver": 14, "White": 10, "Brown": 9, "Blue": 6, "Gold": 6, "Steel": 6, "Pink": 4,
                   "Grey": 3, "Purple": 2, "Green": 2, "Red": 3}  # fmt: skip
_BEAUTY: Weights = {"Red": 20, "Pink": 22, "Maroon": 10, "Purple": 9, "Brown": 9, "Peach": 8, "Magenta": 7, "Orange": 5,
                    "Bronze": 3, "Lavender": 3, "Blue": 2, "Black": 2}  # fmt: skip
_BOTTLE: Weights = {"Blue": 14, "White": 12, "Black": 14, "Pink": 11, "Gold": 8, "Green": 8, "Purple": 7, "Red": 7,
                    "Grey": 5, "Yellow": 5, "Orange": 4, "Silver": 3, "Teal": 2}  # fmt: skip
_BALL: Weights = {"Orange": 30, "Red": 15, "White": 20, "Blue": 12, "Black": 8, "Brown": 10, "Yellow": 5}
PALETTES: dict[str, Weights] = {
    "clothes": _CLOTHES,
    "leather": _LEATHER,
    "denim": _DENIM,
    "trouser": _TROUSER,
    "metal": _METAL,
    "beauty": _BEAUTY,
    "bottle": _BOTTLE,
    "ball": _BALL,
}
# What another pair of eyes would call the colour.
COLOUR_NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "Black": ("Charcoal", "Navy Blue"), "White": ("Cream", "Silver"), "Blue": ("Navy Blue", "Teal"),
    "Brown": ("Tan", "Bronze"), "Grey": ("Charcoal", "Silver"), "Red": ("Maroon", "Orange"),
    "Green": ("Olive", "Teal"), "Pink": ("Magenta", "Peach"), "Navy Blue": ("Blue", "Black"),
    "Purple": ("Lavender", "Magenta"), "Silver": ("Steel", "Grey"), "Yellow": ("Mustard", "Gold"),
    "Beige": ("Cream", "Khaki"), "Gold": ("Mustard", "Yellow"), "Maroon": ("Red", "Brown"),
    "Orange": ("Peach", "Red"), "Olive": ("Khaki", "Green"), "Multi": ("Pink", "Red"), "Cream": ("White", "Beige"),
    "Steel": ("Silver", "Grey"), "Charcoal": ("Grey", "Black"), "Peach": ("Pink", "Beige"), "Khaki": ("Beige", "Olive"),
    "Tan": ("Brown", "Beige"), "Teal": ("Green", "Turquoise Blue"), "Turquoise Blue": ("Teal", "Blue"),
    "Lavender": ("Purple", "Pink"), "Magenta": ("Pink", "Purple"), "Mustard": ("Yellow", "Gold"),
    "Bronze": ("Brown", "Gold"),
}  # fmt: skip

_PLAIN: Weights = {"plain": 1}
PATTERNS: dict[str, Weights] = {
    "Shirts": {"plain": 42, "striped": 22, "checked": 30, "printed": 6},
    "Tshirts": {"plain": 28, "striped": 18, "printed": 8, "logo": 38, "block": 8},
    "Tops": {"plain": 40, "striped": 14, "printed": 36, "checked": 4, "logo": 6},
    "Kurtas": {"plain": 42, "striped": 10, "printed": 40, "checked": 8},
    "Dresses": {"plain": 46, "printed": 38, "striped": 10, "checked": 6},
    "Sweatshirts": {"plain": 40, "striped": 14, "logo": 36, "block": 10},
    "Jackets": {"plain": 80, "block": 14, "checked": 6},
    "Shorts": {"plain": 66, "checked": 20, "printed": 8, "striped": 6},
    "Skirts": {"plain": 50, "printed": 34, "checked": 12, "striped": 4},
    "Ties": {"striped": 50, "plain": 22, "printed": 20, "checked": 8},
    "Socks": {"plain": 50, "striped": 32, "checked": 8, "printed": 10},
    "Handbags": {"plain": 78, "printed": 12, "checked": 6, "striped": 4},
    "Clutches": {"plain": 80, "printed": 20},
    "Wallets": {"plain": 88, "checked": 6, "printed": 6},
    "Flip Flops": {"plain": 76, "printed": 14, "striped": 10},
    "Casual Shoes": {"plain": 92, "checked": 5, "printed": 3},
    "Free Gifts": {"plain": 60, "striped": 20, "printed": 20},
    "Cushion Covers": {"printed": 60, "striped": 40},
}
PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("", "", "", "", "Solid"),
    "striped": ("Striped", "Stripes"),
    "checked": ("Checked", "Check"),
    "printed": ("Printed", "Print"),
    "logo": ("Graphic", "Printed"),
    "block": ("Colourblocked",),
}


def patterns_of(article: str) -> Weights:
    """How often the article comes in each pattern."""
    return PATTERNS.get(article, _PLAIN)


GENDERS: dict[str, Weights] = {
    "men": {"Men": 88, "Boys": 7, "Unisex": 5},
    "women": {"Women": 92, "Girls": 8},
    "both": {"Men": 54, "Women": 37, "Boys": 4, "Girls": 3, "Unisex": 2},
    "any": {"Men": 36, "Women": 36, "Unisex": 28},
}
SEASONS: dict[str, Weights] = {
    "Apparel": {"Summer": 52, "Fall": 32, "Winter": 12, "Spring": 4},
    "Footwear": {"Summer": 56, "Fall": 20, "Winter": 20, "Spring": 4},
    "Accessories": {"Summer": 38, "Fall": 22, "Winter": 38, "Spring": 2},
    "Personal Care": {"Spring": 88, "Summer": 8, "Fall": 2, "Winter": 2},
}
YEARS: dict[str, Weights] = {
    "Apparel": {"2010": 3, "2011": 38, "2012": 44, "2013": 4, "2014": 1, "2015": 3, "2016": 4, "2017": 1, "2018": 2},
    "Footwear": {"2010": 3, "2011": 30, "2012": 44, "2013": 12, "2014": 1, "2015": 3, "2016": 5, "2018": 2},
    "Accessories": {"2011": 16, "2012": 26, "2013": 3, "2014": 2, "2015": 16, "2016": 30, "2017": 5, "2019": 2},
    "Personal Care": {"2014": 3, "2015": 6, "2016": 16, "2017": 74, "2018": 1},
}
USAGES: dict[str, Weights] = {
    "casual": {"Casual": 95, "Sports": 3, "Smart Casual": 1, "Party": 1},
    "shirt": {"Casual": 72, "Formal": 26, "Smart Casual": 2},
    "sports": {"Sports": 90, "Casual": 10},
    "active": {"Casual": 68, "Sports": 32},
    "formal": {"Formal": 88, "Casual": 12},
    "ethnic": {"Ethnic": 94, "Casual": 6},
    "bag": {"Casual": 94, "Travel": 4, "Sports": 2},
}
BRANDS: dict[str, tuple[str, ...]] = {
    "Apparel": (
        "Norvanel",
        "Tarkwille",
        "Ostrelo",
        "Brindovar",
        "Kesmirra",
        "Pellondi",
        "Quaddlin",
        "Zumirro",
        "Vintarel",
    ),
    "Footwear": ("Strydoor", "Halvorsk", "Pedrunna", "Oxmirel", "Treadlow & Co", "Zephirun", "Ulvander"),
    "Accessories": ("Chronvik", "Merrowicke", "Luntessa", "Corvantro", "Ashvannel", "Tindarro", "Bexolle"),
    "Personal Care": ("Florimelle", "Sennarosa", "Vaporelle", "Mirabeska", "Ondalys"),
    "Sporting Goods": ("Goalbrant", "Rimvault"),
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One leaf of the taxonomy; weight is its number of labelled pictures in a feed of 2,000 products."""

    master: str
    sub: str
    article: str
    weight: int
    noun: str
    genders: str = "both"
    usage: str = "casual"
    palette: str = "clothes"


# path, weight, noun in titles, and keys of GENDERS, USAGES and PALETTES
_TABLE: list[tuple[str, int, str, str, str, str]] = [
    ("Apparel/Topwear/Tshirts", 150, "T-shirt", "both", "active", "clothes"),
    ("Apparel/Topwear/Shirts", 90, "Shirt", "men", "shirt", "clothes"),
    ("Apparel/Topwear/Kurtas", 68, "Kurta", "both", "ethnic", "clothes"),
    ("Apparel/Topwear/Tops", 66, "Top", "women", "casual", "clothes"),
    ("Apparel/Topwear/Sweatshirts", 28, "Sweatshirt", "both", "casual", "clothes"),
    ("Apparel/Topwear/Jackets", 16, "Jacket", "both", "casual", "clothes"),
    ("Apparel/Dress/Dresses", 56, "Dress", "women", "casual", "clothes"),
    ("Apparel/Bottomwear/Jeans", 58, "Jeans", "both", "casual", "denim"),
    ("Apparel/Bottomwear/Trousers", 58, "Trousers", "both", "shirt", "trouser"),
    ("Apparel/Bottomwear/Shorts", 38, "Shorts", "both", "active", "clothes"),
    ("Apparel/Bottomwear/Skirts", 22, "Skirt", "women", "casual", "clothes"),
    ("Apparel/Bottomwear/Track Pants", 18, "Track Pants", "men", "sports", "trouser"),
    ("Apparel/Socks/Socks", 7, "Socks", "any", "casual", "clothes"),
    ("Footwear/Shoes/Casual Shoes", 84, "Casual Shoes", "both", "casual", "leather"),
    ("Footwear/Shoes/Sports Shoes", 70, "Sports Shoes", "both", "sports", "clothes"),
    ("Footwear/Shoes/Heels", 58, "Heels", "women", "casual", "leather"),
    ("Footwear/Shoes/Formal Shoes", 58, "Formal Shoes", "men", "formal", "leather"),
    ("Footwear/Shoes/Flats", 16, "Flats", "women", "casual", "leather"),
    ("Footwear/Sandal/Sandals", 57, "Sandals", "both", "casual", "leather"),
    ("Footwear/Sandal/Sports Sandals", 14, "Sports Sandals", "men", "sports", "leather"),
    ("Footwear/Flip Flops/Flip Flops", 56, "Flip Flops", "both", "casual", "clothes"),
    ("Accessories/Watches/Watches", 74, "Watch", "any", "casual", "metal"),
    ("Accessories/Bags/Handbags", 60, "Handbag", "women", "casual", "leather"),
    ("Accessories/Bags/Backpacks", 55, "Backpack", "any", "bag", "clothes"),
    ("Accessories/Bags/Clutches", 16, "Clutch", "women", "casual", "leather"),
    ("Accessories/Wallets/Wallets", 56, "Wallet", "both", "casual", "leather"),
    ("Accessories/Belts/Belts", 54, "Belt", "both", "casual", "leather"),
    ("Accessories/Eyewear/Sunglasses", 58, "Sunglasses", "any", "casual", "metal"),
    ("Accessories/Socks/Socks", 50, "Socks", "both", "casual", "clothes"),
    ("Accessories/Ties/Ties", 24, "Tie", "men", "formal", "clothes"),
    ("Accessories/Headwear/Caps", 26, "Cap", "any", "active", "clothes"),
    ("Accessories/Jewellery/Earrings", 16, "Earrings", "women", "casual", "metal"),
    ("Personal Care/Fragrance/Perfume and Body Mist", 58, "Perfume", "any", "casual", "bottle"),
    ("Personal Care/Fragrance/Deodorant", 56, "Deodorant", "any", "casual", "bottle"),
    ("Personal Care/Nails/Nail Polish", 26, "Nail Polish", "women", "casual", "beauty"),
    ("Personal Care/Lips/Lipstick", 24, "Lipstick", "women", "casual", "beauty"),
    ("Free Items/Free Gifts/Free Gifts", 16, "Gift", "any", "casual", "clothes"),
    ("Free Items/Free Gifts/Ties", 3, "Tie", "men", "formal", "clothes"),
    ("Free Items/Free Gifts/Handbags", 2, "Handbag", "women", "casual", "leather"),
    ("Sporting Goods/Sports Equipment/Basketballs", 9, "Basketball", "any", "sports", "ball"),
    ("Sporting Goods/Sports Equipment/Footballs", 7, "Football", "any", "sports", "ball"),
    ("Home/Home Furnishing/Cushion Covers", 1, "Cushion Cover", "any", "casual", "clothes"),
]  # fmt: skip


def _kinds() -> tuple[Kind, ...]:
    """The table above as objects."""
    kinds = []
    for path, weight, noun, genders, usage, palette in _TABLE:
        master, sub, article = path.split("/")
        kinds.append(
            Kind(
                master=master,
                sub=sub,
                article=article,
                weight=weight,
                noun=noun,
                genders=genders,
                usage=usage,
                palette=palette,
            )
        )
    return tuple(kinds)


KINDS = _kinds()
