"""Answers for a product's bytes whose labels are wrong: sections 1 and 6 of the faults met."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import struct
import time
import zipfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from noa_async import (
    Limits,
    NoaClient,
    Outcome,
    ProductUnavailable,
    Query,
    QuotaExceeded,
    RetryPolicy,
    Service,
    Settings,
    SizeMismatch,
    Status,
    Timeouts,
    TransferInterrupted,
)
from noa_async.answers import Sender, classify
from noa_async.budget import Budget, Patience
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.events import Event, TokenObtained, TransferRetried
from noa_async.transfer.refusals import Origin, is_message, product_error
from noa_async.transfer.resume import Due, Head
from noa_async.transfer.zips import broken_zip

from ..integration.conftest import PATHS, WHO, Connect, assert_right, bring_bytes_by

ALL = Query(everything=True)
WHOLE, FAILED, UNVERIFIED = Status.DOWNLOADED, Status.FAILED, Status.UNVERIFIED
LOGIN_ADDRESS = "/realms/x/protocol/openid-connect/auth?response_type=code&client_id=y"
LOGIN_PAGE = b"<!DOCTYPE html><html><form id='kc-form-login'><input type='password'></form></html>"


def made_zip(size: int, seed: int = 1) -> bytes:
    """A zip of exactly ``size`` bytes with one stored member."""
    content = random.Random(seed).randbytes(size - 110)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.bin"), content)
    made = held.getvalue()
    assert abs(size - len(made)) < 20
    return made


DATA = made_zip(600_000)
SIZE = len(DATA)


@dataclass
class Ask:
    """A request for a product's bytes."""

    number: int
    """From 1, for each product."""
    start: int
    """Where the range begins; 0 if none is asked for."""
    token: str
    headers: dict[str, str]


Value = Callable[["Site", Ask], "bytes | tuple[bytes, str]"]
"""The bytes of an answer; with "open" the connection stays open behind them, with "cut" it ends."""


def answer(status: str = "200 OK", body: bytes = b"", **headers: object) -> bytes:
    """An HTTP answer; ``Content_Length`` for ``Content-Length``; a None is left out."""
    fields = {"Content_Length": len(body)} | headers
    lines = [
        f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value is not None
    ]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def ranged(data: bytes, ask: Ask, most: int | None = None, **headers: object) -> bytes:
    """The rest of ``data`` as HTTP has it; at most ``most`` bytes of it are sent."""
    fields = {"ETag": '"e"', "Content_Type": "application/zip"} | headers
    body = data[ask.start :]
    announced = {"Content_Length": len(body)} | fields
    body = body if most is None else body[:most]
    if not ask.start:
        return answer("200 OK", body, **announced)
    named = {"Content_Range": f"bytes {ask.start}-{len(data) - 1}/{len(data)}"} | announced
    return answer("206 Partial Content", body, **named)


@dataclass
class Site:
    """A small service on loopback: tokens, one page of entries, and bytes as a test has them."""

    value: Value
    data: bytes = DATA
    count: int = 1
    entry: dict[str, Any] = field(default_factory=dict)
    asks: dict[str, list[Ask]] = field(default_factory=dict)
    grants: int = 0
    entries: int = 0
    url: str = ""
    sent: int = 0

    def one(self, number: int) -> dict[str, Any]:
        md5 = {"Algorithm": "MD5", "Value": hashlib.md5(self.data).hexdigest()}
        made = {
            "Id": f"id-{number}",
            "Name": f"S2A_{number}.SAFE.zip",
            "ContentLength": len(self.data),
            "Checksum": [md5],
            "ContentDate": {"Start": f"2026-01-01T00:00:{number:02}.000Z"},
        }
        return {key: value for key, value in (made | self.entry).items() if value is not None}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        await reader.readexactly(int(headers.get("content-length", 0)))
        made, ending = self._answer(method, target, headers), "keep"
        if isinstance(made, tuple):
            made, ending = made
        self.sent += len(made) if "$value" in target else 0
        writer.write(made)
        await writer.drain()
        if ending == "open":
            await reader.read()  # until the client goes
        return ending == "keep"

    def _answer(self, method: str, target: str, headers: dict[str, str]) -> Any:
        if method == "POST" and "token" in target:
            self.grants += 1
            body = {"access_token": f"token-{self.grants}", "expires_in": 600}
            return answer(body=json.dumps(body).encode(), Content_Type="application/json")
        if target.startswith("/realms"):
            return answer(body=LOGIN_PAGE, Content_Type="text/html")
        if target.endswith("$value"):
            key = target.split("(")[1].split(")", maxsplit=1)[0]
            asks = self.asks.setdefault(key, [])
            start = int(headers.get("range", "bytes=0-")[6:].split("-")[0])
            token = headers.get("authorization", "").removeprefix("Bearer ")
            asks.append(Ask(len(asks) + 1, start, token, headers))
            return self.value(self, asks[-1])
        if "(" in target.split("?", maxsplit=1)[0]:
            self.entries += 1
            number = int(target.split("id-")[1].split(")", maxsplit=1)[0])
            return answer(body=json.dumps(self.one(number)).encode())
        if method == "POST":
            return answer("404 Not Found")
        page = {"value": [self.one(number) for number in range(self.count)]}
        return answer(body=json.dumps(page).encode(), Content_Type="application/json")


