"""The head of an answer, and its body to be read once, whoever reads it from the network."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from noa_async.errors import ServiceFault, ServiceUnreachable
from noa_async.origins import host_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    Keep = Callable[[Sequence[bytes | memoryview]], object]
    """Has pieces kept; blocks."""

LONGEST_HELD = 0.2
"""Seconds for which bytes that are here are kept from whoever reads."""
READ_BUFFER = 256 << 10


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

    __slots__ = ("_stall", "had_token", "headers", "status", "url")

    def __init__(self, url: str, status: int, headers: Mapping[str, str], stall: float) -> None:
        """``stall``: seconds without a byte that are a cut."""
        self._stall = stall
        self.url = url
        self.status = status
        self.headers = headers
        """Header fields; letter case of the names does not matter."""
        self.had_token = False
        """Whether the token went to where this answer is from."""

    @abstractmethod
    def drop(self) -> None:
        """Read no more of it."""

    @abstractmethod
    async def pour(self, into: Intake, most: int) -> int:
        """Give what comes next of the body, at most so many bytes; how many. None is its end.

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
        """The whole body.

        Raises ServiceFault past ``limit`` bytes, ServiceUnreachable where it is cut or stalls.
        """
        body = bytearray()
        async with aclosing(self.pieces(READ_BUFFER)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > limit:
                    raise ServiceFault(
                        f"The answer of {host_of(self.url)} is larger than {limit} bytes.",
                        hint="No page or token is that large; the service may be in trouble.",
                    )
        return bytes(body)

    async def peek(self, limit: int) -> bytes:
        """The body's first ``limit`` bytes, or as many as can be had; never raises for a cut."""
        body = bytearray()
        with contextlib.suppress(ServiceUnreachable):
            async with aclosing(self.pieces(limit)) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) >= limit:
                        break
        return bytes(body[:limit])

    def broke_off(self, *, stalled: bool) -> ServiceUnreachable:
        """The error of a body that ended early, or of which no byte came for too long."""
        host = host_of(self.url)
        if stalled:
            failure = f"no byte came from {host} for {self._stall:g} s"
        else:
            failure = f"{host} closed the connection early"
        return ServiceUnreachable(f"The answer broke off: {failure}.")
