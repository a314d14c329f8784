"""The transport over real sockets: who gets the token, broken answers, TLS, proxies."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from noa_async.errors import (
    NoaError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
    SettingsError,
    UsageError,
)
from noa_async.origins import same_origin
from noa_async.settings import Settings
from noa_async.transport import Transport
from tests.takeover.origin import poured

TOKEN = "token-of-ada"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A server that notes what it is asked, and answers by path."""

    answers: dict[str, Callable[[], web.Response]] = field(default_factory=dict)
    seen: list[web.BaseRequest] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.seen.append(request)
        if request.method == "POST":
            self.forms.append({key: str(value) for key, value in (await request.post()).items()})
        if request.raw_path in self.answers:
            return self.answers[request.raw_path]()
        return web.Response(text=f"you asked for {request.raw_path}")

    @property
    def tokens(self) -> list[str | None]:
        return [request.headers.get("Authorization") for request in self.seen]

    def answer(self, path: str, **options: Any) -> None:
        self.answers[path] = lambda: web.Response(**options)

    def redirect(self, path: str, target: str, status: int = 302) -> None:
        self.answer(path, status=status, headers={"Location": target})


@pytest.fixture
def home():
    return Site()


@pytest.fixture
def away():
    return Site()


@pytest.fixture
async def home_url(serve, home):
    return await serve(home.handle)


@pytest.fixture
async def away_url(serve, away):
    return await serve(away.handle)


def settings(catalogue: str, **values: object) -> Settings:
    urls = {"catalogue_url": f"{catalogue}/Products", "token_url": f"{catalogue}/token"}
    return Settings().with_values(urls | values)


@pytest.fixture
async def transport(home_url) -> AsyncIterator[Transport]:
    async with Transport(settings(home_url)) as one:
        yield one


async def ask(one: Transport, url: str, **options: object) -> tuple[int, bytes]:
    async with one.request("GET", url, **options) as response:
        return response.status, await response.read(1 << 20)


async def gather(one: Transport, url: str, size: int = 1 << 20) -> tuple[bytes, NoaError | None]:
    """What arrives of a body, and what ended it."""
    async with one.request("GET", url) as response:
        return await poured(response, size)


# Who gets the token.


async def test_the_catalogues_origin_gets_the_token(transport, home, home_url):
    status, body = await ask(transport, f"{home_url}/x", token=TOKEN)
    assert (status, body) == (200, b"you asked for /x")
    assert home.tokens == [f"Bearer {TOKEN}"]


async def test_what_was_closed_opens_no_connection(transport, home, home_url):
    await transport.close()
    with pytest.raises(UsageError, match="was closed"):
        await ask(transport, f"{home_url}/Products")
    assert home.seen == []


async def test_another_port_gets_no_token(transport, away, away_url):
    await ask(transport, f"{away_url}/x", token=TOKEN)
    assert away.tokens == [None]


