"""A run that finds nothing to do: how soon it knows."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.byteraces import MEMORY, write
from benchmarks.fileserver import FileServer
from benchmarks.machine import describe, sentence
from benchmarks.onetool import download

if TYPE_CHECKING:
    import argparse

_SIZE = 1 << 10
_CONNECTIONS = 16
GOAL_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--products", type=int, default=50_000, help="that are there (50000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs (5)")
    parser.add_argument("--folder", type=Path, help="where to; a folder in memory by default")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 where the goal is met and nothing was fetched again."""
    where = arguments.folder or (MEMORY if MEMORY.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="noa-restart-", dir=where) as held:
        scratch = Path(held)
        with FileServer(scratch / "server", [_SIZE] * arguments.products) as server:
            first = download(server, scratch / "out", _CONNECTIONS)
            print(f"{arguments.products} products brought in {first.seconds:.1f} s", flush=True)
            again = [
                download(server, scratch / "out", _CONNECTIONS) for _ in range(arguments.rounds)
            ]
            whole = server.is_whole(scratch / "out")
    present = {ran.number_of("present") for ran in again}
    seconds = median(ran.seconds for ran in again)
    print(f"nothing to do found in {seconds:.2f} s (goal: {GOAL_SECONDS:g}); present: {present}")
    print(sentence(describe()))
    found = {
        "suite": "restart",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "products": arguments.products,
        "in_memory": arguments.folder is None,
        "rounds": arguments.rounds,
        "first_seconds": round(first.seconds, 1),
        "seconds": [round(ran.seconds, 2) for ran in again],
        "median": round(seconds, 2),
        "cpu": [round(ran.cpu, 2) for ran in again],
        "peak_mib": [round(ran.peak_mib, 1) for ran in again],
        "goal_seconds": GOAL_SECONDS,
    }
    if not arguments.no_write:
        products = f"{arguments.products} products of 1 KiB"
        rows = [
            ("brought", first.seconds, f"{first.seconds:.1f} s"),
            ("found there", seconds, f"{seconds:.2f} s, the goal {GOAL_SECONDS:g}"),
        ]
        write(found, f"{products}: the first run, and one that has nothing to do", rows)
    return 0 if seconds <= GOAL_SECONDS and whole and present == {arguments.products} else 1
