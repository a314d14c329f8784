"""The fast path over real sockets: bodies pass aiohttp by, on both loops, with TLS and without.

``test_this_aiohttp_lends_its_connections`` fails where a newer aiohttp is different inside; the
program then goes without the fast path.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time

import pytest
from aiohttp.connector import Connection
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from noa_async import lending, takeover
from noa_async.errors import ServiceUnreachable
from noa_async.takeover import BLOCK, SUSPECT, Body, BodyCutError, Line
from noa_async.transport import Transport
from tests.takeover.origin import CONTENT, LONG, gather, until

# The whole way.


async def test_this_aiohttp_lends_its_connections(origin, client):
    origin.give("/x", CONTENT)
    async with client.request("GET", f"{origin.url}/x") as response:
        _, line = lending.lent(response._raw)
        assert line is not None, "This aiohttp is different inside: see noa_async/lending.py."
        assert sum(map(len, line.begun)) + line.left == len(CONTENT)


async def test_a_body_passes_aiohttp_by_and_the_connection_is_used_again(origin, client, bodies):
    origin.give("/x", CONTENT)
    origin.give("/small", b"a page")
    for _ in range(3):
        assert await gather(client, f"{origin.url}/x") == (CONTENT, None)
        assert await gather(client, f"{origin.url}/small") == (b"a page", None)
    assert len(bodies) == 3
    assert origin.connections == 1


async def test_a_range_passes_by_too(origin, either, bodies):
    async def part(writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-900099/2000000\r\n"
        writer.write(f"{head}Content-Length: 900000\r\n\r\n".encode() + CONTENT[:900_000])

    origin.answers["/x"] = part
    assert await gather(either, f"{origin.url}/x") == (CONTENT[:900_000], None)
    assert len(bodies) == 1


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 1, 70_000])
async def test_bodies_of_all_sizes(origin, either, size):
    origin.give("/x", CONTENT[:size])
    for _ in range(2):
        assert await gather(either, f"{origin.url}/x") == (CONTENT[:size], None)
    assert origin.connections == 1


async def test_what_aiohttp_has_read_before_is_not_lost(origin, client, bodies):
    """Until its stream is full, it goes on reading while the caller does something else."""
    origin.give("/x", CONTENT)
    async with client.request("GET", f"{origin.url}/x") as response:
        await until(lambda: response._raw.connection.protocol._reading_paused)
        body = b"".join([bytes(each) async for some in response.batches(BLOCK) for each in some])
    assert body == CONTENT


async def test_a_body_that_is_there_already_is_right(origin, client):
    origin.give("/x", CONTENT[:200_000])
    async with client.request("GET", f"{origin.url}/x") as response:
        await until(response._raw.content.is_eof)
        body = b"".join([bytes(each) async for some in response.batches(BLOCK) for each in some])
    assert body == CONTENT[:200_000]
    assert (await gather(client, f"{origin.url}/x"))[1] is None
    assert origin.connections == 1


async def test_many_at_once(origin, either):
    origin.give("/x", CONTENT)
    found = await asyncio.gather(*(gather(either, f"{origin.url}/x") for _ in range(6)))
    assert found == [(CONTENT, None)] * 6


# Breaks.


def kept(arrived: int) -> int:
    return arrived - min(SUSPECT, (arrived + 1) // 2)


@pytest.mark.parametrize("arrived", [0, 30_000, 1_000_000, BLOCK + 100, 3 * BLOCK + 5])
async def test_a_cut_body_ends_in_what_is_beyond_suspicion(origin, either, arrived):
    origin.cut("/x", CONTENT[:arrived])
    body, error = await gather(either, f"{origin.url}/x")
    assert isinstance(error, ServiceUnreachable)
    assert "closed the connection early" in str(error)
    assert body == CONTENT[: kept(arrived)]


async def test_a_reset_is_a_cut(origin, either):
    origin.cut("/x", CONTENT, reset=True)
    body, error = await gather(either, f"{origin.url}/x")
    assert isinstance(error, ServiceUnreachable)
    assert CONTENT.startswith(body)
    origin.give("/x", CONTENT)
    assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert origin.connections == 2


async def test_silence_is_a_cut(origin, settings):
    origin.give("/x", CONTENT, length=len(CONTENT) + 100_000)
    async with Transport(settings.with_values({"stall_timeout": 0.2})) as client:
        body, error = await gather(client, f"{origin.url}/x")
        assert "no byte came" in str(error)
        assert body == CONTENT[:-SUSPECT]
        await asyncio.wait_for(origin.ended.wait(), 10)


async def test_a_slow_reader_is_no_silence(origin, settings):
    origin.give("/x", CONTENT)
    async with Transport(settings.with_values({"stall_timeout": 0.05})) as client:
        body = bytearray()
        async with client.request("GET", f"{origin.url}/x") as response:
            async for pieces in response.batches(BLOCK):
                await asyncio.sleep(0.1)
                for piece in pieces:
                    body += piece
    assert body == CONTENT


async def test_a_slow_line_is_given_in_parts(origin, either, monkeypatch):
    monkeypatch.setattr("noa_async.response.LONGEST_HELD", 0.01)
    more = asyncio.Event()

    async def halting(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + CONTENT[:100_000])
        await more.wait()
        writer.write(CONTENT[100_000:200_000])

    origin.answers["/x"] = halting
    body = bytearray()
    async with either.request("GET", f"{origin.url}/x") as response:
        async for pieces in response.batches(BLOCK):
            for piece in pieces:
                body += piece
            if len(body) == 100_000 - SUSPECT:
                more.set()
    assert body == CONTENT[:200_000]


# Behind the body's end.


async def test_what_comes_with_the_last_byte_costs_the_connection(origin, either):
    origin.give("/x", CONTENT + b"HTTP/1.1 200 OK\r\n", length=len(CONTENT))
    origin.give("/y", b"right")
    assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert await gather(either, f"{origin.url}/y") == (b"right", None)
    assert origin.connections == 2


async def test_what_comes_later_costs_the_connection(origin, either):
    later = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode())
        writer.write(CONTENT)
        await later.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")

    origin.answers["/x"] = answer
    origin.give("/y", b"right")
    assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    later.set()
    await asyncio.wait_for(origin.ended.wait(), 10)
    assert await gather(either, f"{origin.url}/y") == (b"right", None)
    assert origin.connections == 2


async def test_a_connection_that_is_to_be_closed_is_not_used_again(origin, either):
    origin.give("/x", CONTENT, more="Connection: close\r\n")
    for _ in range(2):
        assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert origin.connections == 2


# Leaving, and holding.


async def test_reading_stops_while_nobody_takes_the_bytes(origin, either, bodies):
    origin.give("/x", bytes(LONG))
    arrived = 0
    async with either.request("GET", f"{origin.url}/x") as response:
        async for pieces in response.batches(BLOCK):
            if arrived < LONG - 8 * BLOCK:
                await until(lambda: bodies[0]._paused)
            arrived += sum(map(len, pieces))
            assert bodies[0]._left + arrived + takeover.BLOCKS * BLOCK >= LONG
    assert arrived == LONG


async def test_a_cancelled_reader_ends_the_connection(origin, either, bodies):
    origin.give("/x", bytes(LONG))
    task = asyncio.create_task(gather(either, f"{origin.url}/x"))
    await until(lambda: bodies and bodies[0]._ours)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(origin.ended.wait(), 10)
    origin.give("/x", CONTENT)
    assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert origin.connections == 2


async def test_a_reader_that_leaves_ends_the_connection(origin, either):
    origin.give("/x", bytes(LONG))
    async with either.request("GET", f"{origin.url}/x") as response:
        async with contextlib.aclosing(response.batches(BLOCK)) as lists:
            await anext(lists)
    await asyncio.wait_for(origin.ended.wait(), 10)


# Bodies for the stream.


async def chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n")


async def until_the_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("answer", [chunked, until_the_end])
async def test_a_body_of_unknown_length_is_a_stream(origin, either, bodies, answer):
    origin.answers["/x"] = answer
    assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert not bodies


async def test_small_batches_come_by_the_stream(origin, client, bodies):
    """So a low rate flows evenly."""
    origin.give("/x", CONTENT)
    assert await gather(client, f"{origin.url}/x", 100_000) == (CONTENT, None)
    assert not bodies


async def test_the_environment_turns_it_off(origin, settings, bodies, monkeypatch):
    monkeypatch.setenv("NOA_FASTPATH", "0")
    origin.give("/x", CONTENT)
    async with Transport(settings) as client:
        assert await gather(client, f"{origin.url}/x") == (CONTENT, None)
    assert not bodies


async def test_small_batches_are_small(origin, either):
    origin.give("/x", CONTENT)
    async with either.request("GET", f"{origin.url}/x") as response:
        sizes = [sum(map(len, pieces)) async for pieces in response.batches(25_000)]
    assert sum(sizes) == len(CONTENT)
    assert max(sizes) < 2 * 25_000


@pytest.mark.parametrize("missing", ["_parser", "_reading_paused", "transport"])
async def test_a_different_aiohttp_is_a_stream(origin, client, bodies, monkeypatch, missing):
    real = Connection.protocol.fget

    class Different:
        def __init__(self, protocol: object) -> None:
            self.protocol = protocol

        def __getattr__(self, name: str) -> object:
            if name == missing:
                raise AttributeError(name)
            return getattr(self.protocol, name)

    def protocol(connection: Connection) -> object:
        return Different(real(connection))

    origin.give("/x", CONTENT)
    async with client.request("GET", f"{origin.url}/x") as response:
        await until(lambda: response._raw.connection.protocol._reading_paused)
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "protocol", property(protocol))
            if missing == "transport":
                patch.delattr(Connection, "transport")
            parts = [bytes(each) async for some in response.batches(BLOCK) for each in some]
    assert b"".join(parts) == CONTENT
    assert not bodies


async def test_a_stream_without_its_end_is_not_lent(origin, client, bodies, monkeypatch):
    """Nothing of aiohttp's is changed where one of its names is missing."""
    origin.give("/x", CONTENT)
    async with client.request("GET", f"{origin.url}/x") as response:
        await until(lambda: response._raw.connection.protocol._reading_paused)
        content = response._raw.content
        with monkeypatch.context() as patch:
            patch.setattr(response._raw, "content", WithoutEnd(content))
            parts = [bytes(each) async for some in response.batches(BLOCK) for each in some]
    assert b"".join(parts) == CONTENT
    assert not bodies