async def test_without_a_token_none_is_sent(transport, home, home_url):
    await ask(transport, f"{home_url}/x")
    assert home.tokens == [None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_no_token_away(transport, home, home_url, away, away_url, status):
    home.redirect("/x", f"{away_url}/bytes", status)
    assert await ask(transport, f"{home_url}/x", token=TOKEN) == (200, b"you asked for /bytes")
    assert home.tokens == [f"Bearer {TOKEN}"]
    assert away.tokens == [None]


async def test_a_trusted_host_gets_the_token(home_url, home, away, away_url):
    home.redirect("/x", f"{away_url}/bytes")
    trusted = urlsplit(away_url).netloc
    async with Transport(settings(home_url, trusted_hosts=trusted)) as one:
        await ask(one, f"{home_url}/x", token=TOKEN)
    assert away.tokens == [f"Bearer {TOKEN}"]


async def test_a_trusted_name_is_trusted_on_its_own_port_only(home_url, home, away, away_url):
    home.redirect("/x", f"{away_url}/bytes")
    async with Transport(settings(home_url, trusted_hosts="127.0.0.1")) as one:
        await ask(one, f"{home_url}/x", token=TOKEN)
    assert away.tokens == [None]


async def test_the_token_comes_back_with_the_way_home(transport, home, home_url, away, away_url):
    home.redirect("/x", f"{away_url}/turn")
    away.redirect("/turn", f"{home_url}/bytes")
    await ask(transport, f"{home_url}/x", token=TOKEN)
    assert home.tokens == [f"Bearer {TOKEN}"] * 2
    assert away.tokens == [None]


async def test_an_address_that_only_looks_like_home_gets_no_token(transport, home_url):
    host = urlsplit(home_url).netloc
    for url in (
        f"http://{host}@evil.example/",
        f"http://evil.example/?{host}",
        f"http://evil.example#{host}",
        f"https://{host}/",
        f"http://{host}.evil.example/",
        f"http://127.0.0.1:99999{host}/",
        f"//{host}/",
        "",
    ):
        assert not transport.may_carry_token(url), url


URL_PARTS = [
    *("http://", "https://", "mirror.example", "MIRROR.example", "evil.example", "80", "%40"),
    *"@:\\/?#\t\n []\u3002\uff0f.",
]
URLS = st.lists(st.sampled_from(URL_PARTS), max_size=9).map("".join)


@given(URLS)
def test_the_token_goes_where_the_request_goes(url):
    """What decides on the token and what opens the connection read an address the same way."""
    one = Transport(settings("http://mirror.example"))
    try:
        trusted = one.may_carry_token(url)
        target = URL(url, encoded=True)
        host, port = target.host, target.port
    except ValueError:
        return
    if trusted:
        assert (target.scheme, host, port) == ("http", "mirror.example", 80)


def test_origins():
    assert same_origin("https://a.example/x", "https://A.example:443/y")
    assert not same_origin("https://a.example/x", "http://a.example/x")
    assert not same_origin("https://a.example/x", "https://a.example:444/x")
    assert not same_origin("https://a.example/x", "/x")


# Redirects.


async def test_a_relative_redirect_is_followed_from_where_it_came(transport, home, home_url):
    home.redirect("/a/x", "../b/y?z=1")
    assert await ask(transport, f"{home_url}/a/x") == (200, b"you asked for /b/y?z=1")


async def test_header_fields_go_along(transport, home, home_url, away, away_url):
    home.redirect("/x", f"{away_url}/y")
    await ask(transport, f"{home_url}/x", headers={"Range": "bytes=5-"})
    assert away.seen[0].headers["Range"] == "bytes=5-"


async def test_five_redirects_are_followed_and_six_are_not(transport, home, home_url):
    for number in range(6):
        home.redirect(f"/{number}", f"/{number + 1}")
    assert await ask(transport, f"{home_url}/1") == (200, b"you asked for /6")
    with pytest.raises(ServiceRefused, match="more than 5 times"):
        await ask(transport, f"{home_url}/0")
    assert len(home.seen) == 12


@pytest.mark.parametrize("target", ["ftp://a.example/x", "file:///etc/passwd", "data:text/plain,x"])
async def test_a_redirect_to_no_web_address_is_refused(transport, home, home_url, target):
    home.redirect("/x", target)
    with pytest.raises(ServiceRefused, match="no web address"):
        await ask(transport, f"{home_url}/x", token=TOKEN)


@pytest.mark.parametrize(
    "target", ["http://[::1", "http://a.example:99999/", "http://", "http:///x"]
)
async def test_a_redirect_to_a_broken_address_is_refused(transport, home, home_url, target):
    home.redirect("/x", target)
    with pytest.raises(ServiceRefused):
        await ask(transport, f"{home_url}/x", token=TOKEN)


async def test_a_redirect_with_no_address_is_an_answer(transport, home, home_url):
    home.answer("/x", status=302, text="nowhere")
    assert await ask(transport, f"{home_url}/x") == (302, b"nowhere")


async def test_a_304_is_an_answer(transport, home, home_url):
    home.answer("/x", status=304, headers={"Location": "/y"})
    assert (await ask(transport, f"{home_url}/x"))[0] == 304


async def test_a_form_is_not_sent_on(transport, home, home_url, away, away_url):
    home.redirect("/token", f"{away_url}/steal", 307)
    form = {"username": "ada", "password": "a b&c=é"}
    async with transport.request("POST", f"{home_url}/token", form=form) as response:
        assert response.status == 307
    assert home.forms == [form]
    assert away.seen == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 416, 429, 500, 503])
