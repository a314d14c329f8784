"""A server that says what a test has it say, and how its answers are gathered."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from noa_async.errors import NoaError
from noa_async.response import Response
from noa_async.threads import Threads
from noa_async.transfer.sink import Sink
from noa_async.transport import Transport

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
BLOCK = 1 << 20
CONTENT = random.Random(1).randbytes(5 * BLOCK + 12_345)
LONG = 64 * BLOCK


@dataclass
class Origin:
    """A server that answers by path with what bytes a test writes, and keeps its connections."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    connections: int = 0
    open: int = 0
    """Connections that have not ended."""
    tls: ssl.SSLContext | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection has ended, by whomever."""

    @asynccontextmanager
    async def listening(self, host: str) -> AsyncIterator[int]:
        """Serve at ``host``, over TLS if ``tls`` is set; the port."""
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(self.serve(reader, writer)))

        server = await asyncio.start_server(accept, host, 0, ssl=self.tls)
        yield server.sockets[0].getsockname()[1]
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self.answers[head.split()[1].decode()](writer)
                await writer.drain()
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended.set()
            self.open -= 1
            writer.close()

    def give(self, path: str, content: bytes, *, length: int | None = None, more: str = "") -> None:
        """Answer with ``content``; ``length`` is what the head says, where that is not true."""

        async def answer(writer: asyncio.StreamWriter) -> None:
            size = len(content) if length is None else length
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{more}\r\n".encode())
            writer.write(content)
            await writer.drain()

        self.answers[path] = answer

    def cut(self, path: str, content: bytes, *, reset: bool = False) -> None:
        """Answer with less than is announced, and end the connection."""
        self.give(path, content, length=len(content) + 100_000)
        whole = self.answers[path]

        async def answer(writer: asyncio.StreamWriter) -> None:
            await whole(writer)
            if reset:
                writer.transport.abort()
            writer.close()

        self.answers[path] = answer


class Asking(Protocol):
    """What sends requests, in one way or another."""

    def request(self, method: str, url: str) -> AbstractAsyncContextManager[Response]: ...


class AsIs:
    """Asks for bytes as they are: past aiohttp."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def request(self, method: str, url: str) -> AbstractAsyncContextManager[Response]:
        return self._transport.request(method, url, headers={"Accept-Encoding": "identity"})


class Kept:
    """What arrived of a body, kept in memory, as a ``Store``."""

    def __init__(self) -> None:
        self.body = bytearray()

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        for piece in pieces:
            self.body += piece

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


async def gather(one: Asking, url: str, size: int = BLOCK) -> tuple[bytes, NoaError | None]:
    """What arrives of a body, and what ended it."""
    async with one.request("GET", url) as response:
        return await poured(response, size)


async def poured(
    response: Response, size: int = BLOCK, into: Kept | None = None
) -> tuple[bytes, NoaError | None]:
    """What arrives of an answer's body, and what ended it."""
    with Threads(1) as pool:
        async with Sink(into or Kept(), pool) as sink:
            error = None
            try:
                while received := await response.pour(sink, size):
                    assert received <= size
            except NoaError as found:
                error = found
            await sink.drain()
            return bytes(sink.part.body), error


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
