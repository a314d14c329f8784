"""Nights in a row, with all that happens to a mirror and to the machine that follows it.

``python -m benchmarks nights`` is the same for a year, each run in a process of its own.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.nights import Nights
from benchmarks.years import MISHAPS, Year

NIGHTS = 45


def live_through(folder: Path, seed: int, nights: int, mishap_every: int = 0) -> Nights:
    year = Year(seed, products=8, crash_every=5, mishap_every=mishap_every)
    with Nights(year, folder / "archive", alone=False) as lived:
        for number in range(1, nights + 1):
            lived.live(year.night(number))
        lived.end(nights + 1)
        results = lived.results()
    assert results["differences"] == []
    assert results["folder"] == len(year.catalogue) > 5 * nights
    assert results["ratio"] < 1.1
    return lived


@pytest.mark.parametrize("seed", [1])
def test_after_weeks_of_trouble_folder_and_catalogue_agree(tmp_path: Path, seed: int) -> None:
    lived = live_through(tmp_path, seed, NIGHTS)
    assert len(lived.tally.killed) + lived.tally.too_late == NIGHTS // 5
    assert lived.tally.codes["0"] > NIGHTS / 3
    assert lived.tally.removed


@pytest.mark.timeout(300)
def test_after_weeks_of_mishaps_too(tmp_path: Path) -> None:
    """Lost ledgers, disks that are not mounted, short listings, wrong clocks, hands, hooks."""
    lived = live_through(tmp_path, 5, 30, mishap_every=2)
    assert sum(lived._year.figures.get(mishap, 0) for mishap in MISHAPS) == 15


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_a_year_of_mishaps(tmp_path: Path, seed: int) -> None:
    lived = live_through(tmp_path, seed, 365, mishap_every=3)
    assert lived.results()["ratio"] <= 1.02


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_after_many_years_too(tmp_path: Path) -> None:
    for seed in range(20):
        live_through(tmp_path / str(seed), random.Random(seed).randrange(10**6), 120)


def test_a_difference_is_seen(tmp_path: Path) -> None:
    """What is compared at the end, broken once."""
    year = Year(4, products=5)
    folder = tmp_path / "archive"
    with Nights(year, folder, alone=False) as lived:
        lived.live(year.last(1))
        for number in range(2, 9):
            lived.live(year.night(number))
        lived.end(9)
        first, second, *_ = (file for file in folder.iterdir() if file.is_file())
        first.write_bytes(b"x" * first.stat().st_size)
        second.unlink()
        (folder / "stray").write_bytes(b"")
        (folder / ".noa-async/quarantine/wrong").write_bytes(b"x")
        told = lived.results()["differences"]
    assert f"{first.name} is no product" in told
    assert sum(one.endswith("is not there, or not right") for one in told) == 2
    assert "stray is nobody's" in told
    assert "quarantine/wrong was left" in told
