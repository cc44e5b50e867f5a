"""What a catalog costs on a cluster: python benchmarks/scale.py --products 1000000 10000000 100000000

In: rates that were measured, prices, and the size of a cluster. Out: hours, dollars, objects and the driver's memory of a first
ingest, a first night and a usual night, and which of them bounds the whole first. Arithmetic alone: nothing is run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fashion_ray import cli
from fashion_ray.catalog.plan import SHARD_BYTES, SHARD_ROWS
from fashion_ray.config import Problems

GB = 1e9
USABLE = 0.8
"""Of the head's memory: the rest is Ray's own and the object store's."""

LONGEST_NIGHT_H = 24.0
"""A first night that takes longer than a day is no night."""

SHORTEST_WAIT_H = 0.25
"""What the driver does alone in less than that is not worth a thought: nodes take as long to start."""

MOST_OBJECTS = 100_000
"""Files of a table that a driver lists, plans and reads the footers of in minutes."""


@dataclass(frozen=True, kw_only=True)
class ScaleOptions:
    """Compute hours, dollars, objects and memory from measured rates."""

    products: tuple[int, ...] = (1_000_000, 10_000_000, 100_000_000)
    """Sizes of the catalog."""

    nodes: tuple[int, ...] = (1, 8, 32)
    """Sizes of the cluster, in worker nodes."""

    cpus_a_node: int = 16
    """Processors of a worker."""

    node_dollars_an_hour: float = 0.81
    """Price of a worker: put your own here."""

    head_dollars_an_hour: float = 0.20
    """Price of the head."""

    head_memory_gb: float = 16.0
    """Memory of the head, on which the driver runs."""

    storage_dollars_a_gb_month: float = 0.023
    """Price of storage."""

    put_dollars_a_million: float = 5.0
    """Price of requests that write."""

    score_rows_a_second_a_cpu: float = 532.0
    """Through the network; the bare engine's rate times the share of it that scoring gets (benchmarks/limit.py)."""

    carry_rows_a_second_a_cpu: float = 19_700.0
    """Carried over from last night (benchmarks/rates.py)."""

    ingest_rows_a_second_a_cpu: float = 2_490.0
    """Inspected, staged and written (benchmarks/rates.py); reading the feed comes on top."""

    changed_share: float = 0.01
    """Of the catalog, in a usual night."""

    picture_bytes: float = 1_667.0
    """Of a product in the catalog: the public catalog's 60 x 80 JPEGs and their labels."""

    score_bytes: float = 5_400.0
    """Of a product in the scores: an embedding of 1,280 numbers is most of it."""

    snapshots_kept: int = 7
    """Of the scores, as in jobs/score.py --keep."""

    driver_base_gb: float = 0.5
    """Of the driver for nothing at all."""

    plan_bytes: float = 594.0
    """Of the driver for each product of a night (benchmarks/million.py)."""

    ingest_bytes: float = 2_300.0
    """Of all processes for each product of a first ingest (benchmarks/ingest.py); the driver alone takes 1,447."""

    plan_microseconds: float = 10.2
    """Of the driver's processor for each product of a night, planned and compared (benchmarks/million.py)."""

    ingest_microseconds: float = 76.6
    """Of the driver's processor for each product of a first ingest of a million (benchmarks/million.py)."""

    ingest_growth: float = 1.25
    """The power with which that time grows, since near-duplicates are looked for among more (the same: log10 of its ratio)."""

    def __post_init__(self) -> None:
        found = Problems()
        for name, value in asdict(self).items():
            values = value if isinstance(value, tuple) else (value,)
            least = 0 if name in ("changed_share", "driver_base_gb") or name.endswith(("an_hour", "month", "million")) else 1e-9
            found.check(
                bool(values) and all(one >= least for one in values), name, value, "more than 0" if least else "0 or more"
            )
        found.check(self.changed_share <= 1, "changed_share", self.changed_share, "at most 1")
        found.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A catalog of so many products on a cluster of so many nodes."""

    products: int
    nodes: int
    ingest_hours: float
    """The first ingest; the driver's part, which no node shortens, included."""

    first_night_hours: float
    night_hours: float
    """A usual night, with `changed_share` new."""

    ingest_dollars: float
    first_night_dollars: float
    night_dollars: float
    storage_dollars_a_month: float
    objects: int
    """Files of one snapshot of the catalog and one of the scores."""

    driver_gb: float
    """Peak of the driver: the larger of ingest and night."""

    driver_share: float
    """Of a usual night, how much the driver takes while the nodes wait."""

    bottleneck: str


