"""Whether a feed may go into the catalog when nobody is looking. In: its books and limits. Out: what speaks against it.

For a night without people: a feed that was cut short, lost a column or is mostly rubbish looks like this. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fashion_ray.catalog.schema import LABEL_COLUMNS
from fashion_ray.errors import UserError


@dataclass(frozen=True, kw_only=True)
class FeedLimits:
    """What tonight's feed may do to the catalog; null switches a gate off. Shares are from 0 to 1."""

    removed_share: float | None = 0.2
    """Highest share of the catalog that leaves by one feed."""

    unusable_share: float | None = 0.1
    """Highest share of the feed's rows, and of its pictures, that cannot be used."""

    unlabelled_share: float | None = 0.1
    """Highest share of the feed's products that lose a label which they had, for any column: a column that went missing."""

    least_rows: int = 20
    """Rows or pictures from which on a share of the feed says something; with fewer its gates do not apply."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("removed_share", "unusable_share", "unlabelled_share")}
        wrong = [
            f"--feed-limits.{name.replace('_', '-')}: got {value}, expected a number from 0 to 1"
            for name, value in shares.items()
            if value is not None and not 0 <= value <= 1
        ]
        if self.least_rows < 1:
            wrong.append(f"--feed-limits.least-rows: got {self.least_rows}, expected 1 or more")
        if wrong:
            raise UserError("; ".join([*wrong, "correct the limits, or leave one out for its default"]))


def refusals(
    products_before: int,
    summary: Mapping[str, int],
    books: Mapping[str, int],
    lost: Mapping[str, int],
    limits: FeedLimits,
) -> list[str]:
    """A sentence for each limit that a feed exceeds; `lost` are the products that lose their label, by column."""
    return list(_exceeded(products_before, summary, books, lost, limits))


def _exceeded(
    before: int, summary: Mapping[str, int], books: Mapping[str, int], lost: Mapping[str, int], limits: FeedLimits
) -> Iterator[str]:
    if before and limits.removed_share is not None and summary["removed"] > limits.removed_share * before:
        yield (
            f"{summary['removed']} of the {before} products would leave the catalog ({summary['removed'] / before:.1%}), "
            f"at most {limits.removed_share:.1%} may (removed_share)"
        )
    for what in ("rows", "pictures"):
        total, bad = books[what], books[f"{what}_quarantined"]
        enough = total >= limits.least_rows
        if enough and limits.unusable_share is not None and bad > limits.unusable_share * total:
            yield (
                f"{bad} of the feed's {total} {what} cannot be used ({bad / total:.1%}), at most "
                f"{limits.unusable_share:.1%} may be so (unusable_share)"
            )
    labelled = books["rows_labelled"]
    if limits.unlabelled_share is None or labelled < limits.least_rows:
        return
    for column, products in lost.items():
        if products > limits.unlabelled_share * labelled:
            yield (
                f"{products} of the feed's {labelled} products lose their {column} ({products / labelled:.1%}), at most "
                f"{limits.unlabelled_share:.1%} may (unlabelled_share), as if the column were missing"
            )


def lost_labels(before: pa.Table, coming: pa.Table) -> dict[str, int]:
    """How many products that are in both tables had a label and have none any more, by column."""
    place = pc.index_in(coming["product_id"], value_set=before["product_id"].combine_chunks())
    both = pc.is_valid(place)
    earlier = before.select(LABEL_COLUMNS).take(place.filter(both))
    now = coming.select(LABEL_COLUMNS).filter(both)
    return {
        column: int(pc.sum(pc.and_(pc.is_valid(earlier[column]), pc.is_null(now[column]))).as_py() or 0)
        for column in LABEL_COLUMNS
    }