@dataclass
class Run:
    outcomes: list[Outcome]
    events: list[Event]
    slept: list[float]
    folder: Path
    site: Site

    @property
    def only(self) -> Outcome:
        [outcome] = self.outcomes
        return outcome

    @property
    def asks(self) -> list[Ask]:
        [asks] = self.site.asks.values()
        return asks

    def is_whole(self, times: float = 1.0) -> bool:
        """Whether all came byte for byte, for at most so many times their bytes."""
        files = list(self.folder.glob("*.zip"))
        right = [file for file in files if file.read_bytes() == self.site.data]
        due = len(self.outcomes) * (len(self.site.data) + 1000)
        return len(right) == len(files) == len(self.outcomes) and self.site.sent <= times * due

    @property
    def published(self) -> list[Path]:
        return [file for file in self.folder.iterdir() if file.is_file()]


Bring = Callable[..., Awaitable[Run]]


@pytest.fixture
async def bring(tmp_path: Path) -> AsyncIterator[Bring]:
    """Runs a download of all that a ``Site`` has."""
    servers: list[asyncio.Server] = []

    async def run(
        value: Value, *, data: bytes = DATA, count: int = 1, stall: float = 0.3, **entry: Any
    ) -> Run:
        site = Site(value, data, count, entry)
        server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
        servers.append(server)
        site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        service = Service(catalogue_url=f"{site.url}/odata/Products", token_url=f"{site.url}/token")
        settings = Settings(
            service=service,
            limits=Limits(workers=2),
            retry=RetryPolicy(base=0.01, cap=0.05, offline_wait=20),
            timeouts=Timeouts(stall=stall),
        )
        events: list[Event] = []
        folder = tmp_path / f"out-{len(servers)}"
        async with NoaClient(settings, WHO, observer=events.append) as noa:
            found = noa.download_all(noa.search(ALL), folder)
            return Run([each async for each in found], events, [], folder, site)

    yield run
    for server in servers:
        server.close()


@pytest.fixture(params=PATHS)
def each_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once by each path of the bytes."""
    bring_bytes_by(request.param, monkeypatch)


K = FaultKind


@pytest.mark.usefixtures("each_path")
@pytest.mark.parametrize(
    "fault",
    [
        Fault(K.LABEL_ENCODING, times=None),
        Fault(K.LABEL_TYPE, times=None),
        Fault(K.LABEL_RANGE, times=None),
        Fault(K.LABEL_LENGTH, times=None, seconds=30),
        Fault(K.LABEL_LOGIN, status=302),
    ],
    ids=lambda fault: fault.kind.value,
)
async def test_labels_for_good(connect: Connect, tmp_path: Path, fault: Fault) -> None:
    """The emulator's, with a cut before each."""
    faults = FaultPlan((Fault(K.CUT, at=0.6), fault))
    settings = EmulatorSettings(products=3, mean_bytes=100_000, faults=faults)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {WHOLE}
        assert_right(mirror, tmp_path, 3)
        needed = sum(product.size for product in mirror.catalogue.products)
        assert mirror.stats.bytes_sent < 1.3 * needed


# 1.1: encodings that are none.


@pytest.mark.parametrize(
    "label",
    [
        *("aws-chunked", "", "none", "identity", "aws-chunked,identity", "binary", "utf-8"),
        *("Identity", "rot13", "base64, none", "raw", "no"),
    ],
)
async def test_row_1_1_an_encoding_that_is_none(bring: Bring, label: str) -> None:
    run = await bring(lambda _, ask: ranged(DATA, ask, Content_Encoding=label))
    assert run.is_whole()
    assert run.only.attempts == 1


async def test_row_1_1_on_a_resume(bring: Bring) -> None:
    def value(_: Site, ask: Ask) -> tuple[bytes, str]:
        return ranged(DATA, ask, SIZE // 2, Content_Encoding="aws-chunked"), "cut"

    run = await bring(value)
    assert run.is_whole(1.2)


@pytest.mark.parametrize(
    "label",
    ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "aws-chunked, gzip", "GZIP, identity"],
)
async def test_row_1_1_a_coding_is_refused(bring: Bring, label: str) -> None:
    run = await bring(lambda _, ask: ranged(DATA, ask, Content_Encoding=label))
    assert run.only.status is FAILED
    assert "compressed" in str(run.only.error)
    assert (run.published, run.only.attempts) == ([], 9)
    run = await bring(
        lambda _, ask: ranged(DATA, ask, **({"Content_Encoding": label} if ask.number == 1 else {}))
    )
    assert run.is_whole(2.1)


