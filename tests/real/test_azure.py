"""What is Azure's own: keys in many variables, blocks of a killed run, copies that take time."""

from __future__ import annotations

import asyncio
import os

import pytest
from aiohttp import web

from noa_async.emulator import Emulator
from noa_async.errors import DestinationError, SettingsError
from noa_async.events import Status

from .azurite import ACCOUNT, KEY, Azurite
from .parts import needed_module
from .stores import BUCKET
from .storing import between, bring, few, right, started

obstore = needed_module("obstore", "noa-async[s3]")
pytestmark = pytest.mark.parametrize("server", ["azurite"], indirect=True, scope="module")


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


def ways(store: Azurite) -> dict[str, dict[str, str]]:
    """Whatever gives the keys."""
    name, where = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT}, {"AZURE_STORAGE_ENDPOINT": store.account}
    text, named = f"BlobEndpoint={store.account};", f"AccountName={ACCOUNT};"
    return {
        "key": name | where | {"AZURE_STORAGE_ACCOUNT_KEY": KEY},
        "sas": name | where | {"AZURE_STORAGE_SAS_TOKEN": store.sas()},
        "cli": where | {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY},
        "string": {"AZURE_STORAGE_CONNECTION_STRING": f"{text}{named}AccountKey={KEY}"},
        "string with sas": {
            "AZURE_STORAGE_CONNECTION_STRING": f"{text}{named}SharedAccessSignature={store.sas()}"
        },
    }


@pytest.mark.parametrize("way", ["key", "sas", "cli", "string", "string with sas"])
async def test_keys_are_found_and_do_for_all_that_a_run_asks(store, tmp_path, monkeypatch, way):
    """To list, write, copy and delete."""
    forget(monkeypatch)
    for name, value in ways(store)[way].items():
        monkeypatch.setenv(name, value)
    async with Emulator(few(1)) as mirror:
        url = store.url(f"by {way}")
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED]
        assert await bring(mirror, tmp_path, url, layout="date") == [Status.PRESENT]
        [key] = store.keys(f"by {way}")
        assert key.count("/") == 3


async def test_what_is_missing_is_said(store, tmp_path, monkeypatch):
    """By the variable that is to be set, and without what others hold."""
    async with Emulator(few(1)) as mirror:
        with pytest.raises(DestinationError, match="ContainerNotFound") as caught:
            await bring(mirror, tmp_path, store.url("x", bucket="not-there"))
        assert "Create the container first" in caught.value.hint
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", f"{KEY} cut")
        with pytest.raises(SettingsError, match="not base64") as settings:
            await bring(mirror, tmp_path, store.url("x"))
        assert KEY not in str(settings.value)
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", store.sas("rl"))
        with pytest.raises(DestinationError, match="written: Auth") as caught:
            await bring(mirror, tmp_path, store.url("x"))
        assert "must be allowed to list, read, write and delete" in caught.value.hint
        forget(monkeypatch)
        with pytest.raises(SettingsError, match="needs the storage account") as settings:
            await bring(mirror, tmp_path, store.url("x"))
        assert "AZURE_STORAGE_ACCOUNT_NAME" in settings.value.hint


async def test_blocks_that_a_killed_run_left_are_gone_with_the_next_upload(store, tmp_path):
    """Nobody sees them before."""
    url = store.url("blocks")
    under_way = asyncio.Event()

    async def hold_second(request: web.BaseRequest) -> None:
        nonlocal blocks
        if request.query.get("comp") == "block":
            blocks += 1
            if blocks == 2:
                under_way.set()
                await asyncio.Event().wait()

    blocks = 0
    async with between(store, hold_second) as endpoint, Emulator(few(1, 20_000_000)) as mirror:
        where = {"AZURE_STORAGE_ENDPOINT": f"{endpoint}/{ACCOUNT}"}
        process = await started(mirror, tmp_path, url, **where)
        await asyncio.wait_for(under_way.wait(), 30)
        while not (left := uncommitted(store, "blocks")):
            await asyncio.sleep(0.05)
        process.kill()
        await process.wait()
        assert left == ["blocks/" + mirror.catalogue.products[0].name]
        assert store.contents("blocks") == {}
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED]
        assert mirror.stats.bytes_sent == served
        assert right(mirror, store.contents("blocks"))
    assert uncommitted(store, "blocks") == []


async def test_a_copy_that_is_not_whole_yet_is_waited_for(store, tmp_path, monkeypatch):
    """Azure may answer before it has copied; the source is deleted after."""
    url, asked = store.url("copied"), []

    def not_yet(request: web.BaseRequest) -> web.Response | None:
        if request.method not in {"HEAD", "DELETE", "POST"}:
            return None
        asked.append(request.method)
        if asked == ["HEAD"]:
            headers = {"ETag": '"0x1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            headers["Content-Length"] = "0"
            return web.Response(headers=headers)
        return None

    async with Emulator(few(1)) as mirror:
        await bring(mirror, tmp_path, url)
        async with between(store, not_yet) as endpoint:
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{endpoint}/{ACCOUNT}")
            assert await bring(mirror, tmp_path, url, layout="date") == [Status.PRESENT]
        assert asked[:3] == ["HEAD", "HEAD", "POST"]
        assert right(mirror, store.contents("copied"))


def uncommitted(store: Azurite, prefix: str) -> list[str]:
    """Names of which blocks are there, and no list of them."""
    query = {"restype": "container", "comp": "list", "prefix": f"{prefix}/"}
    text = store.ask("GET", BUCKET, query | {"include": "uncommittedblobs"})
    names = [part.partition("</Name>")[0] for part in text.split("<Name>")[1:]]
    return [name for name in names if name.removeprefix(f"{prefix}/") not in store.keys(prefix)]
