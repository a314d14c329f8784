"""All that we lean on of aiohttp's inside, in one place: where its bytes and connections are.

Nothing here is aiohttp's promise. Where a version of it differs, ``lent`` lends nothing: bodies
come through aiohttp then, slower and no less safe; a test in tests/takeover fails, to tell us.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from noa_async.takeover import BLOCK, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WORTH_IT = 64 << 10
"""Bytes still to come: fewer are there before a connection has changed hands."""


class Headed(Protocol):
    """A ``ClientResponse``, or what has as much of one: its head was read."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> Any: ...
    @property
    def close(self) -> Callable[[], None]: ...


class _Between:
    """In place of aiohttp's parser while no answer is due: what comes then ends the connection."""

    def feed_data(self, data: bytes) -> tuple[tuple[()], bool, bytes]:
        if data:
            raise ValueError("bytes came behind the end of an answer")
        return (), False, b""

    def feed_eof(self) -> None:
        """Nothing is missing."""

    def pause_reading(self) -> None:
        """Nothing is parsed."""


def lent(response: Any) -> tuple[list[bytes], Line | None]:
    """The connection of a ``ClientResponse`` whose bytes come as they are and in known number.

    Where there is none to lend: None, and what was taken from the stream to find that out.
    Nothing waits in here, nor may the caller before it reads on: no byte comes in between.
    """
    taken: list[bytes] = []
    try:
        return _lent(response, taken)
    except AttributeError:
        return taken, None


def _lent(response: Any, taken: list[bytes]) -> tuple[list[bytes], Line | None]:
    content, total = response.content, _plain_length(response)
    if total is None or total - content.total_bytes < WORTH_IT:
        return taken, None
    owner, transport = response.connection.protocol, response.connection.transport
    # One that is closing has told its owner so, or is about to: it would never tell us.
    if transport is None or transport.is_closing() or owner._parser is None:  # noqa: SLF001 (that is what this module is for)
        return taken, None
    while content.exception() is None and (piece := content.read_nowait()):
        taken.append(piece)
    arrived, left = sum(map(len, taken)), total - content.total_bytes
    at_rest = content.exception() is None and not content.is_eof() and not owner._reading_paused  # noqa: SLF001
    if not at_rest or left <= 0 or arrived > BLOCK:
        return taken, None
    line = Line(transport, owner, taken, left, content.feed_eof)
    owner._parser = _Between()  # noqa: SLF001 (last: nothing that fails comes behind it)
    return [], line


def _plain_length(response: Any) -> int | None:
    """The length of a body that is sent as it is, in one piece."""
    lengths = response.headers.getall("Content-Length", [])
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if "Transfer-Encoding" in response.headers or encoding != "identity" or len(lengths) != 1:
        return None
    return int(lengths[0]) if lengths[0].isdecimal() else None


def unread(content: Any) -> list[bytes]:
    """What had arrived before a cut: aiohttp raises the error ahead of giving it out."""
    buffer = list(getattr(content, "_buffer", ()))
    if buffer:
        buffer[0] = buffer[0][getattr(content, "_buffer_offset", 0) :]
    return buffer


@dataclass(frozen=True, slots=True)
class _Given:
    """The answer on a connection that was given to aiohttp."""

    status: int
    headers: Mapping[str, str]
    content: Any
    close: Callable[[], None]


async def given(kind: Any, transport: asyncio.Transport, begun: bytes) -> Headed | None:
    """What aiohttp makes of an answer that ``begun`` on a connection which is its from now on.

    ``kind`` is its ``ResponseHandler``. None, the connection closed, where that is not as it was.
    Raises ConnectionError where it is no answer.
    """
    handler = kind(asyncio.get_running_loop())
    try:
        handler.connection_made(transport)
        handler.set_response_params(read_until_eof=True, auto_decompress=False)
        read, abort = handler.read, transport.abort
    except (AttributeError, TypeError):
        transport.abort()
        return None
    transport.pause_reading()  # uvloop chooses how to read when reading starts
    transport.set_protocol(handler)
    handler.data_received(begun)
    if not transport.is_closing():
        transport.resume_reading()
    try:
        message, content = await read()
        while message.code < 200:
            message, content = await read()
    except Exception as error:
        raise ConnectionError("what came is no answer") from error
    return _Given(message.code, message.headers, content, abort)