class WithoutEnd:
    """A stream reader of an aiohttp that has no ``feed_eof``."""

    def __init__(self, content: object) -> None:
        self._content = content

    def __getattr__(self, name: str) -> object:
        if name == "feed_eof":
            raise AttributeError(name)
        return getattr(self._content, name)


async def test_a_connection_that_is_closing_is_not_lent(origin, client, bodies):
    """Its owner alone hears of the end: a body would wait for that as long as for silence."""

    async def halting(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + CONTENT[:100_000])
        await writer.drain()
        await asyncio.Event().wait()

    origin.answers["/x"] = halting
    async with client.request("GET", f"{origin.url}/x") as response:
        response._raw.connection.transport.abort()
        with pytest.raises(ServiceUnreachable):
            async with asyncio.timeout(5):
                async for _ in response.batches(BLOCK):
                    pass
    assert not bodies


@pytest.mark.parametrize("path", ["fast", "stream"])
async def test_a_process_that_stood_still_is_no_silence(origin, settings, monkeypatch, path):
    """As after Ctrl-Z and fg: the time went by, and the bytes are there."""
    monkeypatch.setenv("NOA_FASTPATH", "1" if path == "fast" else "0")
    begun, more = asyncio.Event(), threading.Event()
    half = len(CONTENT) // 2

    async def halting(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode())
        writer.write(CONTENT[:half])
        await writer.drain()
        begun.set()
        await asyncio.to_thread(more.wait)
        writer.write(CONTENT[half:])

    origin.answers["/x"] = halting
    async with Transport(settings.with_values({"stall_timeout": 0.4})) as client:
        reading = asyncio.create_task(gather(client, f"{origin.url}/x"))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.1, stand_still, more)
        assert await reading == (CONTENT, None)


