"""Hooks in the workers that bring products, against the emulator over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import sys
from contextlib import aclosing
from pathlib import Path

from noa_async import Command, Outcome, Query, Status
from noa_async.archive.folder import LocalFolder
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.events import HookFailed
from noa_async.transfer.checksum import strongest
from noa_async.transfer.resume import Validator
from noa_async.transfer.sink import PartFile

from .conftest import Connect, Recorder, assert_right

ALL = Query(everything=True)


def small(**changes: object) -> EmulatorSettings:
    return EmulatorSettings(**{"products": 12, "mean_bytes": 20_000} | changes)


def python(code: str, *more: str) -> Command:
    quoted = code.replace("{", "{{").replace("}", "}}")
    return Command.parse(shlex.join([sys.executable, "-c", quoted, *more]))


async def test_a_callback_sees_each_finished_product_once(connect: Connect, tmp_path: Path) -> None:
    seen: dict[str, Outcome] = {}

    async def look(outcome: Outcome) -> None:
        assert outcome.path is not None
        content = outcome.path.read_bytes()
        assert outcome.checksum == f"md5:{hashlib.md5(content).hexdigest()}"
        assert outcome.product.id not in seen
        seen[outcome.product.id] = outcome

    plan = FaultPlan((Fault(FaultKind.FORBIDDEN, index=3, times=None),))
    async with Emulator(small(faults=plan)) as mirror, connect(mirror) as noa:
        products = [product async for product in noa.search(ALL)]
        first = await noa.download(products[0], tmp_path, after=look)
        assert seen == {products[0].id: first}
        outcomes = [each async for each in noa.download_all(products, tmp_path, after=look)]
    brought = [outcome for outcome in outcomes if outcome.status is Status.DOWNLOADED]
    assert len(brought) == 10  # one was there, one failed
    assert seen == {outcome.product.id: outcome for outcome in (first, *brought)}


async def test_a_failing_hook_is_told_and_the_product_stays(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    async def fail(outcome: Outcome) -> None:
        raise ValueError(f"no {outcome.product.id}")

    async with Emulator(small()) as mirror, connect(mirror) as noa:
        found = noa.search(ALL)
        outcomes = [each async for each in noa.download_all(found, tmp_path, after=fail)]
        assert_right(mirror, tmp_path, 12)
        assert {outcome.status for outcome in outcomes} == {Status.DOWNLOADED}
        again = [each async for each in noa.download_all(noa.search(ALL), tmp_path, after=fail)]
    assert {outcome.status for outcome in again} == {Status.PRESENT}
    told = {
        HookFailed(each.product.id, each.product.name, f"ValueError: no {each.product.id}")
        for each in outcomes
    }
    assert set(recorder.of(HookFailed)) == told
    assert len(recorder.of(HookFailed)) == 24  # the second run tries each again


async def test_no_more_hooks_than_workers_run_at_once(connect: Connect, tmp_path: Path) -> None:
    running = most = 0
    full = asyncio.Event()

    async def hold(_: Outcome) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        running -= 1

    async with Emulator(small()) as mirror, connect(mirror, workers=3) as noa:
        async with asyncio.timeout(30):
            found = noa.search(ALL)
            outcomes = [each async for each in noa.download_all(found, tmp_path, after=hold)]
    assert (len(outcomes), most) == (12, 3)


async def test_a_hook_that_cancels_itself_costs_no_worker(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    async def cancelled(_: Outcome) -> None:
        raise asyncio.CancelledError

    async with Emulator(small()) as mirror, connect(mirror, workers=2) as noa:
        async with asyncio.timeout(30):
            found = noa.search(ALL)
            outcomes = [each async for each in noa.download_all(found, tmp_path, after=cancelled)]
    assert len(outcomes) == len(recorder.of(HookFailed)) == 12


async def test_leaving_early_ends_the_command_and_keeps_the_product(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    told.mkdir()
    code = (
        "import os, pathlib, sys, time; "
        "pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(60)"
    )
    folder = tmp_path / "data"
    async with Emulator(small(products=1)) as mirror, connect(mirror) as noa:

        async def consume() -> None:
            after = python(code, str(told))
            async with aclosing(noa.download_all(noa.search(ALL), folder, after=after)) as found:
                async for _ in found:
                    pass

        task = asyncio.create_task(consume())
        async with asyncio.timeout(30):
            while not list(told.iterdir()):
                await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.wait({task})
        assert task.cancelled()
        [number] = [file.name for file in told.iterdir()]
        assert not Path(f"/proc/{number}").exists()
        assert_right(mirror, folder, 1)
        again = [each async for each in noa.download_all(noa.search(ALL), folder)]
    assert [outcome.status for outcome in again] == [Status.PRESENT]
    assert recorder.of(HookFailed) == []


async def test_a_product_that_a_cut_run_had_whole_came_now(
    connect: Connect, tmp_path: Path
) -> None:
    """Its bytes were all there and it had no name yet: it is published with no request."""
    came: list[Outcome] = []

    async def after(outcome: Outcome) -> None:
        came.append(outcome)

    async with Emulator(small(products=1, mean_bytes=3_000_000)) as mirror:
        async with connect(mirror) as noa:
            [product] = [each async for each in noa.search(ALL)]
            data = bytes(mirror.content(product.id).read())
            checksum = str(strongest(product.checksums))
            folder = LocalFolder(tmp_path).open()
            left = PartFile(folder.part(product.id), checksum.partition(":")[0])
            left.restart(Validator(), len(data), checksum)
            left.append([data])
            left.close()
            folder.close()
            mirror.stats.reset()
            outcome = await noa.download(product, tmp_path, after=after)
            report = await noa.mirror(ALL, tmp_path)
        assert mirror.stats.bytes_sent == 0
    assert came == [outcome]
    assert (outcome.status, outcome.attempts) == (Status.DOWNLOADED, 0)
    assert outcome.brought
    assert report.bytes == 0  # the mirror's run after it brought nothing
