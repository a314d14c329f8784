"""Bodies over real sockets: past aiohttp and by it, on both loops, with TLS and without."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from noa_async import body, wire
from noa_async.body import SUSPECT
from noa_async.errors import ServiceUnreachable
from noa_async.threads import Threads
from noa_async.transfer.sink import Sink
from noa_async.transport import Transport
from noa_async.wire import Wire
from noa_async.wires import Wired
from tests.takeover.origin import BLOCK, CONTENT, LONG, AsIs, Kept, gather, poured, until

# The whole way.


async def test_a_range_is_a_body_too(origin, either):
    async def part(writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-900099/2000000\r\n"
        writer.write(f"{head}Content-Length: 900000\r\n\r\n".encode() + CONTENT[:900_000])

    origin.answers["/x"] = part
    assert await gather(either, f"{origin.url}/x") == (CONTENT[:900_000], None)


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 1, 70_000])
async def test_bodies_of_all_sizes(origin, either, size):
    origin.give("/x", CONTENT[:size])
    for _ in range(3):
        assert await gather(either, f"{origin.url}/x") == (CONTENT[:size], None)
    assert origin.connections == 1


async def test_a_small_answer_goes_by_the_connection_of_a_large_one(origin, either):
    origin.give("/x", CONTENT)
    origin.give("/small", b"a page")
    for _ in range(2):
        assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
        assert await gather(either, f"{origin.url}/small") == (b"a page", None)
    assert origin.connections == 1


async def test_many_at_once(origin, either):
    origin.give("/x", CONTENT)
    found = await asyncio.gather(*(gather(either, f"{origin.url}/x") for _ in range(6)))
    assert found == [(CONTENT, None)] * 6


async def test_no_more_is_given_than_was_asked_for(origin, either):
    origin.give("/x", CONTENT)
    assert await gather(either, f"{origin.url}/x", 25_001) == (CONTENT, None)


async def test_a_large_body_can_be_read_on_the_loop(origin, either):
    origin.give("/x", CONTENT)
    for _ in range(2):
        async with either.request("GET", f"{origin.url}/x") as response:
            assert await response.read(len(CONTENT)) == CONTENT
    assert origin.connections == 1


async def test_a_large_body_can_be_peeked_at(origin, either):
    origin.give("/x", CONTENT)
    async with either.request("GET", f"{origin.url}/x") as response:
        assert await response.peek(1000) == CONTENT[:1000]
    await asyncio.wait_for(origin.ended.wait(), 10)


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


async def test_what_comes_before_a_cut_can_be_read(origin, either):
    """It may be a text that says why."""
    origin.cut("/x", b"Sorry")
    async with either.request("GET", f"{origin.url}/x") as response:
        assert await response.peek(100) == b"Sorry"


async def test_a_reset_is_a_cut(origin, either):
    origin.cut("/x", CONTENT, reset=True)
    body, error = await gather(either, f"{origin.url}/x")
    assert isinstance(error, ServiceUnreachable)
    assert CONTENT.startswith(body)
    origin.give("/x", CONTENT)
    assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert origin.connections == 2


@pytest.mark.parametrize("way", ["poured", "read"])
async def test_silence_is_a_cut(origin, settings, way):
    origin.give("/x", CONTENT, length=len(CONTENT) + 100_000)
    async with Transport(settings.with_values({"stall_timeout": 0.3})) as client:
        async with AsIs(client).request("GET", f"{origin.url}/x") as response:
            if way == "poured":
                body, error = await poured(response)
                assert "no byte came" in str(error)
                assert body == CONTENT[:-SUSPECT]
            else:
                with pytest.raises(ServiceUnreachable, match="no byte came"):
                    await response.read(2 * len(CONTENT))
        await asyncio.wait_for(origin.ended.wait(), 10)


class Slow(Kept):
    """Takes its time: it is the slowness that is tested."""

    def append(self, pieces):
        time.sleep(0.02)
        super().append(pieces)


@pytest.mark.parametrize("way", ["wire", "aiohttp"])
async def test_a_slow_reader_is_no_silence(origin, settings, way):
    origin.give("/x", CONTENT)
    async with Transport(settings.with_values({"stall_timeout": 0.05})) as client:
        asking = AsIs(client) if way == "wire" else client
        async with asking.request("GET", f"{origin.url}/x") as response:
            assert await poured(response, into=Slow()) == (CONTENT, None)


async def test_a_slow_line_is_given_in_parts(origin, either, monkeypatch):
    for module in ("response", "wires"):
        monkeypatch.setattr(f"noa_async.{module}.LONGEST_HELD", 0.01)
    more = asyncio.Event()

    async def halting(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + CONTENT[:100_000])
        await writer.drain()
        await asyncio.sleep(0.05)  # longer than bytes are held: it is the delay that is tested
        writer.write(CONTENT[100_000:101_000])
        await more.wait()
        writer.write(CONTENT[101_000:200_000])

    origin.answers["/x"] = halting

    class Telling(Kept):
        def append(self, pieces):
            super().append(pieces)
            if len(self.body) >= 80_000:
                loop.call_soon_threadsafe(more.set)

    loop = asyncio.get_running_loop()
    async with either.request("GET", f"{origin.url}/x") as response:
        assert await poured(response, into=Telling()) == (CONTENT[:200_000], None)


# Behind the body's end.


async def test_what_comes_with_the_last_byte_costs_the_connection(origin, client):
    origin.give("/x", CONTENT + b"HTTP/1.1 200 OK\r\n", length=len(CONTENT))
    origin.give("/y", b"right")
    assert await gather(AsIs(client), f"{origin.url}/x") == (CONTENT, None)
    assert await gather(AsIs(client), f"{origin.url}/y") == (b"right", None)
    assert origin.connections == 2


async def test_what_comes_later_costs_the_connection(origin, client):
    later = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode())
        writer.write(CONTENT)
        await later.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")

    origin.answers["/x"] = answer
    origin.give("/y", b"right")
    assert await gather(AsIs(client), f"{origin.url}/x") == (CONTENT, None)
    later.set()
    await asyncio.wait_for(origin.ended.wait(), 10)
    assert await gather(AsIs(client), f"{origin.url}/y") == (b"right", None)
    assert origin.connections == 2


async def test_a_connection_that_is_to_be_closed_is_not_used_again(origin, either):
    origin.give("/x", CONTENT, more="Connection: close\r\n")
    for _ in range(2):
        assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert origin.connections == 2


# Leaving.


class Told(Kept):
    """Says when something has come."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()

    def append(self, pieces):
        super().append(pieces)
        self.came.set()