# 1.2: text types.


@pytest.mark.usefixtures("each_path")
@pytest.mark.parametrize("kind", ["text/plain", "text/html; charset=utf-8", "application/xml"])
async def test_row_1_2_a_zip_under_a_text_type(bring: Bring, kind: str) -> None:
    run = await bring(lambda _, ask: ranged(DATA, ask, Content_Type=kind), count=3)
    assert run.is_whole()
    assert {each.attempts for each in run.outcomes} == {1}


@pytest.mark.usefixtures("each_path")
async def test_row_1_2_a_small_zip_under_a_text_type(bring: Bring) -> None:
    small = made_zip(700)
    run = await bring(lambda _, ask: ranged(small, ask, Content_Type="text/html"), data=small)
    assert run.is_whole()


def page_of(text: str, size: int) -> bytes:
    page = f"<!DOCTYPE html><html><body><h1>{text}</h1>".encode()
    return page + b" " * (size - len(page))


@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
async def test_row_1_2_a_quota_page_of_the_same_length(bring: Bring, kind: str) -> None:
    page = page_of("Maximum number of 4 concurrent flows achieved", SIZE)
    run = await bring(lambda _, ask: answer(body=page, Content_Type=kind))
    assert isinstance(run.only.error, QuotaExceeded)
    assert "concurrent flows" in str(run.only.error)
    assert run.published == []


async def test_row_1_2_a_quota_page_of_the_same_length_and_type(bring: Bring) -> None:
    """It is not put into quarantine: a later run tries again."""
    page = page_of("Maximum number of 4 concurrent flows achieved", SIZE)
    run = await bring(lambda _, ask: ranged(page, ask))
    assert isinstance(run.only.error, QuotaExceeded)
    assert run.published == []
    assert list(run.folder.glob(".noa-async/quarantine/*")) == []


async def test_row_1_2_a_text_product_of_unknown_type(bring: Bring) -> None:
    """With a checksum and the right length, text that gives no reason may be the product."""
    text = b"S1A orbit, 2026\n" * 2000
    run = await bring(
        lambda _, ask: ranged(text, ask, Content_Type="text/plain"), data=text, Name="S1A_POEORB"
    )
    assert run.only.status is WHOLE
    assert run.published[0].read_bytes() == text


# 1.3: a log-in page.


def login_pages(kind: str) -> dict[str, Any]:
    return {
        "redirect": lambda _: answer("302 Found", Location=LOGIN_ADDRESS),
        "200": lambda _: answer(body=LOGIN_PAGE, Content_Type="text/html"),
        "untyped": lambda _: answer(body=LOGIN_PAGE, Content_Type="application/octet-stream"),
        "401": lambda _: answer("401 Unauthorized", body=LOGIN_PAGE, Content_Type="text/html"),
        "403": lambda _: answer("403 Forbidden", body=LOGIN_PAGE, Content_Type="text/html"),
    }[kind]


KINDS = ["redirect", "200", "untyped", "401", "403"]


@pytest.mark.usefixtures("each_path")
@pytest.mark.parametrize("kind", KINDS)
async def test_row_1_3_a_log_in_page_renews_the_token_once(bring: Bring, kind: str) -> None:
    page = login_pages(kind)
    run = await bring(
        lambda _, ask: page(ask) if ask.token == "token-1" else ranged(DATA, ask), count=6
    )
    assert run.is_whole()
    assert run.site.grants == 2
    assert len([event for event in run.events if isinstance(event, TokenObtained)]) == 2
    assert not [event for event in run.events if isinstance(event, TransferRetried)]


@pytest.mark.parametrize("kind", ["redirect", "200", "403"])
async def test_row_1_3_for_good(bring: Bring, kind: str) -> None:
    run = await bring(lambda _, ask: login_pages(kind)(ask))
    assert isinstance(run.only.error, ProductUnavailable)
    assert "log-in page" in str(run.only.error)
    assert len(run.asks) <= 4
    assert run.published == []


# 1.4: Content-Range in odd spellings, and shorter than asked for.


SPELLINGS = [
    "bytes={}-{}/{}",
    "bytes: {}-{}/{}",
    "{}-{}/{}",
    "BYTES {} - {} / {}",
    "bytes  {}-{}/{}",
    "bytes {}-{}/*",
    "bytes {}-{}",
]


