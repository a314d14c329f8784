"""Files read again: ``noa-async verify`` against ``md5sum`` on all cores."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe, sentence
from noa_async.archive.database import open_database
from noa_async.archive.destination import ledger_of
from noa_async.archive.record import Record
from noa_async.archive.rows import COLUMNS, row_of
from noa_async.archive.states import State
from noa_async.catalogue.product import Checksum, Product

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

JSON = Path(__file__).parent / "results" / "verify.json"
GOAL = 0.9
_SMALLEST, _LARGEST = 1 << 20, 1 << 30
_DROP = Path("/proc/sys/vm/drop_caches")
_BLOCK = 4 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--bytes", type=int, default=10 << 30, help="bytes in all (10 GiB)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (5)")
    parser.add_argument("--folder", type=Path, help="where the files are made, and deleted again")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Measure both in turns, warm and where it can be cold; 0 where the goal is met."""
    with tempfile.TemporaryDirectory(prefix="noa-verify-", dir=arguments.folder) as held:
        folder = Path(held)
        free = shutil.disk_usage(folder).free
        if free < arguments.bytes * 1.1:
            print(f"{free} bytes are free: too few. See --bytes and --folder.")
            return 1
        sizes = make_files(folder, arguments.bytes)
        caches = ["warm", *(["cold"] if os.access(_DROP, os.W_OK) else [])]
        measured = {cache: _rounds(folder, sum(sizes), arguments.rounds, cache) for cache in caches}
    results = {
        "date": date.today().isoformat(),
        "machine": describe(),
        "files": len(sizes),
        "bytes": sum(sizes),
        "rounds": arguments.rounds,
        "goal": GOAL,
        "caches": measured,
    }
    print(sentence(describe()))
    for cache, one in measured.items():
        print(f"{cache}: {json.dumps(one)}")
    if not arguments.no_write:
        JSON.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all(one["ratio"] >= GOAL for one in measured.values()) else 1


def make_files(folder: Path, total: int) -> list[int]:
    """Files of mixed sizes with random bytes, and the ledger that knows their MD5; the sizes."""
    draw = random.Random(1)
    sizes: list[int] = []
    while (left := total - sum(sizes)) >= _SMALLEST:
        power = draw.uniform(20, 30)
        sizes.append(min(int(2**power), _LARGEST, left))
    block, records = os.urandom(2 * _BLOCK), []
    now = datetime.now(UTC).timestamp()
    for number, size in enumerate(sizes):
        path = folder / f"S2A_MSIL2A_{number:06}.SAFE.zip"
        digest = _write(path, size, block, draw)
        product = Product(f"{number:08x}", path.name, size, (Checksum("md5", digest),))
        found = path.stat()
        records.append(
            Record(
                product, State.VERIFIED, path.name, size, found.st_mtime_ns, f"md5:{digest}",
                verified=now, updated=now,
            )
        )  # fmt: skip
    ledger = ledger_of(folder)
    ledger.parent.mkdir()
    database = open_database(ledger)
    places = ", ".join("?" for _ in COLUMNS)
    insert = f"INSERT INTO products ({', '.join(COLUMNS)}) VALUES ({places})"
    database.write([(insert, map(row_of, records))])
    database.close()
    os.sync()
    return sizes


def _write(path: Path, size: int, block: bytes, draw: random.Random) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:
        while size:
            start = draw.randrange(_BLOCK)
            piece = block[start : start + min(size, _BLOCK)]
            digest.update(piece)
            file.write(piece)
            size -= len(piece)
    return digest.hexdigest()


def _rounds(folder: Path, size: int, rounds: int, cache: str) -> dict[str, Any]:
    """Rates in bytes a second, in turns; who begins changes from round to round."""
    runs: dict[str, Callable[[], None]] = {
        "noa-async": lambda: _noa_async(folder),
        "md5sum": lambda: _md5sum(folder),
    }
    if cache == "warm":
        _md5sum(folder)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 else list(runs)[::-1]:
            if cache == "cold":
                _DROP.write_text("3\n")
            began = time.perf_counter()
            runs[name]()
            rates[name].append(size / (time.perf_counter() - began))
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    return {
        "rates": {name: [round(rate) for rate in each] for name, each in rates.items()},
        "medians": {name: round(statistics.median(each)) for name, each in rates.items()},
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 3),
    }


def _noa_async(folder: Path) -> None:
    words = (sys.executable, "-m", "noa_async", "verify", str(folder), "-q", "--no-progress")
    package = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    ended = subprocess.run(words, check=True, env=os.environ | package, stdout=subprocess.PIPE)
    assert not ended.stdout


def _md5sum(folder: Path) -> None:
    """The usual one-liner; one file at a time for each core, which suits large files best."""
    cores = len(os.sched_getaffinity(0))
    find = "find . -name .noa-async -prune -o -type f -print0"
    subprocess.run(
        f"{find} | xargs -0 -P {cores} -n 1 md5sum > /dev/null", shell=True, check=True, cwd=folder
    )