async def test_a_cancelled_reader_ends_the_connection(origin, either):
    origin.give("/x", bytes(LONG))
    into = Told()

    async def read() -> None:
        async with either.request("GET", f"{origin.url}/x") as response:
            await poured(response, into=into)

    task = asyncio.create_task(read())
    await until(into.came.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(origin.ended.wait(), 10)
    assert len(into.body) < LONG
    origin.give("/x", CONTENT)
    assert await gather(either, f"{origin.url}/x") == (CONTENT, None)
    assert origin.connections == 2


async def test_a_reader_that_leaves_ends_the_connection(origin, either):
    origin.give("/x", CONTENT)
    with Threads(1) as pool:
        async with either.request("GET", f"{origin.url}/x") as response, Sink(Kept(), pool) as sink:
            assert 0 < await response.pour(sink, BLOCK) <= BLOCK
    await asyncio.wait_for(origin.ended.wait(), 10)


# Bodies for aiohttp.


async def chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n")


async def until_the_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("answer", [chunked, until_the_end])
async def test_a_body_of_unknown_length_is_a_stream(origin, either, answer):
    origin.answers["/x"] = answer
    async with either.request("GET", f"{origin.url}/x") as response:
        assert not isinstance(response, Wired)
        assert await poured(response) == (CONTENT, None)


async def test_a_stream_that_is_left_ends_the_connection(origin, either):
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT)

    origin.answers["/x"] = endless
    async with either.request("GET", f"{origin.url}/x") as response:
        assert await response.peek(10) == CONTENT[:10]
    await asyncio.wait_for(origin.ended.wait(), 10)


@pytest.mark.parametrize(("value", "past"), [("0", False), ("1", True)])
async def test_the_environment_turns_it_off(origin, settings, monkeypatch, value, past):
    monkeypatch.setenv("NOA_FASTPATH", value)
    origin.give("/x", CONTENT)
    async with Transport(settings) as client:
        async with AsIs(client).request("GET", f"{origin.url}/x") as response:
            assert isinstance(response, Wired) == past
            assert await poured(response) == (CONTENT, None)


@pytest.mark.parametrize("path", ["wire", "stream"])
async def test_a_process_that_stood_still_is_no_silence(origin, settings, path):
    """As after Ctrl-Z and fg: the time went by, and the bytes are there."""
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
        asking = AsIs(client) if path == "wire" else client

        async def read() -> bytes:
            async with asking.request("GET", f"{origin.url}/x") as response:
                return await response.read(len(CONTENT))

        reading = asyncio.create_task(read())
        await begun.wait()
        asyncio.get_running_loop().call_later(0.1, stand_still, more)
        assert await reading == CONTENT


def stand_still(more: threading.Event) -> None:
    more.set()
    time.sleep(0.8)  # longer than silence may last; it is the loop itself that must not run


# What a thread draws.


@trying(deadline=None, max_examples=150)
@given(
    size=st.integers(1, 3000),
    missing=st.sampled_from([0, 0, 1, 500]),
    portions=st.lists(st.integers(1, 900), min_size=1, max_size=5),
    most=st.lists(st.integers(1, 900), min_size=1, max_size=4),
)
def test_what_is_drawn_is_what_came_in_any_portions(size, missing, portions, most):
    content = random.Random(size).randbytes(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_ROOM", 120)
        patch.setattr(body, "SUSPECT", 10)
        into, counts = asyncio.run(drawn(content, missing, portions, most))
    assert content.startswith(into.body)
    assert all(count <= limit for count, limit in counts)
    assert sum(count for count, _ in counts) == len(into.body)
    held_back = size - len(into.body)
    assert held_back == (min(10, (size + 1) // 2) if missing else 0)


async def drawn(
    content: bytes, missing: int, portions: list[int], most: list[int]
) -> tuple[Kept, list[tuple[int, int]]]:
    """What a wire gives of a body that comes in portions and may end early."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    one, into = Wire(ours), Kept()

    def send() -> None:
        with theirs:
            theirs.recv(3)
            theirs.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            at = turn = 0
            while at < len(content):
                step = portions[turn % len(portions)]
                theirs.sendall(content[at : at + step])
                at, turn = at + step, turn + 1

    size = len(content) + missing
    sending = threading.Thread(target=send)
    sending.start()
    counts: list[tuple[int, int]] = []
    try:
        await one.ask(b"GET", 10)
        if (whole := one.whole()) is not None:
            into.append([whole])
            return into, [(size, size)]
        rest = one.body()
        while not (rest.ended or (rest.lost and counts and not counts[-1][0])):
            limit = most[len(counts) % len(most)]
            counts.append((await asyncio.to_thread(rest.draw, into.append, limit, 1.0, 5.0), limit))
    finally:
        await asyncio.to_thread(sending.join)
        one.close()
    return into, counts
