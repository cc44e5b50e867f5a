"""Which of two models is champion. In: options and a registry. Out: a comparison, a decision, and perhaps an alias moved."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pyarrow.compute as pc

from fashion_ray import snapshots, tracking
from fashion_ray.errors import ReconciliationError, UserError
from fashion_ray.models import decisions
from fashion_ray.models.engines import EngineChoice
from fashion_ray.promotion.comparison import TargetComparison, compare
from fashion_ray.promotion.decision import objections
from fashion_ray.promotion.lineage import KEYS, Lineage, lineage, warnings_about
from fashion_ray.promotion.options import PromoteOptions
from fashion_ray.scoring.inference import ResolvedModel
from fashion_ray.scoring.models import resolve
from fashion_ray.snapshots import Snapshot
from fashion_ray.storage import Store
from fashion_ray.training import sides
from fashion_ray.training.deployed import HeldOut, predict
from fashion_ray.training.imbalance import balanced_target

log = logging.getLogger(__name__)

STORED = sides.parse("stored")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Two models and the rows that they are compared on, settled before a cluster is asked for."""

    options: PromoteOptions
    catalog: Snapshot
    champion: ResolvedModel
    challenger: ResolvedModel
    version: str | None
    """The challenger's in the registry."""

    replaced: str | None
    """The model_version that has the alias champion."""

    targets: list[str]
    """What both predict."""

    target: str
    """The one that decides."""

    lineages: tuple[Lineage, Lineage]

    @property
    def unanswered(self) -> list[str]:
        """The champion's targets that the challenger does not predict."""
        return [target for target in self.champion.card.targets if target not in self.targets]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What was found and decided."""

    contest: Contest
    choice: EngineChoice
    comparisons: dict[str, TargetComparison]
    warnings: list[str]
    objections: list[str]

    @property
    def promoted(self) -> bool:
        """Whether the challenger becomes champion, or would if this were no dry run."""
        return not self.objections or bool(self.contest.options.because)

    @property
    def reason(self) -> str:
        """Why it does, or does not."""
        if not self.objections:
            return f"significantly better on {self.contest.target}, significantly worse on nothing"
        return self.contest.options.because or "; ".join(self.objections)


def prepare(options: PromoteOptions, store: Store, catalog: Snapshot, tracked: tracking.Tracking) -> Contest:
    """Find the two models and the rows. Raises UserError where there is nothing to compare or the registry cannot follow."""
    champion, challenger = (resolve(name, store, tracked) for name in (options.champion, options.challenger))
    if champion.card.model_version == challenger.card.model_version:
        raise UserError(
            f"--challenger: {options.challenger!r} and {options.champion!r} are the same model "
            f"{champion.card.model_version}; expected two. Train another first: python jobs/train.py"
        )
    version = tracking.registered_version(tracked, challenger.card.model_version)
    if version is None and not options.dry_run:
        raise UserError(
            f"--challenger: {options.challenger!r} is not registered, so no alias can name it; expected a model that "
            "jobs/train.py registered. Pass --dry-run to compare only"
        )
    targets = [target for target in challenger.card.targets if target in champion.card.targets]
    if not targets or options.target not in ("", *targets):
        raise UserError(
            f"--target: got {options.target or 'none'!r}, but the targets that both models predict are "
            f"{', '.join(targets) or 'none'}; expected one of those"
        )
    table = store.read_table(catalog.folder, columns=["product_id", "split", *KEYS])
    rows = table.filter(pc.fill_null(pc.equal(table["split"], options.side), False))
    if not rows.num_rows:
        raise UserError(f"--side: the catalog has no {options.side} rows, expected some; ingest a larger feed")
    old, new = (
        lineage(store, catalog, model.card, rows, role=role)
        for model, role in ((champion, "champion"), (challenger, "challenger"))
    )
    return Contest(
        options=options,
        catalog=catalog,
        champion=champion,
        challenger=challenger,
        version=version,
        replaced=tracking.resolve(tracked, tracking.CHAMPION),
        targets=targets,
        target=balanced_target(options.target, targets),
        lineages=(old, new),
    )


def hold(contest: Contest, store: Store, choice: EngineChoice) -> Outcome:
    """Have both models answer on the cluster, compare them, and decide.

    Raises UserError if no row has a label of the deciding target.
    """
    options = contest.options
    old, new = (_answers(contest, store, model, choice) for model in (contest.champion, contest.challenger))
    if old.product_ids != new.product_ids:
        raise ReconciliationError("promote: the two models did not answer the same rows")
    decided = _named(contest.champion, old), _named(contest.challenger, new)
    found = {
        target: compare(
            target,
            truth=new.labels[target],
            champion=decided[0][target],
            challenger=decided[1][target],
            champion_classes=contest.champion.card.classes[target],
            challenger_classes=contest.challenger.card.classes[target],
            alpha=options.alpha,
        )
        for target in contest.targets
    }
    comparisons = {target: one for target, one in found.items() if one is not None}
    if contest.target not in comparisons:
        raise UserError(
            f"--target: no {options.side} row has a label of {contest.target} that one of the models knows; "
            f"expected one of {', '.join(comparisons) or 'none'}"
        )
    return Outcome(
        contest=contest,
        choice=choice,
        comparisons=comparisons,
        warnings=[*warnings_about(*contest.lineages), *_warnings(contest, comparisons)],
        objections=objections(
            comparisons,
            contest.target,
            lineages=contest.lineages,
            unanswered=contest.unanswered,
            against_champion=contest.champion.card.model_version == contest.replaced,
        ),
    )


def _answers(contest: Contest, store: Store, model: ResolvedModel, choice: EngineChoice) -> HeldOut:
    targets = model.card.targets
    missing = [name for name in targets if not any(line.startswith(f"{name}: ") for line in contest.catalog.manifest["schema"])]
    if missing:
        raise UserError(f"the catalog {contest.catalog.name} has no column {', '.join(missing)}, which {model.name!r} predicts")
    return predict(
        store, contest.catalog, STORED, contest.options.side, targets, files=model.files, choice=choice,
        cache=contest.options.cache,
    )  # fmt: skip


def _named(model: ResolvedModel, rows: HeldOut) -> dict[str, list[str | None]]:
    """The labels that a model answers, null for `(other)`."""
    card = model.card
    answers = decisions.decide(rows.logits, card.taxonomy, card.temperatures)
    return {target: [card.classes[target][index] for index in answer.predicted] for target, answer in answers.items()}


def _warnings(contest: Contest, comparisons: dict[str, TargetComparison]) -> list[str]:
    found = [
        f"{one.target}: {len(one.regressions)} classes got worse by more than chance: {', '.join(one.regressions[:12])}"
        for one in comparisons.values()
        if one.regressions
    ]
    if contest.options.side == "validation":
        found.append("validation rows chose each model's best epoch and its thresholds: the test side is the one to decide on")
    unlabelled = [target for target in contest.targets if target not in comparisons]
    if unlabelled:
        found.append(f"no row has a label of {', '.join(unlabelled)} that one of the models knows: nothing is known of them")
    return found


def settle(outcome: Outcome, run: tracking.TrackedRun) -> str:
    """Move the alias if so decided, and note why on the challenger; what became of it, in words.

    Raises ConflictError if another model became champion since it was compared.
    """
    contest, options = outcome.contest, outcome.contest.options
    decision = "promoted" if outcome.promoted else "refused"
    tags: dict[str, object] = {
        "decision": decision, "at": snapshots.now(), "run_id": run.run_id, "side": options.side, "target": contest.target,
        "because": outcome.reason,
        "against": contest.champion.card.model_version, "catalog": contest.catalog.name,
    }  # fmt: skip
    for one in outcome.comparisons.values():
        tags[one.target] = one.sentence()
    run.tags({f"promotion_{key}": value for key, value in tags.items()} | {"dry_run": options.dry_run})
    shown = f"{contest.challenger.name} ({contest.challenger.card.model_version})"
    if options.dry_run:
        return f"{shown} would be {decision}; this was a dry run, so nothing moved"
    assert contest.version is not None, "prepare refuses a challenger that is not registered"
    if outcome.promoted:
        tracking.make_champion(run.tracking, contest.version, instead_of=contest.replaced)
    tracking.tag_version(run.tracking, contest.version, {f"promotion_{key}": value for key, value in tags.items()})
    if not outcome.promoted:
        return f"{shown} is not promoted"
    return f"{shown} is champion now, as version {contest.version}; `python jobs/promote.py --rollback` undoes it"


def roll_back(tracked: tracking.Tracking) -> str:
    """Make the previous champion champion, and the champion previous; what was done. Raises UserError if there is none."""
    version = tracking.version_of(tracked, tracking.PREVIOUS)
    champion = tracking.version_of(tracked, tracking.CHAMPION)
    if version is None or version == champion:
        raise UserError(
            "--rollback: the registry has no previous champion; expected one that a promotion replaced. "
            "Run python jobs/promote.py first"
        )
    tracking.make_champion(tracked, version, instead_of=tracking.resolve(tracked, tracking.CHAMPION))
    tracking.tag_version(tracked, version, {"promotion_decision": "rolled back to", "promotion_at": snapshots.now()})
    return f"champion is now version {version} again, instead of version {champion}"
