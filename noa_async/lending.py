"""All that we lean on of aiohttp's inside, in one place: what it needs to read on from others.

Nothing here is aiohttp's promise. Where a version of it differs, ``given`` gives nothing: what was
not plain is asked for again by aiohttp then; a test in tests/takeover fails, to tell us.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from noa_async.carrier import Carrier

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping


_DIFFERENT = (AttributeError, TypeError, ValueError)
"""What comes of calling something that is not as it was; aiohttp's own errors are others."""


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


async def given(kind: Any, connected: socket.socket, begun: bytes) -> Headed | None:
    """What aiohttp makes of an answer that ``begun`` on a connection which is its from now on.

    ``kind`` is its ``ResponseHandler``. None, the connection closed, where that is gone or
    different. Raises ConnectionError where it is no answer.
    """
    try:
        handler = kind(asyncio.get_running_loop())
        carrier = Carrier(connected, handler)
        handler.connection_made(carrier)
        handler.set_response_params(read_until_eof=True, auto_decompress=False)
        read, receive = handler.read, handler.data_received
    except _DIFFERENT:
        connected.close()
        return None
    receive(begun)
    carrier.resume_reading()
    try:
        message, content = await read()
        while message.code < 200:
            message, content = await read()
        return _Given(message.code, message.headers, content, carrier.abort)
    except _DIFFERENT:
        carrier.abort()
        return None
    except Exception as error:
        carrier.abort()
        raise ConnectionError("what came is no answer") from error
    except BaseException:
        carrier.abort()
        raise