def cost(products: int, nodes: int, given: ScaleOptions) -> Cost:
    """What a catalog costs. Work is divided evenly over processors; what the driver does alone is added to it."""
    cpus = nodes * given.cpus_a_node
    alone_h = products * given.plan_microseconds / 3.6e9
    alone_ingest_h = given.ingest_microseconds * (products / 1e6) ** given.ingest_growth / 3600
    ingest_h = products / given.ingest_rows_a_second_a_cpu / cpus / 3600 + alone_ingest_h
    first_h = products / given.score_rows_a_second_a_cpu / cpus / 3600 + alone_h
    changed = products * given.changed_share
    work_s = changed / given.score_rows_a_second_a_cpu + (products - changed) / given.carry_rows_a_second_a_cpu
    night_h = work_s / cpus / 3600 + alone_h
    hourly = nodes * given.node_dollars_an_hour + given.head_dollars_an_hour
    files = files_of(products, given.picture_bytes)
    written = 3 * files * given.put_dollars_a_million / 1e6  # a file of scores, its receipt and its beginning
    stored_gb = products * (given.picture_bytes + given.snapshots_kept * given.score_bytes) / GB
    memory = given.driver_base_gb + products * max(given.plan_bytes, given.ingest_bytes) / GB
    share = alone_h / night_h if night_h else 0.0
    return Cost(
        products=products, nodes=nodes, ingest_hours=ingest_h, first_night_hours=first_h, night_hours=night_h,
        ingest_dollars=ingest_h * hourly + written, first_night_dollars=first_h * hourly + written,
        night_dollars=night_h * hourly + written, storage_dollars_a_month=stored_gb * given.storage_dollars_a_gb_month,
        objects=2 * files, driver_gb=memory, driver_share=share,
        bottleneck=bottleneck(
            memory_gb=memory, head_gb=given.head_memory_gb, objects=2 * files, first_h=first_h,
            driver={"the first ingest": (alone_ingest_h, ingest_h), "a usual night": (alone_h, night_h)},
        ),
    )  # fmt: skip


def files_of(products: int, picture_bytes: float) -> int:
    """Files of a catalog: bounded in products and in bytes, as catalog.plan bounds them."""
    return max(1, math.ceil(products / SHARD_ROWS), math.ceil(products * picture_bytes / SHARD_BYTES))


def bottleneck(
    *, memory_gb: float, head_gb: float, objects: int, first_h: float, driver: Mapping[str, tuple[float, float]]
) -> str:
    """What gives first: what does not fit before what is slow. `driver` has its own hours and all hours of each job."""
    if memory_gb > USABLE * head_gb:
        return f"the driver's memory: a head with {memory_gb / USABLE:,.0f} GB"
    if first_h > LONGEST_NIGHT_H:
        return "the network, in the first night: more nodes"
    for job, (alone_h, all_h) in driver.items():
        if alone_h > SHORTEST_WAIT_H and alone_h > all_h / 2:
            return f"the driver's time: {alone_h / all_h:.0%} of {job}, whatever the nodes"
    if objects > MOST_OBJECTS:
        return "objects: larger files"
    if first_h > SHORTEST_WAIT_H:
        return "the network, in the first night"
    return "nothing: nodes take longer to start"


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(ScaleOptions, arguments, example="python benchmarks/scale.py --products 5000000 --nodes 4 16")
    found = [cost(products, nodes, options) for products in options.products for nodes in options.nodes]
    print(json.dumps({"benchmark": "scale", "costs": [asdict(one) for one in found]}))
    print("\n".join(table(found)))


def table(found: Sequence[Cost]) -> list[str]:
    """A Markdown table, a line a cost."""
    lines = [
        "| products | nodes | first ingest | first night | usual night | storage a month | objects | driver | gives first |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        pairs = (
            (one.ingest_hours, one.ingest_dollars),
            (one.first_night_hours, one.first_night_dollars),
            (one.night_hours, one.night_dollars),
        )
        cells = [
            f"{one.products / 1e6:g} million", str(one.nodes), *(f"{hours:.2f} h, ${dollars:,.2f}" for hours, dollars in pairs),
            f"${one.storage_dollars_a_month:,.2f}", f"{one.objects:,}", f"{one.driver_gb:.1f} GB", one.bottleneck,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    cli.run(main)