@pytest.mark.usefixtures("each_path")
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_row_1_4_odd_content_ranges(bring: Bring, spelling: str) -> None:
    def value(_: Site, ask: Ask) -> tuple[bytes, str]:
        named = spelling.format(ask.start, SIZE - 1, SIZE)
        return ranged(DATA, ask, int(SIZE * 0.6), Content_Range=named if ask.start else None), "cut"

    run = await bring(value)
    assert run.is_whole(1.1)
    assert len(run.asks) <= 3


async def test_row_1_4_no_content_range(bring: Bring) -> None:
    def value(_: Site, ask: Ask) -> tuple[bytes, str]:
        return ranged(DATA, ask, int(SIZE * 0.6), Content_Range=None), "cut"

    run = await bring(value)
    assert run.is_whole(1.1)


async def test_row_1_4_shorter_ranges_are_continued_at_once(bring: Bring) -> None:
    def value(_: Site, ask: Ask) -> bytes | tuple[bytes, str]:
        if not ask.start:
            return ranged(DATA, ask, 50_000), "cut"
        body = DATA[ask.start : ask.start + 20_000]
        named = f"bytes {ask.start}-{ask.start + len(body) - 1}/{SIZE}"
        return answer("206 Partial Content", body, ETag='"e"', Content_Range=named)

    run = await bring(value)
    assert run.is_whole(1.1)
    assert len(run.asks) > 25
    assert len([event for event in run.events if isinstance(event, TransferRetried)]) == 1


# 1.5: HTTP announces another length.


@pytest.mark.usefixtures("each_path")
@pytest.mark.parametrize("ending", ["open", "cut"])
@pytest.mark.parametrize("size", [700, 40_000, SIZE])
async def test_row_1_5_a_byte_more_for_good(bring: Bring, ending: str, size: int) -> None:
    data = made_zip(size)

    def value(_: Site, ask: Ask) -> tuple[bytes, str]:
        return ranged(data, ask, Content_Length=len(data) - ask.start + 1), ending

    run = await bring(value, data=data)
    assert run.is_whole()
    assert run.only.attempts == 1
    assert not [event for event in run.events if isinstance(event, TransferRetried)]


async def test_row_1_5_a_byte_more_and_cuts(bring: Bring) -> None:
    def value(_: Site, ask: Ask) -> tuple[bytes, str]:
        most = int(SIZE * 0.6)
        named = {"Content_Range": f"bytes {ask.start}-{SIZE}/{SIZE + 1}"} if ask.start else {}
        return ranged(DATA, ask, most, Content_Length=SIZE + 1 - ask.start, **named), "cut"

    run = await bring(value)
    assert run.is_whole(1.1)


@pytest.mark.parametrize("checked", [True, False])
async def test_row_1_5_no_length(bring: Bring, checked: bool) -> None:
    entry = {} if checked else {"Checksum": None}
    run = await bring(lambda _, ask: (ranged(DATA, ask, Content_Length=None), "cut"), **entry)
    assert run.is_whole()


async def test_row_1_5_no_length_and_no_end(bring: Bring) -> None:
    run = await bring(lambda _, ask: (ranged(DATA, ask, Content_Length=None), "open"))
    assert run.is_whole()
    assert run.only.attempts == 1


async def test_row_1_5_a_byte_less(bring: Bring) -> None:
    """The last byte comes with a range."""

    def value(_: Site, ask: Ask) -> bytes | tuple[bytes, str]:
        if ask.start:
            return ranged(DATA, ask)
        return ranged(DATA, ask, Content_Length=SIZE - 1), "cut"

    run = await bring(value)
    assert run.is_whole()


async def test_row_1_5_without_a_checksum(bring: Bring) -> None:
    """A zip that is whole by its own sums, and of the catalogue's size."""
    run = await bring(
        lambda _, ask: (ranged(DATA, ask, Content_Length=SIZE - ask.start + 1), "open"),
        Checksum=None,
    )
    assert run.only.status is UNVERIFIED
    assert run.is_whole()


async def test_the_catalogues_size_may_be_wrong_if_the_checksum_is_right(bring: Bring) -> None:
    for size in (SIZE - 1000, SIZE + 1000):
        run = await bring(lambda _, ask: ranged(DATA, ask), ContentLength=size)
        assert run.only.status is WHOLE
        assert run.is_whole()


# 1.6: Retry-After.


