"""A race: programs that do the same work by turns, each run measured from outside and checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe
from benchmarks.programs import first_line, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.programs import Command

OURS = "noa-async"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One program in a race."""

    name: str
    version_words: tuple[str, ...]
    command: Callable[[Path], Command]
    """What brings everything into an empty folder, checks the checksums, and ends."""

    def version(self) -> str | None:
        """Its version line; None where it is not installed."""
        return first_line(self.version_words)


@dataclass(frozen=True, slots=True)
class Lap:
    """One run of one contestant, as the kernel accounts for it once it has ended."""

    name: str
    wall: float
    """Seconds from the start of its process to its end."""
    cpu: float
    """Seconds of processor time, user and system, its children's too."""
    peak_mib: float
    """Resident memory of its largest process."""
    whole: bool
    """It exited with 0, and every file it left has the right MD5."""


@dataclass(frozen=True, slots=True)
class Race:
    """The work, who takes part, and how often."""

    suite: str
    contestants: tuple[Contestant, ...]
    bytes: int
    products: int
    check: Callable[[Path], bool]
    """Whether a folder holds all of it, byte for byte."""
    rounds: int = 5
    warm_up: bool = True
    """Whether a first round, which is not counted, warms code and files up."""
    seconds: float = 600
    """After so long a run is killed, and counts as not whole."""


def run_race(race: Race, folder: Path) -> list[Lap]:
    """All rounds, the order turned by one each time; a line is printed for every lap."""
    laps: list[Lap] = []
    there = list(race.contestants)
    for turn in range(not race.warm_up, race.rounds + 1):
        for contestant in there[turn % len(there) :] + there[: turn % len(there)]:
            lap = _lap(race, contestant, folder)
            note = "" if lap.whole else "  NOT WHOLE"
            rate = race.bytes / lap.wall / 2**20
            warm = "  (not counted)" if turn == 0 else ""
            print(
                f"{lap.name:16}{lap.wall:8.2f} s{rate:9.0f} MiB/s{lap.cpu:8.2f} s of CPU"
                f"{lap.peak_mib:7.0f} MiB{note}{warm}",
                flush=True,
            )
            if turn:
                laps.append(lap)
    return laps


def installed(contestants: Sequence[Contestant]) -> tuple[Contestant, ...]:
    """Those that are there; the others are named."""
    there = []
    for contestant in contestants:
        if contestant.version() is None:
            print(f"{contestant.name} is not installed: it is left out.")
        else:
            there.append(contestant)
    return tuple(there)


def holds(output: Path, sums: Mapping[str, str]) -> bool:
    """Whether a folder has every file of ``sums`` (name to MD5), byte for byte, and no other."""
    left = {path.name for path in output.iterdir() if path.name != ".noa-async"}
    return left == sums.keys() and all(_md5(output / name) == md5 for name, md5 in sums.items())


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _lap(race: Race, contestant: Contestant, folder: Path) -> Lap:
    shutil.rmtree(folder, ignore_errors=True)
    output = folder / "out"
    output.mkdir(parents=True)
    os.sync()  # what the lap before left in the page cache is not this one's to write
    command = contestant.command(output)
    ended = spawn(command, folder / "home", seconds=race.seconds)
    whole = ended.code == 0 and race.check(output)
    if ended.code != 0:
        print(ended.said[-2000:])
    return Lap(contestant.name, ended.wall, ended.cpu, ended.peak_mib, whole)


def results(race: Race, laps: Sequence[Lap], goals: Mapping[str, float]) -> dict[str, Any]:
    """What is kept of a race. ``goals``: how many times as fast as a peer noa-async should be."""
    names = [one.name for one in race.contestants]
    by_name = {name: [lap for lap in laps if lap.name == name] for name in names}
    ours = by_name[OURS]
    ratios = {
        name: [round(theirs.wall / own.wall, 3) for own, theirs in zip(ours, others, strict=True)]
        for name, others in by_name.items()
        if name != OURS
    }
    return {
        "suite": race.suite,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "products": race.products,
        "bytes": race.bytes,
        "rounds": race.rounds,
        "versions": {one.name: one.version() for one in race.contestants},
        "medians": {name: _medians(race, of) for name, of in by_name.items()},
        "ratios": {name: {"median": median(each), "all": each} for name, each in ratios.items()},
        "goals": dict(goals),
        "laps": [asdict(lap) for lap in laps],
    }


def _medians(race: Race, laps: Sequence[Lap]) -> dict[str, Any]:
    wall = median(lap.wall for lap in laps)
    return {
        "wall": round(wall, 2),
        "mib_per_second": round(race.bytes / wall / 2**20),
        "cpu": round(median(lap.cpu for lap in laps), 2),
        "peak_mib": round(median(lap.peak_mib for lap in laps), 1),
        "whole": all(lap.whole for lap in laps),
    }


def table(found: Mapping[str, Any]) -> str:
    """The results as a table for a terminal, the fastest first."""
    lines = [f"{'':16}{'wall':>9}{'MiB/s':>9}{'CPU':>9}{'peak MiB':>10}{'ours is':>10}{'goal':>7}"]
    for name, one in sorted(found["medians"].items(), key=lambda pair: pair[1]["wall"]):
        ratio = found["ratios"].get(name)
        times = f"{ratio['median']:.2f} x" if ratio else ""
        goal = found["goals"].get(name)
        lines.append(
            f"{name:16}{one['wall']:9.2f}{one['mib_per_second']:9}{one['cpu']:9.2f}"
            f"{one['peak_mib']:10.1f}{times:>10}{f'{goal:g}' if goal else '':>7}"
            f"{'' if one['whole'] else '  NOT WHOLE'}"
        )
    return "\n".join(lines)


def met(found: Mapping[str, Any]) -> bool:
    """Whether every goal was met beside the peers that were there, and all was brought and right.

    A peer that breaks off or hangs has no speed to be compared with.
    """
    ratios = found["ratios"]
    goals = {name: goal for name, goal in found["goals"].items() if name in ratios}
    fast = all(ratios[name]["median"] >= goal for name, goal in goals.items())
    return fast and all(found["medians"][name]["whole"] for name in (OURS, *goals))
