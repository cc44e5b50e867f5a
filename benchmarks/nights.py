"""Fourteen nights in a row, twice: what comes, what breaks, and whether the books are right every morning.

In: a root with a champion, or nothing: then the demo is drawn and trained on. Out: a line a night, and status 1 if a night
ended otherwise than it must, if the books of a morning are wrong, or if the second fortnight published other tables.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import victims
from benchmarks.morning import Morning, Stage, differing, digest_of_scores, line, look_at_books, told
from benchmarks.shop import Delivery, Shop
from benchmarks.victims import Household
from fashion_ray import cli, cluster, tracking
from fashion_ray.cluster import Resources
from fashion_ray.config import Problems, absolute, is_uri
from fashion_ray.errors import GateRefused, UserError
from fashion_ray.models import bundle
from fashion_ray.nightly.document import outcome
from fashion_ray.nightly.options import SCORE, NightlyOptions
from fashion_ray.nightly.steps import hold
from fashion_ray.scoring.gates import Limits
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.models import resolve
from fashion_ray.storage import Store

TRAINING = ("--schedule", "heads:2", "--min-class-count", "12", "--cached-views", "1")
LIMITS = Limits(label_psi=0.5, probability_psi=1.0, centroid_shift=0.1, accuracy_drop=0.2, bad_share=0.05)
"""Wider than the defaults: with some hundreds of products each is a large share (docs/drift.md)."""

SHARPER = 1.1
"""The second model's heads are the first one's, times this: other probabilities, and nearly the same labels."""

KEPT_BACK = 60


@dataclass(frozen=True, kw_only=True)
class NightsOptions:
    """Live through fourteen nights, and look at the books every morning."""

    root: str | None = None
    """A local root with a champion, which is only read; none draws the demo catalog and trains on it."""

    rounds: int = 2
    """How many times the same fortnight."""

    products: int = 400
    """How many products the shop knows of."""

    seed: int = 7
    """What happens."""

    patience_s: float = 600.0
    """How long a night in a process of its own may take."""

    def __post_init__(self) -> None:
        found = Problems()
        found.check(self.root is None or not is_uri(self.root), "root", self.root, "a folder of this machine")
        found.check(self.rounds >= 1, "rounds", self.rounds, "1 or more")
        found.check(self.products >= 300, "products", self.products, "300 or more", "with fewer a few are a large share")
        found.check(self.patience_s > 0, "patience_s", self.patience_s, "more than 0")
        found.raise_if_any()


def main(arguments: Sequence[str]) -> int:
    options = cli.parse(NightsOptions, arguments, example="python benchmarks/nights.py --rounds 1")
    victims.with_own_token()
    household, fortnights = Household(), []
    with tempfile.TemporaryDirectory(prefix="nights", ignore_cleanup_errors=True) as temporary:
        try:
            models = two_models(options, Path(temporary), household)
            with cluster.connect(None, cpus=os.cpu_count()) as has:
                for number in range(options.rounds):
                    fortnights.append(fortnight(options, Path(temporary) / f"round-{number}", models, household, has))
        finally:
            household.bury(mercy_s=3)
    unlike = differing(fortnights)
    failed = sum(bool(morning.problems) for mornings in fortnights for morning in mornings) + len(unlike)
    print(*unlike, sep="\n")
    print(
        f"{len(fortnights)} fortnights, {failed} problems; the published tables are " + ("not " if unlike else "") + "the same"
    )
    print(
        json.dumps({"benchmark": "nights", "failed": failed, "rounds": [[asdict(one) for one in all_] for all_ in fortnights]})
    )
    return 1 if failed else 0


def two_models(options: NightsOptions, folder: Path, household: Household) -> list[ResolvedModel]:
    """A trained model, and one with sharper answers on the same trunk."""
    root = absolute(options.root) if options.root is not None else str(folder / "drawn")
    if options.root is None:
        demo = ("--source", "demo", "--products", str(options.products), "--seed", str(options.seed))
        for job, *rest in (("ingest", *demo), ("train", *TRAINING)):
            log = folder / f"{job}.log"
            process = victims.start(job, *rest, variables=victims.environment(root, folder / "cache"), log=log)
            if victims.finish(process, household, patience_s=options.patience_s) != 0:
                raise UserError(f"jobs/{job}.py, which draws what the nights work on, failed: {log.read_text()[-1500:]}")
    store = Store(root)
    first = resolve("champion", store, tracking.locate(store))
    card, network = bundle.load(first.files, name=first.name)
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.mul_(SHARPER)
    files = bundle.dump(card, network)
    return [first, ResolvedModel(name="sharper", files=files, card=bundle.read_card(files[bundle.CARD], name="sharper"))]


def happenings(shop: Shop) -> Iterator[Delivery]:
    """The fourteen nights, each drawn as it comes."""
    yield shop.full_feed("the first full feed")
    yield shop.changes("arrivals", arrive=12)
    yield shop.changes("withdrawals", leave=9)
    yield shop.changes("other pictures", repaint=8)
    yield shop.corrections("corrections by people", 10)
    yield shop.half_a_zip("half a zip")
    yield shop.changes("everything, killed in the middle", arrive=9, leave=4, repaint=5, killed=True)
    yield shop.nothing("no feed came")
    yield shop.cut_short("nine tenths are gone")
    yield shop.changes("a promotion, and arrivals", arrive=6, promotes=True)
    yield shop.without_column("a column is missing", "articleType")
    yield shop.changes("everything, started twice", arrive=7, leave=5, repaint=4, again=True)
    yield shop.full_feed("a full feed that says nothing new")
    yield shop.changes("everything once more", arrive=8, leave=6, repaint=6)


def fortnight(
    options: NightsOptions, folder: Path, models: list[ResolvedModel], household: Household, has: Resources
) -> list[Morning]:
    """Fourteen nights on a root of their own; a line each."""
    folder.mkdir()
    store, shop = Store(str(folder / "root")), Shop(seed=options.seed, folder=folder / "feeds")
    shop.open(options.products, KEPT_BACK)
    here = Stage(
        store=store, shop=shop, folder=folder, models=models, household=household, has=has, patience_s=options.patience_s
    )
    tracked = tracking.locate(store)
    for model in models:
        for name, content in model.files.items():
            store.write_bytes(content, "models", model.card.model_version, name)
        with tracking.run(tracked, "train", {}) as run:
            tracking.register(run, "bundle", model.card.model_version)
    mornings = []
    for number, delivery in enumerate(happenings(shop), start=1):
        mornings.append(play(number, delivery, here))
        print(line(mornings[-1]), flush=True)
    return mornings


def play(number: int, delivery: Delivery, here: Stage) -> Morning:
    """One night, judged in the morning."""
    if delivery.promotes:
        tracked, (old, new) = tracking.locate(here.store), [model.card.model_version for model in here.models]
        version = tracking.registered_version(tracked, new)
        assert version is not None
        tracking.make_champion(tracked, version, instead_of=old)
        here.champion = 1
    before = digest_of_scores(here.store)
    night = f"night-{number:02d}"
    asked = NightlyOptions(
        root=here.store.uri, cache=str(here.folder / "cache"), night=night, status_file=str(here.folder / "pager.json"),
        feed=str(delivery.feed) if delivery.feed else None, delta=delivery.delta,
        labels=str(delivery.labels) if delivery.labels else None, if_missing=SCORE, engine="openvino", precision="f32",
        limits=LIMITS, keep=50,
    )  # fmt: skip
    began, problems = time.perf_counter(), []
    if delivery.killed:
        problems += killed(asked, here, before)
        ended = told(here)["status"]
    else:
        ended = end_of(asked, here)
        if delivery.again:
            first = told(here)
            ended = end_of(asked, here)
            problems += [] if told(here) == first else ["the second of two equal nights did not leave everything as it was"]
    wall_s = round(time.perf_counter() - began, 1)
    document = told(here)
    found = Morning(
        night=number, title=delivery.title, ended=ended, counts=document["counts"], wall_s=wall_s,
        scores=document["snapshots"]["scores"] or "", problems=problems,
    )  # fmt: skip
    if ended != delivery.ends:
        found.problems.append(f"it ended {ended}, expected {delivery.ends}: {document['message']}")
    if document["status"] != ended or document["night"] != night:
        found.problems.append(f"the pager was told {document['status']} of {document['night']}")
    look_at_books(found, delivery, here, before)
    return found


def end_of(asked: NightlyOptions, here: Stage) -> str:
    """A night in this process; how it ended. What is neither the user's mistake nor a refusal comes through."""
    try:
        hold(asked, here.store, lambda: nullcontext(here.has))
    except (UserError, GateRefused) as error:
        return outcome(error)[0]
    return "ok"


