"""Object stores that others wrote as outputs: what goes in, what comes back, what refuses."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import obstore
import pytest
from aiohttp import web
from yarl import URL

from noa_async import Credentials, NoaClient, Query
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.errors import DestinationError
from noa_async.events import Status
from tests.integration.conftest import settings_for
from tests.real import stores
from tests.real.stores import BUCKET, StoreServer

WHO = Credentials("demo", "demo", source="test")
ALL = Query(everything=True)


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
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "noa_async", "download", "--everything", "--output", url,
            "--scratch", str(tmp_path / "scratch"), "--no-progress",
            env=os.environ | {"NOA_CATALOGUE_URL": mirror.catalogue_url, "NOA_TOKEN_URL":
                mirror.token_url, "NOA_USERNAME": "demo", "NOA_PASSWORD": "demo"},
        )  # fmt: skip
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
        assert sum(map(len, mirror.stats.downloads.values())) <= 60 + workers
        assert right(mirror, store.contents("killed"))


async def test_a_store_that_asks_to_slow_down_is_waited_for(store, tmp_path, monkeypatch):
    refused = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal refused
        if request.method == "PUT" and refused < 5:
            refused += 1
            await request.read()
            text = "<Error><Code>SlowDown</Code><Message>Please reduce.</Message></Error>"
            return web.Response(status=503, text=text, content_type="application/xml")
        headers = {k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"}
        async with session.request(
            request.method, URL(f"{store.endpoint}{request.raw_path}", encoded=True),
            headers=headers, data=await request.read(), allow_redirects=False,
        ) as got:  # fmt: skip
            dropped = {"transfer-encoding", "content-encoding"}
            kept = {k: v for k, v in got.headers.items() if k.lower() not in dropped}
            return web.Response(status=got.status, headers=kept, body=await got.read())

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        async with Emulator(few(4)) as mirror:
            outcomes = await bring(mirror, tmp_path, f"s3://{BUCKET}/slow")
        await runner.cleanup()
    assert (outcomes, refused) == ([Status.DOWNLOADED] * 4, 5)
    assert right(mirror, store.contents("slow"))