@pytest.mark.parametrize("status", ["202 Accepted", "503 Service Unavailable", "429 Too Many"])
async def test_row_1_6_a_short_retry_after_is_followed(
    bring: Bring, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a policy whose own waits are far longer."""
    monkeypatch.setattr("random.random", lambda: 1.0)

    def value(_: Site, ask: Ask) -> bytes:
        return answer(status, Retry_After="1") if ask.number <= 1 else ranged(DATA, ask)

    began = time.monotonic()
    run = await bring(value)
    assert run.is_whole()
    assert 0.9 < time.monotonic() - began < 3


def test_row_1_6_in_both_directions() -> None:
    policy = RetryPolicy(base=10, cap=60)
    for asked in (1.0, 30.0, 300.0):
        budget = Budget(policy, draw=lambda: 1.0)
        errors = [TransferInterrupted("503", retry_after=asked) for _ in range(5)]
        waits = [budget.after(error) for error in errors]
        assert waits[:3] == [asked] * 3
        assert waits[3] == max(60.0, asked)
    assert [Patience(policy).after(0, asked) for asked in (1.0, 500.0, 0.0)] == [1.0, 500.0, 60.0]
    patience = Patience(policy)
    waits = [patience.after(0, 1.0) for _ in range(12)]
    assert waits == [1.0] * 10 + [60.0, 120.0]


# Kept back, of the same kind.


async def test_an_etag_for_each_node(bring: Bring) -> None:
    """If-Range never matches, so that each resume would begin anew; a cut after 60 % of each."""

    def value(_: Site, ask: Ask) -> tuple[bytes, str]:
        etag = f'"node-{ask.number}"'
        if ask.start and ask.headers.get("if-range", etag) != etag:
            ask.start = 0
        return ranged(DATA, ask, int(SIZE * 0.6), ETag=etag), "cut"

    run = await bring(value)
    assert run.only.status is WHOLE
    assert run.is_whole(2.2)
    assert len(run.asks) <= 4
    assert run.site.entries == 1


async def test_a_replaced_product_begins_anew_with_its_new_checksum(bring: Bring) -> None:
    new = made_zip(600_000, seed=2)

    def value(site: Site, ask: Ask) -> bytes | tuple[bytes, str]:
        if ask.number == 1:
            site.data = new
            return ranged(DATA, ask, int(SIZE * 0.6), ETag='"old"'), "cut"
        ask.start = ask.start if ask.headers.get("if-range") == '"new"' else 0
        return ranged(new, ask, ETag='"new"')

    run = await bring(value)
    assert run.only.status is WHOLE
    assert [file.read_bytes() for file in run.published] == [new]
    assert run.only.product.size == len(new)


WORDS = {
    "reason": answer("503 Too Many Sessions"),
    "field": answer("403 Forbidden", X_Error_Message="Maximum number of 4 downloads exceeded"),
    "gzip": answer("403 Forbidden", zlib.compress(b"quota exceeded"), Content_Encoding="deflate"),
    "text": answer(body=b"Max session number 4 exceeded", Content_Type="application/zip"),
    "416": answer("416 Range Not Satisfiable", b"too many requests", Content_Type="text/plain"),
}


@pytest.mark.usefixtures("each_path")
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
async def test_quota_words_anywhere(bring: Bring, words: bytes) -> None:
    run = await bring(lambda _, ask: words)
    assert isinstance(run.only.error, QuotaExceeded)
    run = await bring(lambda _, ask: words if ask.number == 1 else ranged(DATA, ask))
    assert run.is_whole()


STORE_REFUSALS = {
    "quota": answer("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>"),
    "expired": answer(
        "403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
    ),
    "signature": answer("403 Forbidden", b"<Error><Code>SignatureDoesNotMatch</Code></Error>"),
    "plain": answer("403 Forbidden", b"Access denied"),
}


@pytest.mark.parametrize("kind", STORE_REFUSALS)
async def test_a_refusal_from_behind_a_redirect(bring: Bring, serve_raw: Any, kind: str) -> None:
    """The next attempt begins at the service, whose link is a new one; no token is renewed."""
    links: list[str] = []

    async def store(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.append(kind)
        first = len(links) == 1
        writer.write(STORE_REFUSALS[kind] if first else ranged(DATA, Ask(1, 0, "", {})))
        await writer.drain()

    url = await serve_raw(store)
    run = await bring(lambda _, ask: answer("302 Found", Location=f"{url}/o?sign={ask.number}"))
    assert run.is_whole()
    assert (len(run.asks), run.site.grants) == (2, 1)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_row_6_9_a_foreign_refusal_renews_no_token(
    bring: Bring, serve_raw: Any, status: str
) -> None:
    async def store(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status))
        await writer.drain()

    url = await serve_raw(store)
    run = await bring(lambda _, ask: answer("302 Found", Location=f"{url}/o"), count=5)
    assert {each.status for each in run.outcomes} == {FAILED}
    assert run.site.grants == 1


async def test_an_interruption_does_not_hide_the_quota(bring: Bring) -> None:
    def value(_: Site, ask: Ask) -> bytes | tuple[bytes, str]:
        return answer("429 Too Many Requests") if ask.number < 5 else (b"", "cut")

    run = await bring(value)
    assert run.only.status is FAILED
    assert "429" in str(run.only.error)


# 6.1: a size that differs from the catalogue's.


@pytest.mark.usefixtures("each_path")
@pytest.mark.parametrize("name", ["S2A.SAFE.zip", "S5P.nc"])
@pytest.mark.parametrize("etag", ['"e"', 'W/"e"', None])
async def test_row_6_1_half_a_product_is_never_published(
    bring: Bring, name: str, etag: str | None
) -> None:
    half = made_zip(SIZE // 2)
    run = await bring(
        lambda _, ask: ranged(half, ask, ETag=etag) if not ask.start else answer("416 No"),
        Checksum=None,
        Name=name,
    )
    assert isinstance(run.only.error, SizeMismatch), run.only.error
    assert f"{len(half):,}" in str(run.only.error)
    assert f"{SIZE:,}" in str(run.only.error)
    assert run.published == []
    assert run.site.entries == 1


async def test_row_6_1_the_catalogue_has_changed(bring: Bring) -> None:
    half = made_zip(SIZE // 2)

    def value(site: Site, ask: Ask) -> bytes:
        site.data = half
        return ranged(half, ask)

    run = await bring(value, Checksum=None)
    assert run.only.status is UNVERIFIED
    assert [file.read_bytes() for file in run.published] == [half]


@pytest.mark.parametrize("length", [2 * SIZE, None], ids=["announced", "not"])
async def test_row_6_1_twice_a_product_is_never_published(bring: Bring, length: int | None) -> None:
    """Without a checksum, a file that is larger than the catalogue says is no product either."""
    large = random.Random(3).randbytes(2 * SIZE)
    run = await bring(
        lambda _, ask: (ranged(large, ask, Content_Length=length), "cut"),
        Checksum=None,
        Name="S5P.nc",
    )
    assert isinstance(run.only.error, SizeMismatch)
    assert run.published == []


async def test_row_9_content_length_is_not_believed_over_the_catalogue(bring: Bring) -> None:
    """2 MB by the catalogue, 10 TB by HTTP: no more is read than the catalogue says."""

    def value(site: Site, ask: Ask) -> tuple[bytes, str]:
        return answer(body=DATA * 2, Content_Length=10**13), "open"

    run = await bring(value, data=DATA[:-1] + b"x", stall=0.2)
    assert isinstance(run.only.error, SizeMismatch)
    assert "10,000,000,000,000" in str(run.only.error)
    parts = [file.stat().st_size for file in run.folder.rglob("*.part")]
    assert sum(parts) <= SIZE


# 6.10: a short 200.


async def test_row_6_10_a_short_200_drops_no_part(bring: Bring) -> None:
    def value(_: Site, ask: Ask) -> bytes | tuple[bytes, str]:
        if ask.number == 1:
            return ranged(DATA, ask, int(SIZE * 0.9)), "cut"
        if ask.number in {2, 3, 5}:
            return answer(body=b"\x00\x01busy" * 5000, Content_Type="application/octet-stream")
        if ask.number == 4:
            text = page_of("Service is busy", 3000)
            return answer(body=text, Content_Type="application/octet-stream")
        return ranged(DATA, ask)

    run = await bring(value)
    assert run.is_whole(1.4)
    assert min(ask.start for ask in run.asks[1:]) > SIZE // 2
    assert list(run.folder.glob(".noa-async/quarantine/*")) == []


async def test_row_6_10_an_answer_of_another_range_drops_the_part_the_second_time(
    bring: Bring,
) -> None:
    def value(_: Site, ask: Ask) -> bytes | tuple[bytes, str]:
        if ask.number == 1:
            return ranged(DATA, ask, int(SIZE * 0.9)), "cut"
        if ask.start:
            return answer("206 Partial Content", b"x" * 10, Content_Range=f"bytes 5-14/{SIZE}")
        return ranged(DATA, ask)

    run = await bring(value)
    assert run.is_whole(2)
    assert [bool(ask.start) for ask in run.asks] == [False, True, True, False]


# 6.11: no checksum.


@pytest.mark.parametrize("etag", ['W/"e"', "bare", None])
async def test_row_6_11_states_are_not_spliced(bring: Bring, etag: str | None) -> None:
    """Without a checksum and a strong validator a cut product begins anew."""
    other = made_zip(600_000, seed=2)
    same = {"ETag": etag, "Last_Modified": "Mon, 12 Jan 2026 12:00:00 GMT"}

    def value(site: Site, ask: Ask) -> bytes | tuple[bytes, str]:
        if ask.number == 1:
            return ranged(DATA, ask, int(SIZE * 0.6), **same), "cut"
        site.data = other
        return ranged(other, ask, **same)

    run = await bring(value, Checksum=None, Name="S5P.nc")
    assert run.only.status is UNVERIFIED
    assert [file.read_bytes() for file in run.published] == [other]
    assert [ask.start for ask in run.asks] == [0, 0]


async def test_row_6_11_a_strong_etag_resumes(bring: Bring) -> None:
    def value(site: Site, ask: Ask) -> tuple[bytes, str]:
        return ranged(DATA, ask, int(SIZE * 0.6)), "cut"

    run = await bring(value, Checksum=None)
    assert run.is_whole(1.1)
    assert run.asks[1].headers["if-range"] == '"e"'


# 6.2 and 9: damaged zips, and those that inflate without end.


def zip_of(method: int, content: bytes = b"abc" * 50_000, **changes: int) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo("a.bin"), content, method)
    return held.getvalue()


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_row_6_2_a_zip_that_is_right(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    for content in (
        b"",
        b"x",
        b"abc" * 500_000,
        random.Random(1).randbytes(1_000_000),
        bytes(1 << 20),
    ):
        path.write_bytes(zip_of(method, content))
        assert broken_zip(path) is None


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_row_6_2_any_damage_is_told_and_never_raised(tmp_path: Path, method: int) -> None:
    path, draw = tmp_path / "a.zip", random.Random(method)
    right = zip_of(method, random.Random(1).randbytes(3000) + b"abc" * 1000)
    told = 0
    for _ in range(400):
        damaged = bytearray(right)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(4, len(damaged))] = draw.randrange(256)
        if draw.random() < 0.3:
            del damaged[draw.randrange(4, len(damaged)) :]
        path.write_bytes(damaged)
        told += broken_zip(path) is not None
    assert told > (200 if method != zipfile.ZIP_LZMA else 50)


def test_row_6_2_a_damaged_zip_is_that_products_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of(zipfile.ZIP_STORED))
    for error in (
        OSError(22, "Invalid argument"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
        EOFError(),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(zipfile.ZipFile, "infolist", fail)
        assert "cannot be read" in (broken_zip(path) or "")


async def test_row_6_2_the_others_go_on(bring: Bring) -> None:
    bad = bytearray(DATA)
    bad[-30] ^= 0xFF  # the directory's place
    run = await bring(
        lambda _, ask: ranged(bytes(bad), ask), data=bytes(bad), count=3, Checksum=None
    )
    assert {each.status for each in run.outcomes} == {FAILED}
    assert len(run.outcomes) == 3
    assert run.published == []


@pytest.mark.parametrize("change", ["encrypted", "method", "version"])
def test_row_6_2_what_cannot_be_told_is_not_broken(tmp_path: Path, change: str) -> None:
    path, data = tmp_path / "a.zip", bytearray(zip_of(zipfile.ZIP_STORED))
    directory = data.index(b"PK\x01\x02")
    if change == "encrypted":
        data[6] |= 1
        data[directory + 8] |= 1
        data[40] ^= 0xFF
    elif change == "method":
        data[8:10] = data[directory + 10 : directory + 12] = struct.pack("<H", 97)
    else:
        data[directory + 6] = 99
    path.write_bytes(data)
    assert broken_zip(path) is None


def bomb(method: int, size: int, declared: int) -> bytes:
    """A zip whose member inflates to ``size`` zeros, and says that it is ``declared`` bytes."""
    data = bytearray(zip_of(method, bytes(size)))
    directory = data.index(b"PK\x01\x02")
    data[22:26] = data[directory + 24 : directory + 28] = struct.pack("<L", declared)
    return bytes(data)


def large_bomb(megabytes: int) -> bytes:
    """A zip of some MB with one deflated member of so many; no time is taken to deflate them."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = press.compress(bytes(1 << 20)) + press.flush(zlib.Z_FULL_FLUSH)
    packed = block * megabytes + press.flush()
    sizes = struct.pack("<3L", 0, len(packed), megabytes << 20)
    common = struct.pack("<5H", 20, 0, 8, 0, 33) + sizes + struct.pack("<2H", 5, 0)
    local = b"PK\3\4" + common + b"a.bin"
    central = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<3H2L", 0, 0, 0, 0, 0)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 51, len(local) + len(packed), 0)
    return local + packed + central + b"a.bin" + end


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2], ids=["zip", "bz2"])
def test_row_9_a_zip_bomb_takes_no_time(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    for size, declared, broken in (
        (80 << 20, 80 << 20, False),
        (10 << 20, 1000, True),
        (10 << 20, 4_000_000_000, False),
    ):
        path.write_bytes(bomb(method, size, declared))
        assert path.stat().st_size < 400_000
        began = time.process_time()
        assert (broken_zip(path) is not None) is broken
        assert time.process_time() - began < 2


def test_row_9_a_large_bomb_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(large_bomb(4000))
    began = time.process_time()
    assert broken_zip(path) is None
    assert time.process_time() - began < 1
    path.write_bytes(large_bomb(20))  # its checksum is wrong, and this is looked at
    assert "damaged" in (broken_zip(path) or "")


def test_row_9_members_that_overlap(tmp_path: Path) -> None:
    """Many entries for the same bytes."""
    path, data = tmp_path / "a.zip", zip_of(zipfile.ZIP_DEFLATED, bytes(10 << 20))
    directory = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry, count = data[directory:end], 1000
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(entry) * count, directory, 0)
    path.write_bytes(data[:directory] + entry * count + tail)
    began = time.process_time()
    assert broken_zip(path) is not None
    assert time.process_time() - began < 2


