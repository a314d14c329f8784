"""Helper processes: they bring small products as this one would, and nothing depends on them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noa_async import DestinationError, Limits, NoaClient, Query, Status, Timeouts
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.events import ProductFinished, TransferAdvanced, TransferStarted
from noa_async.transfer import helpers as helping
from noa_async.transfer.helper import Brought, Order
from noa_async.transfer.helpers import Helpers

from .conftest import Connect, Recorder, Secure, assert_right, wait_for_helpers

ALL = Query(everything=True)
SMALL = EmulatorSettings(products=60, mean_bytes=30_000)


@pytest.fixture(autouse=True)
def helpers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_helpers(monkeypatch)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[Brought | None]:
    """What came of each order."""
    answers: list[Brought | None] = []
    bring = Helpers.bring

    async def noted(self: Helpers, order: Order) -> Brought | None:
        answers.append(await bring(self, order))
        return answers[-1]

    monkeypatch.setattr(Helpers, "bring", noted)
    return answers


def helpers_of(noa: NoaClient) -> Helpers:
    helped = noa._downloads.transfers.fetcher._helped
    assert helped is not None
    return helped.helpers


def processes(noa: NoaClient) -> list[int]:
    """The numbers of a client's helpers."""
    return [one._process.pid for one in helpers_of(noa)._helpers if one._process is not None]


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(process: int) -> None:
    async with asyncio.timeout(10):
        while is_there(process):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_all_is_told_as_ever(
    connect: Connect,
    recorder: Recorder,
    orders: list[Brought | None],
    tmp_path: Path,
    secure: Secure,
    *,
    tls: bool,
) -> None:
    async with Emulator(replace(SMALL, tls=secure.server if tls else None)) as mirror:
        async with connect(mirror, ca_file=secure.ca_file if tls else None) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
            [process] = processes(noa)
        assert_right(mirror, tmp_path, 60)
        assert mirror.stats.bytes_sent == sum(each.bytes for each in outcomes)
    assert None not in orders
    assert 20 < len(orders) < 60  # some are brought here, where there is nothing else to do
    assert {(each.status, each.attempts) for each in outcomes} == {(Status.DOWNLOADED, 1)}
    assert all(each.checksum and each.path and each.path.exists() for each in outcomes)
    sizes = {each.product.id: each.bytes for each in outcomes}
    assert {e.product_id: e.received for e in recorder.of(TransferAdvanced)} == sizes  # type: ignore[attr-defined]
    assert {e.product_id: e.total for e in recorder.of(TransferStarted)} == sizes  # type: ignore[attr-defined]
    assert len(recorder.of(ProductFinished)) == 60
    assert not list(tmp_path.glob(".noa-async/parts/*"))
    await until_gone(process)


async def test_a_second_run_finds_all_there(
    connect: Connect, orders: list[Brought | None], tmp_path: Path
) -> None:
    async with Emulator(SMALL) as mirror:
        for status in (Status.DOWNLOADED, Status.PRESENT):
            async with connect(mirror) as noa:
                outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
            assert {each.status for each in outcomes} == {status}
            assert bool(orders) == (status is Status.DOWNLOADED)
            orders.clear()


@pytest.mark.parametrize(
    ("limits", "mean"),
    [
        (Limits(helpers=0), 30_000),
        (Limits(helpers=1, bandwidth=50e6), 30_000),
        (Limits(helpers=1), 2_000_000),
    ],
    ids=["none", "cap", "large"],
)
async def test_they_have_no_part_in_it(
    connect: Connect, orders: list[Brought | None], tmp_path: Path, limits: Limits, mean: int
) -> None:
    """Where there are none, a cap holds for all, or products are large."""
    async with Emulator(EmulatorSettings(products=5, mean_bytes=mean)) as mirror:
        async with connect(mirror, limits=limits) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert_right(mirror, tmp_path, 5)
    assert {each.status for each in outcomes} == {Status.DOWNLOADED}
    assert not [each for each in orders if each is not None and each.total > 1 << 20]
    if mean < 1_000_000:
        assert not orders


