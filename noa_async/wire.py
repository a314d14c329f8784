"""One connection that asks for bytes as they are, and reads plain answers past aiohttp.

Whoever asks is woken once where the answer is small: with all of it. A large one goes on as a
``Body``; what is not plain is for an HTTP client to make sense of. This module knows asyncio alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from noa_async.plain import plain_head
from noa_async.takeover import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.plain import PlainHead

_MOST_HEAD = 64 << 10
_ROOM = _MOST_HEAD + (256 << 10)
_MOMENT = 0.02
"""Seconds that a small body has to come in, behind its head; else it is read as a large one is."""


class Wire(asyncio.BufferedProtocol):
    """One connection, for one request at a time.

    Head and small body are read into one stretch of memory, and the body is given out as it lies
    there; so the next answer goes elsewhere, unless the body is forgotten before.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.head: PlainHead | None = None
        """Of the answer under way; None where it has not come, or is not plain."""
        self.used = False
        """Whether it has brought an answer before."""
        self.lost = False
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._memory = bytearray(_ROOM)
        self._room = memoryview(self._memory)
        self._given = False
        """Whether somebody may have a body that lies in there."""
        self._filled = self._begun = self._end = 0
        self._surplus = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    async def ask(self, request: bytes, answer: float) -> None:
        """Send it, and wait for the head, and a moment for all of a small body.

        Raises TimeoutError where no head came within ``answer`` seconds.
        """
        if self._given:
            self._memory, self._given = bytearray(_ROOM), False
            self._room = memoryview(self._memory)
        self.head = None
        self._filled = self._begun = self._end = 0
        self._waiter = self._loop.create_future()
        self._timer = self._loop.call_later(answer, self._wake)
        self.transport.write(request)
        try:
            await self._waiter
        finally:
            self._timer.cancel()
            self._waiter = None
        if not (self.head or self._paused or self.lost):
            raise TimeoutError

    @property
    def silent(self) -> bool:
        """Whether not a byte of an answer came."""
        return not self._filled

    @property
    def lasts(self) -> bool:
        """Whether it can be asked again, its answer read."""
        lasting = self.head is not None and self.head.lasts and not self._surplus
        return lasting and not (self.lost or self._paused or self.transport.is_closing())

    def whole(self) -> memoryview | None:
        """All of a small body; None as long as some of it is to come."""
        if self.head is None or not self._begun <= self._end <= self._filled:
            return None
        self._given = True
        return self._room[self._begun : self._end]

    def forget(self) -> None:
        """Nobody has anything of the last small body any more: the next may lie there."""
        self._given = False

    def arrived(self) -> bytes:
        """What there is of the body."""
        return bytes(self._room[self._begun : self._filled])

    def line(self, done: Callable[[], None]) -> Line:
        """The body under way, for somebody to take over who calls ``done`` behind its end."""
        assert self.head is not None
        self._paused = False  # from now on a matter of theirs
        begun = self.arrived()
        return Line(self.transport, self, [begun], self.head.length - len(begun), done)

    def unread(self) -> bytes:
        """All that came of an answer that is not plain, for whoever makes sense of it."""
        return bytes(self._room[: self._filled])

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (as large as can be)
        return self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        before, self._filled = self._filled, self._filled + nbytes
        if self._waiter is None:
            self._surplus = True  # nobody asked
            self.transport.abort()
        elif self.head is not None or self._has_head(before):
            self._look_at_body()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (lost is lost)
        self.lost = True
        self._wake()

    # What comes of it.

    def _has_head(self, before: int) -> bool:
        """Whether a plain one is there; ``before``: bytes that were looked at."""
        end = self._memory.find(b"\r\n\r\n", max(0, before - 3), self._filled)
        if end < 0 and self._filled < _MOST_HEAD:
            return False
        self.head = plain_head(self._memory[:end].decode("latin-1")) if end >= 0 else None
        if self.head is None:
            self._leave_to_others()
            return False
        self._begun = end + len(b"\r\n\r\n")
        self._end = self._begun + self.head.length
        if _ROOM > self._end > self._filled and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(_MOMENT, self._leave_to_others)
        return True

    def _look_at_body(self) -> None:
        # A byte more than the body's would show that something comes behind its end.
        if self._filled >= self._end:
            self._surplus = self._filled > self._end
            self._wake()
        elif self._end >= _ROOM:
            self._leave_to_others()

    def _leave_to_others(self) -> None:
        """It is not plain, or large, or takes its time: somebody else is to see what comes."""
        self._paused = True
        self.transport.pause_reading()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