# Tables.


@pytest.mark.parametrize(
    ("status", "headers", "body", "said", "kind", "tries"),
    [
        (202, {"Retry-After": "1"}, b"", "not on line yet", "ProductOffline", 0),
        (401, {}, b"", "401 to a fresh token", "ProductUnavailable", 3),
        (404, {}, b"", "404: it has no such product", "ProductGone", 1),
        (410, {}, b"", "410", "ProductGone", 0),
        (400, {}, b"no", "400: no", "ProductUnavailable", 0),
        (403, {}, b"Access denied", "403: Access denied", "ProductUnavailable", 0),
        (403, {}, b"quota exceeded", "said: quota exceeded", "QuotaExceeded", 0),
        (429, {}, b"", "429", "QuotaExceeded", 0),
        (500, {}, b"", "500", "TransferInterrupted", 0),
        (503, {}, b"<html>Down for maintenance", "maintenance", "TransferInterrupted", 0),
        (407, {}, b"", "proxy", "TransferInterrupted", 0),
        (
            200,
            {},
            b"<html>Sorry</html>",
            "in place of the product: Sorry",
            "TransferInterrupted",
            0,
        ),
        (200, {}, b"", "nothing more is said", "TransferInterrupted", 0),
        (200, {}, LOGIN_PAGE, "log-in page", "ProductUnavailable", 1),
        (304, {}, b"", "304", "TransferInterrupted", 0),
    ],
)
def test_what_a_refusal_means(
    status: int, headers: dict[str, str], body: bytes, said: str, kind: str, tries: int
) -> None:
    refusal = classify(status, headers, body, had_token=True)
    error = product_error(refusal, Origin("mirror.example"))
    assert (type(error).__name__, error.more_tries) == (kind, tries)
    assert said in str(error)
    assert "Retry-After" not in headers or error.retry_after == 1.0


