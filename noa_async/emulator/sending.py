"""Bytes onto the socket: with back-pressure, at a rate, and with the faults of a delivery."""

import asyncio
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiohttp import web

from noa_async.emulator.content import CHUNK, Content
from noa_async.emulator.deliveries import Delivery, Ending

_FLIPPED = 16
_SENDS_PER_SECOND = 20

Bytes = bytes | memoryview


@dataclass(slots=True)
class Sender:
    """Sends one delivery and counts what left."""

    delivery: Delivery
    content: Content
    rate: float | None
    count: Callable[[int], None]
    """Told of every so many bytes sent."""

    async def send(self, request: web.BaseRequest) -> web.StreamResponse:
        """The whole answer, up to its ending."""
        delivery = self.delivery
        await asyncio.sleep(delivery.wait)
        response = web.StreamResponse(status=delivery.status, headers=delivery.headers)
        if delivery.announced is None:
            response.enable_chunked_encoding()
        else:
            response.content_length = delivery.announced
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await self._body(response)
        if delivery.injected:
            await response.write(delivery.injected)
        if delivery.ending is not Ending.CLEAN:
            await hang_up(request, reset=delivery.ending is Ending.RESET)
        return response

    async def _body(self, response: web.StreamResponse) -> None:
        press = zlib.compressobj(1, wbits=31) if self.delivery.gzip else None
        began = time.monotonic()
        sent = 0
        for piece in self._pieces():
            if isinstance(piece, float):
                await asyncio.sleep(piece)
                continue
            data: Bytes = press.compress(piece) if press else piece
            if data:
                await response.write(data)
            self.count(len(data))
            sent += len(data)
            if self.rate is not None:
                await asyncio.sleep(max(0.0, began + sent / self.rate - time.monotonic()))
        if press:
            tail = press.flush()
            await response.write(tail)
            self.count(len(tail))

    def _pieces(self) -> Iterator[Bytes | float]:
        """The body in pieces, wrong where it should be; a float is a pause in seconds."""
        delivery = self.delivery
        end = delivery.length if delivery.stop_at is None else delivery.stop_at
        flip, stall = delivery.flip_at, delivery.stall_at
        marks = {0, end}
        if flip is not None:
            marks |= {flip, flip + _FLIPPED}
        if stall is not None:
            marks.add(stall)
        edges = sorted(mark for mark in marks if mark <= end)
        for low, high in zip(edges, [*edges[1:], end], strict=True):
            if low == stall:
                yield float(delivery.stall)
            for piece in self._stretch(low, high):
                yield bytes(byte ^ 0xFF for byte in piece) if low == flip else piece

    def _stretch(self, low: int, high: int) -> Iterator[Bytes]:
        step = CHUNK
        if self.rate is not None:
            step = max(1, min(CHUNK, int(self.rate / _SENDS_PER_SECOND)))
        start = self.delivery.span.start
        return self.content.pieces(start + low, start + high, step)


async def hang_up(request: web.BaseRequest, *, reset: bool = False) -> None:
    """Close the connection: what was written arrives first, or with `reset` may be lost."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    open_socket = transport.get_extra_info("socket")
    if open_socket is not None:
        # Lingering for no time makes the kernel send RST in the place of FIN.
        open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
