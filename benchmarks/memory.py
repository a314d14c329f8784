"""Memory: what a run takes for a hundred products, and for many."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.byteraces import MEMORY, RESULTS
from benchmarks.fileserver import FileServer
from benchmarks.machine import describe, sentence
from benchmarks.onetool import download

if TYPE_CHECKING:
    import argparse

_SIZE = 10 << 10
_CONNECTIONS = 8
GOAL_MIB = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--few", type=int, default=100, help="products (100)")
    parser.add_argument("--many", type=int, default=20_000, help="products (20000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 where both peaks lie close to each other."""
    peaks: dict[int, list[float]] = {arguments.few: [], arguments.many: []}
    where = MEMORY if MEMORY.is_dir() else None
    for _ in range(arguments.rounds):
        for products, seen in peaks.items():
            with tempfile.TemporaryDirectory(prefix="noa-memory-", dir=where) as held:
                scratch = Path(held)
                with FileServer(scratch / "server", [_SIZE] * products) as server:
                    ran = download(server, scratch / "out", _CONNECTIONS)
                    if not server.is_whole(scratch / "out"):
                        raise RuntimeError("what was brought is not what was served")
            seen.append(round(ran.peak_mib, 1))
            print(f"{products:7} products: {ran.peak_mib:6.1f} MiB at the most", flush=True)
    apart = round(median(peaks[arguments.many]) - median(peaks[arguments.few]), 1)
    print(f"{apart} MiB apart (goal: {GOAL_MIB:g}); {sentence(describe())}")
    found = {
        "suite": "memory",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "bytes_a_product": _SIZE,
        "connections": _CONNECTIONS,
        "peak_mib": {str(products): seen for products, seen in peaks.items()},
        "apart_mib": apart,
        "goal_mib": GOAL_MIB,
    }
    if not arguments.no_write:
        (RESULTS / "memory.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0 if apart <= GOAL_MIB else 1