def stand_still(more: threading.Event) -> None:
    more.set()
    time.sleep(0.8)  # longer than silence may last; it is the loop itself that must not run


async def test_a_body_that_ended_keeps_no_blocks(origin, client, bodies):
    """Loops remember a protocol's methods for as long as its connection is idle."""
    origin.give("/x", CONTENT)
    await gather(client, f"{origin.url}/x")
    [body] = bodies
    assert body._block is None
    assert not body._free
    assert not body._full


# The blocks, without a network.


async def test_nothing_is_given_out_behind_a_byte_that_found_no_block() -> None:
    pipe = Pipe(b"", [1])
    line = Line(pipe, asyncio.Protocol(), [], 10 * BLOCK, lambda: None)  # type: ignore[arg-type]
    body = Body(line, stall=5, hold=5)
    pieces = body.pieces()
    reading = asyncio.create_task(anext(pieces))
    await asyncio.sleep(0)
    for number in range(takeover.BLOCKS):
        room = body.get_buffer(-1)
        room[:BLOCK] = bytes([number]) * BLOCK
        body.buffer_updated(BLOCK)
    assert not pipe.reading
    body.buffer_updated(len(body.get_buffer(-1)))  # a transport that reads on all the same
    got = [bytes(view[:1]) for view in await reading]
    with pytest.raises(BodyCutError):
        async for views in pieces:
            got += [bytes(view[:1]) for view in views if view]
            room = body.get_buffer(-1)
            room[: len(room)] = b"x" * len(room)
            body.buffer_updated(len(room))
    assert got == [b"\x00", b"\x01", b"\x02"]


