"""The judgement of submitted jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.submit_drill import OWNER, STEPS, Step, judge

JOBS = {path.stem for path in (Path(__file__).parents[2] / "jobs").glob("*.py")} - {"__init__"}
GOOD = Step("score", says="scores ")
REFUSED = Step("promote", ends=3, says="refused: ")


def test_every_job_is_submitted() -> None:
    assert {step.line.split()[0] for step in STEPS} == JOBS


@pytest.mark.parametrize(
    ("step", "ended", "status", "metadata", "said", "problem"),
    [
        (GOOD, 0, "SUCCEEDED", OWNER, "scores published", None),
        (GOOD, 0, "SUCCEEDED", OWNER, "nothing", "its log lacks 'scores '"),
        (GOOD, 1, "FAILED", OWNER, "scores published", "exit status 1, expected 0"),
        (GOOD, 0, "SUCCEEDED", {}, "scores published", "metadata {}"),
        (REFUSED, 3, "FAILED", OWNER, "refused: no", None),
        (REFUSED, 3, "SUCCEEDED", OWNER, "refused: no", "state SUCCEEDED"),
        (REFUSED, 1, "FAILED", OWNER, "refused: no", "exit status 1, expected 3"),
    ],
)
def test_a_submission_that_did_not_end_as_it_must_is_told(
    step: Step, ended: int, status: str, metadata: dict[str, str], said: str, problem: str | None
) -> None:
    found = judge(step, status=status, ended=ended, metadata=metadata, said=said)
    assert (problem is None) == (not found) and all(problem in one for one in found[:1] if problem)
