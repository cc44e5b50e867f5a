"""What labelling strategies are worth: python benchmarks/selection.py --root ROOT --plot docs/selection.png

Hides the labels of the current catalog, buys them in batches by each strategy, and compares the accuracy of a head on held-out
groups with the labels bought. Ray is needed only for features that are not cached yet.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.audit import embedded
from benchmarks.material import report
from fashion_ray import cli
from fashion_ray.config import absolute
from fashion_ray.insight.audit import prepare
from fashion_ray.insight.audit_options import AuditOptions
from fashion_ray.insight.selection import RANDOM, STRATEGIES
from fashion_ray.insight.simulation import Point, labels_needed, mean_curve, reduced, simulate
from fashion_ray.pages.selection_curves import selection_curves
from fashion_ray.scoring.score import catalog_of
from fashion_ray.storage import Store


@dataclass(frozen=True, kw_only=True)
class SimulationOptions(AuditOptions):
    """Simulate labelling, batch by batch."""

    strategies: tuple[str, ...] = STRATEGIES
    """Which are compared with random, always among them."""

    start: int = 500
    """Labels bought at random first."""

    batch: int = 500
    """Labels bought at a time."""

    most: int = 8000
    """Labels bought in all."""

    dimensions: int = 512
    """Principal components of the features that the head sees."""

    seeds: int = 3
    """Runs of each strategy; --seed is the first."""

    plot: str = ""
    """Where the curves are drawn to, as PNG."""

    def __post_init__(self) -> None:
        super().__post_init__()
        found = self.problems()
        for name in ("start", "batch", "dimensions", "seeds"):
            found.check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        found.check(self.most >= self.start, "most", self.most, f"at least the {self.start} of --start")
        known = set(self.strategies) <= set(STRATEGIES) and bool(self.strategies)
        found.check(known, "strategies", self.strategies, f"some of {', '.join(STRATEGIES)}")
        found.raise_if_any()


def main(arguments: Sequence[str]) -> None:
    options = cli.parse(SimulationOptions, arguments, example="python benchmarks/selection.py --root workspace --seeds 1")
    store = Store(absolute(options.root))
    values, subject = embedded(prepare(options, store, catalog_of(store)), store)
    rows = subject.judged
    spread = reduced(values[rows], min(options.dimensions, values.shape[1]))
    labels, groups, classes = subject.labels[rows], subject.groups[rows], len(subject.classes)
    points: list[Point] = []
    strategies = list(dict.fromkeys([RANDOM, *options.strategies]))
    for strategy in strategies:
        for seed in range(options.seed, options.seed + options.seeds):
            points += simulate(
                strategy, spread, labels, groups, classes=classes, start=options.start, batch=options.batch, most=options.most,
                seed=seed,
            )  # fmt: skip
        print(f"{strategy}: {mean_curve(points, strategy)}", file=sys.stderr, flush=True)
    last, goal = mean_curve(points, RANDOM)[-1]
    needed = {strategy: labels_needed(points, strategy, goal) for strategy in strategies}
    shares = {name: round(count / last, 3) for name, count in needed.items() if count is not None}
    if options.plot:
        Path(options.plot).write_bytes(selection_curves({name: mean_curve(points, name) for name in strategies}))
    report(
        "selection",
        {
            "goal": goal,
            "needed": needed,
            "of_random": shares,
            "curves": {name: mean_curve(points, name) for name in strategies},
        },
        f"random labels reach {goal:.2%} with {last}; "
        + ", ".join(
            f"{name} with {'more than ' + str(last) if count is None else f'{count:.0f} ({count / last:.0%})'}"
            for name, count in needed.items()
        ),
    )


if __name__ == "__main__":
    cli.run(main)
