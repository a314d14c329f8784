"""One connection that asks for bytes as they are, and reads plain answers past aiohttp.

Whoever asks is woken once where the answer is small: with all of it. A large one goes on as a
``Body``; what is not plain is for an HTTP client to make sense of. This module knows asyncio alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from noa_async.plain import plain_head
from noa_async.takeover import BLOCK, Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.plain import PlainHead

_MOST_HEAD = 64 << 10
_MOMENT = 0.02
"""Seconds that a small body has to come in, behind its head; else it is read as a large one is."""


class Wire(asyncio.BufferedProtocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.head: PlainHead | None = None
        """Of the answer under way; None where it has not come, or is not plain."""
        self.used = False
        """Whether it has brought an answer before."""
        self.lost = False
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._room = memoryview(bytearray(_MOST_HEAD))
        self._filled = self._begun = 0
        self._memory = memoryview(b"")
        self._spare = memoryview(b"")
        self._body: memoryview | None = None
        """Where a small body goes, and one byte more: it shows what comes behind the end."""
        self._arrived = 0
        self._surplus = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    async def ask(self, request: bytes, answer: float) -> None:
        """Send it, and wait for the head, and a moment for all of a small body.

        Raises TimeoutError where no head came within ``answer`` seconds.
        """
        self.head, self._body = None, None
        self._filled = self._begun = self._arrived = 0
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
    def whole(self) -> memoryview | None:
        """All of a small body; None as long as some of it is to come."""
        if self.head is None or self._body is None or self._arrived < self.head.length:
            return None
        return self._body[: self.head.length]

    @property
    def lasts(self) -> bool:
        """Whether it can be asked again, its answer read."""
        lasting = self.head is not None and self.head.lasts and not self._surplus
        return lasting and not (self.lost or self._paused or self.transport.is_closing())

    @property
    def arrived(self) -> memoryview:
        """What there is of the body."""
        if self._body is None:
            return self._room[self._begun : self._filled]
        return self._body[: self._arrived]

    def forget(self) -> None:
        """Nobody has anything of the last small body any more: the next may lie where it was."""
        self._spare = self._memory

    def line(self, done: Callable[[], None]) -> Line:
        """The body under way, for somebody to take over who calls ``done`` behind its end."""
        assert self.head is not None
        self._paused = False  # from now on a matter of theirs
        begun = bytes(self.arrived)
        return Line(self.transport, self, [begun], self.head.length - len(begun), done)

    def unread(self) -> bytes:
        """All that came of an answer that is not plain, for whoever makes sense of it."""
        return bytes(self._room[: self._filled])

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (as large as can be)
        if self._body is not None:
            return self._body[self._arrived :]
        return self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._waiter is None:
            self._surplus = True  # nobody asked
            self.transport.abort()
        elif self._body is not None:
            self._arrive(nbytes)
        else:
            self._read_head(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (lost is lost)
        self.lost = True
        self._wake()

    # What comes of it.

    def _read_head(self, nbytes: int) -> None:
        before, self._filled = self._filled, self._filled + nbytes
        room = self._room.obj
        assert isinstance(room, bytearray)
        end = room.find(b"\r\n\r\n", max(0, before - 3), self._filled)
        if end < 0 and self._filled < _MOST_HEAD:
            return
        self.head = plain_head(room[:end].decode("latin-1")) if end >= 0 else None
        self._begun = end + 4
        if self.head is None or self.head.length > BLOCK:
            self._pause()
            self._wake()
            return
        begun = self._room[self._begun : self._filled]
        self._body = self._room_for(self.head.length + 1)
        fits = min(len(begun), self.head.length)
        self._body[:fits] = begun[:fits]
        self._surplus = len(begun) > fits
        self._arrive(fits)
        if self.whole is None and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(_MOMENT, self._hand_out)

    def _room_for(self, size: int) -> memoryview:
        memory, self._spare = self._spare, memoryview(b"")
        if len(memory) < size:
            memory = memoryview(bytearray(size))
        self._memory = memory
        return memory[:size]

    def _arrive(self, nbytes: int) -> None:
        assert self.head is not None
        self._arrived += nbytes
        if self._arrived > self.head.length:
            self._surplus = True
            self._arrived = self.head.length
        if self._arrived == self.head.length:
            self._wake()

    def _hand_out(self) -> None:
        """It takes its time: somebody else is to see what comes."""
        self._pause()
        self._wake()

    def _pause(self) -> None:
        self._paused = True
        self.transport.pause_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
