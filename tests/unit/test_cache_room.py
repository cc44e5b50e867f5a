"""Room in the cache of activations: said before it is taken, made by what was not used for longest, never past a limit."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from fashion_ray.errors import UserError
from fashion_ray.training.activations import fill, load
from tests.unit.test_activations import LIMIT, ROWS, brighter, engine, filled, numbers, pictures, whole


class Usage(NamedTuple):
    """What shutil.disk_usage says."""

    total: int
    used: int
    free: int


def test_a_disk_that_is_too_small_is_a_user_error_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 50 rows x 2 views x 6 values of 2 bytes are 1200 bytes.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 8_900, 1_100))
    calls = 0

    def counting(pixels: np.ndarray) -> list[np.ndarray]:
        nonlocal calls
        calls += 1
        return engine(pixels)

    with pytest.raises(UserError, match=r"--cache.*--cached-views") as caught:
        fill(tmp_path / "key", pictures(), counting, views=2, augment=brighter, expected_rows=ROWS, limit=LIMIT)
    assert str(tmp_path) in str(caught.value)
    assert calls <= 6, "no more than lie ready"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_with_room_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 8_000, 2_000))
    assert len(filled(tmp_path / "key")) == ROWS


def entry(folder: Path, name: str, *, age_s: float) -> int:
    """A finished entry that was last used so long ago; its size."""
    place = folder / f"{name}.arrow"
    filled(place)
    os.utime(place, (time.time() - age_s, time.time() - age_s))
    return place.stat().st_size


def test_entries_that_were_not_used_for_longest_make_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    size = entry(tmp_path, "older", age_s=300)
    entry(tmp_path, "newer", age_s=100)
    entry(tmp_path, "oldest", age_s=500)
    assert load(tmp_path / "oldest.arrow") is not None  # from now on it is the newest
    limit = 2 * size + 1200  # the new one needs 50 rows x 2 views x 12 bytes
    fill(tmp_path / "new.arrow", pictures(), engine, views=2, augment=brighter, expected_rows=ROWS, limit=limit)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.arrow", "newer.arrow", "oldest.arrow"]
    assert "removing older.arrow" in caplog.text and "5 minutes" in caplog.text


def test_a_full_disk_makes_old_entries_go_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = entry(tmp_path, "old", age_s=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 9_500, 1_400 - size // 2))
    filled(tmp_path / "new.arrow")
    assert [path.name for path in tmp_path.iterdir()] == ["new.arrow"]


def test_an_entry_above_the_limit_is_refused_before_anything_goes(tmp_path: Path) -> None:
    entry(tmp_path, "old", age_s=100)
    with pytest.raises(UserError, match=r"--cache-limit.*need 0.00 GB.*--cached-views"):
        fill(tmp_path / "new.arrow", pictures(), engine, views=2, augment=brighter, expected_rows=ROWS, limit=1199)
    assert [path.name for path in tmp_path.iterdir()] == ["old.arrow"]


def test_a_reader_keeps_an_entry_that_was_removed(tmp_path: Path) -> None:
    entry(tmp_path, "old", age_s=100)
    cache = load(tmp_path / "old.arrow")
    assert cache is not None
    os.utime(tmp_path / "old.arrow", (0, 0))
    fill(tmp_path / "new.arrow", pictures(), engine, views=2, augment=brighter, expected_rows=ROWS, limit=1200)
    assert not (tmp_path / "old.arrow").exists()
    assert numbers(whole(cache, 1)) == [50 + row for row in range(ROWS)]


def test_what_a_run_left_that_was_killed_a_day_ago_is_swept_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path / "kept")
    for name in (".old.abc", ".young.abc"):
        (tmp_path / name).write_bytes(b"half")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / ".old.abc", (long_ago, long_ago))
    os.utime(tmp_path / "kept", (long_ago, long_ago))
    filled(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".young.abc", "kept", "new"]
