"""Asking past aiohttp: what comes whole, what is left to aiohttp, what costs a connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohappyeyeballs import start_connection
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from noa_async import wires
from noa_async.errors import ServiceUnreachable
from noa_async.plain import ChunkedDecoder, parse_head, request_bytes
from noa_async.settings import Settings
from noa_async.transport import Transport
from noa_async.wire import _MOST_HEAD, _ROOM, Wire
from noa_async.wires import Wired
from tests.takeover.origin import CONTENT, Answer, AsIs, Asking, Kept, Origin, gather, poured, until

AS_IS = {"Accept-Encoding": "identity"}


@pytest.fixture
def asking(client: Transport) -> Asking:
    return AsIs(client)


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be asked by aiohttp."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("aiohttp was asked")

    monkeypatch.setattr(aiohttp.ClientSession, "request", refuse)


# Plain answers.


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize("size", [0, 1, 60_000, _ROOM - 200, _ROOM, _ROOM + 1, 3_000_000])
async def test_a_plain_answer_passes_aiohttp_by(origin: Origin, asking: Asking, size: int) -> None:
    origin.give("/x", CONTENT[:size])
    for _ in range(3):
        assert await gather(asking, f"{origin.url}/x") == (CONTENT[:size], None)
    assert origin.connections == 1


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize("origin", ["https"], indirect=True)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_next_connection_shakes_hands_by_the_last_ones_session(
    origin: Origin, asking: Asking, version: ssl.TLSVersion
) -> None:
    reused = []

    async def answer(writer: asyncio.StreamWriter) -> None:
        reused.append(writer.get_extra_info("ssl_object").session_reused)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nright")

    assert origin.tls is not None
    origin.tls.maximum_version = version
    origin.answers["/x"] = answer
    for _ in range(4):
        assert await gather(asking, f"{origin.url}/x") == (b"right", None)
    assert reused == [False, True, True, True]


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize("origin", ["https"], indirect=True)
async def test_a_session_that_was_not_borne_is_dropped(
    origin: Origin, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the handshake is made once more, without it: that is no failure of the origin."""
    secured, offered = wires._secured, []

    async def once_not(
        connected: socket.socket, tls: ssl.SSLContext, host: str, session: ssl.SSLSession | None
    ) -> ssl.SSLSocket:
        offered.append(session is not None)
        if len(offered) == 2:
            connected.close()
            raise ssl.SSLError
        return await secured(connected, tls, host, session)

    monkeypatch.setattr(wires, "_secured", once_not)
    origin.give("/x", b"right", more="Connection: close\r\n")
    for _ in range(3):
        assert await gather(asking, f"{origin.url}/x") == (b"right", None)
    assert offered == [False, True, False, True]


@pytest.mark.usefixtures("no_client")
async def test_status_and_fields_are_there(origin: Origin, asking: Asking) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 429 Too Many Requests\r\nRETRY-after:  7 \r\nContent-Length: 5\r\n\r\n"
        writer.write(f"{head}quota".encode())

    origin.answers["/x"] = answer
    for _ in range(2):
        async with asking.request("GET", f"{origin.url}/x") as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "7")
            assert await response.peek(3) == b"quo"
    assert origin.connections == 1


@pytest.mark.usefixtures("no_client")
async def test_one_body_does_not_lie_where_the_last_is_still_held(
    origin: Origin, asking: Asking
) -> None:
    held = []
    for letter in b"abc":
        origin.give("/x", bytes([letter]) * 1000)
        async with asking.request("GET", f"{origin.url}/x") as response:
            assert isinstance(response, Wired)
            held += [piece async for piece in response.pieces(1000)]
    assert [bytes(piece) for piece in held] == [b"a" * 1000, b"b" * 1000, b"c" * 1000]
    assert origin.connections == 1


# Answers whose head does not tell the body's length.


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + CHUNKED)
    await writer.drain()
    writer.write(b"2 ;x=y\r\nfo\r\n2\r\nur\r\n0\r\nX-Sum: 5\r\n\r\n")


