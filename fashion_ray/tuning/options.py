"""The options of jobs/tune.py, and the plan of a search that they come to."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fashion_ray.config import NAME_PATTERN, JobOptions, without_password
from fashion_ray.errors import UserError
from fashion_ray.training.options import TrainOptions
from fashion_ray.training.schedule import parse as stages_of
from fashion_ray.tuning import space
from fashion_ray.tuning.space import Space
from fashion_ray.tuning.stopping import RULES
from fashion_ray.tuning.studies import SEARCH_GROUP, STUDIES, Study
from fashion_ray.tuning.study_runs import StudyRun, runs_of, space_of
from fashion_ray.tuning.trials import SEARCHES

DEFAULT_TRIALS = 20
LONGEST_NAME = 96
"""Letters of a search's name: those of its trainings add up to 30."""


@dataclass(frozen=True, kw_only=True)
class TuneOptions(JobOptions):
    """Search for better options of jobs/train.py, train the winner and register its bundle."""

    name: str = ""
    """Name of the search; the same name again continues it where it stopped. None makes up a new one."""

    study: str = ""
    """An earlier study as one command: its options, search and trainings. What is typed beside it counts more, --set too."""

    runs: tuple[str, ...] = ()
    """Of a study, its search and the trainings of these names alone, such as search lenet5; none is everything."""

    space: tuple[str, ...] = ()
    """What to try: 'optimizer=adamw sgd' 'learning_rate=1e-4..1e-2:log' 'head_widths=256 50,20 if head=mlp', or a TOML or JSON
    file; none is a default space."""

    set: tuple[str, ...] = ()
    """Options of all trials, such as targets=articleType schedule=heads:3 preset=flagship."""

    search: str = "random"
    """grid (every point of lists), random, or tpe (Optuna's tree-structured Parzen estimator)."""

    trials: int | None = None
    """Trials of the search; none is the whole grid, or 20, or as many as --minutes allow."""

    minutes: float | None = None
    """No trial of the search begins after so many minutes; none sets no limit."""

    seed: int = 0
    """Of random and tpe. The trials themselves have the seed of --set seed=0."""

    stopping: str = "none"
    """Ends bad trials early: none, asha (a third goes on past 1, 3, 9, ... epochs) or median."""

    parallel: int | None = None
    """Trials side by side; none is one a processor or GPU. With 1 a killed tpe search goes on exactly as it would have."""

    trial_workers: int = 1
    """Training workers of each trial; with more than one, trials run one after the other, each as jobs/train.py --workers."""

    finalists: int = 0
    """So many of the best are run again with --final-epochs; 0 for no second round."""

    final_epochs: int | None = None
    """Epochs of the last stage of the finalists and of the winner; none leaves the schedule."""

    retrain: bool = True
    """Train the winner by the normal path, evaluate it on test, and register it as jobs/train.py does."""

    def __post_init__(self) -> None:
        found = self.problems()
        named = not self.name or (NAME_PATTERN.fullmatch(self.name) is not None and len(self.name) <= LONGEST_NAME)
        found.check(named, "name", self.name, f"letters, digits, '.', '_', '-', {LONGEST_NAME} at most")
        found.check(self.study in ("", *STUDIES), "study", self.study, f"one of {', '.join(STUDIES)}")
        parts = STUDIES[self.study].parts if self.study in STUDIES else ()
        own = self.study not in STUDIES or bool(STUDIES[self.study].space) or not self.space
        found.check(
            own, "space", self.space, f"none, since the study {self.study} has no search: only its trainings can be run"
        )
        for part in self.runs:
            found.check(part in parts, "runs", part, f"among {', '.join(parts)}" if parts else "none without --study")
        found.check(self.search in SEARCHES, "search", self.search, f"one of {', '.join(SEARCHES)}")
        found.check(self.stopping in RULES, "stopping", self.stopping, f"one of {', '.join(RULES)}")
        for field in ("trials", "parallel", "final_epochs", "trial_workers"):
            value = getattr(self, field)
            found.check(value is None or value >= 1, field, value, "at least 1")
        alone = self.parallel in (None, 1) or self.trial_workers == 1
        found.check(alone, "parallel", self.parallel, "1 with --trial-workers, since such trials run one after the other")
        found.check(self.minutes is None or self.minutes > 0, "minutes", self.minutes, "more than 0")
        found.check(self.finalists >= 0, "finalists", self.finalists, "0 or more")
        found.check(0 <= self.seed <= 2**31, "seed", self.seed, "0 to 2147483648")
        found.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search does, settled."""

    options: TuneOptions
    base: TrainOptions
    """The options of a trial where the space does not change them."""

    space: Space | None
    """None where a study has no search."""

    runs: tuple[StudyRun, ...] = ()
    """Trainings of a study, after its search."""

    @property
    def study(self) -> Study | None:
        """The study that is run again, if one is."""
        return STUDIES.get(self.options.study)

    @property
    def searches(self) -> bool:
        """Whether there is a search to run."""
        return self.space is not None and (not self.options.runs or SEARCH_GROUP in self.options.runs)

    @property
    def trials(self) -> int:
        """How many trials the search has at most."""
        options = self.options
        if options.trials is not None:
            return options.trials
        return sys.maxsize if options.minutes is not None or options.search == "grid" else DEFAULT_TRIALS

    def asked(self) -> dict[str, object]:
        """What must be the same where a search is continued; budgets may differ."""
        return {
            "base": {name: without_password(str(value)) for name, value in vars(self.base).items() if name not in space.OWNED},
            "space": [str(axis) for axis in self.space.axes] if self.space is not None else [],
            **({"study": self.options.study} if self.options.study else {}),
            "search": self.options.search, "seed": self.options.seed, "stopping": self.options.stopping,
            "final_epochs": self.options.final_epochs, "trial_workers": self.options.trial_workers,
        }  # fmt: skip


def plan_of(options: TuneOptions, root: str) -> Plan:
    """The plan, whose trials read below `root`. Raises UserError for a space or options that no trial can have."""
    study = STUDIES.get(options.study)
    settings = (*(study.settings if study is not None else ()), *options.set)
    base = space.fixed(settings, root=root, cache=options.cache)
    if base.monitor.startswith("train_"):
        raise UserError(
            f"--set: got monitor={base.monitor}, by which the trial that knows its training rows by heart would win; expected "
            "score, validation_loss or a validation_accuracy"
        )
    lines = options.space or (space_of(study, options.set) if study is not None else space.default_lines(options.set))
    found = space.parse(lines, base) if lines or study is None else None
    if found is not None and options.search == "grid":
        found.points()
    runs = runs_of(study, options.set, options.runs, root=root, cache=options.cache) if study is not None else ()
    return Plan(options=options, base=base, space=found, runs=runs)


def longer(schedule: str, epochs: int | None) -> str:
    """The schedule with so many epochs in its last stage; none leaves it."""
    if epochs is None:
        return schedule
    *before, last = stages_of(schedule)
    return ",".join([*(f"{stage.name}:{stage.epochs}" for stage in before), f"{last.name}:{epochs}"])
