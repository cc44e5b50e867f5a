"""What there is to run of a study. In: the study and the lines of --set. Out: a space, and trainings with their options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fashion_ray.training.options import TrainOptions
from fashion_ray.tuning import space
from fashion_ray.tuning.studies import Group, Study

TRUNK_OPTIONS = frozenset({"backbone", "weights"})


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """A training of a study."""

    name: str
    group: Group
    options: TrainOptions


def space_of(study: Study, settled: Sequence[str]) -> tuple[str, ...]:
    """The lines of a study's search without what --set settles; other lines stand in for trunks that it settles."""
    names = _names(settled)
    lines = (*study.space, *(study.instead if "backbone" in names else ()))
    return tuple(line for line in lines if _name(line) not in names)


def runs_of(study: Study, settled: Sequence[str], chosen: Sequence[str], *, root: str, cache: str) -> tuple[StudyRun, ...]:
    """The trainings of a study, of the chosen groups if any, each with what --set settles; those that it made alike once.

    Raises UserError for options that do not go together.
    """
    found: list[StudyRun] = []
    for group in study.groups:
        if chosen and group.name not in chosen:
            continue
        own = [line for line in settled if not (group.keeps_trunk and _name(line) in TRUNK_OPTIONS)]
        instead = group.instead if "backbone" in _names(own) else ()
        for split in group.splits or ("",):
            sides = (f"split={split}",) if split else ()
            lines = (*study.settings, *group.settings, *sides, *instead, *own)
            options = space.fixed(lines, root=root, cache=cache)
            name = f"{group.name}-{split.replace(':', '').replace('/', 'of')}" if split else group.name
            if all(options != one.options for one in found):
                found.append(StudyRun(name=name, group=group, options=options))
    return tuple(found)


def _name(line: str) -> str:
    return line.partition("=")[0].strip().replace("-", "_")


def _names(lines: Sequence[str]) -> set[str]:
    return {_name(line) for line in lines}
