"""What a promotion says at its end. In: its outcome. Out: lines for the job's log; metrics, tables and a page for MLflow."""

from __future__ import annotations

from fashion_ray import spreadsheets, tracking
from fashion_ray.pages.promotion_report import differences, promotion_report
from fashion_ray.promotion import five_by_two
from fashion_ray.promotion.options import PromoteOptions
from fashion_ray.promotion.promote import Outcome, roll_back
from fashion_ray.storage import Store


def look(options: PromoteOptions, tracked: tracking.Tracking) -> str | None:
    """What --rollback and --runs-a say, without a cluster; null if neither was asked for."""
    if options.rollback:
        return roll_back(tracked)
    if not options.runs_a:
        return None
    metric = f"{options.side}/{options.target or 'articleType'}/accuracy"
    first, second = (tracking.figures_of(tracked, names, metric) for names in (options.runs_a, options.runs_b))
    found = five_by_two.five_by_two(five_by_two.paired_differences(first, second))
    better = "no significant difference" if found.f_p_value > options.alpha else "b" if found.mean > 0 else "a"
    return (
        f"{metric}, b minus a: {found.mean:+.4f} in the mean of ten; combined 5x2cv F {found.f:.3f}, p {found.f_p_value:.3g}; "
        f"5x2cv paired t {found.t:.3f}, p {found.t_p_value:.3g}. Better: {better}"
    )


def report(outcome: Outcome, store: Store, run: tracking.TrackedRun) -> str:
    """Log the figures, the tables of classes and the page; where the page lies below the root."""
    contest = outcome.contest
    for target, one in outcome.comparisons.items():
        run.metrics({f"promote/{name}": value for name, value in one.figures().items()})
        run.file(spreadsheets.to_csv(one.classes), f"tables/{target}_classes.csv")
    ordered = [outcome.comparisons[contest.target]]
    ordered += [one for target, one in outcome.comparisons.items() if target != contest.target]
    page = promotion_report(
        title=f"{contest.challenger.name} against {contest.champion.name}",
        decision=("would be " if contest.options.dry_run else "") + ("promoted" if outcome.promoted else "refused"),
        facts=_facts(outcome, run),
        comparisons=ordered,
        objections=outcome.objections,
        because=contest.options.because,
        warnings=outcome.warnings,
    )
    run.file(differences(ordered), "plots/differences.png")
    run.file(page, "promotion.html")
    place = ("reports", f"promote-{run.run_id[:16]}", "promotion.html")
    store.write_bytes(page.encode(), *place)
    return store.show(*place)


def describe(outcome: Outcome) -> str:
    """The figures of every target, and what speaks against promotion."""
    lines = [f"{outcome.contest.options.side} side, challenger against champion:"]
    lines += [f"  {one.sentence()}" for one in outcome.comparisons.values()]
    lines += [f"warning: {warning}" for warning in outcome.warnings]
    lines += [f"objection: {objection}" for objection in outcome.objections]
    return "\n".join(lines)


def _facts(outcome: Outcome, run: tracking.TrackedRun) -> dict[str, str]:
    contest = outcome.contest
    models = {
        role: f"{model.card.model_version} ({model.name}; {model.card.backbone}, "
        f"run {model.card.provenance.get('run_name', 'unknown')}, {line.split} of catalog {line.catalog})"
        for role, model, line in zip(
            ("challenger", "champion"), (contest.challenger, contest.champion), contest.lineages[::-1], strict=True
        )
    }
    return {
        "MLflow run": run.run_id,
        **models,
        "rows": f"{contest.options.side} side of catalog {contest.catalog.name}",
        "deciding target": f"{contest.target}, at {contest.options.alpha:g}",
        "engine": f"{outcome.choice.name} {outcome.choice.precision}",
    }
