"""Which products a demo feed holds: (seed, products) in, every product's picture plan and the text of styles.csv out.

Nothing is drawn here. Counts of classes and of dirt are exact shares of `products`, not luck, so that a feed keeps
its promises for every seed.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fashion_ray.catalog.demo.classes import (
    BRANDS,
    COLOUR_NEIGHBOURS,
    COLUMNS,
    GENDERS,
    KINDS,
    PALETTES,
    PATTERN_WORDS,
    SEASONS,
    USAGES,
    YEARS,
    Kind,
    Weights,
    patterns_of,
)
from fashion_ray.catalog.demo.look import Look

FEWEST_PRODUCTS = 50  # below this the dirt would not fit
BAD_ID = "../../etc/passwd"
CORRUPT = ("truncated", "empty", "html", "noise", "pixel")
SIZES_PX = ((60, 60), (53, 80), (60, 79))

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product: its leaf of the taxonomy, what is drawn, what its row says, and how its picture is stored."""

    index: int
    product_id: str
    kind: Kind
    look: Look
    year: str
    labelled: bool
    article: str  # the row's articleType: kind.article unless it is mislabelled
    base_colour: str
    season: str
    usage: str
    title: str
    file: str = "jpeg"  # jpeg, grey, palette, rgba, one of CORRUPT, or none where the picture is missing
    size_px: tuple[int, int] = (60, 80)
    copy_of: Product | None = None
    copy_how: str = ""  # exact, quality, shift or light, where copy_of is set

    def row(self) -> list[str]:
        """Its ten cells in the order of COLUMNS."""
        kind = self.kind
        return [
            self.product_id, self.look.gender, kind.master, kind.sub, self.article, self.base_colour, self.season,
            self.year, self.usage, self.title,
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole feed, ready to be written; products are in the order of their numeric ids."""

    products: dict[str, Product]
    styles_csv: bytes


@functools.lru_cache(maxsize=8)
def make_plan(seed: int, products: int) -> Plan:
    """The plan of one feed: 0.1 s for 2,000 products, the same object for the same arguments."""
    rng = np.random.default_rng([seed, products])
    shelf = _shelf(rng, seed, products)
    _mislabel(rng, shelf)
    untouched = _copy_some(rng, shelf)
    commas, short = _soil(rng, shelf, iter(untouched))
    return Plan(products={p.product_id: p for p in shelf}, styles_csv=_styles_csv(rng, shelf, commas, short))


def share_of(products: int, share: float, least: int) -> int:
    """That share of the products, but never fewer than `least`."""
    return max(least, round(products * share))


def weighted(rng: np.random.Generator, weights: Weights) -> str:
    """One key, with a probability in proportion to its weight."""
    rest = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        rest -= weight
        if rest < 0:
            return key
    return key


def _one_of(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]


def apportion(total: int) -> list[Kind]:
    """`total` kinds in the proportions of KINDS, by largest remainders: exact, and the same every time."""
    whole = sum(kind.weight for kind in KINDS)
    quotas = [total * kind.weight / whole for kind in KINDS]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(KINDS)), key=lambda k: (counts[k] - quotas[k], k))
    for k in by_remainder[: total - sum(counts)]:
        counts[k] += 1
    return [kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count)]


def _shelf(rng: np.random.Generator, seed: int, products: int) -> list[Product]:
    """Every product as it would be in a clean feed; about 1% have no picture and a tenth of the pictures no row."""
    missing = share_of(products, 0.009, 1)
    unlabelled = share_of(products - missing, 0.1, 1)
    roles = ["missing"] * missing + ["unlabelled"] * unlabelled
    care = [kind for kind in KINDS if kind.master == "Personal Care"]
    kinds = [_one_of(rng, care) if rng.random() < 0.7 else _one_of(rng, KINDS[:30]) for _ in range(missing)]
    usual = apportion(1000)
    kinds += [_one_of(rng, usual) for _ in range(unlabelled)]
    kinds += apportion(products - len(kinds))
    roles += ["labelled"] * (products - len(roles))
    ids = np.sort(rng.choice(np.arange(1163, max(60_000, 4 * products)), size=products, replace=False)).tolist()
    order = rng.permutation(products).tolist()
    return [_product(seed, k, str(ids[k]), kinds[order[k]], roles[order[k]]) for k in range(products)]


def _product(seed: int, index: int, product_id: str, kind: Kind, role: str) -> Product:
    rng = np.random.default_rng([seed, index, 1])
    family = kind.master if kind.master in YEARS else "Accessories"
    year = weighted(rng, YEARS[family])
    look = Look(
        article=kind.article,
        gender=weighted(rng, GENDERS[kind.genders]),
        colour=weighted(rng, PALETTES[kind.palette]),
        pattern=weighted(rng, patterns_of(kind.article)),
        studio=min(1.0, (int(year) - 2009) / 8) * rng.random(),
    )
    colour = look.colour if rng.random() < 0.85 else _one_of(rng, COLOUR_NEIGHBOURS[look.colour])
    return Product(
        index=index,
        product_id=product_id,
        kind=kind,
        look=look,
        year=year,
        labelled=role != "unlabelled",
        article=kind.article,
        base_colour=colour,
        season=weighted(rng, SEASONS[family]),
        usage=weighted(rng, USAGES[kind.usage]),
        title=_title(rng, kind, look, colour),
        file="none" if role == "missing" else "jpeg",
    )


def _title(rng: np.random.Generator, kind: Kind, look: Look, colour: str) -> str:
    brand = _one_of(rng, BRANDS.get(kind.master, BRANDS["Accessories"]))
    words = [
        brand,
        look.gender,
        colour if rng.random() < 0.9 else "",
        _one_of(rng, PATTERN_WORDS[look.pattern]),
        kind.noun,
    ]
    return " ".join(word for word in words if word)


def _others(kind: Kind, article: str) -> list[str]:
    """The articleTypes other than `article` that share the kind's subCategory, each as often as it is sold."""
    same = [k for k in KINDS if (k.master, k.sub) == (kind.master, kind.sub) and k.article != article]
    return [k.article for k in same for _ in range(k.weight)]


def _mislabel(rng: np.random.Generator, shelf: list[Product]) -> None:
    """3% of the rows get another articleType of their subCategory, in place."""
    able = [k for k, p in enumerate(shelf) if p.labelled and _others(p.kind, p.article)]
    for k in rng.permutation(able)[: share_of(len(shelf), 0.027, 1)].tolist():
        shelf[k] = replace(shelf[k], article=_one_of(rng, _others(shelf[k].kind, shelf[k].article)))


def _copy_some(rng: np.random.Generator, shelf: list[Product]) -> list[int]:
    """5% of the products become near-duplicates of others, in place; gives the products that are in no group."""
    pictured = [k for k in rng.permutation(len(shelf)).tolist() if shelf[k].file == "jpeg"]
    originals: dict[Kind, int] = {}
    source_of: dict[int, int] = {}
    wanted = share_of(len(shelf), 0.05, 2)
    for k in pictured:
        kind = shelf[k].kind
        if len(source_of) == wanted:
            break
        if kind not in originals:
            originals[kind] = k
            continue
        source_of[k] = originals[kind]
        if rng.random() < 0.9:  # the next one of this kind starts a group of its own
            del originals[kind]
    for number, (k, source) in enumerate(source_of.items()):
        shelf[k] = _near_duplicate(rng, shelf[k], shelf[source], number)
    grouped = {*source_of, *source_of.values()}
    _let_groups_disagree(rng, shelf, source_of)
    return [k for k in pictured if k not in grouped and shelf[k].labelled]


def _near_duplicate(rng: np.random.Generator, own: Product, source: Product, number: int) -> Product:
    other = COLOUR_NEIGHBOURS[source.look.colour]
    return replace(
        own,
        look=source.look,
        article=source.article,
        base_colour=_one_of(rng, other) if rng.random() < 0.44 else source.base_colour,
        title=source.title,
        copy_of=source,
        copy_how=("quality", "shift", "light", "quality", "shift", "light", "exact")[number % 7],
    )


def _let_groups_disagree(rng: np.random.Generator, shelf: list[Product], source_of: dict[int, int]) -> None:
    """In 12% of the groups one copy is filed under another articleType of the subCategory."""
    both = [k for k, source in source_of.items() if shelf[k].labelled and shelf[source].labelled]
    able = [k for k in both if _others(shelf[k].kind, shelf[k].article)]
    groups: set[int] = set()
    for k in rng.permutation(able).tolist():
        if len(groups) >= share_of(len(set(source_of.values())), 0.12, 1):
            return
        shelf[k] = replace(shelf[k], article=_one_of(rng, _others(shelf[k].kind, shelf[k].article)))
        groups.add(source_of[k])


def _soil(rng: np.random.Generator, shelf: list[Product], free: Iterator[int]) -> tuple[set[str], str]:
    """Odd and corrupt files, NA and empty cells, and titles with commas, in place.

    Gives the ids whose row is written with an unquoted comma, and the id whose row is cut short.
    """
    n = len(shelf)
    for file in (*CORRUPT, "palette", "rgba", *["grey"] * share_of(n, 0.002, 1)):
        k = next(free)
        shelf[k] = replace(shelf[k], file=file)
    for number in range(share_of(n, 0.01, 3)):
        k = next(free)
        shelf[k] = replace(shelf[k], size_px=SIZES_PX[number % len(SIZES_PX)])
    commas = set()
    for number in range(share_of(n, 0.003, 2) + share_of(n, 0.004, 2)):
        k = next(free)
        shelf[k] = replace(shelf[k], title=shelf[k].title + _one_of(rng, (", Pack of 2", ", New Season", ", Limited Edition")))
        if number < share_of(n, 0.003, 2):
            commas.add(shelf[k].product_id)
    short = shelf[next(free)].product_id
    _empty_cells(rng, shelf, short)
    return commas, short


def _empty_cells(rng: np.random.Generator, shelf: list[Product], short: str) -> None:
    rows = [k for k in rng.permutation(len(shelf)).tolist() if shelf[k].labelled and shelf[k].product_id != short]
    picks = iter(rows)
    n = len(shelf)
    changes: list[tuple[float, dict[str, str]]] = [
        (0.003, {"season": ""}),
        (0.001, {"year": ""}),
        (0.001, {"usage": ""}),
        (0.008, {"usage": "NA"}),
        (0.003, {"base_colour": "NA"}),
    ]
    for share, cells in changes:
        for _ in range(share_of(n, share, 1)):
            k = next(picks)
            shelf[k] = replace(
                shelf[k],
                season=cells.get("season", shelf[k].season),
                year=cells.get("year", shelf[k].year),
                usage=cells.get("usage", shelf[k].usage),
                base_colour=cells.get("base_colour", shelf[k].base_colour),
            )
    for k, product in enumerate(shelf):
        if product.file == "none" and rng.random() < 0.6:
            shelf[k] = replace(product, title="")


def _styles_csv(rng: np.random.Generator, shelf: list[Product], commas: set[str], short: str) -> bytes:
    """The rows in no order, with one id twice, one bad id and one row cut short."""
    rows = [p.row() for p in shelf if p.labelled]
    rows = [rows[k] for k in rng.permutation(len(rows)).tolist()]
    ordinary = [row for row in rows if row[0] not in commas and row[0] != short and row[9]]
    twice = list(_one_of(rng, ordinary[: len(ordinary) // 2]))
    twice[5] = _one_of(rng, COLOUR_NEIGHBOURS.get(twice[5], ("Black",)))
    rows.insert(len(rows) - 1, twice)
    rows.insert(len(rows) // 2, [BAD_ID, *_one_of(rng, ordinary)[1:]])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        if row[0] in commas:
            text.write(",".join(row) + "\n")
        else:
            writer.writerow(row[:6] if row[0] == short else row)
    return text.getvalue().encode()
