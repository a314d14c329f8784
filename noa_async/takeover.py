"""A body of known length, read from the socket straight into a few large blocks of memory.

An HTTP client that has read the head of an answer lends its connection to a ``Body``. The bytes
then pass by the client's parser and queues, and behind the last one it gets the connection back.
This module knows asyncio alone; what it must know of the client is in a ``Line``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

BLOCK = 1 << 20
"""Bytes of a block: fewer cost more hand-overs to threads, more leave the processor's caches."""
BLOCKS = 3
"""One is hashed and written, one waits for that to end, one is filled."""
SUSPECT = 16 << 10
"""How many of the last bytes before a cut may be an error text."""


def suspects(arrived: int) -> int:
    """How many of the bytes before a cut not to believe: the last half where they are few.

    >>> suspects(1 << 20), suspects(7)
    (16384, 4)
    """
    return min(SUSPECT, (arrived + 1) // 2)


class BodyCutError(Exception):
    """The connection ended before the body did, or was silent for too long (``stalled``)."""

    def __init__(self, *, stalled: bool) -> None:
        super().__init__()
        self.stalled = stalled


@dataclass(frozen=True, slots=True)
class Line:
    """A connection on which a body is under way."""

    transport: asyncio.Transport
    owner: asyncio.BaseProtocol
    """Whom it belongs to."""
    begun: list[bytes]
    """What the owner has read of the body, at most a block; emptied when it is taken over."""
    left: int
    """How many bytes are still to come."""
    done: Callable[[], None]
    """Called when the owner has it back behind the last byte, fit for another request."""


class Body(asyncio.BufferedProtocol):
    """Fills blocks from a connection, and gives them out; while none is free, reading pauses."""

    def __init__(self, line: Line, *, stall: float, hold: float) -> None:
        """``stall``: seconds without a byte that are a cut; ``hold``: after which part of a block
        is given out.
        """
        self._line = line
        self._stall = stall
        self._hold = hold
        self._left = sum(map(len, line.begun)) + line.left
        self._size = min(BLOCK, self._left)
        blocks = min(BLOCKS, -(-self._left // self._size))
        # One byte more than is given out: it shows what comes behind the body's end.
        self._free = deque(memoryview(bytearray(self._size + 1)) for _ in range(blocks))
        self._full: deque[tuple[memoryview, int]] = deque()
        self._block: memoryview | None = self._free.popleft()
        self._given = self._filled = 0
        self._usable = True
        self._torn = False
        self._ours = False
        self._paused = False
        self._heard = 0.0
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    async def pieces(self) -> AsyncGenerator[list[memoryview]]:
        """All of the body, in lists of views into the blocks; for one ``async for``.

        A view is good until the list after the next one is asked for: a thread may still write it
        while its successor is at hand. Raises BodyCutError, behind what came before the cut but for
        its very end. Whoever leaves early costs the owner the connection.
        """
        before: memoryview | None = None
        try:
            self._take_over()
            while self._left or self._full or self._filled > self._given:
                piece, block = await self._next()
                yield [piece]
                if before is not None:
                    self._use_again(before)
                before = block
            self._hand_back()
        except BodyCutError:
            yield self._unsuspected()
            raise
        finally:
            self._drop()

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (as large as can be)
        if self._block is None or not self._left:
            return memoryview(bytearray(1))
        end = self._filled + self._left
        return self._block[self._filled : end + 1 if end <= self._size else self._size]

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = self._loop.time()
        if self._block is None or nbytes > self._left:
            self._usable = False
            self._torn = self._torn or bool(self._left and self._block is None)
            nbytes = self._left if self._block is not None else 0
        self._filled += nbytes
        self._left -= nbytes
        if self._left and self._filled == self._size and self._block is not None:
            self._full.append((self._block, self._given))
            self._block = self._free.popleft() if self._free else None
            self._given = self._filled = 0
        if self._block is None or not self._left:
            self._pause()
        if self._is_ready():
            self._wake()

    def pause_writing(self) -> None:
        self._line.owner.pause_writing()

    def resume_writing(self) -> None:
        self._line.owner.resume_writing()

    def eof_received(self) -> None:
        self._usable = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._usable = False
        self._ours = False
        self._line.owner.connection_lost(exc)
        self._wake()

    # What the reader of the pieces does.

    async def _next(self) -> tuple[memoryview, memoryview | None]:
        """The next piece, and its block where that was the last of it."""
        self._heard = self._loop.time()
        due = self._heard + self._hold
        while True:
            if self._is_ready() and self._full:
                block, given = self._full.popleft()
                return block[given : self._size], block
            if not self._left:
                return self._part(self._filled), None
            if not self._usable:
                raise BodyCutError(stalled=False)
            now = self._loop.time()
            if now >= due:
                if not self._full and self._filled - SUSPECT > self._given:
                    return self._part(self._filled - SUSPECT), None
                due = now + self._hold
            if now >= self._heard + self._stall:
                raise BodyCutError(stalled=True)
            await self._woken(min(due, self._heard + self._stall))

    def _is_ready(self) -> bool:
        """Whether there is a full block with so much behind it that its end is beyond suspicion."""
        enough = self._filled >= SUSPECT or self._block is None
        return not self._left or (bool(self._full) and enough)

    def _part(self, end: int) -> memoryview:
        assert self._block is not None
        piece = self._block[self._given : end]
        self._given = end
        return piece

    def _unsuspected(self) -> list[memoryview]:
        """What is there before a cut, less what is not to be believed."""
        views = [block[given : self._size] for block, given in self._full]
        if self._block is not None:
            views.append(self._block[self._given : self._filled])
        suspect = suspects(sum(map(len, views)))
        while views and suspect:
            last = views.pop()
            if len(last) > suspect:
                views.append(last[: len(last) - suspect])
            suspect -= min(suspect, len(last))
        return views

    def _use_again(self, block: memoryview) -> None:
        if self._torn:
            return  # a byte came while no block was free: what comes behind it is not given out
        if self._block is None and self._left:
            self._block = block
            self._resume()
        else:
            self._free.append(block)

    async def _woken(self, at: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_at(at, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The connection.

    def _take_over(self) -> None:
        self._pause()  # uvloop chooses how to read when reading starts
        for piece in self._line.begun:
            begun = memoryview(piece)
            while begun:
                room = self.get_buffer(-1)
                amount = min(len(room), len(begun))
                room[:amount] = begun[:amount]
                self.buffer_updated(amount)
                begun = begun[amount:]
        self._line.begun.clear()
        if self._line.transport.is_closing():
            self._usable = False  # it has told its owner so, and would never tell us
            return
        self._line.transport.set_protocol(self)
        self._ours = True
        self._resume()

    def _hand_back(self) -> None:
        if self._ours and self._usable:
            self._line.transport.set_protocol(self._line.owner)
            self._ours = False
            self._resume()
            self._line.done()

    def _drop(self) -> None:
        if self._ours:
            self._line.transport.set_protocol(self._line.owner)
            self._ours = False
            self._line.transport.abort()
        # A loop may remember this protocol's methods for as long as the connection is idle.
        self._free.clear()
        self._full.clear()
        self._block = None

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._line.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._line.transport.is_closing():
            self._paused = False
            self._line.transport.resume_reading()
