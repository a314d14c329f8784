"""Processes beside this one that bring small products: one interpreter is busy with few of them.

What a small product costs is not its bytes but what is done about it, one thing after another, and
one process uses one core for that. Helpers begin when many small products have come, and bring
those that are new; all decisions stay here. Where one is lost, its products are brought as ever.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

from noa_async.failure import Failure
from noa_async.transfer.helper import READY, Brought, Order, framed, messages
from noa_async.transfer.sink import is_small

if TYPE_CHECKING:
    from noa_async.settings import Settings
    from noa_async.transfer.helper import Answer

_MANY = 64
"""Small products after which helpers pay for their start."""
_MOST = 3
_PATIENCE = 5.0
"""Seconds that a helper has to end."""
_LOOK = 10.0
"""Seconds between two looks whether one hangs."""
_PROGRAM = """
import sys
sys.path[:] = sys.argv[2:]
from noa_async.transfer.helper import main
main()
"""


def as_many(wanted: int | None, cores: int) -> int:
    """How many helpers there are to be.

    >>> as_many(None, 1), as_many(None, 2), as_many(None, 64), as_many(7, 2)
    (0, 1, 3, 7)
    """
    return max(0, min(cores - 1, _MOST)) if wanted is None else wanted


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Helpers:
    """The helpers of one client.

    Resources: ``close`` ends them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = settings.limits.workers - 1
        """Of those that ask at once, how many they may have."""
        able = sys.executable and self._places
        self._most = as_many(settings.limits.helpers, _cores()) if able else 0
        self._expected = 0
        """Small products so far."""
        self._helpers: list[_Helper] = []
        self._beginning: asyncio.Task[None] | None = None
        self._numbers = count()
        self.serving = False
        """Whether the service gave them what was asked for last."""

    async def close(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.wait([self._beginning])
        for helper in self._helpers:
            helper.leave()
        for helper in self._helpers:
            await asyncio.to_thread(helper.end)
        self._helpers.clear()

    def expect(self, size: int | None) -> None:
        """A product of ``size`` bytes waits to be brought: of many small ones they begin."""
        if self._most and is_small(size):
            self._expected += 1
            if self._expected == _MANY:
                self.begin()

    def ready_for(self, size: int | None) -> bool:
        """Whether one of them is to bring a product of ``size`` bytes.

        Not where they have all but one of those that are brought at once: this process has nothing
        else to do then.
        """
        there = [helper.busy for helper in self._helpers if helper.there]
        return is_small(size) and bool(there) and sum(there) < self._places

    def begin(self) -> asyncio.Task[None]:
        """Begin them, where they have not; the task ends when they are there."""
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._begin())
        return self._beginning

    async def bring(self, order: Order) -> Brought | None:
        """Have an order carried out; None: nothing came of it. Raises what the service's no means.

        Cancelled, it waits for the helper to leave the part alone.
        """
        there = (one for one in self._helpers if one.there)
        if (helper := min(there, key=lambda one: one.busy, default=None)) is None:
            return None
        answer = await helper.ask(next(self._numbers), order)
        self.serving = isinstance(answer, Brought)
        if isinstance(answer, Failure):
            raise answer.error()
        if isinstance(answer, str):
            raise RuntimeError(f"A helper process failed: {answer}")  # noqa: TRY004 (no type)
        return answer

    async def _begin(self) -> None:
        self._helpers = [_Helper(self._settings) for _ in range(self._most)]
        for helper in self._helpers:
            with suppress(OSError):  # no more processes: all goes on without
                await helper.begin()
        for helper in self._helpers:
            await helper.settled.wait()


class _Helper(asyncio.Protocol):
    """One of them, as seen from here."""

    def __init__(self, settings: Settings) -> None:
        self.there = False
        """Whether it takes orders: it began, said so, and is not lost."""
        self.settled = asyncio.Event()
        """It is there, or never will be."""
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: Any = None
        self._heard = bytearray()
        self._open: dict[int, tuple[float, asyncio.Future[Answer]]] = {}
        """When each order was given, the oldest first, and its end."""
        self._look: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> int:
        return len(self._open)

    async def begin(self) -> None:
        """Start it; ``settled`` tells when that is done. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            start = asyncio.create_task(asyncio.to_thread(_started, self._settings, theirs))
            try:
                await asyncio.wait([start])
                self._process = start.result()
            except BaseException:
                ours.close()
                self.settled.set()
                if not start.done():  # cancelled: what was begun has to be ended
                    self._process = await start
                raise
        ours.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(framed(self._settings))
        self._look_after()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (lost is lost)
        self._transport = None
        self.there = False
        self.settled.set()
        if self._look is not None:
            self._look.cancel()
        for number in list(self._open):
            self._close(number, None)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        for message in messages(self._heard):
            if message == READY:
                self.there = True
                self.settled.set()
            else:
                number, answer = message
                self._close(number, Brought(*answer) if isinstance(answer, tuple) else answer)

    async def ask(self, number: int, order: Order) -> Answer:
        """Its answer; None also where it is lost."""
        loop = asyncio.get_running_loop()
        ends: asyncio.Future[Answer] = loop.create_future()
        self._open[number] = (loop.time(), ends)
        self._send((number, *order))
        try:
            return await ends
        except asyncio.CancelledError:
            if number in self._open:
                await self._end_of(number)
            raise

    async def _end_of(self, number: int) -> None:
        """Have an order ended, and wait until its part is left alone."""
        self._send(number)
        began, _ = self._open[number]
        over = asyncio.get_running_loop().create_future()
        self._open[number] = (began, over)
        while not over.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([over])

    def _close(self, number: int, answer: Answer) -> None:
        _, ends = self._open.pop(number)
        if not ends.done():
            ends.set_result(answer)

    def _look_after(self) -> None:
        """End it where it hangs: its orders are carried out otherwise then."""
        loop = asyncio.get_running_loop()
        oldest, _ = next(iter(self._open.values()), (inf, None))
        if loop.time() > oldest + self._settings.timeouts.together and self._process is not None:
            self._process.kill()
        else:
            self._look = loop.call_later(_LOOK, self._look_after)

    def _send(self, message: tuple[object, ...] | int) -> None:
        if self._transport is not None:
            self._transport.write(framed(message))

    def leave(self) -> None:
        """It ends where nobody listens; one that has not begun yet is not waited for."""
        if self._transport is not None:
            self._transport.abort()
        if self._process is not None and not self.there:
            self._process.kill()

    def end(self) -> None:
        """Wait for its end. Blocks."""
        if self._process is None:
            return
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _started(settings: Settings, line: socket.socket) -> subprocess.Popen[bytes]:
    # The same path as here: the folder that one happens to be in has no place in it.
    words = [sys.executable, "-P", "-c", _PROGRAM, settings.service.catalogue_url, *sys.path]
    # In a group of its own no Ctrl-C comes to it, not even while it begins.
    return subprocess.Popen(  # noqa: S603 (our own program, by no shell)
        words, stdin=line.fileno(), stdout=subprocess.DEVNULL, process_group=0
    )
