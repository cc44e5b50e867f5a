"""Where a night's time went. In: the receipts of its files. Out: figures, and a sentence that hints at the bottleneck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

STEPS = {
    "read_s": "reading", "decode_s": "decoding", "network_s": "the network", "answer_s": "labels and carrying over",
    "write_s": "writing",
}  # fmt: skip
"""What the threads of readers and actors do; a thread that waits for the engine does nothing."""

ADVICE = {
    "read_s": "reading: storage is slow or far away",
    "decode_s": "decoding: more processors for each engine, or smaller pictures",
    "network_s": "the network: more or faster processors or GPUs",
    "answer_s": "labels and carrying over: more processors",
    "write_s": "writing: storage is slow or far away",
}
PACE = 0.75
"""An engine that is at work for this share of the time sets the pace."""


def timing(receipts: Collection[Mapping[str, Any]], wall_s: float) -> dict[str, float]:
    """Rows a second of wall time, seconds of each step over all threads, and the engines' share of work and of waiting.

    `wall_s` is the time of all of it with the start of the actors; `working_s` is from the first file that an actor had in
    hand to the last that was closed.
    """
    rows = sum(receipt["file"]["rows"] for receipt in receipts)
    seconds: Counter[str] = Counter()
    for receipt in receipts:
        seconds.update(receipt["seconds"])
    found = {"wall_s": wall_s, "rows_per_second": rows / wall_s if wall_s else 0.0}
    found |= {f"{step}_s": spent for step, spent in seconds.items()}
    if receipts:
        spans = [receipt["span"] for receipt in receipts]
        found["working_s"] = max(span["ended"] for span in spans) - min(span["began"] for span in spans)
        streams = sum({span["actor"]: span["streams"] for span in spans}.values())
        capacity = found["working_s"] * streams
        found["engine_busy"] = min(1.0, seconds["network"] / capacity) if capacity else 0.0
        found["engine_waiting"] = 1.0 - found["engine_busy"]
    return found


def bottleneck(found: Mapping[str, float]) -> str:
    """What to look at first if it is to be faster."""
    if found["working_s"] < found["wall_s"] / 2:
        return "most of it is the start of the actors"
    if found["engine_busy"] >= PACE:
        return f"the bottleneck is {ADVICE['network_s']}"
    others = [step for step in STEPS if step != "network_s"]
    return f"the bottleneck is {ADVICE[max(others, key=lambda step: found.get(step, 0.0))]}"


def time_line(found: Mapping[str, float]) -> str:
    """Rows a second, the share of each step in the time of all steps, how long the engines waited, and the bottleneck."""
    spent = {what: found.get(name, 0.0) for name, what in STEPS.items()}
    total = sum(spent.values()) or 1.0
    shares = ", ".join(f"{what} {value / total:.0%}" for what, value in spent.items())
    return (
        f"{found['rows_per_second']:.0f} rows/s over {found['wall_s']:.1f} s, {found['working_s']:.1f} s of them with the "
        f"actors started; {shares}; engines waited {found['engine_waiting']:.0%} of that time; {bottleneck(found)}"
    )
