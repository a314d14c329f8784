"""One fault at a time: which tool brings the product home, and which lies about it."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fault_rows import ROWS, Row, Start
from benchmarks.fault_tables import refresh_docs, terminal, write
from benchmarks.judging import Cell, measure
from benchmarks.machine import describe
from benchmarks.mirrors import MirrorProcess
from benchmarks.programs import run as run_programs
from benchmarks.tools import TOOLS, Errand, Tool, Wanted
from noa_async.emulator import EmulatorSettings, make_product

if TYPE_CHECKING:
    import argparse

    from noa_async.emulator import Emulator, Product

RATE = 20_000_000
"""Bytes a second for each connection: slow enough that what a cut takes with it is small."""
HANG_SECONDS = 120
_FLIPPED = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    names = [tool.name for tool in TOOLS]
    parser.add_argument("--only", action="append", metavar="ROW", help="this row (repeatable)")
    parser.add_argument("--tool", action="append", choices=names, help="this tool (repeatable)")
    parser.add_argument("--products", type=int, default=3, help="products a run (3)")
    parser.add_argument("--size", type=int, default=8 << 20, help="bytes a product (8 MiB)")
    parser.add_argument("--jobs", type=int, default=4, help="runs at once (4)")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Run every tool under every fault; 0, whatever they make of it."""
    rows = [row for row in ROWS if not arguments.only or row.key in arguments.only]
    versions = {
        tool.name: tool.version()
        for tool in TOOLS
        if not arguments.tool or tool.name in arguments.tool
    }
    tools = [tool for tool in TOOLS if versions.get(tool.name)]
    for name, version in versions.items():
        if version is None:
            print(f"{name} is not installed: it is left out.")
    products = _products(arguments.products, arguments.size)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        cells = {
            (row.key, tool.name): pool.submit(_cell, row, tool, products)
            for row in rows
            for tool in tools
        }
        table = {
            row.key: {tool.name: cells[row.key, tool.name].result() for tool in tools}
            for row in rows
        }
    results = {
        "suite": "faults",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "products": {"number": len(products), "bytes": [each.size for each in products]},
        "rate": RATE,
        "tools": {tool.name: _described(tool, versions[tool.name]) for tool in tools},
        "rows": [_row(row, table[row.key]) for row in rows],
    }
    print(terminal(results))
    if not arguments.no_write:
        write(results)
        refresh_docs(results)
    return 0


def _products(number: int, size: int) -> list[Product]:
    days = [date(2026, 1, 12 + place) for place in range(number)]
    names = [
        f"S2A_MSIL2A_{day:%Y%m%d}T092321_N0511_R093_T34SGH_{day:%Y%m%d}T131502.SAFE.zip"
        for day in days
    ]
    return [make_product(name, size) for name in names]


def _described(tool: Tool, version: str | None) -> dict[str, str]:
    return {
        "version": version or "",
        "flags": " ".join(tool.flags),
        "fresh": " ".join(tool.fresh_flags),
        "resume": " ".join(tool.resume_flags),
        "by_hand": tool.by_hand,
    }


def _row(row: Row, cells: dict[str, Cell]) -> dict[str, object]:
    return {
        "key": row.key,
        "title": row.title,
        "cells": {
            name: {
                "outcome": cell.outcome.value,
                "exit": cell.exit,
                "files": [file.value for file in cell.files],
                "sent": round(cell.sent, 2),
                "leaked": cell.leaked,
                "struck": cell.struck,
            }
            for name, cell in cells.items()
        },
    }


def _cell(row: Row, tool: Tool, products: list[Product]) -> Cell:
    settings = EmulatorSettings(faults=row.plan, rate=RATE)
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as scratch,
        MirrorProcess(settings, products) as mirror,
    ):
        errand = _errand(mirror, Path(scratch), resume=row.start is not Start.EMPTY)
        if row.start is Start.PLANTED:
            _plant(tool, errand)
        if row.start is Start.DAMAGED:
            _kill_and_damage(tool, errand)
        ended = run_programs(tool.commands(tool, errand), errand.home, seconds=HANG_SECONDS)
        return measure(errand, ended.code)


def _errand(mirror: MirrorProcess, scratch: Path, *, resume: bool) -> Errand:
    wanted = tuple(
        Wanted(product_id, name, mirror.addresses.product(product_id), md5)
        for product_id, name, md5 in mirror.ask(_entries)
    )
    folder = scratch / "out"
    folder.mkdir()
    return Errand(mirror, wanted, folder, scratch / "home", mirror.token(), resume)


def _entries(mirror: Emulator) -> list[tuple[str, str, str]]:
    return [(each.id, each.name, mirror.content(each.id).md5) for each in mirror.catalogue.products]


def _plant(tool: Tool, errand: Errand) -> None:
    """A partial file with wrong bytes, under the name and where the tool keeps its own."""
    length = min(each.size for each in errand.mirror.ask(_all)) * 2 // 5
    named = [errand.folder / wanted.name for wanted in errand.wanted]
    for path in {*named, *tool.partials(errand)}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(length))


def _kill_and_damage(tool: Tool, errand: Errand) -> None:
    """Kill a run at two fifths of the bytes; then change some bytes of what it left."""
    mirror = errand.mirror
    enough = sum(each.size for each in mirror.ask(_all)) * 2 // 5
    fresh = Errand(mirror, errand.wanted, errand.folder, errand.home, errand.token)
    commands = tool.commands(tool, fresh)
    run_programs(
        commands,
        errand.home,
        seconds=HANG_SECONDS,
        stop=partial(_sent_more_than, mirror, enough),
    )
    for path in tool.partials(errand):
        with path.open("r+b") as file:
            place = path.stat().st_size // 4
            file.seek(place)
            old = file.read(_FLIPPED)
            file.seek(place)
            file.write(bytes(byte ^ 0xFF for byte in old))


def _sent_more_than(mirror: MirrorProcess, enough: int) -> bool:
    return mirror.ask(_sent) > enough


def _sent(mirror: Emulator) -> int:
    return mirror.stats.bytes_sent


def _all(mirror: Emulator) -> list[Product]:
    return mirror.catalogue.products
