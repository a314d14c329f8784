"""Wires to the service, kept and used again, and the answers that come by them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING

from aiohappyeyeballs import start_connection

from noa_async.body import readable
from noa_async.errors import ServiceUnreachable
from noa_async.oldest import drop_oldest
from noa_async.origins import host_of, origin_of
from noa_async.plain import ChunkedDecoder, request_bytes
from noa_async.response import LONGEST_HELD, Response, Streamed, no_answer
from noa_async.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Mapping

    from noa_async.plain import ResponseHead
    from noa_async.response import Intake
    from noa_async.settings import Timeouts

Origin = tuple[str, str, int]

_IDLE = 15.0
"""Seconds after which a connection is not asked again: a firewall may have forgotten it."""
_BACK_OFF = 60.0
"""Seconds for which an HTTP client alone asks an origin that could not be asked past it."""
_NEXT_ADDRESS = 0.25
"""Seconds after which the next of a host's addresses is tried beside the first."""
_MOST_ORIGINS = 1000
"""Origins of which something is remembered."""


class Wired(Response):
    """An answer with a body of known length, on the wire that it came by."""

    __slots__ = ("_body", "_finished", "_give_back", "_whole", "_wire")

    def __init__(
        self, url: str, head: ResponseHead, wire: Wire, stall: float, give_back: Callable[[], None]
    ) -> None:
        super().__init__(url, head.status, head.headers, stall)
        self.reason = head.reason
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

    async def pour(self, into: Intake, most: int, *, last: bool = False) -> int:
        if self._whole is not None:
            piece, self._whole = self._whole[:most], self._whole[most:]
            if piece:
                await into.write([piece])
            return len(piece)
        body, hold = self._body, min(LONGEST_HELD, self._stall)
        while body is not None and not self._finished and most:
            kept = await into.draw(
                partial(body.draw, most=most, hold=hold, stall=self._stall, last=last)
            )
            if body.ended:
                self._finish()
            if kept:
                return kept
            if body.lost and not self._finished:
                raise self.broke_off(stalled=body.silence >= self._stall)
        return 0

    async def pieces(self, most: int) -> AsyncGenerator[memoryview]:
        body = self._body
        while self._whole:
            given, self._whole = self._whole[:most], self._whole[most:]
            yield given
        while body is not None and not self._finished:
            try:
                piece = await body.more(self._stall)
            except TimeoutError:
                raise self.broke_off(stalled=True) from None
            if body.ended:
                self._finish()
            elif not piece:
                raise self.broke_off(stalled=False)
            for at in range(0, len(piece), most):
                yield memoryview(piece)[at : at + most]

    def _finish(self) -> None:
        self._finished = True
        self._wire.rest()


class Unsized(Streamed):
    """An answer whose head does not tell the body's length: in chunks, or to the connection's end.

    Such bodies are seldom, or error pages: they are read on the loop.
    """

    __slots__ = ("_body", "_decoder", "_finished", "_give_back", "_malformed", "_read", "_wire")

    def __init__(
        self,
        url: str,
        head: ResponseHead,
        wire: Wire,
        stall: float,
        *,
        give_back: Callable[[], None],
        malformed: Callable[[], None],
    ) -> None:
        """``give_back`` is called if all was read, ``malformed`` if the chunks are."""
        super().__init__(url, head.status, head.headers, stall)
        self.reason = head.reason
        self._wire = wire
        self._body = wire.body()
        self._decoder = ChunkedDecoder() if head.chunked else None
        self._give_back = give_back
        self._malformed = malformed
        self._read = b""
        """What was read, and not given yet."""
        self._finished = False

    def drop(self) -> None:
        if self._decoder is not None and not self._finished:
            self._decode(self._body.here())  # the end of a short page has mostly come
        if self._finished:
            self._finished = False
            self._give_back()
        else:
            self._wire.close()

    async def _next(self, most: int) -> bytes:
        while not (self._read or self._finished):
            if self._decoder is not None and self._decoder.malformed:
                self._malformed()
                raise self.broke_off(stalled=False, malformed=True)
            try:
                data = await self._body.more(self._stall)
            except TimeoutError:
                raise self.broke_off(stalled=True) from None
            if data:
                self._read = self._decode(data)
            elif self._decoder is None and not self._body.reset:
                self._finished = True
            else:
                raise self.broke_off(stalled=False)
        piece, self._read = self._read[:most], self._read[most:]
        return piece

    def _decode(self, data: bytes) -> bytes:
        """Return the bytes of the body that are in ``data``; at its end, free the connection."""
        if self._decoder is None:
            return data
        body = self._decoder.decode(data)
        if self._decoder.ended:
            self._finished = True
            if self._decoder.surplus:
                self._wire.close()
            else:
                self._wire.rest()
        return body


