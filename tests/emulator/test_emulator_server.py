from __future__ import annotations

import ast
import asyncio
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

import noa_async.emulator as package
from noa_async.emulator import Catalogue, Emulator, EmulatorSettings, make_product

if TYPE_CHECKING:
    from conftest import OpenSite

FOLDER = Path(package.__file__).parent


@pytest.mark.parametrize("module", sorted(FOLDER.rglob("*.py")), ids=lambda one: one.stem)
def test_it_imports_nothing_of_the_client(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [f"{node.module}.{one.name}" for one in node.names]
        for name in names:
            if name.startswith("noa_async"):
                assert name.startswith("noa_async.emulator")
            if name.startswith("aiohttp"):
                assert name == "aiohttp.web"


async def test_it_stops_at_once_with_downloads_under_way(open_site: OpenSite) -> None:
    big = make_product(size=500_000_000)
    site = await open_site(big)
    url = site.url(f"({big.id})/$value")
    answers = [await site.session.get(url, headers=site.headers) for _ in range(5)]
    began = time.monotonic()
    await site.emulator.stop()
    assert time.monotonic() - began < 1.0
    for answer in answers:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert site.emulator.stats.downloads_in_flight == 0


async def test_it_leaves_no_task_and_starts_again(open_site: OpenSite) -> None:
    before = asyncio.all_tasks()
    emulator = Emulator(EmulatorSettings(products=1, mean_bytes=1000))
    for _ in range(2):
        async with emulator:
            async with aiohttp.ClientSession() as session, session.get(emulator.base_url) as answer:
                assert answer.status == 404
    assert asyncio.all_tasks() == before


async def test_outage(open_site: OpenSite) -> None:
    site = await open_site(make_product())
    site.emulator.outage = True
    assert (await site.page())[0] == 503
    assert (await site.login())[0] == 503
    site.emulator.outage = False
    assert (await site.page())[0] == 200


async def test_connections_are_refused_and_come_back(open_site: OpenSite) -> None:
    site = await open_site(make_product())
    await site.emulator.refuse_connections(0.1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await site.page()
    await site.emulator.reopened()
    assert (await site.page())[0] == 200


async def test_it_stops_while_it_refuses() -> None:
    async with Emulator(EmulatorSettings(products=1)) as emulator:
        await emulator.refuse_connections(600)


async def test_latency_comes_before_the_head(open_site: OpenSite) -> None:
    site = await open_site(make_product(), latency=0.1)
    began = time.monotonic()
    await site.page()
    assert 0.1 <= time.monotonic() - began < 1.0


async def test_the_control_endpoint(open_site: OpenSite) -> None:
    one = make_product()
    site = await open_site(one)
    await site.get(one.id, Range="bytes=5-9")
    base = site.emulator.base_url
    async with site.session.get(f"{base}/_emulator/stats") as answer:
        stats = await answer.json()
    assert stats == site.emulator.stats.as_dict() | {"downloads": {one.id: [[5, 206, 5]]}}
    assert (stats["token_logins"], stats["bytes_sent"], stats["requests"]) == (1, 5, 2)
    async with site.session.post(f"{base}/_emulator/revoke") as answer:
        assert answer.status == 204
    assert (await site.page())[0] == 401
    async with site.session.post(f"{base}/_emulator/reset") as answer:
        assert answer.status == 204
    assert site.emulator.stats.requests == 0


async def test_over_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    settings = EmulatorSettings(tls=server)
    async with (
        Emulator(settings, catalogue=Catalogue([make_product()])) as emulator,
        aiohttp.ClientSession() as session,
    ):
        assert emulator.catalogue_url.startswith("https://")
        async with session.get(emulator.catalogue_url, ssl=client) as answer:
            assert answer.status == 401


async def test_methods_and_paths(open_site: OpenSite) -> None:
    site = await open_site(make_product())
    assert (await site.get(site.url(), "DELETE")).status == 405
    assert (await site.get(site.url("s"))).status == 404
    service = site.emulator.catalogue_url.removesuffix("/Products")
    async with site.session.get(f"{service}/$metadata", headers=site.headers) as answer:
        assert 'Namespace="OData.CSC"' in await answer.text()
    async with site.session.get(f"{service}/", headers=site.headers) as answer:
        assert (await answer.json())["value"][0]["name"] == "Products"


async def test_ports_differ_and_secrets_stay_out_of_sight(open_site: OpenSite) -> None:
    site = await open_site(make_product())
    emulator = site.emulator
    assert len({emulator.base_url, emulator.trusted_url, emulator.foreign_url}) == 3
    assert "hidden-word" not in repr(EmulatorSettings(password="hidden-word"))


def test_settings_that_make_no_sense() -> None:
    default = EmulatorSettings()
    with pytest.raises(ValueError, match="before"):
        EmulatorSettings(start=default.end, end=default.start)
    with pytest.raises(ValueError, match="time zone"):
        EmulatorSettings(start=default.start.replace(tzinfo=None))


def test_the_catalogue_keeps_its_ids() -> None:
    catalogue = Catalogue([make_product("a"), make_product("b")])
    first = catalogue.products[0]
    with pytest.raises(ValueError, match="already"):
        catalogue.add(first)
    catalogue.remove(first.id)
    assert [one.index for one in catalogue.products] == [1]
    assert catalogue.add(first).index == 2
    with pytest.raises(KeyError):
        catalogue.get("nothing")


def test_another_product_under_an_old_id_has_its_own_bytes() -> None:
    catalogue = Catalogue([make_product("a", 5_000)])
    (old,) = catalogue.products
    first = catalogue.content(old.id).md5
    catalogue.remove(old.id)
    catalogue.add(make_product("a", 9_000))
    assert catalogue.content(old.id).size == 9_000
    assert catalogue.content(old.id).md5 != first


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_has_just_come_is_closed_with_the_others(turns: int) -> None:
    """Accepted and without a transport, or before that, or behind."""
    mirror = await Emulator(EmulatorSettings(products=1)).start()
    host, _, port = mirror.base_url.rpartition("//")[2].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connected:
        for _ in range(turns):
            await asyncio.sleep(0)
        await mirror.stop()
        with suppress(ConnectionResetError):
            assert await asyncio.to_thread(connected.recv, 1) == b""
