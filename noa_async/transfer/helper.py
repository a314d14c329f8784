"""What a helper process does: it brings small products whole, as it is told to, one order each.

Whatever is out of the ordinary is left to whoever gave the order. A helper ends with the process
that began it, at once: nothing of an order is worth keeping.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from noa_async.errors import NoaError, TransferInterrupted
from noa_async.failure import Failure, as_sent
from noa_async.looping import run_alone
from noa_async.origins import REDIRECTS
from noa_async.threads import Threads
from noa_async.tls import tls_context
from noa_async.transfer.heads import read_head
from noa_async.transfer.resume import PartState, Refuse, Restart, Validator, range_headers
from noa_async.transfer.sink import SMALL, PartFile, Sink, WrongDigest
from noa_async.wires import Unplain, Wired, Wires

if TYPE_CHECKING:
    from noa_async.response import Response
    from noa_async.settings import Settings

_LENGTH = 4
_ORDINARY = REDIRECTS | {401}
"""Answers that lead elsewhere, or want another token: whoever gave the order sees to them."""
_THREADS = 8


class Order(NamedTuple):
    """A product that is to lie at ``path``, of which nothing is there."""

    url: str
    token: str
    path: str
    algorithm: str
    digest: str
    size: int | None
    text_is_due: bool
    others_served: bool


class Brought(NamedTuple):
    """What lies there: all bytes, right, on stable storage."""

    total: int
    is_zip: bool


READY = "ready"
"""The first thing that a helper says."""

Answer = Brought | Failure | str | None
"""None: it is to be asked for in the ordinary way. A text is a defect: a traceback's last line."""


def framed(message: object) -> bytes:
    """A message as it is sent."""
    packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(packed).to_bytes(_LENGTH, "big") + packed


def messages(buffer: bytearray) -> list[Any]:
    """The messages that have come; what is left of ``buffer`` is the beginning of the next.

    >>> buffer = bytearray(framed("one") + framed(2)[:5])
    >>> messages(buffer), len(buffer)
    (['one'], 5)
    """
    found = []
    while len(buffer) >= _LENGTH:
        end = _LENGTH + int.from_bytes(buffer[:_LENGTH], "big")
        if len(buffer) < end:
            break
        found.append(pickle.loads(buffer[_LENGTH:end]))  # noqa: S301 (from our own process)
        del buffer[:end]
    return found


class Helper(asyncio.Protocol):
    """The helper's side: hears settings, then orders by number, and numbers that are over."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._wires: Wires | None = None
        self._pool = Threads(_THREADS)
        self._tasks: dict[int, asyncio.Task[Answer]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (however it ends)
        os._exit(0)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        for message in messages(self._heard):
            if self._wires is None:
                self._open(message)
            elif isinstance(message, tuple):
                self._begin(message[0], Order(*message[1:]))
            elif message in self._tasks:
                self._tasks[message].cancel()

    def _open(self, settings: Settings) -> None:
        self._timeouts = settings.timeouts
        self._wires = Wires(tls_context(settings), settings.timeouts)
        self._transport.write(framed(READY))

    def _begin(self, number: int, order: Order) -> None:
        task = asyncio.create_task(self._carry_out(order))
        self._tasks[number] = task
        task.add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, task: asyncio.Task[Answer]) -> None:
        del self._tasks[number]
        # One at a time: the other process is at the first while this one is at the second.
        answer = None if task.cancelled() else task.result()
        # A plain tuple is packed in half the time.
        told = tuple(answer) if isinstance(answer, Brought) else answer
        self._transport.write(framed((number, told)))

    async def _carry_out(self, order: Order) -> Answer:
        try:
            return await self._bring(order)
        except Exception as error:  # noqa: BLE001 (raised where the order came from)
            return as_sent(error)

    async def _bring(self, order: Order) -> Brought | None:
        assert self._wires is not None
        headers = range_headers(PartState()) | {"Authorization": f"Bearer {order.token}"}
        asked = await self._wires.ask(order.url, headers)
        answer = await self._made_sense_of(asked, order) if isinstance(asked, Unplain) else asked
        if answer is None:
            return None
        try:
            return await self._receive(order, answer)
        finally:
            answer.drop()

    async def _made_sense_of(self, answer: Unplain, order: Order) -> Response | None:
        from noa_async.transport import read_on  # noqa: PLC0415 (few need it, and it is large)

        try:
            return await read_on(answer, order.url, self._timeouts)
        except OSError:
            return None

    async def _receive(self, order: Order, answer: Response) -> Brought | None:
        if answer.status in _ORDINARY:
            return None
        _, decision = await read_head(
            answer,
            PartState(),
            size=order.size,
            text_is_due=order.text_is_due,
            others_served=order.others_served,
        )
        if isinstance(decision, Refuse):
            raise decision.error
        if not isinstance(decision, Restart) or (decision.total or 0) > SMALL:
            return None
        try:
            whole = answer.whole if isinstance(answer, Wired) else None
            body = whole or memoryview(await answer.read(SMALL))
        except NoaError as error:
            raise TransferInterrupted(error.message) from error
        brought = await self._keep(order, body)
        if isinstance(answer, Wired):
            answer.forget()
        return brought

    async def _keep(self, order: Order, body: memoryview) -> Brought | None:
        part = PartFile(Path(order.path), order.algorithm)
        part.look_at([body])
        async with Sink(part, self._pool) as sink:
            try:
                await sink.run(_kept, part, body, order.digest, brief=True)
            except WrongDigest:
                return None
        return Brought(len(body), part.is_zip)


def _kept(part: PartFile, body: memoryview, digest: str) -> None:
    part.restart(Validator(), len(body), None)
    part.append([body])
    part.hand_over(digest, _nothing)


def _nothing() -> None:
    pass


def main() -> None:
    """Serve the process at the other end of standard input, until that is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a signal to all is for the other to heed
    run_alone(_serve(socket.socket(fileno=0)), sys.argv[1])


async def _serve(line: socket.socket) -> None:
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.create_connection(Helper, sock=line)
    await loop.create_future()
