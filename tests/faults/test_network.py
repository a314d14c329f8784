"""Rows 1.7, 6.6, 6.7, 6.12 and 6.14: heads, connections, proxies, and services that refuse."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohappyeyeballs import start_connection

from noa_async import Limits, NoaClient, Query, RetryPolicy, Settings, Status, transport, wires
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.emulator.settings import QuotaStyle
from noa_async.errors import ServiceUnreachable, UsageError
from noa_async.transfer.limiter import Slots
from noa_async.transfer.resume import Head, PartState, Validator, range_headers
from noa_async.transport import Transport
from noa_async.wires import Wired

from ..cli.conftest import Open
from ..integration.conftest import WHO, settings_for
from ..takeover.origin import AsIs, Asking, Origin, gather, until

ALL = Query(everything=True)
INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nLink: </y>\r\n\r\n"
)
LATIN, UTF_8 = b'"caf\xe9\xff"', '"café"'.encode()


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A server at every address of the loopback network."""
    one = Origin()
    async with one.listening("0.0.0.0") as port:
        one.url = f"http://127.0.0.1:{port}"
        yield one


@pytest.fixture
def settings(origin: Origin) -> Settings:
    urls = {"catalogue_url": f"{origin.url}/Products", "token_url": f"{origin.url}/token"}
    return Settings().with_values(urls)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Transport]:
    async with Transport(settings) as one:
        yield one


@pytest.fixture(params=["aiohttp", "direct"])
def asking(request: pytest.FixtureRequest, client: Transport) -> Asking:
    """Both ways to request."""
    return client if request.param == "aiohttp" else AsIs(client)


