"""Memory: what a run takes for a hundred products, and for many."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.byteraces import MEMORY, write
from benchmarks.fileserver import FileServer
from benchmarks.machine import describe, sentence
from benchmarks.onetool import Ran, download

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

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
    laps: dict[int, list[Ran]] = {arguments.few: [], arguments.many: []}
    where = MEMORY if MEMORY.is_dir() else None
    for _ in range(arguments.rounds):
        for products, seen in laps.items():
            with tempfile.TemporaryDirectory(prefix="noa-memory-", dir=where) as held:
                scratch = Path(held)
                with FileServer(scratch / "server", [_SIZE] * products) as server:
                    ran = download(server, scratch / "out", _CONNECTIONS)
                    if not server.is_whole(scratch / "out"):
                        raise RuntimeError("what was brought is not what was served")
            seen.append(ran)
            print(f"{products:7} products: {ran.peak_mib:6.1f} MiB at the most", flush=True)
    peaks = {products: median(ran.peak_mib for ran in seen) for products, seen in laps.items()}
    apart = round(peaks[arguments.many] - peaks[arguments.few], 1)
    print(f"{apart} MiB apart (goal: {GOAL_MIB:g}); {sentence(describe())}")
    found = {
        "suite": "memory",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "bytes_a_product": _SIZE,
        "connections": _CONNECTIONS,
        "rounds": arguments.rounds,
        "peak_mib": _told(laps, lambda ran: ran.peak_mib),
        "seconds": _told(laps, lambda ran: ran.seconds),
        "cpu": _told(laps, lambda ran: ran.cpu),
        "apart_mib": apart,
        "goal_mib": GOAL_MIB,
    }
    if not arguments.no_write:
        rows = [
            (f"{products} products", peak, f"{peak:.1f} MiB") for products, peak in peaks.items()
        ]
        write(found, f"Peak of memory, products of 10 KiB, {_CONNECTIONS} connections", rows)
    return 0 if apart <= GOAL_MIB else 1


def _told(
    laps: Mapping[int, Sequence[Ran]], figure: Callable[[Ran], float]
) -> dict[str, list[float]]:
    """One figure of each run."""
    return {
        str(products): [round(figure(ran), 1) for ran in seen] for products, seen in laps.items()
    }