async def test_an_error_status_is_an_answer(transport, home, home_url, status):
    home.answer("/x", status=status, text="why", headers={"Retry-After": "7"})
    async with transport.request("GET", f"{home_url}/x") as response:
        assert response.status == status
        assert response.headers["retry-after"] == "7"
        assert await response.read(10) == b"why"


# Addresses.


@pytest.mark.parametrize(
    "path",
    [
        "/Products?%24filter=Name+eq+%27a%20b%27&%24top=5",
        "/Products?$filter=a%20b",
        "/Products(0a5c8f2e-6b1d)/$value",
        "/a%2Fb/../c/./d",
        "/x?a=%e9&b=%C3%A9&c=%zz",
        "/x?a=1;b=2&c='&d=!*()[]",
        "/x?&&=",
        "/%7e~",
    ],
)
async def test_an_address_is_sent_byte_for_byte(transport, home, home_url, path):
    await ask(transport, f"{home_url}{path}")
    assert home.seen[0].raw_path == path


async def test_a_redirects_address_is_sent_byte_for_byte(transport, home, home_url):
    home.redirect("/x", "/y?%24skip=50+%27a%20b%27&sig=a%2Fb%3D")
    await ask(transport, f"{home_url}/x")
    assert home.seen[1].raw_path == "/y?%24skip=50+%27a%20b%27&sig=a%2Fb%3D"


@pytest.mark.parametrize(
    "url", ["", "nonsense", "/x", "ftp://a.example/x", "http://", "http://a.example:99999/"]
)
async def test_what_is_no_address_is_refused(transport, url):
    with pytest.raises(ServiceRefused):
        await ask(transport, url)


async def test_no_second_request_can_be_smuggled_in(transport, home, home_url):
    url = f"{home_url}/x HTTP/1.1\r\nHost: a\r\nX-Evil: 1\r\n\r\nGET /evil"
    with contextlib.suppress(NoaError):
        await ask(transport, url)
    assert "/evil" not in [request.raw_path for request in home.seen]
    assert not [request for request in home.seen if "X-Evil" in request.headers]


# Bodies.


async def test_a_body_comes_in_portions(transport, home, home_url):
    body = bytes(range(256)) * 4096
    home.answer("/x", body=body)
    assert await gather(transport, f"{home_url}/x", 100_000) == (body, None)


async def test_a_body_is_read_up_to_its_limit(transport, home, home_url):
    home.answer("/x", body=b"x" * 1000)
    async with transport.request("GET", f"{home_url}/x") as response:
        assert await response.read(1000) == b"x" * 1000
    home.answer("/x", body=b"x" * 1001)
    async with transport.request("GET", f"{home_url}/x") as response:
        with pytest.raises(ServiceFault, match="larger than 1000 bytes"):
            await response.read(1000)


async def test_an_endless_body_is_given_up_at_its_limit(transport, serve_raw):
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    url = await serve_raw(endless)
    async with transport.request("GET", url) as response:
        with pytest.raises(ServiceFault):
            await response.read(1 << 20)


async def test_a_peek_takes_what_there_is(transport, home, home_url):
    home.answer("/x", body=b"x" * 1000)
    async with transport.request("GET", f"{home_url}/x") as response:
        assert await response.peek(10) == b"x" * 10
    async with transport.request("GET", f"{home_url}/x") as response:
        assert await response.peek(5000) == b"x" * 1000