class Pipe:
    """In place of a transport: bytes go to the protocol in portions, while it reads."""

    def __init__(self, content: bytes, portions: list[int]) -> None:
        self.content = content
        self.portions = portions
        self.protocol: object = None
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.reading = False

    async def flow(self, body: Body) -> None:
        turn = 0
        while True:
            await asyncio.sleep(0)
            if not self.reading or self.protocol is not body:
                continue
            if not self.content:
                return body.eof_received()
            room = body.get_buffer(-1)
            amount = min(len(room), len(self.content), self.portions[turn % len(self.portions)])
            room[:amount] = self.content[:amount]
            self.content = self.content[amount:]
            body.buffer_updated(amount)
            turn += 1


async def through_blocks(
    content: bytes, begun: int, missing: int, portions: list[int], waits: list[int]
) -> tuple[bytes, bool]:
    """What a body gives, read as late as is allowed: behind the piece after; whether it was cut."""
    pipe = Pipe(content[begun:], portions)
    left = len(content) - begun + missing
    line = Line(pipe, asyncio.Protocol(), [content[:begun]], left, lambda: None)  # type: ignore[arg-type]
    body = Body(line, stall=5, hold=5)
    flow = asyncio.create_task(pipe.flow(body))
    got, before, cut = bytearray(), [], False
    try:
        async for views in body.pieces():
            for _ in range(waits[len(got) % len(waits)]):
                await asyncio.sleep(0)
            got += b"".join(before)
            before = views
    except BodyCutError:
        cut = True
    flow.cancel()
    return bytes(got + b"".join(before)), cut


@trying(deadline=None)
@given(
    size=st.integers(1, 3000),
    block=st.integers(20, 700),
    begun=st.integers(0, 40),
    missing=st.sampled_from([0, 0, 1, 500]),
    portions=st.lists(st.integers(1, 900), min_size=1, max_size=5),
    waits=st.lists(st.integers(0, 6), min_size=1, max_size=4),
)
def test_no_view_changes_while_it_is_good(size, block, begun, missing, portions, waits):
    content = random.Random(size).randbytes(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(takeover, "BLOCK", block)
        patch.setattr(takeover, "SUSPECT", 10)
        begun = min(begun, size, block)
        got, cut = asyncio.run(through_blocks(content, begun, missing, portions, waits))
    assert cut == bool(missing)
    assert content.startswith(got)
    held_back = size - len(got)
    assert held_back <= 10 if missing else held_back == 0
