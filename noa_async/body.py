"""A body of known length, read from its connection by a thread, or on the loop.

A thread reads, and does with the bytes what is to be done while the processor has them at hand; it
wakes the loop for a stretch of them. This module knows sockets and the loop alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BUSY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""Nothing is there yet."""
SUSPECT = 16 << 10
"""How many of the last bytes before a cut may be an error text."""
_LATE = (BlockingIOError, TimeoutError)
"""Nothing came within the time that a thread waits."""


def suspects(arrived: int) -> int:
    """How many of the bytes before a cut not to believe: the last half where they are few.

    >>> suspects(1 << 20), suspects(7)
    (16384, 4)
    """
    return min(SUSPECT, (arrived + 1) // 2)


async def readable(connected: socket.socket, seconds: float | None = None) -> bool:
    """Wait until there is something to read; False where there is nothing for so long."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connected.fileno(), _settle, came)
    try:
        async with asyncio.timeout(seconds):
            await came
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(connected.fileno())
    return True


def _settle(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)


class Body:
    """What is to come of one answer, whoever reads it: one at a time."""

    def __init__(
        self,
        connected: socket.socket,
        room: memoryview,
        here: tuple[int, int],
        length: int,
        *,
        lost: bool,
    ) -> None:
        """``room``: memory to read into; from ``here`` to there is what came of ``length`` bytes.

        ``lost``: no more comes.
        """
        self.lost = lost
        self.reset = False
        """Whether the connection failed rather than being closed, as far as ``more`` can tell: over
        TLS, a reset looks like a close."""
        self.silence = 0.0
        """Seconds for which a thread has waited for a byte in vain."""
        self._socket = connected
        self._tls = isinstance(connected, ssl.SSLSocket)
        self._room = room
        self._begun, self._filled = here
        self._end = self._begun + length
        """Where in the room its end would be."""
        self._length = length
        self._cut = self._lent = False

    @property
    def ended(self) -> bool:
        """Whether all of it was given out."""
        return self._begun == self._end

    def draw(
        self,
        keep: Callable[[Sequence[memoryview]], object],
        most: int,
        hold: float,
        stall: float,
        *,
        last: bool = False,
    ) -> int:
        """In a thread: have at most so many bytes kept; how many were.

        ``last``: ``most`` bytes are all that is wanted; if they are here, they are kept at once.
        It ends after ``hold`` seconds with what came until then, which may be nothing. The
        connection is lost where nothing comes for ``stall`` seconds. Of what comes before that, or
        a cut, the very end is not kept: servers are known to write an error text there.
        """
        if not self._lent:
            self._lend(hold)
        kept, due = 0, time.monotonic() + hold
        while kept < most and not self.ended:
            self.lost = self.lost or self.silence >= stall
            complete = last and self._filled - self._begun >= most - kept
            if self.lost and not (self._cut or complete):
                self._cut = True
                self._filled -= min(suspects(self._arrived), self._filled - self._begun)
            late = self._cut or time.monotonic() >= due
            sure = most - kept if complete else min(self._sure(), most - kept)
            if sure and (
                late or sure == most - kept or self._filled in (len(self._room), self._end)
            ):
                keep([self._room[self._begun : self._begun + sure]])
                self._begun += sure
                self._move_up()
                kept += sure
            elif late:
                break
            else:
                self._receive(most - kept + (0 if last else SUSPECT), hold, due)
        return kept

    async def more(self, seconds: float) -> bytes:
        """What comes next, to be read on the loop; nothing behind its end, or a cut.

        Raises TimeoutError where nothing comes for so long.
        """
        if self._begun == self._filled < self._end and not self.lost:
            self._move_up()
            await self._some(seconds)
        return self.here()

    def here(self) -> bytes:
        """Return what has come already."""
        got = bytes(self._room[self._begun : self._filled])
        self._begun = self._filled
        return got

    def _lend(self, hold: float) -> None:
        """A thread is to wait in the kernel, until all that it has room for is there."""
        self._lent = True
        self._move_up()
        if self._tls:
            self._socket.settimeout(hold)
        else:
            self._socket.setblocking(True)
            wait = struct.pack("ll", int(hold), int(hold % 1 * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)

    @property
    def _arrived(self) -> int:
        return self._length - (self._end - self._filled)

    def _sure(self) -> int:
        """How much of what is here is beyond suspicion."""
        here = self._filled - self._begun
        return here if self._cut or self._filled == self._end else max(0, here - SUSPECT)

    def _receive(self, most: int, hold: float, due: float) -> None:
        """Have ``most`` bytes here, or what comes until it is ``due``."""
        end = min(len(self._room), self._end, self._begun + most)
        room, filled, receive = self._room, self._filled, self._socket.recv_into
        flags = 0 if self._tls else socket.MSG_WAITALL
        got = 1
        try:
            while filled < end and got and time.monotonic() < due:  # TLS gives 16 KiB at a time
                got = receive(room[filled:end], end - filled, flags)
                filled += got
        except _LATE:
            if filled == self._filled:
                self.silence += hold  # not by a clock: the process may have stood still
        except OSError:
            got = 0
        if filled > self._filled:
            self.silence = 0.0
        self._filled = filled
        self.lost = not got

    def _move_up(self) -> None:
        begun, here = self._begun, self._filled - self._begun
        self._room[:here] = self._room[begun : self._filled]
        self._begun, self._filled, self._end = 0, here, self._end - begun

    async def _some(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + seconds
            try:
                got = self._socket.recv_into(self._room[: self._end])
            except BUSY:
                came = await readable(self._socket, seconds)
                # So late a timer says that this process stood still, not the service.
                if not came and loop.time() < due + seconds / 4:
                    raise TimeoutError from None
                continue
            except OSError:
                got, self.reset = 0, True
            self._filled, self.lost = got, not got
            return
