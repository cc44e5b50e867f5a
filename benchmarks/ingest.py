"""How long an ingest takes and what it needs: python benchmarks/ingest.py --source feed.zip

Runs jobs/ingest.py on a feed and on the same feed ten times as long (every product again under nine new ids), each on an empty
root, and prints the time, the peak memory of all processes (sum of PSS, sampled) and the ratio of the two peaks.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from fashion_ray.memory import used_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, help="a zip in the published layout")
    parser.add_argument("--times", type=int, default=10, help="how many times as long the second feed is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        longer = Path(temporary) / "longer.zip"
        once = measure(command(options.source), Path(temporary) / "once")
        rows = repeat(Path(options.source), longer, options.times)
        again = measure(command(longer), Path(temporary) / "longer")
    report = {
        "benchmark": "ingest",
        "once": once, "longer": again, "pictures_of_the_longer": rows,
        "peak_ratio": round(again["peak_gb"] / once["peak_gb"], 3),
        "time_ratio_a_picture": round(again["wall_s"] / once["wall_s"] / options.times, 3),
    }  # fmt: skip
    print(json.dumps(report))
    print(
        f"{options.times} times the feed: peak memory {report['peak_ratio']} times ({once['peak_gb']:.2f} GB, then "
        f"{again['peak_gb']:.2f} GB), time {again['wall_s'] / once['wall_s']:.1f} times"
    )


def command(source: Path | str) -> list[str]:
    return [sys.executable, str(PROJECT / "jobs" / "ingest.py"), "--source", str(source)]


def measure(command: list[str], root: Path) -> dict[str, float]:
    """Wall time in seconds and peak memory in GB of a job with this root."""
    environment = {**os.environ, "FASHION_RAY_ROOT": str(root)}
    started, peak = time.perf_counter(), 0
    with open(root.parent / f"{root.name}.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            peak = max(peak, used_bytes(process.pid))
            time.sleep(0.25)
    wall_s = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{command[1]} ended with status {process.returncode}:\n{Path(log.name).read_text()[-3000:]}")
    return {"wall_s": round(wall_s, 1), "peak_gb": round(peak / 1e9, 3)}


def repeat(source: Path, target: Path, times: int) -> int:
    """Write the feed with every product `times` times, under new ids; how many pictures it has."""
    pictures = 0
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        rows = list(csv.reader(io.StringIO(old.read("styles.csv").decode())))
        with new.open("styles.csv", "w") as sheet, io.TextIOWrapper(sheet, newline="") as text:
            writer = csv.writer(text)
            writer.writerow(rows[0])
            for number in range(times):
                writer.writerows([renamed(row[0], number), *row[1:]] for row in rows[1:])
        for entry in old.infolist():
            if entry.filename.startswith("images/") and not entry.is_dir():
                content, name = old.read(entry), Path(entry.filename)
                for number in range(times):
                    new.writestr(f"images/{renamed(name.stem, number)}{name.suffix}", content)
                    pictures += 1
    return pictures


def renamed(product_id: str, number: int) -> str:
    return product_id if not number else f"{product_id}-{number}"


if __name__ == "__main__":
    main()