class BackOff:
    """Origins that are not to be asked past the HTTP client for a while. Pure: it is told the time.

    An origin is asked again after ``seconds``, by one request alone: the others wait for how that
    one ends. Failures of requests that were sent before do not prolong it.

    | state of the origin                     | may ask                     | then  |
    |-----------------------------------------|-----------------------------|-------|
    | nothing failed                          | yes                         |       |
    | failed, or is tried, not so long ago    | no                          |       |
    | failed, or was tried, so long ago       | yes                         | tried |

    >>> back_off = BackOff(60.0)
    >>> back_off.failed("a", now=0.0)
    >>> [back_off.may_ask("a", now) for now in (1.0, 60.0, 61.0)]
    [False, True, False]
    >>> back_off.worked("a", began=60.0)
    >>> back_off.may_ask("a", now=62.0)
    True
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[Hashable, float] = {}
        """When an origin failed, or was tried again."""

    def may_ask(self, origin: Hashable, now: float) -> bool:
        """Whether a request may be sent now; it counts as sent."""
        since = self._since.get(origin)
        if since is None:
            return True
        if now < since + self._seconds:
            return False
        self._since[origin] = now
        return True

    def failed(self, origin: Hashable, now: float) -> None:
        """A request failed."""
        self._since[origin] = now
        drop_oldest(self._since, len(self._since) - _MOST_ORIGINS)

    def worked(self, origin: Hashable, began: float) -> None:
        """A request that was sent at ``began`` did not fail: what happened since counts more."""
        if began >= self._since.get(origin, began):
            self._since.pop(origin, None)


class Wires:
    """The wires of one transport, kept and used again.

    Resources: ``close`` it; what is in use then is closed when it is dropped.
    """

    def __init__(self, tls: ssl.SSLContext | None, timeouts: Timeouts, *, most_idle: int) -> None:
        """``tls``: None where no origin is asked over TLS. ``most_idle``: connections kept."""
        self._tls = tls
        self._timeouts = timeouts
        self._most_idle = most_idle
        self._idle: dict[Wire, Origin] = {}
        """The one that has been idle longest first."""
        self._expiry: asyncio.TimerHandle | None = None
        self._back_off = BackOff(_BACK_OFF)
        self._sessions: dict[Origin, ssl.SSLSession] = {}
        self._closed = False

    def close(self) -> None:
        self._closed = True
        for wire in self._idle:
            wire.close()
        self._idle.clear()
        if self._expiry is not None:
            self._expiry.cancel()

    async def ask(self, url: str, headers: Mapping[str, str]) -> Response | None:
        """GET ``url``; None if an HTTP client is to ask.

        That is so if the address or the answer's head is out of the ordinary, if a kept connection
        had been closed, and for a while after an origin could not be asked from here.
        Raises ServiceUnreachable where no answer came.
        """
        origin = origin_of(url)
        request = request_bytes(url, headers)
        began = asyncio.get_running_loop().time()
        if request is None or (origin[0] == "https" and self._tls is None):
            return None
        if not self._back_off.may_ask(origin, began):
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
        if wire.head is None:
            lost = wire.lost
            wire.close()
            if lost and not (wire.used and wire.silent):
                host = host_of(url)
                raise ServiceUnreachable(f"No answer from {host}: it closed the connection.")
            if not lost:  # its head is not well-formed
                self._failed(origin)
            return None
        wire.used = True
        self._back_off.worked(origin, began)
        return self._answer(origin, url, wire, wire.head)

    def _answer(self, origin: Origin, url: str, wire: Wire, head: ResponseHead) -> Response:
        stall, give_back = self._timeouts.stall, partial(self._keep, origin, wire)
        if head.length is not None:
            return Wired(url, head, wire, stall, give_back)
        malformed = partial(self._failed, origin)
        return Unsized(url, head, wire, stall, give_back=give_back, malformed=malformed)

    def _failed(self, origin: Origin) -> None:
        self._back_off.failed(origin, asyncio.get_running_loop().time())

    # Idle connections.

    def _kept(self, origin: Origin) -> Wire | None:
        now = asyncio.get_running_loop().time()
        while (wire := self._last_idle(origin)) is not None:
            del self._idle[wire]
            if wire.reusable and now < wire.idle_since + _IDLE:
                return wire
            wire.close()
        return None

    def _last_idle(self, origin: Origin) -> Wire | None:
        return next((wire for wire, its in reversed(self._idle.items()) if its == origin), None)

    def _keep(self, origin: Origin, wire: Wire) -> None:
        if (session := wire.session) is not None:  # with TLS 1.3, it comes behind the handshake
            self._sessions[origin] = session
            drop_oldest(self._sessions, len(self._sessions) - _MOST_ORIGINS)
        if self._closed or not wire.reusable:
            wire.close()
            return
        wire.idle_since = asyncio.get_running_loop().time()
        self._idle[wire] = origin
        if len(self._idle) > self._most_idle:
            self._close_first()
        if self._expiry is None:
            self._expire()

    def _close_first(self) -> None:
        first = next(iter(self._idle))
        del self._idle[first]
        first.close()

    def _expire(self) -> None:
        """Close what has been idle for too long, and look again when the next one will be."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        while self._idle:
            due = next(iter(self._idle)).idle_since + _IDLE
            if loop.time() < due:
                self._expiry = loop.call_at(due, self._expire)
                return
            self._close_first()

    # New connections.

    async def _open(self, origin: Origin) -> Wire | None:
        """A new one; None where that fails: an HTTP client then says why."""
        session = self._sessions.get(origin)
        try:
            try:
                return Wire(await self._connected(origin, session))
            except ssl.SSLError:
                if session is None:
                    raise
                self._sessions.pop(origin, None)  # which may be what the service refuses
                return Wire(await self._connected(origin, None))
        except (OSError, ValueError):
            self._sessions.pop(origin, None)
            self._failed(origin)
            return None

    async def _connected(self, origin: Origin, session: ssl.SSLSession | None) -> socket.socket:
        """Raises OSError (ssl.SSLError, TimeoutError), ValueError."""
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeouts.connect):
            there = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            connected = await start_connection(there, happy_eyeballs_delay=_NEXT_ADDRESS)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == "https" and self._tls is not None:
                return await _secured(connected, self._tls, host, session)
            return connected


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