async def continued(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
    await writer.drain()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour")


async def old(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfour")
    await writer.drain()
    writer.close()


async def until_the_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nfour")
    await writer.drain()
    writer.close()


def counted(origin: Origin, answer: Answer) -> list[int]:
    """Have ``origin`` answer so; the list holds the number of the connection of each request."""
    asked: list[int] = []

    async def count(writer: asyncio.StreamWriter) -> None:
        asked.append(origin.connections)
        await answer(writer)

    origin.answers["/x"] = count
    return asked


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize(
    ("answer", "connections"),
    [(chunked, 1), (continued, 1), (old, 3), (until_the_end, 3)],
)
async def test_a_well_formed_answer_is_asked_for_once(
    origin: Origin, asking: Asking, answer: Answer, connections: int
) -> None:
    asked = counted(origin, answer)
    for _ in range(3):
        assert await gather(asking, f"{origin.url}/x") == (b"four", None)
    assert len(asked) == 3
    assert origin.connections == connections


REFUSED = b"<html>" + b"Too many" * 40 + b"</html>"


def in_chunks(body: bytes) -> bytes:
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b""
    return CHUNKED + chunk + b"0\r\n\r\n"


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize(
    ("status", "rest", "connections"),
    [
        ("HTTP/1.1 429 Too Many Requests", in_chunks(REFUSED), 1),
        ("HTTP/1.1 503 Service Unavailable", in_chunks(REFUSED), 1),
        ("HTTP/1.1 401 Unauthorized", in_chunks(b""), 1),
        ("HTTP/1.1 302 Found", in_chunks(REFUSED), 1),
        ("HTTP/1.1 204 No Content", b"\r\n", 1),
        ("HTTP/1.1 503 Service Unavailable", b"Connection: close\r\n\r\n" + REFUSED, 3),
        ("HTTP/1.0 503 Service Unavailable", b"Connection: close\r\n\r\n" + REFUSED, 3),
    ],
)
async def test_a_refusal_is_asked_for_once_and_the_way_past_aiohttp_stays(
    origin: Origin, asking: Asking, status: str, rest: bytes, connections: int
) -> None:
    async def refuse(writer: asyncio.StreamWriter) -> None:
        writer.write(f"{status}\r\nRetry-After: 7\r\n".encode() + rest)
        await writer.drain()
        if b"close" in rest:
            writer.close()

    asked = counted(origin, refuse)
    for _ in range(3):
        async with asking.request("GET", f"{origin.url}/x") as response:
            assert response.status == int(status.split()[1])
            assert response.headers["retry-after"] == "7"
            said = await response.peek(4096)
            assert said == (REFUSED if REFUSED in rest else b"")
    assert len(asked) == 3
    assert origin.connections == connections
    origin.give("/y", b"right")
    async with asking.request("GET", f"{origin.url}/y") as response:
        assert isinstance(response, Wired)


@pytest.mark.usefixtures("no_client")
async def test_a_short_page_in_chunks_need_not_be_read(origin: Origin, asking: Asking) -> None:
    async def lead_on(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 303 See Other\r\n" + in_chunks(REFUSED))

    origin.answers["/x"] = lead_on
    for _ in range(3):
        async with asking.request("GET", f"{origin.url}/x") as response:
            assert response.status == 303
    assert origin.connections == 1


@pytest.mark.usefixtures("no_client")
async def test_what_comes_behind_the_last_chunk_costs_the_connection(
    origin: Origin, asking: Asking
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + in_chunks(b"right") + b"HTTP/1.1 200 OK\r\n")

    origin.answers["/x"] = answer
    for _ in range(2):
        assert await gather(asking, f"{origin.url}/x") == (b"right", None)
    assert origin.connections == 2


async def test_a_long_page_in_chunks_that_is_not_read_costs_the_connection(
    origin: Origin, asking: Asking
) -> None:
    async def go_on(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oh\r\n" + CHUNKED + b"fff\r\nSorry")

    origin.answers["/x"] = go_on
    async with asking.request("GET", f"{origin.url}/x") as response:
        assert await response.peek(5) == b"Sorry"
    await asyncio.wait_for(origin.ended.wait(), 10)


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"])
async def test_a_product_may_come_in_chunks(origin: Origin, asking: Asking, end: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 206 Partial Content\r\n" + CHUNKED)
        for at in range(0, len(CONTENT), 70_001):
            piece = CONTENT[at : at + 70_001]
            writer.write(f"{len(piece):X}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        writer.write(end)

    origin.answers["/x"] = answer
    for _ in range(2):
        assert await gather(asking, f"{origin.url}/x") == (CONTENT, None)
    assert origin.connections == 1


@pytest.mark.parametrize("arrived", [0, 40, 30_000, 300_000])
@pytest.mark.parametrize("left", [b"\r\n", b"\r\n5\r\n", b""])
async def test_a_cut_between_chunks_or_in_one_is_a_cut(
    origin: Origin, asking: Asking, arrived: int, left: bytes
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + CHUNKED)
        if arrived:
            length = arrived if left else arrived + 9
            writer.write(f"{length:x}\r\n".encode() + CONTENT[:arrived] + left)
        await writer.drain()
        writer.close()

    origin.answers["/x"] = answer
    body, error = await gather(asking, f"{origin.url}/x")
    assert "closed the connection early" in str(error)
    # What is given before the cut was met stays given: of the last piece, its end is not.
    assert len(body) <= max(0, arrived - min(16 << 10, (arrived + 1) // 2))
    assert CONTENT.startswith(body)


@pytest.mark.parametrize("origin", ["http"], indirect=True)
async def test_a_reset_is_not_the_end_of_a_body_without_length(
    origin: Origin, asking: Asking
) -> None:
    got = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT[:100_000])
        await writer.drain()
        await got.wait()
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    origin.answers["/x"] = answer
    loop = asyncio.get_running_loop()

    class Telling(Kept):
        def append(self, pieces: Sequence[bytes | memoryview]) -> None:
            super().append(pieces)
            loop.call_soon_threadsafe(got.set)

    async with asking.request("GET", f"{origin.url}/x") as response:
        _, error = await poured(response, 30_000, into=Telling())
    assert isinstance(error, ServiceUnreachable)


async def test_silence_in_a_body_in_chunks_is_a_cut(origin: Origin, settings: Settings) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"ff\r\nfour")
        await asyncio.Event().wait()

    origin.answers["/x"] = answer
    async with Transport(settings.with_values({"stall_timeout": 0.1})) as client:
        _, error = await gather(AsIs(client), f"{origin.url}/x")
    assert "no byte came" in str(error)


# What is not well-formed: aiohttp asks for it, and for all of that origin for a while.


def later(client: Transport) -> None:
    """Time goes by until an origin may be asked past aiohttp again."""
    assert client._wires is not None
    client._wires._back_off._seconds = 0.0


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 4\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Path: a\r\n b\r\nContent-Length: 4\r\n\r\n",
    ],
)
async def test_a_head_that_is_not_well_formed_but_clear_is_asked_for_once(
    origin: Origin, asking: Asking, head: bytes
) -> None:
    """It must not wait for a line end that never comes: the connection stays open."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"four")

    asked = counted(origin, answer)
    async with asyncio.timeout(10):
        for _ in range(3):
            assert await gather(asking, f"{origin.url}/x") == (b"four", None)
    assert len(asked) == 3
    assert origin.connections == 1


async def test_a_head_that_cannot_be_read_is_aiohttps_at_once(
    origin: Origin, client: Transport
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x-own, chunked\r\n\r\n")
        writer.write(b"4\r\nfour\r\n0\r\n\r\n")

    asked, asking = counted(origin, answer), AsIs(client)
    async with asyncio.timeout(10):
        for times in (2, 3, 4):  # the second by aiohttp, and from then on all
            assert await gather(asking, f"{origin.url}/x") == (b"four", None)
            assert len(asked) == times
    origin.give("/x", b"right")
    for past in (False, True):
        async with asking.request("GET", f"{origin.url}/x") as response:
            assert isinstance(response, Wired) == past
        later(client)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        (b"\r\n\r\n\r\n\r\n", True),
        (b"SSH-2.0\r\n", True),
        (b"SSH-2.0\r\n", False),
        (b"x" * (_ROOM + 10), True),
        (b"x" * (_ROOM + 10), False),
        (b"\0", False),
    ],
)
async def test_what_is_no_answer_is_unreachable_at_once(
    origin: Origin, asking: Asking, text: bytes, *, closed: bool
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        if closed:
            writer.close()

    origin.answers["/x"] = answer
    async with asyncio.timeout(10):
        with pytest.raises(ServiceUnreachable, match="No answer from localhost"):
            await gather(asking, f"{origin.url}/x")


async def test_a_head_of_two_lengths_is_no_answer(origin: Origin, asking: Asking) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfour")

    asked = counted(origin, answer)
    async with asyncio.timeout(10):
        with pytest.raises(ServiceUnreachable):
            await gather(asking, f"{origin.url}/x")
    assert len(asked) == 2


async def test_malformed_chunks_are_a_cut_and_then_aiohttps(
    origin: Origin, client: Transport
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"4\r\nfour\nwrong")

    origin.answers["/x"] = answer
    body, error = await gather(AsIs(client), f"{origin.url}/x")
    assert (body, str(error)) == (
        b"fo",
        f"The answer broke off: {origin.url.partition('://')[2]} sent chunks that are malformed.",
    )
    origin.give("/x", b"right")
    for past in (False, True):
        async with AsIs(client).request("GET", f"{origin.url}/x") as response:
            assert isinstance(response, Wired) == past
            assert await response.read(10) == b"right"
        later(client)


# Connections.


async def test_a_kept_connection_that_was_closed_is_made_anew(
    origin: Origin, asking: Asking
) -> None:
    async def once(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour")
        await writer.drain()
        asyncio.get_running_loop().call_later(0.01, writer.close)

    origin.answers["/x"] = once
    for _ in range(3):
        assert await gather(asking, f"{origin.url}/x") == (b"four", None)
        await asyncio.wait_for(origin.ended.wait(), 10)
        origin.ended.clear()


async def test_a_request_that_meets_a_close_is_sent_again(origin: Origin, asking: Asking) -> None:
    """The service may have closed the connection while the request was on its way."""
    origin.give("/x", b"right")
    assert await gather(asking, f"{origin.url}/x") == (b"right", None)

    async def leave(writer: asyncio.StreamWriter) -> None:
        origin.give("/x", b"again")
        writer.close()

    origin.answers["/x"] = leave
    assert await gather(asking, f"{origin.url}/x") == (b"again", None)


async def test_a_new_connection_that_is_closed_is_unreachable(
    origin: Origin, asking: Asking
) -> None:
    async def leave(writer: asyncio.StreamWriter) -> None:
        writer.close()

    origin.answers["/x"] = leave
    with pytest.raises(ServiceUnreachable, match="closed the connection"):
        await gather(asking, f"{origin.url}/x")


async def test_an_answer_that_does_not_come_is_unreachable(
    origin: Origin, settings: Settings
) -> None:
    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    origin.answers["/x"] = never
    async with Transport(settings.with_values({"answer_timeout": 0.1})) as client:
        with pytest.raises(ServiceUnreachable, match=r"no answer for 0\.1 s"):
            await gather(AsIs(client), f"{origin.url}/x")


@pytest.mark.parametrize("arrived", [0, 1000, 100_000])
async def test_silence_within_a_small_body_is_a_cut(
    origin: Origin, settings: Settings, arrived: int
) -> None:
    origin.give("/x", CONTENT[:arrived], length=200_000)
    async with Transport(settings.with_values({"stall_timeout": 0.1})) as client:
        body, error = await gather(AsIs(client), f"{origin.url}/x")
    assert "no byte came" in str(error)
    assert body == CONTENT[: arrived - min(16 << 10, (arrived + 1) // 2)]


async def test_bytes_that_nobody_asked_for_cost_the_connection(
    origin: Origin, asking: Asking
) -> None:
    more = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
        await more.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")

    origin.answers["/x"] = answer
    origin.give("/y", b"right")
    assert await gather(asking, f"{origin.url}/x") == (b"right", None)
    more.set()
    await asyncio.wait_for(origin.ended.wait(), 10)
    assert await gather(asking, f"{origin.url}/y") == (b"right", None)
    assert origin.connections == 2


async def test_an_old_connection_is_not_asked_again(
    origin: Origin, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.give("/x", b"right")
    await gather(asking, f"{origin.url}/x")
    monkeypatch.setattr(wires, "_IDLE", 0.0)
    await gather(asking, f"{origin.url}/x")
    assert origin.connections == 2


async def test_a_closed_transport_leaves_nothing_open(origin: Origin, settings: Settings) -> None:
    origin.give("/x", b"right")
    async with Transport(settings) as client:
        await gather(AsIs(client), f"{origin.url}/x")
        assert not origin.ended.is_set()
    await asyncio.wait_for(origin.ended.wait(), 10)


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize(
    ("fields", "connections"),
    [
        ("Connection: keep-alive\r\nConnection: close\r\n", 2),
        ("Connection: close\r\nConnection: keep-alive\r\n", 2),
        ("Connection: keep-alive, Close\r\n", 2),
        ("connection: x-hop ,\tclose\r\n", 2),
        ("Connection: Keep-Alive\r\nKeep-Alive: timeout=5\r\nConnection: x-hop\r\n", 1),
    ],
)
@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_a_connection_is_used_again_unless_any_field_says_close(
    origin: Origin, asking: Asking, fields: str, connections: int, size: int
) -> None:
    """The service itself leaves it open: it would answer."""
    origin.give("/x", CONTENT[:size], more=fields)
    for _ in range(2):
        assert await gather(asking, f"{origin.url}/x") == (CONTENT[:size], None)
    assert origin.connections == connections


async def test_idle_connections_are_closed_though_nobody_asks_there_again(
    origin: Origin, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "_IDLE", 0.05)
    origin.give("/x", b"right")
    await asyncio.gather(*(gather(asking, f"{origin.url}/x") for _ in range(3)))
    assert not origin.ended.is_set()
    await until(lambda: not origin.open)
    await gather(asking, f"{origin.url}/x")  # and once more, when none had been left
    assert origin.open == 1
    await until(lambda: not origin.open)


@pytest.mark.parametrize("origin", ["http"], indirect=True)
async def test_of_many_origins_few_connections_are_kept(origin: Origin, settings: Settings) -> None:
    """As where a service sends each request on to another host."""
    origin.give("/x", b"right")
    ports = [origin.url]
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(9):
            server = await asyncio.start_server(origin.serve, "localhost", 0)
            stack.callback(server.close)
            ports.append(f"http://localhost:{server.sockets[0].getsockname()[1]}")
        async with Transport(settings.with_values({"workers": 2})) as client:
            for url in ports:
                assert await gather(AsIs(client), f"{url}/x") == (b"right", None)
            await until(lambda: origin.open <= 4)
            assert origin.connections == 10
            for url in ports[-4:]:  # the last ones are there still
                assert await gather(AsIs(client), f"{url}/x") == (b"right", None)
            assert origin.connections == 10
        await until(lambda: not origin.open)


class Refused:
    """Connections that cannot be opened past aiohttp, as long as ``on``."""

    def __init__(self) -> None:
        self.on = True
        self.tried = 0

    async def __call__(self, *arguments: Any, **options: Any) -> socket.socket:
        self.tried += 1
        if self.on:
            raise ConnectionRefusedError
        return await start_connection(*arguments, **options)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Refused:
    one = Refused()
    monkeypatch.setattr(wires, "start_connection", one)
    return one


async def test_a_blip_while_many_connections_open_is_not_for_good(
    origin: Origin, client: Transport, refused: Refused
) -> None:
    origin.give("/x", b"right")
    asking, many = AsIs(client), 5
    found = await asyncio.gather(*(gather(asking, f"{origin.url}/x") for _ in range(many)))
    assert found == [(b"right", None)] * many
    assert refused.tried == many
    refused.on = False
    await gather(asking, f"{origin.url}/x")
    assert refused.tried == many
    later(client)
    for _ in range(3):
        async with asking.request("GET", f"{origin.url}/x") as response:
            assert isinstance(response, Wired)
    assert refused.tried == many + 1


async def test_after_a_while_one_request_alone_tries(
    origin: Origin, client: Transport, refused: Refused
) -> None:
    origin.give("/x", b"right")
    asking = AsIs(client)
    await gather(asking, f"{origin.url}/x")
    assert client._wires is not None
    back_off = client._wires._back_off
    back_off._since = {key: since - 61.0 for key, since in back_off._since.items()}
    await asyncio.gather(*(gather(asking, f"{origin.url}/x") for _ in range(4)))
    assert refused.tried == 2


async def test_a_service_that_is_away_is_tried_by_aiohttp_alone(
    origin: Origin, asking: Asking, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    tried = 0
    real = wires.start_connection

    async def counted(*arguments: object, **options: object) -> socket.socket:
        nonlocal tried
        tried += 1
        return await real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(wires, "start_connection", counted)
    for _ in range(3):
        with pytest.raises(ServiceUnreachable):
            await gather(asking, f"http://localhost:{unused_tcp_port}/x")
    assert tried == 1


# Heads and requests, without a network.

FIELDS = "\r\nContent-Length: 5"


CODED = "\r\nTransfer-Encoding: chunked"


@pytest.mark.parametrize(
    "text",
    [
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 2000 OK" + FIELDS,
        "HTTP/1.1 099 OK" + FIELDS,
        "HTTP/1.2 200 OK" + FIELDS,
        "HTTP/2 200 OK" + FIELDS,
        "HTTP/1.1 200 OK" + FIELDS + "\r\nContent-Length: 6",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        "HTTP/1.1 200 OK\r\nContent-Length: -5",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
        "HTTP/1.1 200 OK\r\nContent-Length:",
        "HTTP/1.1 200 OK\r\nContent-Length: ٥",
        "HTTP/1.1 200 OK" + FIELDS + "\r\nX: a\nContent-Length: 6",
        "",
    ],
)
def test_a_head_that_is_not_well_formed_is_none(text: str) -> None:
    assert parse_head(text) is None


@pytest.mark.parametrize(
    ("text", "length", "chunked", "reusable"),
    [
        ("HTTP/1.1 200" + FIELDS, 5, False, True),
        ("HTTP/1.1 200 OK" + FIELDS + FIELDS, 5, False, True),  # as gateways double it
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5", 5, False, True),
        ("HTTP/1.1 200 OK" + FIELDS + "\r\nconnection: Keep-Alive", 5, False, True),
        ("HTTP/1.1 200 OK" + FIELDS + "\r\nConnection: close", 5, False, False),
        ("HTTP/1.1 200 OK" + FIELDS + "\r\nConnection: a,close", 5, False, False),
        ("HTTP/1.1 200 OK" + FIELDS + "\r\nConnection: closed", 5, False, True),
        ("HTTP/1.0 200 OK" + FIELDS, 5, False, False),
        ("HTTP/1.0 200 OK" + FIELDS + "\r\nConnection: Keep-Alive", 5, False, True),
        ("HTTP/1.1 200 OK", None, False, False),
        ("HTTP/1.1 200 OK" + CODED, None, True, True),
        ("HTTP/1.1 503 Oh\r\nTransfer-Encoding: Chunked", None, True, True),
        ("HTTP/1.1 503 Oh" + CODED + "\r\nConnection: close", None, True, False),
        ("HTTP/1.1 204 No Content", 0, False, True),
        ("HTTP/1.1 204 No Content" + FIELDS, 0, False, True),
        ("HTTP/1.1 304 Not Modified" + FIELDS, 0, False, True),
        ("HTTP/1.1 100 Continue" + FIELDS, 0, False, True),
        ("HTTP/1.1 999 No" + FIELDS, 5, False, True),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity" + FIELDS, 5, False, True),
        # The chunks are taken, and the connection is not trusted with another answer.
        ("HTTP/1.0 200 OK" + CODED + "\r\nConnection: keep-alive", None, True, False),
        ("HTTP/1.1 200 OK" + FIELDS + CODED, None, True, False),
        ("HTTP/1.1 204 No Content" + CODED, 0, False, False),
        ("HTTP/1.1 304 Not Modified" + CODED, 0, False, False),
        ("HTTP/1.1 200 OK" + CODED + CODED, None, True, True),
        # Not as RFC 9112 asks, but clear.
        ("HTTP/1.1 200 OK\nContent-Length: 5", 5, False, True),
        ("http/1.1\t200   Fine" + FIELDS, 5, False, True),
        ("HTTP/1.1 200 OK" + FIELDS + "\r\nno colon", 5, False, True),
        ("HTTP/1.1 200 OK" + FIELDS + "\r\nX: a\rContent-Length: 6\0", 5, False, True),
        ("HTTP/1.1 200 OK\r\n folded: yes\r\nContent-Length :\r\n\t5", 5, False, True),
    ],
)
def test_a_head_tells_how_the_body_is_sent(
    text: str, length: int | None, *, chunked: bool, reusable: bool
) -> None:
    head = parse_head(text)
    assert head is not None
    assert (head.length, head.chunked, head.reusable) == (length, chunked, reusable)


# Bodies in chunks, without a network.


def decoded(text: bytes, cuts: Sequence[int]) -> tuple[ChunkedDecoder, bytes]:
    decoder, places = ChunkedDecoder(), sorted({0, len(text), *(min(c, len(text)) for c in cuts)})
    return decoder, b"".join(decoder.decode(text[a:b]) for a, b in pairwise(places))


SIZES = st.sampled_from(["{:x}", "{:X}", "00{:x}", "{:x} ", "{:x};name=value", '{:x}\t; a="b"'])
TRAILERS = st.sampled_from([b"", b"X-Sum: 5\r\n", b"A:\r\nB: b\r\n"])


@given(
    pieces=st.lists(st.tuples(st.binary(min_size=1, max_size=40), SIZES), max_size=6),
    trailer=TRAILERS,
    cuts=st.lists(st.integers(0, 400), max_size=20),
    missing=st.integers(0, 400),
    surplus=st.binary(max_size=3),
)
def test_chunks_are_decoded_in_any_portions(
    pieces: list[tuple[bytes, str]],
    trailer: bytes,
    cuts: list[int],
    missing: int,
    surplus: bytes,
) -> None:
    text = b"".join(
        form.format(len(piece)).encode() + b"\r\n" + piece + b"\r\n" for piece, form in pieces
    )
    text += b"0\r\n" + trailer + b"\r\n"
    body = b"".join(piece for piece, _ in pieces)
    decoder, found = decoded(text + surplus, cuts)
    assert found == body
    assert (decoder.ended, decoder.malformed, decoder.surplus) == (True, False, bool(surplus))
    if 0 < missing <= len(text):
        decoder, found = decoded(text[:-missing], cuts)
        assert body.startswith(found)
        assert (decoder.ended, decoder.malformed) == (False, False)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (b"\r\n", b""),
        (b"g\r\n", b""),
        (b"-1\r\n", b""),
        (b"+1\r\n", b""),
        (b"0x1\r\n", b""),
        (b"1_0\r\n", b""),
        (b" 1\r\n", b""),
        (b"1\n", b""),
        (b"1\r\r\n", b""),
        (b"1" * 17 + b"\r\n", b""),
        (b"1;" + b"x" * 5000, b""),
        (b"2\r\nabc\r\n", b"ab"),
        (b"2\r\nab\n", b"ab"),
        (b"2\r\nab1\r\n", b"ab"),
        (b"2\r\nab\r\n\r\n", b"ab"),
        (b"0\r\nno field\r\n", b""),
        (b"0\r\nX: y\n", b""),
        (b"0\r\n" + b"X: y\r\n" * 20_000, b""),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_malformed_chunks_are_told(text: bytes, body: bytes, step: int) -> None:
    decoder, found = decoded(text, range(0, len(text), step))
    assert found == body
    assert decoder.malformed
    assert not decoder.ended
    assert decoder.decode(b"1\r\na\r\n0\r\n\r\n") == b""


@pytest.mark.parametrize(
    "url",
    [
        "http://example/a b",
        "http://example/ä",
        "http://exämple/a",
        "http://user:word@example/a",
        "http://example/a#b",
        "http://example/a\r\nX: y",
        "http://example",
        "http://example?x=/a",
        "http://exa mple/a",
        "ftp://example/a",
        "/a",
        "",
    ],
)
def test_an_address_out_of_the_ordinary_is_aiohttps(url: str) -> None:
    assert request_bytes(url, AS_IS) is None


def test_no_field_is_smuggled_in() -> None:
    assert request_bytes("http://example/a", {"Authorization": "x\r\nY: z"}) is None


def test_a_request_is_what_is_due() -> None:
    assert request_bytes("HTTPS://Example:443/P('x')/$value?a=%20", AS_IS) == (
        b"GET /P('x')/$value?a=%20 HTTP/1.1\r\nHost: Example\r\nAccept: */*\r\n"
        b"Accept-Encoding: identity\r\n\r\n"
    )
    assert b"Host: [::1]:80\r\n" in (request_bytes("https://[::1]:80/x", {}) or b"")


@trying(max_examples=200, deadline=None)
@given(
    size=st.sampled_from([0, 1, 100, _MOST_HEAD, _ROOM - 100]),
    surplus=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, _ROOM), max_size=6),
)
def test_an_answer_may_come_in_any_portions(size: int, surplus: bytes, cuts: list[int]) -> None:
    text = f'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: {size}\r\n\r\n'.encode()
    text += CONTENT[:size] + surplus
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})

    async def run() -> tuple[bytes | None, bool]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        wire = Wire(ours)
        with contextlib.suppress(ConnectionError):
            asked = asyncio.create_task(wire.ask(b"GET", 60))
            await asyncio.sleep(0)
            for start, end in pairwise(places):
                await asyncio.get_running_loop().sock_sendall(theirs, text[start:end])
                await asyncio.sleep(0)
        await asked
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # what lies there is read by now
        whole, reusable = wire.whole(), wire.reusable
        wire.close()
        theirs.close()
        return None if whole is None else bytes(whole), reusable

    whole, reusable = asyncio.run(run())
    assert whole == CONTENT[:size]
    assert reusable == (not surplus)


async def test_all_idle_wires_hold_one_timer(origin: Origin, asking: Asking) -> None:
    """Else a run of a million products would keep a million."""
    origin.give("/x", b"right")
    for _ in range(5):
        await gather(asking, f"{origin.url}/x")
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    left = [timer for timer in scheduled if not timer.cancelled() and "Wire" in repr(timer)]
    assert len(left) <= 1
