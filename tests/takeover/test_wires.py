"""Asking past aiohttp: what comes whole, what is left to aiohttp, what costs a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from noa_async import transport, wires
from noa_async.errors import ServiceUnreachable
from noa_async.plain import plain_head, request_bytes
from noa_async.settings import Settings
from noa_async.transport import Transport
from noa_async.wire import _MOST_HEAD, _ROOM, Wire
from noa_async.wires import Wired
from tests.takeover.origin import CONTENT, AsIs, Asking, Origin, gather

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


@pytest.mark.parametrize("origin", ["https"], indirect=True)
async def test_a_session_that_was_not_borne_is_dropped(
    origin: Origin, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert offered == [False, True, False]


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


# What aiohttp is to make sense of.


async def chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await writer.drain()
    writer.write(b"4\r\nfour\r\n0\r\n\r\n")


async def continued(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    await writer.drain()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour")


async def old(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfour")


async def until_the_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nfour")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("answer", [chunked, continued, old, until_the_end])
async def test_an_answer_that_is_not_plain_is_asked_for_once(
    origin: Origin, asking: Asking, answer: Callable[[asyncio.StreamWriter], Awaitable[None]]
) -> None:
    asked = 0

    async def counted(writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await answer(writer)

    origin.answers["/x"] = counted
    assert await gather(asking, f"{origin.url}/x") == (b"four", None)
    assert asked == 1


class Unconnected:
    """What aiohttp reads answers with, had it another interface."""

    def __init__(self, loop: object) -> None:
        pass


class Single(ResponseHandler):
    """The same, had it another result."""

    async def read(self) -> Any:
        message, _ = await super().read()
        return message.code


class Nameless(ResponseHandler):
    """The same, had its result other names."""

    async def read(self) -> Any:
        return object(), (await super().read())[1]


@pytest.mark.parametrize("handler", [None, Unconnected, Single, Nameless])
async def test_an_aiohttp_that_is_different_inside_is_asked_itself(
    origin: Origin, asking: Asking, monkeypatch: pytest.MonkeyPatch, handler: type | None
) -> None:
    monkeypatch.setattr(transport, "ResponseHandler", handler)
    origin.answers["/x"] = chunked
    assert await gather(asking, f"{origin.url}/x") == (b"four", None)
    assert origin.connections == 2


def test_an_aiohttp_without_its_inside_can_be_imported() -> None:
    code = (
        "import sys; sys.modules['aiohttp.client_proto'].__dict__.pop('ResponseHandler');"
        "from noa_async.transport import ResponseHandler; print(ResponseHandler)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"import aiohttp; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "None\n"


@pytest.mark.parametrize("text", [b"\r\n\r\n\r\n\r\n", b"SSH-2.0\r\n\r\n", b"x" * (_ROOM + 10)])
async def test_what_is_no_answer_is_unreachable(
    origin: Origin, asking: Asking, text: bytes
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        writer.close()

    origin.answers["/x"] = answer
    with pytest.raises(ServiceUnreachable, match="No answer from localhost"):
        await gather(asking, f"{origin.url}/x")


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


async def test_what_cannot_be_opened_is_left_to_aiohttp(
    origin: Origin, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For good where it fails again and again, though the service answers aiohttp."""
    tried = 0

    async def refuse(*_: object, **__: object) -> socket.socket:
        nonlocal tried
        tried += 1
        raise ConnectionRefusedError

    monkeypatch.setattr(wires, "start_connection", refuse)
    origin.give("/x", b"right")
    for _ in range(5):
        assert await gather(asking, f"{origin.url}/x") == (b"right", None)
    assert tried == 3


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


@pytest.mark.parametrize(
    "text",
    [
        "HTTP/1.0 200 OK" + FIELDS,
        "HTTP/1.1 100 Continue" + FIELDS,
        "HTTP/1.1 204 No Content" + FIELDS,
        "HTTP/1.1 304 Not Modified" + FIELDS,
        "HTTP/1.1 2000 OK" + FIELDS,
        "HTTP/1.1  200 OK" + FIELDS,
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK" + FIELDS + FIELDS,
        "HTTP/1.1 200 OK" + FIELDS + "\r\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\r\nContent-Length: -5",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
        "HTTP/1.1 200 OK\r\nContent-Length: ٥",
        "HTTP/1.1 200 OK" + FIELDS + "\r\n folded: yes",
        "HTTP/1.1 200 OK" + FIELDS + "\r\nname : value",
        "HTTP/1.1 200 OK" + FIELDS + "\r\nno colon",
        "HTTP/1.1 200 OK" + FIELDS + "\r\nX: a\nContent-Length: 6",
        "HTTP/1.1 200 OK" + FIELDS + "\r\nX: a\rb",
        "HTTP/1.1 200 OK" + FIELDS + "\r\nX: \0",
        "HTTP/1.1 200 OK\r\n" + FIELDS,
        "",
    ],
)
def test_a_head_out_of_the_ordinary_is_not_plain(text: str) -> None:
    assert plain_head(text) is None


@pytest.mark.parametrize(
    ("field", "lasts"),
    [("", True), ("\r\nconnection: Keep-Alive", True), ("\r\nConnection: close", False)],
)
def test_a_connection_lasts_unless_it_is_said_to_end(field: str, lasts: bool) -> None:
    head = plain_head("HTTP/1.1 200" + FIELDS + field)
    assert head is not None
    assert (head.status, head.length, head.lasts) == (200, 5, lasts)


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
        whole, lasts = wire.whole(), wire.lasts
        wire.close()
        theirs.close()
        return None if whole is None else bytes(whole), lasts

    whole, lasts = asyncio.run(run())
    assert whole == CONTENT[:size]
    assert lasts == (not surplus)


async def test_an_idle_wire_holds_no_timer(origin: Origin, asking: Asking) -> None:
    """Else a run of a million products would keep a million."""
    origin.give("/x", b"right")
    await gather(asking, f"{origin.url}/x")
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    assert not [timer for timer in scheduled if not timer.cancelled() and "Wire" in repr(timer)]
