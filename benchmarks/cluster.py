"""A run on a cluster: how much more four workers bring than one, each over one slow connection."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe, sentence
from benchmarks.mirrors import MirrorProcess
from benchmarks.programs import Command, spawn
from noa_async.emulator import EmulatorSettings, make_product

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from noa_async.emulator import Emulator

JSON = Path(__file__).parent / "results" / "cluster.json"
RATE = 6_000_000
GOAL = 3.6
_PACKAGE = {"PYTHONPATH": str(Path(__file__).parent.parent)}
_START_SECONDS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--products", type=int, default=80, help="how many (80)")
    parser.add_argument("--size", type=int, default=12_000_000, help="bytes of each (12000000)")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 where the goal is met and no more was asked for at once than allowed."""
    products = [
        make_product(f"S2A_MSIL2A_20260112T092321_N0511_{number:06}.SAFE.zip", arguments.size)
        for number in range(arguments.products)
    ]
    rows = []
    for workers in (1, 2, 4):
        with MirrorProcess(EmulatorSettings(rate=RATE), products) as mirror:
            rows.append(_measure(mirror, workers) | {"workers": workers})
        print(f"{workers} workers: {rows[-1]['seconds']:.1f} s, at most {rows[-1]['at_once']}")
    times = rows[0]["seconds"] / rows[-1]["seconds"]
    print(f"four bring {times:.2f} times what one does (goal: {GOAL:g})")
    print(sentence(describe()))
    found = {
        "suite": "cluster",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "products": arguments.products,
        "size": arguments.size,
        "rate_of_a_connection": RATE,
        "rows": rows,
        "times": round(times, 2),
        "goal": GOAL,
    }
    if not arguments.no_write:
        JSON.write_text(json.dumps(found, indent=1) + "\n")
    kept = all(row["at_once"] <= row["workers"] for row in rows)
    return 0 if kept and times >= GOAL else 1


def _measure(mirror: MirrorProcess, workers: int) -> dict[str, Any]:
    """One run by a cluster of so many, its start included. Raises RuntimeError where it fails."""
    with tempfile.TemporaryDirectory(prefix="noa-cluster-") as held:
        scratch = Path(held)
        with _cluster(scratch, workers) as address:
            words = (sys.executable, "-m", "noa_async", "download", "--everything")
            how = ("--no-progress", "--workers", str(workers), "--dask", address)
            where = ("--output", str(scratch / "out"))
            command = Command((*words, *how, *where), mirror.environment() | _PACKAGE)
            ended = spawn(command, scratch / "home", seconds=900)
    if ended.code != 0:
        raise RuntimeError(f"noa-async ended with {ended.code}:\n{ended.said[-2000:]}")
    return {
        "seconds": round(ended.wall, 2),
        "coordinator_cpu": round(ended.cpu, 2),
        "at_once": mirror.ask(_peak),
    }


def _peak(mirror: Emulator) -> int:
    return mirror.stats.downloads_peak


@contextmanager
def _cluster(scratch: Path, workers: int) -> Generator[str]:
    """The address of a scheduler with so many worker processes."""
    file, log = scratch / "scheduler.json", scratch / "cluster.log"
    where = ("--scheduler-file", str(file), "--no-dashboard")
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))

        def start(*words: str) -> None:
            process = subprocess.Popen(
                (sys.executable, "-m", "dask", *words, *where),
                cwd=scratch,
                stdout=output,
                stderr=output,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)

        start("scheduler", "--port", "0")
        _wait(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
        for _ in range(workers):
            start("worker", "--nthreads", "1", "--no-nanny")
        _wait(lambda: log.read_text().count("Registered to:") == workers)
        yield json.loads(file.read_text())["address"]


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the cluster did not start")
        time.sleep(0.05)
