"""Races for bytes: nginx serves them, and all tools bring and check the same products."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import contestants
from benchmarks.fileserver import FileServer
from benchmarks.machine import sentence
from benchmarks.plots import bars
from benchmarks.races import OURS, Race, installed, met, results, run_race, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

RESULTS = Path(__file__).parent / "results"
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Work:
    """What is brought, and how much faster than the others that should be."""

    suite: str
    title: str
    products: int
    size: int
    """Bytes of each."""
    connections: int
    goals: Mapping[str, float]
    """How many times as fast as a peer."""
    tls: bool = False
    peak_mib: float | None = None
    """The most memory that noa-async should take."""
    rounds: int = 5


def add_arguments(parser: argparse.ArgumentParser, work: Work) -> None:
    """The options of such a suite."""
    parser.add_argument("--rounds", type=int, default=work.rounds, help=f"({work.rounds})")
    parser.add_argument("--products", type=int, default=work.products, help=f"({work.products})")
    parser.add_argument("--size", type=int, default=work.size, help=f"bytes each ({work.size})")
    parser.add_argument("--tool", action="append", help="this one beside ours (repeatable)")
    parser.add_argument("--folder", type=Path, help="where to; a folder in memory by default")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace, work: Work) -> int:
    """Race; 0 where all goals are met."""
    where = arguments.folder or (MEMORY if MEMORY.is_dir() else None)
    sizes = [arguments.size] * arguments.products
    with tempfile.TemporaryDirectory(prefix="noa-race-", dir=where) as held:
        scratch = Path(held)
        with FileServer(scratch / "server", sizes, tls=work.tls) as server:
            there = [
                one
                for one in contestants(server, work.connections)
                if not arguments.tool or one.name in {OURS, *arguments.tool}
            ]
            race = Race(
                work.suite,
                installed(there),
                server.bytes,
                len(sizes),
                server.is_whole,
                rounds=arguments.rounds,
            )
            laps = run_race(race, scratch / "work")
    found = results(race, laps, work.goals)
    found["connections"], found["tls"] = work.connections, work.tls
    found["in_memory"] = arguments.folder is None
    print(f"\n{work.title}; {sentence(found['machine'])}\n{table(found)}")
    if not arguments.no_write:
        keep(found, work.title)
    light = work.peak_mib is None or found["medians"][OURS]["peak_mib"] <= work.peak_mib
    if not light:
        print(f"noa-async took more than {work.peak_mib:g} MiB.")
    return 0 if met(found) and light else 1


def keep(found: Mapping[str, Any], title: str) -> None:
    """Write a race's results as JSON and as a plot."""
    fastest = sorted(found["medians"].items(), key=lambda pair: pair[1]["wall"])
    rows = [
        (who, one["mib_per_second"], f"{one['mib_per_second']} MiB/s, {one['wall']:g} s")
        for who, one in fastest
    ]
    write(found, title, rows)


def write(found: Mapping[str, Any], title: str, rows: Sequence[tuple[str, float, str]]) -> None:
    """Write results as JSON, and ``rows`` of label, length and note as a plot."""
    name = f"{found['suite']}{'' if found.get('in_memory', True) else '-disk'}"
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    foot = f"Medians of {found['rounds']} rounds, {found['date']}; {sentence(found['machine'])}"
    (RESULTS / f"{name}.svg").write_text(bars(title, foot, rows, OURS))