def answering(origin: Origin, answer: bytes) -> None:
    """Have ``origin`` answer /x so, and leave the connection open."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    origin.answers["/x"] = write


# Heads.


@pytest.mark.parametrize(
    ("fields", "connections"),
    [
        (b"Connection: keep-alive\r\nConnection: close\r\n", 2),
        (b"Connection: close\r\nConnection: keep-alive\r\n", 2),
        (b"connection: Keep-Alive, X-Hop ,CLOSE\r\n", 2),
        (b"Connection: keep-alive\r\nX: close\r\n", 1),
    ],
)
async def test_row_1_7_a_connection_that_any_field_closes_is_not_used_again(
    origin: Origin, asking: Asking, fields: bytes, connections: int
) -> None:
    answering(origin, b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 4\r\n\r\nfour")
    for _ in range(2):
        assert await gather(asking, f"{origin.url}/x") == (b"four", None)
    assert origin.connections == connections


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nX-Name: value\nContent-Length: 4\n\n",
        b"HTTP/1.1 200 OK\r\nX-Name: value\nContent-Length: 4\r\n\n",
        b"HTTP/1.1 200 OK\r\nX-Name: \r\n\tvalue\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Name : value\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-NAME:value\r\nContent-Length:4\r\n\r\n",
        b"HTTP/1.1 200\r\nX-Name: value\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 \r\nX-Name: value\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Name: value\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Name: value\r\nContent-Length: 4, 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Name: value\r\nX-Bell: \x07\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Name: value\r\nno field\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Name: value\r\n"
        + b"Vary: x\r\n" * 400
        + b"Content-Length: 4\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nX-Name: value\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n",
        b"http/1.1 200 ok\r\nX-Name: value\r\nContent-Length: 4\r\n\r\n",
        INTERIM + b"HTTP/1.1 200 OK\r\nX-Name: value\r\nContent-Length: 4\r\n\r\n",
    ],
)
async def test_row_6_14_an_odd_head_is_read_at_once(
    origin: Origin, asking: Asking, head: bytes
) -> None:
    answering(origin, head + b"four")
    async with asyncio.timeout(5):
        for _ in range(3):
            async with asking.request("GET", f"{origin.url}/x") as response:
                assert (response.status, response.headers["X-Name"]) == (200, "value")
                assert await response.read(10) == b"four"


async def test_row_6_14_an_odd_head_is_requested_once(origin: Origin, client: Transport) -> None:
    """Past aiohttp, and from then on as well."""
    answering(origin, b"HTTP/1.1 200 OK\nX-Name:\n value\nContent-Length : 4\n\nfour")
    for _ in range(3):
        async with AsIs(client).request("GET", f"{origin.url}/x") as response:
            assert isinstance(response, Wired)
            assert await response.read(10) == b"four"
    assert origin.connections == 1


async def test_row_6_14_lengths_that_differ_are_no_answer(origin: Origin, asking: Asking) -> None:
    answering(origin, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfour5")
    with pytest.raises(ServiceUnreachable, match="no well-formed HTTP"):
        await gather(asking, f"{origin.url}/x")


@pytest.mark.parametrize("size", [9_000, 65_000, 66_000, 120_000])
@pytest.mark.parametrize("fields", [1, 100])
async def test_row_6_14_a_long_head_is_read(
    origin: Origin, asking: Asking, size: int, fields: int
) -> None:
    field = b"X-Policy: " + b"p" * (size // fields) + b"\r\n"
    answering(origin, b"HTTP/1.1 200 OK\r\n" + fields * field + b"Content-Length: 4\r\n\r\nfour")
    async with asking.request("GET", f"{origin.url}/x") as response:
        assert len(response.headers["X-Policy"]) == size // fields
        assert await response.read(10) == b"four"
    assert origin.connections == 1


async def test_row_6_14_a_head_past_the_limit_is_called_that(
    origin: Origin, asking: Asking
) -> None:
    answering(origin, b"HTTP/1.1 200 OK\r\nX: " + b"p" * 200_000 + b"\r\n\r\n")
    with pytest.raises(ServiceUnreachable, match="header that is too large, more than 128 kB"):
        await gather(asking, f"{origin.url}/x")


@pytest.mark.parametrize("etag", [LATIN, UTF_8])
async def test_row_6_14_an_etag_that_is_not_ascii_returns_byte_for_byte(
    origin: Origin, client: Transport, etag: bytes
) -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                return writer.close()
            writer.write(b"HTTP/1.1 200 OK\r\nETag: " + etag + b"\r\nContent-Length: 4\r\n\r\nfour")

    origin.serve = serve  # type: ignore[method-assign]
    found = set()
    for asking in (client, AsIs(client)):
        async with asking.request("GET", f"{origin.url}/x") as response:
            found.add(Head.read(response.status, response.headers).validator)
            assert await response.read(10) == b"four"
    (validator,) = found  # the same by both ways
    again = range_headers(PartState(2, validator, 4))
    async with client.request("GET", f"{origin.url}/x", headers=again) as response:
        assert isinstance(response, Wired)
        assert await response.read(10) == b"four"
    assert b"\r\nIf-Range: " + etag + b"\r\n" in requests[-1]
    client._past_aiohttp = False
    async with client.request("GET", f"{origin.url}/x", headers=again) as response:
        assert not isinstance(response, Wired)
    # aiohttp sends UTF-8 alone. Without If-Range, the ETag of the answer is compared.
    assert (b"\r\nIf-Range: " + etag + b"\r\n" in requests[-1]) == (etag == UTF_8)
    assert (b"If-Range" in requests[-1]) == (etag == UTF_8)


def test_row_6_14_etags_that_differ_in_one_byte_differ() -> None:
    one, other = Validator(LATIN.decode("latin-1")), Validator(UTF_8.decode("latin-1"))
    assert one.contradicts(other)
    assert not one.contradicts(Validator(LATIN.decode("latin-1")))


@pytest.mark.parametrize("location", [b"/a b/\xc3\xa9", b"/a%20b/\xc3\xa9", b" /a%20b/%C3%A9 "])
async def test_row_6_14_an_address_of_a_redirect_is_escaped_where_it_must_be(
    origin: Origin, asking: Asking, location: bytes
) -> None:
    answering(
        origin,
        b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n",
    )
    origin.give("/a%20b/%C3%A9", b"right")
    assert await gather(asking, f"{origin.url}/x") == (b"right", None)


# Proxies.


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "SOCKS"])
async def test_row_6_14_a_socks_proxy_is_refused_before_anything_is_sent(
    origin: Origin, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    host = origin.url.removeprefix("http://")
    monkeypatch.setenv(name, f"{scheme}://ada:hunter2@{host}")
    async with Transport(settings) as client:
        with pytest.raises(UsageError, match=r"socks.*not supported") as caught:
            await gather(client, f"{origin.url}/x")
    assert "HTTP proxy" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert origin.connections == 0


async def test_row_6_14_a_socks_proxy_for_others_is_no_matter(
    origin: Origin, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    origin.give("/x", b"right")
    async with Transport(settings) as client:
        assert await gather(client, f"{origin.url}/x") == (b"right", None)


async def test_row_6_14_the_command_line_says_that_socks_is_not_supported(
    open_mirror: Open,
) -> None:
    mirror, noa = await open_mirror(products=1)
    noa.environ["ALL_PROXY"] = "socks5://127.0.0.1:9"
    for verb in ("search", "download"):
        ended = await noa(verb, "--everything")
        assert ended.code == 2
        assert "socks5://" in ended.err
        assert "not supported" in ended.err
    assert mirror.stats.requests == 0


# Connections.


HOSTS = 60


async def test_row_6_14_idle_connections_to_many_hosts_are_bounded_and_closed(
    origin: Origin, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "_IDLE", 1.0)
    monkeypatch.setattr(transport, "_IDLE", 1.0)
    port = origin.url.rpartition(":")[2]
    origin.give("/x", b"right")
    async with Transport(settings.with_values({"workers": 4})) as client:
        for asking, most in ((AsIs(client), 8), (client, 16)):
            for number in range(HOSTS):
                url = f"http://127.0.{number}.7:{port}/x"
                assert await gather(asking, url) == (b"right", None)
            await until(lambda most=most: origin.open <= most)  # type: ignore[misc]
            await until(lambda: not origin.open)
    assert origin.connections == 2 * HOSTS


async def test_row_6_12_a_blip_does_not_switch_the_fast_path_off(
    origin: Origin, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three connections were being opened when the network failed for a moment."""
    failing = 3

    async def connect(*arguments: Any, **options: Any) -> socket.socket:
        nonlocal failing
        if failing:
            failing -= 1
            raise ConnectionRefusedError
        return await start_connection(*arguments, **options)

    monkeypatch.setattr(wires, "start_connection", connect)
    monkeypatch.setattr(wires, "_BACK_OFF", 0.1)
    origin.give("/x", b"right")
    async with Transport(settings) as client:
        asking = AsIs(client)
        found = await asyncio.gather(*(gather(asking, f"{origin.url}/x") for _ in range(3)))
        assert found == [(b"right", None)] * 3

        async def is_direct() -> bool:
            async with asking.request("GET", f"{origin.url}/x") as response:
                return isinstance(response, Wired)

        assert not await is_direct()
        async with asyncio.timeout(5):
            while not await is_direct():
                await asyncio.sleep(0.01)


