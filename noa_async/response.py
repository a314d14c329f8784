"""The head of an answer, and its body to be read once, whoever reads it from the network."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, TypeVar

from noa_async.body import suspects
from noa_async.decoding import Decoder, Malformed, UnknownCoding, codings
from noa_async.errors import ServiceFault, ServiceUnreachable
from noa_async.origins import host_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    Keep = Callable[[Sequence[bytes | memoryview]], object]
    """Has pieces kept; blocks."""

_Bytes = TypeVar("_Bytes", bytes, "bytes | memoryview")

LONGEST_HELD = 0.2
"""Seconds for which bytes that are here are kept from whoever reads."""
READ_BUFFER = 256 << 10
_PEEK_LIMIT = 1 << 20
"""Bytes as sent that are read for the start of a body."""
_BATCH = 1 << 20
"""Bytes that are gathered for a thread at most: each hand-over costs."""


def no_answer(host: str, seconds: float) -> ServiceUnreachable:
    """The error of a service that does not answer in time."""
    return ServiceUnreachable(f"{host} gave no answer for {seconds:g} s.")


class Intake(Protocol):
    """What takes the bytes of a body."""

    async def write(self, pieces: Sequence[bytes | memoryview], /) -> None:
        """Take ``pieces``, which stay as they are until the next call has returned."""

    async def draw(self, source: Callable[[Keep], int], /) -> int:
        """Have a thread run ``source``, which blocks and has kept what it reads; what it gives."""


class Response(ABC):
    """The head of an answer, and its body to be read once.

    Resources: valid until ``drop``, which costs the connection where some of the body is unread.
    """

    __slots__ = (
        "_peeked",
        "_stall",
        "as_sent",
        "had_token",
        "headers",
        "reason",
        "status",
        "token",
        "url",
    )

    def __init__(self, url: str, status: int, headers: Mapping[str, str], stall: float) -> None:
        """``stall``: seconds without a byte that are a cut."""
        self._stall = stall
        self._peeked: list[bytes | memoryview] = []
        """What was read of the body to look at it, as sent."""
        self.url = url
        self.status = status
        self.headers = headers
        """Header fields; letter case of the names does not matter."""
        self.had_token = False
        """Whether the token went to where this answer is from."""
        self.token: str | None = None
        """The token that the request began with; a redirect may have led to where it does not
        go."""
        self.reason = ""
        """The phrase behind the status, if there is one."""
        self.as_sent = False
        """Whether ``read`` leaves the body as it was sent, and does not decode it."""

    @abstractmethod
    def drop(self) -> None:
        """Read no more of it."""

    @abstractmethod
    async def pour(self, into: Intake, most: int, *, last: bool = False) -> int:
        """Give what comes next of the body, at most so many bytes; how many. None is its end.

        ``last``: ``most`` bytes are all that is wanted, so that nothing behind them is waited for.
        What ``peek`` has read has to be taken first, by ``peeked``.
        It comes to nothing for no longer than the stall time-out, and waits for more than the first
        bytes for no longer than a fifth of a second.
        Raises ServiceUnreachable where the body is cut, is shorter than its Content-Length, or no
        byte comes for the stall time-out. What arrived before that is given first, but for its
        very end: servers are known to write an error text into a body before they cut it.
        """

    @abstractmethod
    def pieces(self, most: int) -> AsyncGenerator[bytes | memoryview]:
        """The body as it comes, at most so many bytes at a time, with what came before a cut.

        Raises ServiceUnreachable.
        """

    async def read(self, limit: int) -> bytes:
        """Return the whole body, decoded unless it was asked for as it is.

        Raise ServiceFault past ``limit`` bytes, sent or decoded, or if it comes in a coding that
        was not asked for; ServiceUnreachable if it is cut, stalls, or cannot be decoded.
        """
        body = bytearray()
        names = () if self.as_sent else codings(self.headers)
        try:
            async with aclosing(self._decoded(names, READ_BUFFER, limit)) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > limit:
                        raise self._too_large(limit)
        except UnknownCoding as error:
            raise ServiceFault(
                f"The answer of {host_of(self.url)} is compressed ({error}), which was not asked "
                "for."
            ) from None
        except Malformed as error:
            raise ServiceUnreachable(
                f"The answer of {host_of(self.url)} cannot be decompressed: {error}."
            ) from None
        return bytes(body)

    async def _decoded(
        self, names: tuple[str, ...], most: int, limit: int
    ) -> AsyncGenerator[bytes | memoryview]:
        """Yield the body without the codings ``names``, of at most ``limit`` bytes as sent."""
        decoder, received = Decoder(names), 0
        async with aclosing(self._from_the_start(most)) as pieces:
            async for piece in pieces:
                received += len(piece)
                if received > limit:
                    raise self._too_large(limit)
                for decoded in decoder.decode(bytes(piece)):
                    yield decoded
        yield decoder.finish()

    async def _from_the_start(self, most: int) -> AsyncGenerator[bytes | memoryview]:
        peeked, self._peeked = self._peeked, []
        for piece in peeked:
            yield piece
        async with aclosing(self.pieces(most)) as pieces:
            async for piece in pieces:
                yield piece

    def peeked(self, most: int) -> list[bytes | memoryview]:
        """Take at most so many bytes of what ``peek`` has read, as they were sent."""
        given, self._peeked = split(self._peeked, most)
        return given

    def _too_large(self, limit: int) -> ServiceFault:
        size = f"{limit / 1e6:.1f} MB" if limit >= 1_000_000 else f"{limit} bytes"
        return ServiceFault(
            f"The answer of {host_of(self.url)} is larger than {size}.",
            hint="No page or token is that large; the service may be in trouble.",
        )

    async def peek(self, limit: int) -> bytes:
        """Return the body's first ``limit`` bytes, decoded, or as many as can be had.

        They stay to be read. Raise nothing for a cut, or for what cannot be decoded.
        """
        body, read, held = bytearray(), 0, list(self._peeked)
        with contextlib.suppress(ServiceUnreachable, UnknownCoding, Malformed):
            decoder = Decoder(codings(self.headers))
            async with aclosing(self._from_the_start(_PEEK_LIMIT)) as pieces:
                held.clear()
                async for piece in pieces:
                    held.append(piece)
                    read += len(piece)
                    for decoded in decoder.decode(bytes(piece)):
                        body += decoded
                        if len(body) >= limit:
                            break
                    if len(body) >= limit or read >= _PEEK_LIMIT:
                        break
                else:
                    body += decoder.finish()
        self._peeked = held
        return bytes(body[:limit])

    def broke_off(self, *, stalled: bool, malformed: bool = False) -> ServiceUnreachable:
        """The error of a body that ended early, or of which no byte came for too long.

        ``malformed``: of one that is sent in chunks, and whose chunks cannot be told apart.
        """
        host = host_of(self.url)
        if stalled:
            failure = f"no byte came from {host} for {self._stall:g} s"
        elif malformed:
            failure = f"{host} sent chunks that are malformed"
        else:
            failure = f"{host} closed the connection early"
        return ServiceUnreachable(f"The answer broke off: {failure}.")


class Streamed(Response):
    """An answer whose body is read on the loop, piece by piece."""

    __slots__ = ("_ended", "_failure", "_given", "_held")

    def __init__(self, url: str, status: int, headers: Mapping[str, str], stall: float) -> None:
        super().__init__(url, status, headers, stall)
        self._held: list[bytes] = []
        """What came of it; the last piece stays here until another has come."""
        self._given = 0
        """Bytes of it that are elsewhere by now."""
        self._ended = False
        self._failure: ServiceUnreachable | None = None

    @abstractmethod
    async def _next(self, most: int) -> bytes:
        """Return what comes next, at most so many bytes; none at the end.

        Raise ServiceUnreachable if the body is cut or stalls.
        """

    def _unread(self) -> list[bytes]:
        """Return what came before a cut and was not returned by ``_next``."""
        return []

    async def pour(self, into: Intake, most: int, *, last: bool = False) -> int:
        last, most = last and most <= _BATCH, min(most, _BATCH)
        await self._gather(most, last=last)
        sure, doubtful = (self._held, []) if self._ended else (self._held[:-1], self._held[-1:])
        given, left = split(sure, most)
        self._held = left + doubtful
        received = sum(map(len, given))
        self._given += received
        if given:
            await into.write(given)
        elif self._failure is not None:
            raise self._failure
        return received

    async def _gather(self, size: int, *, last: bool) -> None:
        """Have so many bytes beside the last piece, or what comes in a while.

        ``last``: so many with the last piece are enough; then all of it is sure.
        """
        clock = asyncio.get_running_loop().time
        due, here = clock() + LONGEST_HELD, sum(map(len, self._held[:-1]))
        while not self._ended and here < size and not (here and clock() > due):
            if last and sum(map(len, self._held)) >= size:
                self._held.append(b"")
                return
            here += sum(map(len, self._held[-1:]))
            try:
                if piece := await self._next(size):
                    self._held.append(piece)
                else:
                    self._ended = True
            except ServiceUnreachable as failure:
                self._ended, self._failure = True, failure
                body = b"".join([*self._held, *self._unread()])
                sure = max(0, len(body) - suspects(self._given + len(body)))
                sure = max(sure, size) if last and len(body) >= size else sure
                self._held = [body[:sure]] if sure else []

    async def pieces(self, most: int) -> AsyncGenerator[bytes]:
        try:
            while piece := await self._next(most):
                yield piece
        except ServiceUnreachable:
            for piece in self._unread():
                yield piece
            raise


def split(pieces: Sequence[_Bytes], most: int) -> tuple[list[_Bytes], list[_Bytes]]:
    """The first ``most`` bytes of ``pieces``, and the others.

    >>> split([b"abc", b"de"], 4)
    ([b'abc', b'd'], [b'e'])
    """
    first: list[_Bytes] = []
    others: list[_Bytes] = []
    for piece in pieces:
        first += [piece[:most]] if most else []
        others += [piece[most:]] if len(piece) > most else []
        most -= min(most, len(piece))
    return first, others
