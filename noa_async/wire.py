"""One connection that asks for bytes as they are, and reads the answers past aiohttp.

A small body of known length is received with its head, and wakes the caller once. Any other body is
read as a ``Body``. Of an answer whose head is not well-formed, nothing is read.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from noa_async.body import BUSY, Body
from noa_async.plain import find_head

if TYPE_CHECKING:
    import socket

    from noa_async.plain import Found, ResponseHead

_MOST_HEAD = 128 << 10
"""Bytes of a head that are read here; an HTTP client reads one that is longer."""
_ROOM = _MOST_HEAD + (256 << 10)
_APART = 2 << 10
"""Bytes ahead of the room: a copy to just behind where, in its page, it comes from is slow."""
_ENDLESS = 1 << 62
"""Bytes of a body whose length is not known."""
_MOMENT = 0.02
"""Seconds that a small body has to come in, behind its head; else it is read as a large one is."""


class Wire:
    """One connection, for one request at a time.

    Head and small body are read into one stretch of memory, and the body is given out as it lies
    there; so the next answer is read into new memory.
    """

    def __init__(self, connected: socket.socket) -> None:
        """``connected``: does not block; over TLS, the two have shaken hands."""
        self.head: ResponseHead | None = None
        """Of the answer under way; None if it has not come, or is not well-formed."""
        self.used = False
        """Whether it has brought an answer before."""
        self.lost = False
        self.idle_since = 0.0
        self._socket = connected
        self._tls = isinstance(connected, ssl.SSLSocket)
        self._loop = asyncio.get_running_loop()
        self._make_room()
        self._filled = self._begun = self._end = 0
        """Bytes of the answer that have come; where its head begins, then its body; its end."""
        self._surplus = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = self._closed = False
        self._listen()

    def close(self) -> None:
        """At once, whatever is under way; not while a thread reads."""
        self.lost = True
        if not self._closed:
            self._closed = True
            self._pause()
            self._socket.close()
            self._wake()

    async def ask(self, request: bytes, answer: float) -> None:
        """Send it, and wait for the head, and a moment for all of a small body.

        Raises TimeoutError where no head came within ``answer`` seconds.
        """
        if self._given:
            self._make_room()
        self.head = None
        self._filled = self._begun = self._end = 0
        self._waiter = self._loop.create_future()
        self._timer = self._loop.call_later(answer, self._wake)
        try:
            self._send(request)
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
    def reusable(self) -> bool:
        """Whether it can be asked again, its answer read."""
        reusable = self.head is not None and self.head.reusable and not self._surplus
        return reusable and not (self.lost or self._paused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """By which another connection to the same origin can shake hands sooner, over TLS."""
        return self._socket.session if isinstance(self._socket, ssl.SSLSocket) else None

    def whole(self) -> memoryview | None:
        """All of a small body; None as long as some of it is to come."""
        if self.head is None or not self._begun <= self._end <= self._filled:
            return None
        self._given = True
        return self._room[self._begun : self._end]

    def _make_room(self) -> None:
        self._memory = bytearray(_APART + _ROOM)
        self._room = memoryview(self._memory)[_APART:]
        self._given = False
        """Whether somebody may have a body that lies in there."""

    def _send(self, request: bytes) -> None:
        try:
            sent = self._socket.send(request)
        except OSError:
            sent = 0
        if sent < len(request):
            self._lose()

    def body(self) -> Body:
        """The body under way, for a thread or the loop to read; ``rest`` behind its end."""
        assert self.head is not None
        end = min(self._filled, self._end)
        length = self._end - self._begun
        return Body(self._socket, self._room, (self._begun, end), length, lost=self.lost)

    def rest(self) -> None:
        """All of the body was read: nothing may come before it is asked again."""
        self._filled = self._begun = self._end = 0
        self._socket.setblocking(False)
        self._paused = False
        self._listen()
        self._readable()  # what is there already

    # What the loop calls.

    def _readable(self) -> None:
        while not self._paused:
            try:
                got = self._socket.recv_into(self._room[self._filled :])
            except BUSY:
                return
            except OSError:
                got = 0
            if self._waiter is None:
                self._surplus = self._surplus or bool(got)  # nobody asked
                self.close()
            elif not got:
                self._lose()
            else:
                self._look_at(got)
                if not self._tls:  # the loop calls again where there is more
                    return

    def _look_at(self, got: int) -> None:
        before, self._filled = self._filled, self._filled + got
        if self.head is not None or self._has_head(before):
            self._look_at_body()

    # What comes of it.

    def _has_head(self, before: int) -> bool:
        """Whether a well-formed one is there; ``before``: bytes that were looked at."""
        found = self._find_head(before)
        while found is not None and found.head is not None and found.head.interim:
            self._begun = found.end - _APART
            found = self._find_head(self._begun)
        if found is None and self._filled < _MOST_HEAD:
            return False
        if found is not None and found.end - _APART > _MOST_HEAD:
            found = None
        self.head = found.head if found is not None else None
        if found is None or self.head is None:
            self._leave_to_others()
            return False
        self._begun = found.end - _APART
        self._end = self._begun + (_ENDLESS if self.head.length is None else self.head.length)
        if _ROOM > self._end > self._filled and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(_MOMENT, self._leave_to_others)
        return True

    def _find_head(self, seen: int) -> Found | None:
        return find_head(self._memory, _APART + self._begun, _APART + seen, _APART + self._filled)

    def _look_at_body(self) -> None:
        # A byte more than the body's would show that something comes behind its end.
        if self._filled >= self._end:
            self._surplus = self._filled > self._end
            self._wake()
        elif self._end >= _ROOM:
            self._leave_to_others()

    def _leave_to_others(self) -> None:
        """It is not well-formed, or large, or takes its time: what comes is read elsewhere."""
        self._pause()
        self._wake()

    def _lose(self) -> None:
        self.lost = True
        self._pause()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _listen(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._loop.remove_reader(self._socket.fileno())
