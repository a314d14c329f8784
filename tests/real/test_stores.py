"""Object stores that others wrote as outputs: what goes in, what comes back, what refuses."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import obstore
import pytest
from aiohttp import web
from yarl import URL

from noa_async import Credentials, NoaClient, Query
from noa_async.archive.sigv4 import Bucket
from noa_async.archive.uploads import read_uploads
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.errors import DestinationError
from noa_async.events import Status, TransferStarted
from tests.integration.conftest import settings_for
from tests.real import stores
from tests.real.stores import BUCKET, KEY, SECRET, StoreServer

WHO = Credentials("demo", "demo", source="test")
ALL = Query(everything=True)
Look = Callable[[web.BaseRequest], web.Response | Awaitable[web.Response | None] | None]


@pytest.fixture(scope="module", params=["seaweed", "rclone"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreServer]:
    with getattr(stores, request.param)(tmp_path_factory.mktemp(request.param)) as one:
        yield one


@pytest.fixture
def store(server: StoreServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StoreServer:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    return server


def client(mirror: Emulator, tmp_path: Path) -> NoaClient:
    return NoaClient(settings_for(mirror, scratch=str(tmp_path / "scratch")), WHO)


async def bring(mirror: Emulator, tmp_path: Path, url: str, **how: str) -> list[Status]:
    async with client(mirror, tmp_path) as noa:
        return [one.status async for one in noa.download_all(noa.search(ALL), url, **how)]


def few(products: int, size: int = 3000) -> EmulatorSettings:
    return EmulatorSettings(products=products, mean_bytes=size)


def right(mirror: Emulator, held: dict[str, bytes]) -> bool:
    sums = sorted(mirror.content(product.id).md5 for product in mirror.catalogue.products)
    return sorted(hashlib.md5(held[key]).hexdigest() for key in held) == sums


async def test_200_products_go_in_and_are_there_for_the_next_run(store, tmp_path):
    url = f"s3://{BUCKET}/many"
    async with Emulator(few(200)) as mirror:
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED] * 200
        assert right(mirror, store.contents("many"))
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url) == [Status.PRESENT] * 200
        assert mirror.stats.bytes_sent == served


async def test_a_large_product_goes_up_in_pieces_with_its_label(store, tmp_path):
    async with Emulator(few(1, 12_000_000)) as mirror:
        assert await bring(mirror, tmp_path, f"s3://{BUCKET}/large") == [Status.DOWNLOADED]
        held = store.contents("large")
        assert right(mirror, held)
        [product], [key] = mirror.catalogue.products, held
        label = obstore.get(store.store("large"), key, options={"head": True}).attributes
        assert label["noa-id"] == product.id
        assert label["noa-checksum"] == f"md5:{mirror.content(product.id).md5}"


async def test_while_one_product_goes_up_the_next_one_comes(store, tmp_path, monkeypatch):
    """By one connection: no upload goes on before a second product was asked for."""
    put, second, begun = obstore.put, threading.Event(), []

    def waiting(*arguments: object, **how: object) -> object:
        assert second.wait(20)
        return put(*arguments, **how)

    def observe(event: object) -> None:
        if isinstance(event, TransferStarted):
            begun.append(event.product_id)
            if len(begun) == 2:
                second.set()

    monkeypatch.setattr(obstore, "put", waiting)
    async with Emulator(few(3, 2_000_000)) as mirror:
        settings = settings_for(mirror, scratch=str(tmp_path / "scratch"), workers=1)
        async with NoaClient(settings, WHO, observer=observe) as noa:
            outcomes = noa.download_all(noa.search(ALL), f"s3://{BUCKET}/meanwhile")
            assert [one.status async for one in outcomes] == [Status.DOWNLOADED] * 3
        assert right(mirror, store.contents("meanwhile"))


async def test_another_layout_moves_what_is_there(store, tmp_path):
    url = f"s3://{BUCKET}/moved"
    async with Emulator(few(3)) as mirror:
        await bring(mirror, tmp_path, url)
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url, layout="date") == [Status.PRESENT] * 3
        assert mirror.stats.bytes_sent == served
        held = store.contents("moved")
        assert right(mirror, held)
        assert all(key.count("/") == 3 for key in held)


async def test_what_lost_its_ledger_is_known_by_its_label(store, tmp_path):
    url = f"s3://{BUCKET}/anew"
    async with Emulator(few(3)) as mirror:
        await bring(mirror, tmp_path, url)
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path / "other", url) == [Status.PRESENT] * 3
        assert mirror.stats.bytes_sent == served


async def test_what_could_not_go_up_goes_up_later_and_is_not_fetched_again(
    store, tmp_path, monkeypatch
):
    """The upload fails, as by a key that has expired; the part is whole."""
    url = f"s3://{BUCKET}/later"
    put = obstore.put

    def refused(*_: object, **__: object) -> None:
        raise obstore.exceptions.PermissionDeniedError("<Code>ExpiredToken</Code> of a-secret")

    async with Emulator(few(1, 3_000_000)) as mirror:
        monkeypatch.setattr(obstore, "put", refused)
        with pytest.raises(DestinationError, match="ExpiredToken") as caught:
            await bring(mirror, tmp_path, url)
        assert "a-secret" not in str(caught.value)
        assert store.contents("later") == {}
        monkeypatch.setattr(obstore, "put", put)
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED]
        assert mirror.stats.bytes_sent == served
        assert right(mirror, store.contents("later"))


async def test_wrong_keys_and_a_bucket_that_is_not_there_are_told(store, tmp_path, monkeypatch):
    async with Emulator(few(1)) as mirror:
        with pytest.raises(DestinationError, match="cannot be"):
            await bring(mirror, tmp_path, "s3://not-there/x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(DestinationError, match="cannot be listed"):
            await bring(mirror, tmp_path, f"s3://{BUCKET}/x")
        assert mirror.stats.bytes_sent == 0


async def test_what_changed_in_the_bucket_is_found(store, tmp_path):
    """A changed object is read and fetched again; a foreign one in the way is put aside."""
    url = f"s3://{BUCKET}/changed"
    async with Emulator(few(2)) as mirror:
        await bring(mirror, tmp_path, url)
        first, second = sorted(store.contents("changed"))
        obstore.put(store.store("changed"), first, b"x" * len(store.contents("changed")[first]))
        obstore.delete(store.store("changed"), second)
        assert sorted(await bring(mirror, tmp_path, url)) == [Status.DOWNLOADED] * 2
        assert right(mirror, store.contents("changed"))
        obstore.put(store.store("foreign"), first, b"foreign")
        await bring(mirror, tmp_path, f"s3://{BUCKET}/foreign")
        held = store.contents("foreign")
        [aside] = [key for key in held if key.startswith(".noa-async/")]
        assert held.pop(aside) == b"foreign"
        assert right(mirror, held)


async def test_a_run_that_was_killed_is_gone_on_with(store, tmp_path):
    """Nothing is fetched twice but what was under way."""
    url, workers, size = f"s3://{BUCKET}/killed", 4, 20_000
    async with Emulator(few(60, size)) as mirror:
        process = await started(mirror, tmp_path, url)
        while len(mirror.stats.downloads) < 20:
            await asyncio.sleep(0.01)
            assert process.returncode is None
        process.kill()
        await process.wait()
        before = sum(map(len, mirror.stats.downloads.values()))
        outcomes = await bring(mirror, tmp_path, url)
        assert len(outcomes) == 60
        assert Status.PRESENT in outcomes
        assert before < 60
        under_way = 2 * workers  # those that come, and those that go up
        assert sum(map(len, mirror.stats.downloads.values())) <= 60 + under_way
        assert right(mirror, store.contents("killed"))


async def test_a_store_that_asks_to_slow_down_is_waited_for(store, tmp_path, monkeypatch):
    refused = 0

    def slow_down(request: web.BaseRequest) -> web.Response | None:
        nonlocal refused
        if request.method != "PUT" or refused == 5:
            return None
        refused += 1
        return refusal(503, "SlowDown")

    async with between(store, slow_down) as endpoint, Emulator(few(4)) as mirror:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        outcomes = await bring(mirror, tmp_path, f"s3://{BUCKET}/slow")
    assert (outcomes, refused) == ([Status.DOWNLOADED] * 4, 5)
    assert right(mirror, store.contents("slow"))


async def test_pieces_that_a_killed_run_left_are_ended_by_the_next(store, tmp_path, monkeypatch):
    """Those of others, and what they have under way, stay."""
    url, foreign = f"s3://{BUCKET}/pieces", "pieces/somebody/else"
    under_way = asyncio.Event()

    async def hold_second(request: web.BaseRequest) -> None:
        if request.query.get("partNumber") == "2":
            under_way.set()
            await asyncio.Event().wait()

    begin_upload(store, foreign)
    async with between(store, hold_second) as endpoint, Emulator(few(1, 20_000_000)) as mirror:
        process = await started(mirror, tmp_path, url, AWS_ENDPOINT_URL=endpoint)
        await asyncio.wait_for(under_way.wait(), 30)
        process.kill()
        await process.wait()
        [product] = mirror.catalogue.products
        left = unfinished(store)
        assert foreign in left
        assert [key for key in left if product.name in key], "the server lists no such upload"
        assert store.contents("pieces") == {}
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED]
        assert mirror.stats.bytes_sent == served
        assert unfinished(store) == [foreign]
        assert right(mirror, store.contents("pieces"))
    assert list((tmp_path / "scratch").rglob("uploads/*")) == []


def begin_upload(store: StoreServer, key: str) -> None:
    address, headers = asked(store).request("POST", key, {"uploads": ""}, datetime.now(UTC))
    request = urllib.request.Request(address, method="POST", headers=headers)
    urllib.request.urlopen(request, timeout=5).close()


def unfinished(store: StoreServer) -> list[str]:
    address, headers = asked(store).request("GET", "", {"uploads": ""}, datetime.now(UTC))
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        return [one.key for one in read_uploads(answer.read().decode())]


def asked(store: StoreServer) -> Bucket:
    return Bucket(f"{store.endpoint}/{BUCKET}", "us-east-1", KEY, SECRET)


async def started(
    mirror: Emulator, tmp_path: Path, url: str, **environ: str
) -> asyncio.subprocess.Process:
    """``noa-async download``, a process of its own."""
    who = {"NOA_USERNAME": "demo", "NOA_PASSWORD": "demo"}
    where = {"NOA_CATALOGUE_URL": mirror.catalogue_url, "NOA_TOKEN_URL": mirror.token_url}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "noa_async", "download", "--everything", "--output", url,
        "--scratch", str(tmp_path / "scratch"), "--no-progress",
        env=os.environ | who | where | environ,
    )  # fmt: skip


def refusal(status: int, code: str) -> web.Response:
    """As S3 says no."""
    text = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


@asynccontextmanager
async def between(store: StoreServer, look: Look) -> AsyncIterator[str]:
    """An address that leads to the store, but for what ``look`` answers itself."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        own = look(request)
        own = await own if inspect.isawaitable(own) else own
        if own is not None:
            return own
        headers = {k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"}
        async with session.request(
            request.method, URL(f"{store.endpoint}{request.raw_path}", encoded=True),
            headers=headers, data=body, allow_redirects=False,
        ) as got:  # fmt: skip
            dropped = {"transfer-encoding", "content-encoding"}
            kept = {k: v for k, v in got.headers.items() if k.lower() not in dropped}
            return web.Response(status=got.status, headers=kept, body=await got.read())

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