def answering(text: bytes, *, then: asyncio.Event | None = None, reset: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        if then is not None:
            await then.wait()
        if reset:
            writer.transport.abort()

    return handle


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
SUSPECT = 16_384  # the end of what came before a cut: it may be an error text
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def kept(arrived: int) -> int:
    """How many of the last bytes before a cut are given: what is few is halved."""
    return arrived - min(SUSPECT, (arrived + 1) // 2)


@pytest.mark.parametrize(
    ("text", "arrived"),
    [
        (HEAD, 0),
        (HEAD + b"x" * 40, 40),
        (HEAD + b"x" * 99_999, 99_999),
        (CHUNKED, 0),
        (CHUNKED + b"9c40\r\n" + b"x" * 40_000 + b"\r\n", 40_000),
        (CHUNKED + b"ffff\r\n" + b"x" * 40_000, 40_000),
    ],
    ids=["no byte", "cut", "one short", "chunks unended", "between chunks", "in a chunk"],
)
async def test_a_cut_body_is_unreachable_after_what_arrived(transport, serve_raw, text, arrived):
    url = await serve_raw(answering(text))
    body, error = await gather(transport, url)
    assert isinstance(error, ServiceUnreachable)
    assert "closed the connection early" in str(error)
    assert body == b"x" * kept(arrived)


async def test_all_that_arrived_before_a_cut_is_given(transport, serve_raw):
    """The reader is slower than the network: the cut comes while bytes wait to be read."""
    cut = asyncio.Event()
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 300_000
    url = await serve_raw(answering(text, then=cut))
    body = b""
    async with transport.request("GET", url) as response:
        cut.set()
        stream = response._raw.content
        while stream.exception() is None:
            await asyncio.sleep(0)
        body, error = await poured(response, 1000)
    assert isinstance(error, ServiceUnreachable)
    assert body == b"x" * (300_000 - SUSPECT)


@pytest.mark.parametrize("content", [{}, {"_buffer": 7}, {"_buffer": [b"x", 5]}, {"_buffer": []}])
async def test_where_aiohttp_keeps_what_came_elsewhere_it_is_fetched_again(
    transport, serve_raw, content
):
    """No promise of aiohttp's says where that is."""
    url = await serve_raw(answering(HEAD + b"x" * 40))
    async with transport.request("GET", url) as response:
        real = response._raw.content

        class Different:
            exception, read, read_nowait = real.exception, real.read, real.read_nowait

        response._raw.content = Different()
        vars(response._raw.content).update(content)
        body, error = await poured(response)
    assert isinstance(error, ServiceUnreachable)
    assert body + b"x" * (40 - len(body)) == b"x" * 40


async def test_a_reset_connection_is_unreachable(transport, serve_raw):
    url = await serve_raw(answering(HEAD + b"x" * 40, reset=True))
    _, error = await gather(transport, url)
    assert isinstance(error, ServiceUnreachable)


async def test_a_stalled_body_is_unreachable_after_what_arrived(home_url, serve_raw):
    never = asyncio.Event()
    url = await serve_raw(answering(HEAD + b"x" * 40, then=never))
    async with Transport(settings(home_url, stall_timeout=0.05)) as one:
        body, error = await gather(one, url)
    assert isinstance(error, ServiceUnreachable)
    assert "no byte came" in str(error)
    assert "0.05 s" in str(error)
    assert body == b"x" * 20


async def test_the_stall_counts_from_the_last_byte(home_url, serve_raw):
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(20):
            writer.write(b"x" * 5)
            await writer.drain()
            await asyncio.sleep(0.02)

    url = await serve_raw(dribble)
    async with Transport(settings(home_url, stall_timeout=0.2)) as one:
        assert await gather(one, url) == (b"x" * 100, None)


async def test_a_body_of_unsaid_length_ends_with_the_connection(transport, serve_raw):
    url = await serve_raw(answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 40))
    assert await gather(transport, url) == (b"x" * 40, None)


async def test_a_cut_body_that_is_read_is_unreachable(transport, serve_raw):
    url = await serve_raw(answering(HEAD + b"x" * 40))
    with pytest.raises(ServiceUnreachable):
        await ask(transport, url)


async def test_a_peek_into_a_cut_body_never_raises(transport, serve_raw):
    url = await serve_raw(answering(HEAD + b"Quota exceeded"))
    async with transport.request("GET", url) as response:
        said = await response.peek(4096)
    assert said
    assert b"Quota exceeded".startswith(said)


async def test_bytes_are_decoded_unless_asked_for_as_they_are(transport, home, home_url):
    packed = gzip.compress(b"plain " * 100)
    home.answer("/x", body=packed, headers={"Content-Encoding": "gzip"})
    assert (await ask(transport, f"{home_url}/x"))[1] == b"plain " * 100
    as_is = await ask(transport, f"{home_url}/x", headers={"Accept-Encoding": "identity"})
    assert as_is[1] == packed


async def test_a_body_that_cannot_be_decoded_is_unreachable(transport, serve_raw):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"
    url = await serve_raw(answering(head + b"not gzip!"))
    with pytest.raises(ServiceUnreachable):
        await ask(transport, url)


# Connections.


async def test_a_connection_is_used_again(transport, home, home_url):
    for _ in range(5):
        await ask(transport, f"{home_url}/x")
    assert len({request.transport for request in home.seen}) == 1


async def test_a_body_left_unread_costs_its_connection_only(transport, home, home_url):
    home.answer("/big", body=b"x" * 10_000_000)
    async with transport.request("GET", f"{home_url}/big"):
        pass
    assert await ask(transport, f"{home_url}/x") == (200, b"you asked for /x")


async def test_many_requests_go_at_once(transport, serve):
    """As many as there are workers: the transport itself sets no limit."""
    everybody = asyncio.Barrier(150)

    async def handle(request: web.BaseRequest) -> web.Response:
        await everybody.wait()
        return web.Response()

    url = await serve(handle)
    answers = await asyncio.gather(*(ask(transport, url) for _ in range(150)))
    assert {status for status, _ in answers} == {200}


async def test_a_connection_that_was_closed_meanwhile_is_made_anew(transport, serve_raw):
    asked = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    url = await serve_raw(once)
    for _ in range(3):
        assert await ask(transport, url) == (200, b"ok")
    assert asked == 3


async def test_a_closed_transport_leaves_nothing_open(home_url, home):
    one = Transport(settings(home_url))
    await ask(one, f"{home_url}/x")
    await one.close()
    await one.close()
    assert one._session is None


async def test_a_refused_connection_is_unreachable(transport, unused_tcp_port):
    with pytest.raises(ServiceUnreachable) as caught:
        await ask(transport, f"http://127.0.0.1:{unused_tcp_port}/")
    assert f"127.0.0.1:{unused_tcp_port}" in str(caught.value)
    assert caught.value.retryable


async def test_an_unknown_host_is_unreachable(transport):
    with pytest.raises(ServiceUnreachable, match=r"no-such-host\.invalid is not known"):
        await ask(transport, "http://no-such-host.invalid/x")


async def test_an_answer_that_does_not_come_is_unreachable(home_url, serve_raw):
    never = asyncio.Event()
    url = await serve_raw(answering(b"", then=never))
    async with Transport(settings(home_url, answer_timeout=0.05)) as one:
        with pytest.raises(ServiceUnreachable, match=r"no answer for 0\.05 s"):
            await ask(one, url)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"\0\xff" * 50,
    ],
    ids=["nothing", "half a line", "ssh", "no status", "no length", "long field", "binary"],
)
async def test_what_is_no_answer_is_unreachable(transport, serve_raw, text):
    url = await serve_raw(answering(text))
    with pytest.raises(ServiceUnreachable, match="No answer from") as caught:
        await ask(transport, url)
    assert "proxy answered" not in str(caught.value)


