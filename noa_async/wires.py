"""Wires to the service, kept and used again, and the answers that come by them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiohappyeyeballs import start_connection

from noa_async.body import readable
from noa_async.errors import ServiceUnreachable
from noa_async.origins import host_of, origin_of
from noa_async.plain import request_bytes
from noa_async.response import LONGEST_HELD, Response, no_answer
from noa_async.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from noa_async.plain import PlainHead
    from noa_async.response import Intake
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

    __slots__ = ("_body", "_finished", "_give_back", "_whole", "_wire")

    def __init__(
        self, url: str, head: PlainHead, wire: Wire, stall: float, give_back: Callable[[], None]
    ) -> None:
        super().__init__(url, head.status, head.headers, stall)
        self._wire = wire
        self._give_back = give_back
        self._whole = wire.whole()
        self._body = wire.body() if self._whole is None else None
        self._finished = self._whole is not None
        """Whether nothing of the body is on the way."""

    def drop(self) -> None:
        if self._finished:
            self._finished = False
            self._give_back()
        else:
            self._wire.close()

    async def pour(self, into: Intake, most: int) -> int:
        if self._whole is not None:
            piece, self._whole = self._whole[:most], self._whole[most:]
            if piece:
                await into.write([piece])
            return len(piece)
        body, hold = self._body, min(LONGEST_HELD, self._stall)
        while body is not None and not self._finished and most:
            kept = await into.draw(partial(body.draw, most=most, hold=hold, stall=self._stall))
            if body.ended:
                self._finish()
            if kept:
                return kept
            if body.lost and not self._finished:
                raise self.broke_off(stalled=body.silence >= self._stall)
        return 0

    async def pieces(self, most: int) -> AsyncGenerator[memoryview]:
        body = self._body
        if self._whole is not None:
            for at in range(0, len(self._whole), most):
                yield self._whole[at : at + most]
        while body is not None and not self._finished:
            try:
                piece = await body.more(self._stall)
            except TimeoutError:
                raise self.broke_off(stalled=True) from None
            for at in range(0, len(piece), most):
                yield memoryview(piece)[at : at + most]
            if body.ended:
                self._finish()
            elif not piece:
                raise self.broke_off(stalled=False)

    def _finish(self) -> None:
        self._finished = True
        self._wire.rest()


@dataclass(frozen=True, slots=True)
class Unplain:
    """The beginning of an answer that is for an HTTP client to read."""

    connected: socket.socket
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
        self._sessions: dict[Origin, ssl.SSLSession] = {}
        self._closed = False

    def close(self) -> None:
        self._closed = True
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
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
            wire.close()
            raise no_answer(host_of(url), self._timeouts.answer) from None
        except BaseException:
            wire.close()
            raise
        if wire.lost and wire.head is None:
            wire.close()
            if wire.used and wire.silent:
                return None
            raise ServiceUnreachable(f"No answer from {host_of(url)}: it closed the connection.")
        wire.used = True
        if wire.head is None:
            return Unplain(*wire.give())
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
            wire.close()
        return None

    def _keep(self, origin: Origin, wire: Wire) -> None:
        if (session := wire.session) is not None:  # with TLS 1.3, it comes behind the handshake
            self._sessions[origin] = session
        if self._closed or not wire.lasts:
            wire.close()
            return
        wire.idle_since = asyncio.get_running_loop().time()
        self._idle[origin].append(wire)

    async def _open(self, origin: Origin) -> Wire | None:
        """A new one; None where that fails: an HTTP client then says why."""
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeouts.connect):
                there = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                connected = await start_connection(there, happy_eyeballs_delay=_NEXT_ADDRESS)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if scheme == "https" and self._tls is not None:
                    session = self._sessions.get(origin)
                    connected = await _secured(connected, self._tls, host, session)
        except (OSError, ValueError):
            self._sessions.pop(origin, None)  # which may be what was not borne
            self._failures[origin] += 1
            self._barred.add(origin)
            return None
        self._failures[origin] = 0
        return Wire(connected)


async def _secured(
    connected: socket.socket, tls: ssl.SSLContext, host: str, session: ssl.SSLSession | None
) -> ssl.SSLSocket:
    """The same connection over TLS. Raises OSError (ssl.SSLError), ValueError."""
    try:
        secured = tls.wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False, session=session
        )
    except BaseException:
        connected.close()
        raise
    try:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await readable(secured)
            else:
                return secured
    except BaseException:
        secured.close()
        raise