def killed(asked: NightlyOptions, here: Stage, before: str) -> list[str]:
    """A night in a process of its own, killed while it scores, then started again; what is wrong with that."""
    arguments = ["--night", asked.night, "--engine", asked.engine, "--precision", asked.precision, "--keep", str(asked.keep)]
    arguments += ["--feed", str(asked.feed), "--status-file", str(asked.status_file), *(["--delta"] if asked.delta else [])]
    arguments += [
        part
        for name in ("label_psi", "probability_psi", "centroid_shift", "accuracy_drop", "bad_share")
        for part in (f"--limits.{name.replace('_', '-')}", str(getattr(LIMITS, name)))
    ]
    variables, log = victims.environment(here.store.uri, here.folder / "cache"), here.folder / "killed.log"
    known = victims.published(here.store)
    process = victims.start("nightly", *arguments, variables=variables, log=log)
    growing = victims.until(process, here.store, known, 0, patience_s=here.patience_s)
    here.household.count()
    process.kill()
    process.wait()
    problems = [] if growing else [f"it was not there to be killed: {log.read_text()[-1000:]}"]
    if digest_of_scores(here.store) != before:
        problems.append("the scores changed while the night was killed")
    if told(here)["status"] != "running":
        problems.append(f"the pager was told {told(here)['status']} by a night that was killed")
    process = victims.start("nightly", *arguments, variables=variables, log=log)
    status = victims.finish(process, here.household, patience_s=here.patience_s)
    return problems + ([] if status == 0 else [f"the second start ended with {status}: {log.read_text()[-1500:]}"])


if __name__ == "__main__":
    cli.run(main)