async def test_no_cookie_is_kept(transport, home, home_url):
    url = home_url.replace("127.0.0.1", "localhost")  # no browser keeps a cookie of a bare address
    home.answer("/x", headers={"Set-Cookie": "session=1; Path=/"})
    await ask(transport, f"{url}/x")
    await ask(transport, f"{url}/y")
    assert "Cookie" not in home.seen[1].headers


async def test_netrc_is_not_consulted(home, home_url, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Transport(settings(home_url)) as one:
        await ask(one, f"{home_url}/x")
    assert home.tokens == [None]


async def test_no_message_holds_the_token(transport, home, home_url, away_url):
    home.redirect("/x", "ftp://a.example/")
    for url in (f"{home_url}/x", "http://no-such-host.invalid/", "nonsense"):
        with pytest.raises(NoaError) as caught:
            await ask(transport, url, token=TOKEN)
        assert TOKEN not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert TOKEN not in repr(transport)


# Proxies.


@pytest.fixture
async def proxy(serve, home, monkeypatch):
    url = await serve(home.handle)
    monkeypatch.setenv("http_proxy", url)
    return url


async def test_a_proxy_from_the_environment_is_used(proxy, home):
    async with Transport(settings("http://mirror.invalid")) as one:
        status, _ = await ask(one, "http://mirror.invalid/x?%24top=1", token=TOKEN)
    assert status == 200
    assert home.seen[0].raw_path == "http://mirror.invalid/x?%24top=1"
    assert home.tokens == [f"Bearer {TOKEN}"]


async def test_a_proxy_named_without_a_scheme_is_used(proxy, home, monkeypatch):
    monkeypatch.setenv("http_proxy", urlsplit(proxy).netloc)
    async with Transport(settings("http://mirror.invalid")) as one:
        assert (await ask(one, "http://mirror.invalid/x"))[0] == 200


async def test_a_proxy_for_everything_is_used(proxy, home, monkeypatch):
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv("all_proxy", proxy)
    async with Transport(settings("http://mirror.invalid")) as one:
        assert (await ask(one, "http://mirror.invalid/x"))[0] == 200


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "a.example, 127.0.0.1"])
async def test_an_exempt_host_is_asked_directly(proxy, home, away, away_url, monkeypatch, exempt):
    monkeypatch.setenv("no_proxy", exempt)
    async with Transport(settings(away_url)) as one:
        await ask(one, f"{away_url}/x")
    assert home.seen == []
    assert len(away.seen) == 1


