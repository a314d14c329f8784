"""Wires to the service, kept and used again, and the answers that come by them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, defaultdict
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiohappyeyeballs import start_connection

from noa_async.errors import ServiceUnreachable
from noa_async.origins import host_of, origin_of
from noa_async.plain import request_bytes
from noa_async.response import Response, no_answer
from noa_async.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from noa_async.plain import PlainHead
    from noa_async.settings import Timeouts

Origin = tuple[str, str, int]

_IDLE = 15.0
"""Seconds after which a connection is not asked again: a firewall may have forgotten it."""
_MOST_FAILURES = 3
"""Connections to an origin that could not be opened, while it answered an HTTP client."""
_NEXT_ADDRESS = 0.25
"""Seconds after which the next of a host's addresses is tried beside the first."""


class Wired(Response):
    """A plain answer, on the wire that it came by."""

    __slots__ = ("_finished", "_give_back", "_whole", "_wire")

    def __init__(
        self, url: str, head: PlainHead, wire: Wire, stall: float, give_back: Callable[[], None]
    ) -> None:
        super().__init__(url, head.status, head.headers, stall)
        self._wire = wire
        self._give_back = give_back
        self._whole = wire.whole()
        self._finished = self._whole is not None
        """Whether nothing of the body is on the way."""

    def drop(self) -> None:
        if self._finished:
            self._finished = False
            self._give_back()
        else:
            self._wire.transport.abort()

    @property
    def whole(self) -> memoryview | None:
        """All of a small body, where it came at once."""
        return self._whole

    def forget(self) -> None:
        """Nobody has any of ``whole`` any more: what comes next by this wire may lie there."""
        self._whole = None
        self._wire.forget()

    async def batches(self, size: int) -> AsyncGenerator[Sequence[memoryview]]:
        if self._whole is not None:
            for piece in _slices([self._whole], size):
                yield [piece]
            return
        async with aclosing(self.taken_over(self._wire.line(self._finish))) as lists:
            async for pieces in lists:
                for piece in _slices(pieces, size):
                    yield [piece]

    async def pieces(self, most: int) -> AsyncGenerator[memoryview]:
        if self._wire.lost and self._whole is None:
            yield memoryview(self._wire.arrived())
            raise self.broke_off(stalled=False)
        async with aclosing(self.batches(most)) as lists:
            async for (piece,) in lists:
                yield piece

    def _finish(self) -> None:
        self._finished = True


def _slices(pieces: Sequence[memoryview], size: int) -> Iterator[memoryview]:
    return (piece[at : at + size] for piece in pieces for at in range(0, len(piece), size))


@dataclass(frozen=True, slots=True)
class Unplain:
    """The beginning of an answer that is for an HTTP client to read."""

    transport: asyncio.Transport
    begun: bytes


class Wires:
    """The wires of one transport, kept and used again.

    Resources: ``close`` it; what is in use then is closed when it is dropped.
    """

    def __init__(self, tls: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        """``tls``: None where no origin is asked over TLS."""
        self._tls = tls
        self._timeouts = timeouts
        self._idle: defaultdict[Origin, list[Wire]] = defaultdict(list)
        self._failures: Counter[Origin] = Counter()
        """Connections that could not be opened, one after another."""
        self._barred: set[Origin] = set()
        self._closed = False

    def close(self) -> None:
        self._closed = True
        for wires in self._idle.values():
            for wire in wires:
                wire.transport.abort()
        self._idle.clear()

    async def ask(self, url: str, headers: Mapping[str, str]) -> Wired | Unplain | None:
        """GET ``url``; None where nothing was asked, or a kept connection had been closed.

        Raises ServiceUnreachable where no answer came.
        """
        origin = origin_of(url)
        request = request_bytes(url, headers)
        barred = origin in self._barred or (origin[0] == "https" and self._tls is None)
        if request is None or barred:
            return None
        wire = self._kept(origin) or await self._open(origin)
        if wire is None:
            return None
        try:
            await wire.ask(request, self._timeouts.answer)
        except TimeoutError:
            wire.transport.abort()
            raise no_answer(host_of(url), self._timeouts.answer) from None
        except BaseException:
            wire.transport.abort()
            raise
        if wire.lost and wire.head is None:
            if wire.used and wire.silent:
                return None
            raise ServiceUnreachable(f"No answer from {host_of(url)}: it closed the connection.")
        wire.used = True
        if wire.head is None:
            return Unplain(wire.transport, wire.unread())
        return Wired(url, wire.head, wire, self._timeouts.stall, partial(self._keep, origin, wire))

    def answered(self, url: str) -> None:
        """An HTTP client had an answer from there: it can be reached."""
        origin = origin_of(url)
        if self._failures[origin] < _MOST_FAILURES:
            self._barred.discard(origin)

    def _kept(self, origin: Origin) -> Wire | None:
        kept, now = self._idle[origin], asyncio.get_running_loop().time()
        while kept:
            wire = kept.pop()
            if wire.lasts and now < wire.idle_since + _IDLE:
                return wire
            wire.transport.abort()
        return None

    def _keep(self, origin: Origin, wire: Wire) -> None:
        if self._closed or not wire.lasts:
            wire.transport.abort()
            return
        wire.idle_since = asyncio.get_running_loop().time()
        self._idle[origin].append(wire)

    async def _open(self, origin: Origin) -> Wire | None:
        """A new one; None where that fails: an HTTP client then says why."""
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        tls, name = (self._tls, host) if scheme == "https" else (None, None)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                there = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                sock = await start_connection(there, happy_eyeballs_delay=_NEXT_ADDRESS)
                _, wire = await loop.create_connection(
                    Wire, sock=sock, ssl=tls, server_hostname=name
                )
        except (OSError, ValueError):
            self._failures[origin] += 1
            self._barred.add(origin)
            return None
        self._failures[origin] = 0
        return wire