async def test_they_begin_when_many_have_come(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(helping, "_MANY", 20)
    async with Emulator(SMALL) as mirror, connect(mirror) as noa:
        products = [product async for product in noa.search(ALL)]
        for product in products[:19]:
            await noa.download(product, tmp_path)
        assert not processes(noa)
        await noa.download(products[19], tmp_path)
        await helpers_of(noa).begin()
        assert len(processes(noa)) == 1


async def test_nobody_waits_for_one_that_begins(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This one never ends to begin: an order that it had would not come back in time."""
    monkeypatch.undo()
    monkeypatch.setattr(helping, "_MANY", 5)
    monkeypatch.setattr(helping, "_PROGRAM", "import sys; sys.stdin.buffer.read()")
    async with Emulator(SMALL) as mirror, connect(mirror) as noa, asyncio.timeout(20):
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert len(processes(noa)) == 1


@pytest.mark.parametrize("begun", [True, False])
async def test_whoever_leaves_does_not_wait_for_one_that_begins(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """Neither where its process is there, nor where it is about to be."""
    monkeypatch.setattr(helping, "_PROGRAM", "import time; time.sleep(60)")
    started, there = helping._started, threading.Event()
    made: list[subprocess.Popen[bytes]] = []

    def slowly(*given: Any) -> subprocess.Popen[bytes]:
        there.wait(10)
        made.append(started(*given))
        return made[0]

    monkeypatch.setattr(helping, "_started", slowly)
    async with Emulator(SMALL) as mirror, asyncio.timeout(4):
        async with connect(mirror) as noa:
            helpers_of(noa).begin()
            asyncio.get_running_loop().call_later(0.1, there.set)
            await asyncio.sleep(0)  # it is asked for
            if begun:
                while not processes(noa):
                    await asyncio.sleep(0.01)
        assert made[0].returncode == -signal.SIGKILL


async def test_one_at_a_time_is_brought_here(
    connect: Connect, orders: list[Brought | None], tmp_path: Path
) -> None:
    async with Emulator(SMALL) as mirror, connect(mirror, workers=1) as noa:
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
    assert {each.status for each in outcomes} == {Status.DOWNLOADED}
    assert not orders


async def test_the_quota_holds_for_them(connect: Connect, tmp_path: Path) -> None:
    slow = EmulatorSettings(products=40, mean_bytes=30_000, quota=3, latency=0.01)
    async with Emulator(slow) as mirror:
        async with connect(mirror, workers=8) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert mirror.stats.downloads_peak <= 3
        assert_right(mirror, tmp_path, 40)


async def test_an_answer_in_chunks_is_asked_for_once(
    connect: Connect, orders: list[Brought | None], tmp_path: Path
) -> None:
    chunks = FaultPlan((Fault(FaultKind.CHUNKED, times=None),))
    async with Emulator(replace(SMALL, faults=chunks)) as mirror:
        async with connect(mirror) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert all(each.ok for each in outcomes)
        assert {len(some) for some in mirror.stats.downloads.values()} == {1}
    assert None not in orders


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_helper_that_is_lost_takes_nothing_along(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    """One that is killed, and one that hangs."""
    monkeypatch.setattr(helping, "_LOOK", 0.05)
    monkeypatch.setattr(Timeouts, "together", 0.3)
    slow = EmulatorSettings(products=40, mean_bytes=30_000, latency=0.02)
    async with Emulator(slow) as mirror:
        async with connect(mirror) as noa:
            outcomes = []
            async for each in noa.download_all(noa.search(ALL), tmp_path):
                outcomes.append(each)
                if len(outcomes) == 10:
                    os.kill(processes(noa)[0], number)
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert_right(mirror, tmp_path, 40)


async def test_the_folder_one_is_in_is_not_imported_from(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pickle.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    async with Emulator(SMALL) as mirror, connect(mirror) as noa:
        product = await anext(noa.search(ALL))
        assert (await noa.download(product, tmp_path / "out")).ok
        assert [one.there for one in helpers_of(noa)._helpers] == [True]


async def test_whoever_leaves_early_leaves_no_order_behind(
    connect: Connect, tmp_path: Path
) -> None:
    """And what comes next has its helper, which has put all else away."""
    slow = EmulatorSettings(products=40, mean_bytes=30_000, latency=0.05)
    async with Emulator(slow) as mirror:
        async with connect(mirror) as noa:
            for _ in range(2):
                outcomes = noa.download_all(noa.search(ALL), tmp_path)
                first = await anext(outcomes)
                await outcomes.aclose()
                assert first.ok
                assert [one.busy for one in helpers_of(noa)._helpers] == [0]
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert all(each.ok for each in outcomes)
        assert_right(mirror, tmp_path, 40)


async def test_what_meets_everybody_is_raised(connect: Connect, tmp_path: Path) -> None:
    """As where the disk cannot be written."""
    async with Emulator(SMALL) as mirror, connect(mirror) as noa:
        products = [product async for product in noa.search(ALL)]
        assert (await noa.download(products[0], tmp_path)).ok
        shutil.rmtree(tmp_path / ".noa-async" / "parts")
        with pytest.raises(DestinationError, match="parts"):
            await noa.download(products[1], tmp_path)


async def test_a_defect_of_theirs_is_raised(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with Emulator(SMALL) as mirror, connect(mirror) as noa:
        bring = Helpers.bring

        async def garbled(self: Helpers, order: Order) -> Brought | None:
            return await bring(self, order._replace(algorithm="no such hash"))

        monkeypatch.setattr(Helpers, "bring", garbled)
        product = await anext(noa.search(ALL))
        with pytest.raises(RuntimeError, match="A helper process failed: "):
            await noa.download(product, tmp_path)


async def test_where_no_process_can_begin_all_goes_on(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with Emulator(SMALL) as mirror:
        async with connect(mirror) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert all(each.ok for each in outcomes)
        assert_right(mirror, tmp_path, 60)


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program in a group of its own, in the middle of many small products."""
    slow = EmulatorSettings(products=3000, mean_bytes=20_000, latency=0.005)
    async with Emulator(slow) as mirror:
        environ = os.environ | {
            "NOA_CATALOGUE_URL": mirror.catalogue_url,
            "NOA_TOKEN_URL": mirror.token_url,
            "NOA_USERNAME": "demo",
            "NOA_PASSWORD": "demo",
            "NOA_HELPERS": "1",
        }
        words = ("-m", "noa_async", "download", "--everything", "-q", "--output", str(tmp_path))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            env=environ,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        yield process
        if process.returncode is None:
            process.kill()
        await process.wait()


async def helper_of(process: asyncio.subprocess.Process) -> int:
    """The number of a program's helper, when it has one."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    tasks = children.parent.parent
    async with asyncio.timeout(30):
        while True:
            for task in tasks.iterdir():
                if found := (task / "children").read_text().split():
                    return int(found[0])
            await asyncio.sleep(0.01)


async def test_a_helper_ends_with_a_program_that_is_killed(
    run: asyncio.subprocess.Process,
) -> None:
    helper = await helper_of(run)
    run.kill()
    await run.wait()
    await until_gone(helper)


async def test_a_signal_to_all_is_the_programs_to_heed(run: asyncio.subprocess.Process) -> None:
    """As Ctrl-C in a terminal is."""
    helper = await helper_of(run)
    os.killpg(run.pid, signal.SIGINT)
    _, said = await asyncio.wait_for(run.communicate(), 20)
    assert run.returncode == 130
    assert b"Traceback" not in said
    await until_gone(helper)