async def test_a_proxys_password_goes_to_the_proxy_and_into_no_message(home, monkeypatch, proxy):
    host = urlsplit(proxy).netloc
    monkeypatch.setenv("http_proxy", f"http://ada:hunter2@{host}")
    async with Transport(settings("http://mirror.invalid")) as one:
        await ask(one, "http://mirror.invalid/x")
        assert home.seen[0].headers["Proxy-Authorization"].startswith("Basic ")


async def test_a_proxy_that_refuses_is_named(serve_raw, monkeypatch):
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    host = urlsplit(await serve_raw(answering(refusal))).netloc
    monkeypatch.setenv("https_proxy", f"http://ada:hunter2@{host}")
    async with Transport(settings("https://mirror.invalid")) as one:
        with pytest.raises(ServiceUnreachable, match="the proxy answered 407") as caught:
            await ask(one, "https://mirror.invalid/x")
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


async def test_a_proxy_that_is_away_is_unreachable(monkeypatch, unused_tcp_port):
    monkeypatch.setenv("http_proxy", f"http://ada:hunter2@127.0.0.1:{unused_tcp_port}")
    async with Transport(settings("http://mirror.invalid")) as one:
        with pytest.raises(ServiceUnreachable) as caught:
            await ask(one, "http://mirror.invalid/x")
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