# Services that refuse.


async def test_row_6_6_ten_thousand_refusals_in_a_row() -> None:
    waited: list[float] = []
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        waited.append(seconds)
        now += seconds

    slots = Slots(4, longest_pause=2.0, clock=lambda: now, sleep=sleep)
    for _ in range(10_000):
        async with slots.lease() as lease:
            lease.refused(None)
    assert len(waited) == 9_999
    assert waited[-1] == max(waited) == pytest.approx(2.0)


@pytest.mark.parametrize("style", ["429", "503"])
async def test_row_6_7_a_service_that_refuses_at_first_costs_little_more(
    tmp_path: Path, style: QuotaStyle
) -> None:
    """Within 1.3 times the seconds of refusals and those of a run without any."""
    busy = 1.5

    async def bring(folder: Path, busy_for: float = 0.0) -> float:
        made = EmulatorSettings(
            products=60, mean_bytes=40_000, rate=160_000, busy_for=busy_for, quota_style=style
        )
        async with Emulator(made) as mirror:
            settings = settings_for(mirror, retry=RetryPolicy(), limits=Limits(workers=8))
            async with NoaClient(settings, WHO) as noa:
                started = time.monotonic()
                outcomes = [each async for each in noa.download_all(noa.search(ALL), folder)]
                took = time.monotonic() - started
            assert [each.status for each in outcomes] == [Status.DOWNLOADED] * 60
            assert mirror.stats.quota_refusals < 60
        return took

    free = await bring(tmp_path / "free")
    assert await bring(tmp_path / "busy", busy_for=busy) < 1.3 * (busy + free)
