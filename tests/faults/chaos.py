"""Rounds of cancelled work on an emulated mirror, run in a process of their own by test_chaos.py.

Prints one JSON line for each round that went wrong, and a summary; a crash prints its stacks.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import hashlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from noa_async import Credentials, Limits, NoaClient, Query, RetryPolicy, Service, Settings

ALL = Query(everything=True)
HANG = 2.0
"""Seconds that a cancelled client may take to end."""
SETTLE = 1.0
"""Seconds until the last socket is closed."""


class Plan:
    """What the test that starts the rounds says of them."""

    def __init__(self, told: dict[str, Any]) -> None:
        service = Service(catalogue_url=told["catalogue"], token_url=told["token"])
        self.settings = Settings(
            service=service,
            limits=Limits(workers=4),
            retry=RetryPolicy(base=0.01, cap=0.05, offline_wait=0.3),
        )
        if told["ca_file"]:
            self.settings = replace(self.settings, ca_file=told["ca_file"])
        self.sums: dict[str, str] = told["sums"]
        self.seeds = range(told["first"], told["first"] + told["rounds"])


async def pause(draw: random.Random, most: float) -> None:
    """Wait for a few turns of the loop, or for a while."""
    if draw.random() < 0.4:
        for _ in range(draw.randrange(60)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(draw.uniform(0, draw.choice((most, most / 10))))


async def take_some(stream: AsyncIterator[object], most: int) -> None:
    taken = 0
    async for _ in stream:
        taken += 1
        if taken > most:
            break


async def mirror(noa: NoaClient, folder: Path, draw: random.Random) -> None:
    await noa.mirror(ALL, folder)


async def all_at_once(noa: NoaClient, folder: Path, draw: random.Random) -> None:
    async with aclosing(noa.download_all(noa.search(ALL), folder)) as outcomes:
        await take_some(outcomes, draw.randrange(8))


async def left_open(noa: NoaClient, folder: Path, draw: random.Random) -> None:
    """Streams that are left early and kept, or dropped, or never begun."""
    kept.append(outcomes := noa.download_all(noa.search(ALL), folder))
    await take_some(outcomes, draw.randrange(4))
    await take_some(noa.search(ALL), 1)
    kept.append(noa.search(ALL))


async def one_by_one(noa: NoaClient, folder: Path, draw: random.Random) -> None:
    async for product in noa.search(ALL):
        await noa.download(product, folder)


async def together(noa: NoaClient, folder: Path, draw: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        for work in (all_at_once, left_open, one_by_one):
            group.create_task(work(noa, folder, draw))
        if draw.random() < 0.3:
            await pause(draw, 0.1)
            raise LookupError


async def beside(noa: NoaClient, folder: Path, draw: random.Random) -> None:
    """Tasks that outlive the client."""
    loose.extend(
        asyncio.create_task(work(noa, folder, draw)) for work in (one_by_one, all_at_once, mirror)
    )
    await pause(draw, 0.1)


WORK = (mirror, all_at_once, left_open, one_by_one, together, beside)
kept: list[object] = []
loose: list[asyncio.Task[None]] = []


async def use(noa: NoaClient, folder: Path, draw: random.Random) -> None:
    work = draw.choice(WORK)
    limit = draw.uniform(0, 0.3) if draw.random() < 0.3 else None
    async with asyncio.timeout(limit), noa:
        await work(noa, folder, draw)


def complaints(plan: Plan, folder: Path) -> list[str]:
    """What is wrong in a folder that nobody should have open."""
    found = []
    lock = folder / ".noa-async/lock"
    if lock.exists():
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append("the folder is locked")
    for file in folder.glob("*"):
        if file.is_file():
            digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
            if plan.sums.get(file.name) != digest:
                found.append(f"{file.name} is wrong")
    return found


async def settled(condition: Callable[[], bool]) -> bool:
    due = time.monotonic() + SETTLE
    while not condition() and time.monotonic() < due:
        await asyncio.sleep(0.01)
    return condition()


def our_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(("noa", "ledger"))]


async def cancel(task: asyncio.Task[None], draw: random.Random) -> list[str]:
    """Cancel a task some times, and wait for its end."""
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        await pause(draw, 0.25)
        task.cancel()
    faulthandler.dump_traceback_later(HANG + 20, exit=True)
    began, cancelled = time.monotonic(), task.cancelling()
    await asyncio.wait({task}, timeout=HANG + 10)
    took = time.monotonic() - began
    if not task.done():
        return [f"hangs: {task.get_stack()}"]
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, TimeoutError | ExceptionGroup):
        return [f"raised {error!r}"]
    return [f"took {took:.1f} s to end"] if cancelled and took > HANG else []


async def leftovers(task: asyncio.Task[None]) -> list[str]:
    """The tasks and threads that are there when a client and its users have ended."""
    await asyncio.wait({task, *loose}, timeout=HANG)
    for one in loose:
        if one.done() and not one.cancelled():
            one.exception()
    loose.clear()
    found, here = [], asyncio.current_task()
    if not await settled(lambda: asyncio.all_tasks() <= {here}):
        found.append(f"tasks are left: {asyncio.all_tasks() - {here}}")
    if not await settled(lambda: not our_threads()):
        found.append(f"threads are left: {our_threads()}")
    return found


async def play(plan: Plan, folder: Path, draw: random.Random) -> list[str]:
    found: list[str] = []
    who = Credentials("demo", "demo")
    client = NoaClient(plan.settings, who, keep_session=draw.random() < 0.3)
    for _ in range(draw.randint(1, 3)):
        task = asyncio.create_task(use(client, folder, draw))
        found += await cancel(task, draw)
        found += complaints(plan, folder)
        found += await leftovers(task)
    if draw.random() < 0.5:
        client = NoaClient(plan.settings, who)
    async with asyncio.timeout(20), client as noa:
        report = await noa.mirror(ALL, folder)
    if not report.ok or len([one for one in folder.glob("*") if one.is_file()]) != len(plan.sums):
        found.append(f"the last run left it incomplete: {report}")
    await client.log_out()
    kept.clear()
    faulthandler.cancel_dump_traceback_later()
    return found + complaints(plan, folder)


def descriptors() -> dict[str, str]:
    open_ones = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            open_ones[link.name] = str(link.readlink())
    return open_ones


def play_round(plan: Plan, seed: int) -> list[str]:
    draw = random.Random(seed)
    factory = uvloop.new_event_loop if seed % 2 else None
    before = descriptors()
    with tempfile.TemporaryDirectory() as folder:
        with asyncio.Runner(loop_factory=factory) as runner:
            found = runner.run(play(plan, Path(folder), draw))
        if len(descriptors()) > len(before):
            left = {key: to for key, to in descriptors().items() if before.get(key) != to}
            found.append(f"descriptors are left: {left}")
    if threading.active_count() > 1:
        found.append(f"threads are left: {threading.enumerate()}")
    return found


def main() -> None:
    faulthandler.enable()
    plan = Plan(json.loads(sys.argv[1]))
    os.environ["NOA_STATE_HOME"] = tempfile.mkdtemp()
    play_round(plan, -1)  # what is opened once, such as a random source
    slowest, wrong = 0.0, 0
    for seed in plan.seeds:
        began = time.monotonic()
        found = play_round(plan, seed)
        slowest = max(slowest, time.monotonic() - began)
        wrong += bool(found)
        if found:
            print(json.dumps({"seed": seed, "found": found}), flush=True)
    print(json.dumps({"rounds": len(plan.seeds), "wrong": wrong, "slowest": round(slowest, 2)}))


if __name__ == "__main__":
    main()
