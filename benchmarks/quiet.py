"""A mirror with nothing to do on a large ledger, and a ledger that is written during downloads."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.ledgers import made_record
from benchmarks.mirrors import MirrorProcess
from noa_async import Credentials, Limits, NoaClient, Query, Service, Settings
from noa_async.archive.database import open_database
from noa_async.archive.destination import ledger_of
from noa_async.archive.ledger import Ledger
from noa_async.archive.rows import COLUMNS, row_of
from noa_async.emulator import EmulatorSettings, Product, make_product

_RECENT = 1000
"""Products within the overlap: each night meets them again."""
_A_SECOND = 5000
_ALL = Query(everything=True)
_WATCH = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small parent: what a process is forked from counts as its own peak."""
_PACKAGE = {"PYTHONPATH": str(Path(__file__).parent.parent)}


def nothing_new(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Seconds and peak memory (MiB) of ``noa-async mirror`` with ``count`` products in the ledger.

    A thousand of them were published within the overlap: they are listed, and their files looked
    at. The others stand in the ledger alone.
    """
    with MirrorProcess(EmulatorSettings(products=0), _recent()) as mirror:
        environment = os.environ | mirror.environment() | _PACKAGE
        _mirror(folder, environment)
        _fill(folder, count - _RECENT)
        before = mirror.ask(_requests)
        ended = [_mirror(folder, environment) for _ in range(rounds)]
        after = mirror.ask(_requests)
    return {
        "seconds": [round(seconds, 3) for seconds, _ in ended],
        "peak_mib": [round(peak, 1) for _, peak in ended],
        "pages_a_run": (after[0] - before[0]) / rounds,
        "downloads": after[1] - before[1],
    }


def _recent() -> list[Product]:
    last = datetime(2026, 1, 31, tzinfo=UTC)
    return [
        make_product(f"R{number}.SAFE.zip", 2000, start=last - timedelta(minutes=4 * number))
        for number in range(_RECENT)
    ]


def _requests(emulator: Any) -> tuple[int, int]:
    return emulator.stats.pages, len(emulator.stats.downloads)


def _mirror(folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and MiB of one run as a process."""
    words = (sys.executable, "-m", "noa_async", "mirror", "--everything", "-q", "--output")
    watching = (sys.executable, "-S", "-c", _WATCH, *words, str(folder))
    told = subprocess.run(watching, env=environment, stdout=subprocess.PIPE, check=True)
    seconds, peak = map(float, told.stdout.split())
    return seconds, peak / 1024


def _fill(folder: Path, count: int) -> None:
    """Put ``count`` more products, all of them verified, into the followed query's ledger."""
    now = time.time()
    records = (made_record(number, count, now) for number in range(count + count // 150))
    held = (row_of(record) for record in records if record.held)
    places = ", ".join("?" for _ in COLUMNS)
    database = open_database(ledger_of(folder))
    database.script("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;")
    database.write([(f"INSERT INTO products ({', '.join(COLUMNS)}) VALUES ({places})", held)])
    database.close()


def while_downloading(folder: Path, rounds: int) -> dict[str, Any]:
    """Downloads, MiB a second, without and with 5,000 products a second recorded beside them."""
    products = [make_product(f"L{number}.SAFE.zip", 200_000_000) for number in range(4)]
    rates: dict[str, list[float]] = {"alone": [], "recording": []}
    recorded = []
    with MirrorProcess(EmulatorSettings(products=0), products) as mirror:
        addresses = mirror.addresses
        service = Service(catalogue_url=addresses.catalogue, token_url=addresses.token)
        settings = Settings(service=service, limits=Limits(workers=4))
        for _ in range(rounds):
            for name, beside in (("alone", False), ("recording", True)):
                place = folder / name
                rate, written = asyncio.run(_download(settings, place, beside=beside))
                shutil.rmtree(place)
                rates[name].append(round(rate, 1))
                recorded += [round(written)] if beside else []
    ratios = [with_ / alone for alone, with_ in zip(*rates.values(), strict=True)]
    return {"mib_per_second": rates, "recorded_per_second": recorded,
            "ratios": [round(ratio, 3) for ratio in ratios]}  # fmt: skip


async def _download(settings: Settings, folder: Path, *, beside: bool) -> tuple[float, float]:
    """MiB a second of the downloads, and products a second that were recorded beside them."""
    records = [made_record(number, 10**6, 0.0) for number in range(1, 200_000)] if beside else []
    folder.mkdir(parents=True)
    async with (
        NoaClient(settings, Credentials("demo", "demo")) as noa,
        Ledger(folder / "beside.sqlite3") as ledger,
        asyncio.TaskGroup() as group,
    ):
        recording = group.create_task(_record(ledger, records))
        size, began = 0, time.perf_counter()
        async for outcome in noa.download_all(noa.search(_ALL), folder / "products"):
            if not outcome.ok:
                raise RuntimeError(str(outcome.error))
            size += outcome.bytes
        seconds = time.perf_counter() - began
        recording.cancel()
        await ledger.flush()
        written = await ledger.count("1")
    return size / seconds / 2**20, written / seconds


async def _record(ledger: Ledger, records: list[Any]) -> None:
    """Put 5,000 a second, in the time that has gone by."""
    began, done = time.perf_counter(), 0
    while done < len(records):
        due = min(len(records), int((time.perf_counter() - began) * _A_SECOND))
        for record in records[done:due]:
            ledger.put(replace(record, path=None))
        done = due
        await ledger.settle()
        await asyncio.sleep(0.01)
