"""Where a night's time went."""

from __future__ import annotations

import pytest

from fashion_ray.scoring.timing import bottleneck, time_line, timing


def receipt(rows: int, actor: str, began: float, ended: float, **seconds: float) -> dict[str, object]:
    """What a file of so many rows tells of its time; its actor's engine has two streams."""
    span = {"actor": actor, "streams": 2, "began": began, "ended": ended}
    return {"file": {"rows": rows}, "seconds": seconds, "span": span}


TWO_ACTORS = [
    receipt(100, "a", 50.0, 54.0, read=0.5, decode=1.0, network=6.0, wait=9.0, write=0.5),
    receipt(100, "a", 52.0, 60.0, read=0.5, decode=1.0, network=6.0, wait=9.0, write=0.5),
    receipt(200, "b", 51.0, 59.0, read=1.0, decode=2.0, network=12.0, wait=9.0, write=1.0),
]


def test_rows_a_second_are_of_wall_time_and_seconds_are_summed() -> None:
    found = timing(TWO_ACTORS, 16.0)
    assert (found["rows_per_second"], found["wall_s"], found["working_s"]) == (25.0, 16.0, 10.0)
    assert (found["read_s"], found["decode_s"], found["network_s"], found["write_s"]) == (2.0, 4.0, 24.0, 2.0)
    # Two actors of two streams each could have worked for 40 seconds.
    assert found["engine_busy"] == pytest.approx(0.6) and found["engine_waiting"] == pytest.approx(0.4)


def test_a_night_of_files_done_before_has_no_rows_a_second() -> None:
    assert timing([], 3.0) == {"wall_s": 3.0, "rows_per_second": 0.0}


@pytest.mark.parametrize(
    ("busy", "working_s", "slowest", "expected"),
    [
        (0.93, 40.0, "write_s", "the network"),
        (0.5, 40.0, "write_s", "writing"),
        (0.5, 40.0, "read_s", "reading"),
        (0.1, 40.0, "decode_s", "decoding"),
        (0.93, 3.0, "network_s", "the start of the actors"),
    ],
)
def test_the_bottleneck_is_the_engine_only_if_it_hardly_waits(
    busy: float, working_s: float, slowest: str, expected: str
) -> None:
    found = {"wall_s": 50.0, "working_s": working_s, "engine_busy": busy, "network_s": 99.0, slowest: 20.0, "answer_s": 1.0}
    assert expected in bottleneck(found)


def test_the_line_says_it_all() -> None:
    assert time_line(timing(TWO_ACTORS, 16.0)) == (
        "25 rows/s over 16.0 s, 10.0 s of them with the actors started; reading 6%, decoding 12%, the network 75%, labels and "
        "carrying over 0%, writing 6%; engines waited 40% of that time; the bottleneck is decoding: more processors for each "
        "engine, or smaller pictures"
    )