# TLS.


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def serving(authority: trustme.CA, *names: str, **options: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


async def test_a_private_authority_is_trusted_where_its_file_is_named(
    serve, home, authority, ca_file
):
    url = await serve(home.handle, serving(authority, "127.0.0.1"))
    async with Transport(settings(url, ca_file=ca_file)) as one:
        assert (await ask(one, f"{url}/x", token=TOKEN))[0] == 200
    assert home.tokens == [f"Bearer {TOKEN}"]


async def test_whom_the_machine_trusts_is_trusted_behind_a_redirect_from_plain_text(
    home, home_url, serve, away, authority, ca_file, monkeypatch
):
    """Not what aiohttp has in mind, which is nobody where the command line runs."""
    away_url = await serve(away.handle, serving(authority, "127.0.0.1"))
    home.redirect("/x", f"{away_url}/bytes")
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    async with Transport(settings(home_url)) as one:
        assert (await ask(one, f"{home_url}/x"))[0] == 200
    assert len(away.seen) == 1


async def test_whom_the_machine_trusts_is_trusted_as_a_proxy(
    serve, home, authority, ca_file, monkeypatch
):
    proxy = await serve(home.handle, serving(authority, "127.0.0.1"))
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    async with Transport(settings("http://mirror.invalid")) as one:
        assert (await ask(one, "http://mirror.invalid/x"))[0] == 200
    assert len(home.seen) == 1


async def test_an_untrusted_authority_is_refused(serve, home, authority):
    url = await serve(home.handle, serving(authority, "127.0.0.1"))
    async with Transport(settings(url)) as one:
        with pytest.raises(ServiceRefused, match="not trusted") as caught:
            await ask(one, f"{url}/x", token=TOKEN)
    assert not caught.value.retryable
    assert "NOA_CA_FILE" in str(caught.value)
    assert home.seen == []


async def test_an_expired_certificate_is_refused(serve, home, authority, ca_file):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    url = await serve(home.handle, serving(authority, "127.0.0.1", not_after=yesterday))
    async with Transport(settings(url, ca_file=ca_file)) as one:
        with pytest.raises(ServiceRefused, match="expired"):
            await ask(one, f"{url}/x", token=TOKEN)
    assert home.seen == []


async def test_a_certificate_for_another_host_is_refused(serve, home, authority, ca_file):
    url = await serve(home.handle, serving(authority, "mirror.example"))
    async with Transport(settings(url, ca_file=ca_file)) as one:
        with pytest.raises(ServiceRefused, match="not trusted"):
            await ask(one, f"{url}/x", token=TOKEN)
    assert home.seen == []


async def test_the_token_does_not_go_from_tls_to_plain_text(
    serve, home, away, away_url, authority, ca_file
):
    url = await serve(home.handle, serving(authority, "127.0.0.1"))
    home.redirect("/x", f"{away_url}/bytes")
    trusted = urlsplit(away_url).netloc
    async with Transport(settings(url, ca_file=ca_file, trusted_hosts=trusted)) as one:
        assert (await ask(one, f"{url}/x", token=TOKEN))[0] == 200
    assert away.tokens == [None]


async def test_plain_text_where_tls_is_due_is_unreachable(home_url, ca_file):
    url = home_url.replace("http:", "https:")
    async with Transport(settings(url, ca_file=ca_file)) as one:
        with pytest.raises(ServiceUnreachable):
            await ask(one, f"{url}/x")


@pytest.mark.parametrize("content", [None, b"no certificate", b""])
async def test_an_unusable_file_of_authorities_is_said(tmp_path, home_url, content):
    path = tmp_path / "other.pem"
    if content is not None:
        path.write_bytes(content)
    async with Transport(settings(home_url, ca_file=str(path))) as one:
        with pytest.raises(SettingsError, match=r"other\.pem"):
            await ask(one, f"{home_url}/x")
