"""Signals, terminals, and the two verbs that bring their own mirror."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from noa_async.emulator import Fault, FaultKind, FaultPlan

from .conftest import Open, Program, gathered, until
from .terminal import Terminal

ALL = ("download", "--everything", "--output", "data")
SLOW = {"products": 8, "mean_bytes": 6_000_000, "rate": 3_000_000.0}


@pytest.mark.parametrize(
    ("number", "loop"), [(signal.SIGINT, "uvloop"), (signal.SIGTERM, "asyncio")]
)
async def test_a_signal_ends_a_download_in_order(
    open_mirror: Open, number: signal.Signals, loop: str
) -> None:
    mirror, noa = await open_mirror(**SLOW)
    noa.environ["NOA_LOOP"] = loop
    process = await noa.start(*ALL, "--report", "report.json")
    await until(lambda: mirror.stats.downloads_in_flight == 4)
    parts = noa.folder / "data/.noa-async/parts"
    await until(lambda: gathered(parts) > 1_000_000)
    process.send_signal(number)
    async with asyncio.timeout(5):
        out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    lines = err.decode().splitlines()
    assert lines[-2] == "noa-async: Interrupted."
    assert "run the same command again to resume" in lines[-1]
    report = json.loads((noa.folder / "report.json").read_text())
    assert sum(report["counts"].values()) == len(report["products"])
    kept = gathered(parts)
    assert kept > 1_000_000


async def test_what_a_signal_left_is_gone_on_with(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(**SLOW | {"rate": 20_000_000.0})
    process = await noa.start(*ALL)
    await until(lambda: mirror.stats.bytes_sent > 20_000_000)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert (await noa(*ALL)).code == 0
    whole = sum(product.size for product in mirror.catalogue.products)
    assert mirror.stats.bytes_sent < 1.5 * whole
    sums = {mirror.content(product.id).md5 for product in mirror.catalogue.products}
    files = [file for file in (noa.folder / "data").iterdir() if file.is_file()]
    assert {hashlib.md5(file.read_bytes()).hexdigest() for file in files} == sums


async def test_a_second_signal_ends_at_once() -> None:
    """With clean-up that never ends, only the second signal helps."""
    code = """
import asyncio
from noa_async.cli.running import run

async def stubborn():
    print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("tidying", flush=True)
        await asyncio.to_thread(__import__("time").sleep, 60)

run(stubborn())
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for said, number in ((b"ready\n", signal.SIGTERM), (b"tidying\n", signal.SIGINT)):
        assert await process.stdout.readline() == said
        process.send_signal(number)
    async with asyncio.timeout(5):
        assert await process.wait() == 130


async def test_a_signal_ends_a_search(open_mirror: Open) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_SLOW, page=1, seconds=60.0),))
    mirror, noa = await open_mirror(products=100, faults=plan)
    process = await noa.start("search", "--everything")
    await until(lambda: mirror.stats.requests >= 3)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(5):
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"noa-async: Interrupted.\n")


async def test_no_bars_where_they_are_not_wanted(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=3)
    for argument in ("--no-progress", "-q", "--log-format=json"):
        terminal = Terminal(80)
        assert await terminal.run(noa, *ALL, argument) == 0
        assert "%|" not in terminal.whole()


async def test_a_table_fits_the_terminal(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=10)
    for columns in (80, 200):
        terminal = Terminal(columns)
        assert await terminal.run(noa, "search", "--everything") == 0
        lines = terminal.whole().splitlines()
        assert max(map(len, lines)) <= columns
        assert ("ID" in lines[0]) == (columns == 200)


async def test_the_emulator_leads_the_other_verbs_to_it(program: Program) -> None:
    plan = {"faults": [{"kind": "cut", "at": 0.5}]}
    (program.folder / "plan.json").write_text(json.dumps(plan))
    settings = ("--products", "30", "--mean-bytes", "100k", "--faults", "plan.json")
    process = await program.start("emulator", *settings)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for _ in range(4):
            line = (await process.stdout.readline()).decode()
            assert line.startswith("export NOA_")
            [pair] = shlex.split(line.removeprefix("export "))
            name, _, value = pair.partition("=")
            program.environ[name] = value
        ended = await program("count", "--everything")
        assert ended.out.startswith("30 products")
        ended = await program("download", "--everything", "--limit", "3")
        assert ended.code == 0
        assert "3 retries" in ended.err
        taken = program.environ["NOA_TOKEN_URL"].split("/")[2].rpartition(":")[2]
        ended = await program("emulator", "--port", taken)
        assert ended.code == 2
        assert f"Cannot listen on 127.0.0.1:{taken}" in ended.err
    finally:
        process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert b"Serving 30 products" in await process.stderr.read()


async def test_the_demo_shows_what_it_promises(program: Program, tmp_path: Path) -> None:
    program.environ["TMPDIR"] = str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    program.environ["http_proxy"] = "http://127.0.0.1:9"
    ended = await program("demo")
    assert (ended.code, ended.err) == (0, "")
    figures = dict(re.findall(r"^   ([a-z ]+?)  +(.+)$", ended.out, re.MULTILINE))
    assert int(figures["products"]) >= 60
    assert float(figures["bytes"].removesuffix(" MB")) >= 300
    assert int(figures["retries"]) >= 1
    assert int(figures["token refreshes"]) >= 1
    assert f"{figures['products']} files correct, 0 wrong" in ended.out
    assert "resuming at" in ended.out
    assert ended.out.endswith("All products are complete and correct.\n")
    assert not list((tmp_path / "tmp").iterdir())


async def test_an_interrupted_demo_leaves_nothing(program: Program, tmp_path: Path) -> None:
    program.environ["TMPDIR"] = str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    process = await program.start("demo")
    assert process.stdout is not None
    while b"3. The download" not in await process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(5):
        await process.communicate()
    assert process.returncode == 130
    assert not list((tmp_path / "tmp").iterdir())
