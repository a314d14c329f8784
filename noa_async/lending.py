"""All that we lean on of aiohttp's inside, in one place: where its bytes and connections are.

Nothing here is aiohttp's promise. Where a version of it differs, ``lent`` lends nothing: bodies
come through aiohttp then, slower and no less safe; a test in tests/takeover fails, to tell us.
"""

from __future__ import annotations

from typing import Any

from noa_async.takeover import BLOCK, Line

WORTH_IT = 64 << 10
"""Bytes still to come: fewer are there before a connection has changed hands."""


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
