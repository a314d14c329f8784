"""The ledger of a large archive: how soon it answers, how fast it records."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ledgers import made_record, make_ledger
from benchmarks.machine import describe, sentence
from benchmarks.quiet import nothing_new, while_downloading
from noa_async.archive.destination import ledger_of
from noa_async.archive.ledger import Ledger
from noa_async.archive.overview import read_overview

if TYPE_CHECKING:
    import argparse

JSON = Path(__file__).parent / "results" / "ledger.json"
GOALS = {
    "status_seconds": 1.0,
    "records_per_second": 5000,
    "mirror_seconds": 15.0,
    "mirror_mib": 150.0,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--products", type=int, default=1_000_000, help="in the ledger (1000000)")
    parser.add_argument("--records", type=int, default=50_000, help="to record (50000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (5)")
    parser.add_argument("--folder", type=Path, help="where the ledger is made, and deleted again")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 where the goals are met."""
    with tempfile.TemporaryDirectory(prefix="noa-ledger-", dir=arguments.folder) as held:
        folder = Path(held)
        size = make_ledger(folder, arguments.products).stat().st_size
        status = _measure_status(folder, arguments.rounds)
        recording = asyncio.run(_record(folder, arguments.products, arguments.records))
    with tempfile.TemporaryDirectory(prefix="noa-ledger-", dir=arguments.folder) as held:
        quiet = nothing_new(Path(held) / "archive", arguments.products, arguments.rounds)
        busy = while_downloading(Path(held) / "busy", arguments.rounds)
    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": describe(),
        "products": arguments.products,
        "ledger_bytes": size,
        "goals": GOALS,
        "status": status,
        "recording": recording,
        "mirror_with_nothing_new": quiet,
        "recording_while_downloading": busy,
    }
    print(sentence(describe()))
    print(json.dumps({key: results[key] for key in list(results)[5:]}, indent=2))
    if not arguments.no_write:
        JSON.write_text(json.dumps(results, indent=2) + "\n")
    met = (
        status["process"]["median"] < GOALS["status_seconds"]
        and min(recording["new"], recording["updated"]) > GOALS["records_per_second"]
        and statistics.median(quiet["seconds"]) < GOALS["mirror_seconds"]
        and max(quiet["peak_mib"]) < GOALS["mirror_mib"]
        and quiet["downloads"] == 0
    )
    return 0 if met else 1


def _measure_status(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of ``noa-async status`` as a process, and of what it does with the ledger."""
    words = (sys.executable, "-m", "noa_async", "status", str(folder))
    package = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    process, inside = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(words, check=True, env=os.environ | package, stdout=subprocess.DEVNULL)
        process.append(time.perf_counter() - began)
        began = time.perf_counter()
        read_overview(folder)
        inside.append(time.perf_counter() - began)
    return {"process": _seconds(process), "ledger_alone": _seconds(inside)}


def _seconds(each: list[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(each), 3),
        "all": [round(one, 3) for one in each],
    }


async def _record(folder: Path, count: int, more: int) -> dict[str, int]:
    """Products a second that ``Ledger.put`` takes and commits: new ones, then the same changed."""
    now = time.time()
    fresh = [made_record(number, count, now) for number in range(count, count + more)]
    changed = [replace(one, verified=now + 1, attempts=2) for one in fresh]
    rates = {}
    async with Ledger(ledger_of(folder)) as ledger:
        for name, records in (("new", fresh), ("updated", changed)):
            began = time.perf_counter()
            for record in records:
                ledger.put(record)
                await ledger.settle()
            await ledger.flush()
            rates[name] = round(more / (time.perf_counter() - began))
    return rates