def test_a_503_while_others_are_served_is_a_quota() -> None:
    refusal = classify(503, {"Retry-After": "7"})
    for served, kind in ((True, QuotaExceeded), (False, TransferInterrupted)):
        error = product_error(refusal, Origin(others_served=served))
        assert type(error) is kind
        assert error.retry_after == 7.0


def test_a_store_that_wants_the_token() -> None:
    refusal = classify(401, {}, sender=Sender.STORE)
    error = product_error(refusal, Origin("store.example", Sender.STORE, had_token=False))
    assert "--trusted-host store.example" in error.hint


BINARY, HTML, TEXT, QUOTA = b"PK\x03\x04", b"<html>x", b"EOF data", b"quota exceeded"


@pytest.mark.parametrize(
    ("start", "due", "length", "message"),
    [
        (BINARY, Due(10), 10, False),
        (BINARY, Due(10), 9, False),
        (HTML, Due(10), 10, True),
        (HTML, Due(10, is_text=True), 10, True),
        (HTML, Due(10, is_text=True, is_html=True), 10, False),
        (LOGIN_PAGE, Due(10, is_text=True, is_html=True), 10, True),
        (QUOTA, Due(10), 10, True),
        (QUOTA, Due(10, is_text=True), 10, False),
        (QUOTA, Due(10, is_text=True), 9, True),
        (b'{"error": "x"}', Due(10), 10, True),
        (TEXT, Due(10), 10, False),
        (TEXT, Due(10, checked=False), 10, True),
        (TEXT, Due(10), 9, True),
        (TEXT, Due(10, is_text=True), 9, False),
        (b"", Due(10), 10, True),
        (b"", Due(10, is_text=True), 0, True),
    ],
)
def test_what_is_a_message(start: bytes, due: Due, length: int, message: bool) -> None:
    head = Head(200, content_length=length)
    assert is_message(head, classify(200, {}, start, json_due=True), start, due) is message
