"""What is Google's own: where keys are found, and what a killed run leaves."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from aiohttp import web

from noa_async.emulator import Emulator
from noa_async.errors import DestinationError, SettingsError
from noa_async.events import Status

from .parts import needed_module
from .stores import StoreServer
from .storing import between, bring, few, right, started

needed_module("obstore", "noa-async[s3]")
pytestmark = pytest.mark.parametrize("server", ["google"], indirect=True, scope="module")


def give(way: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    if way == "text":
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", file.read_text())
    elif way == "home":
        kept = Path(os.environ["HOME"]) / ".config/gcloud/application_default_credentials.json"
        kept.parent.mkdir(parents=True)
        shutil.copy(file, kept)
    else:
        monkeypatch.setenv(way, str(file))


@pytest.mark.parametrize(
    "way", ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "text", "home"]
)
async def test_keys_are_found(store, tmp_path, monkeypatch, way):
    give(way, store.config, monkeypatch)
    async with Emulator(few(1)) as mirror:
        assert await bring(mirror, tmp_path, store.url(f"by {way}")) == [Status.DOWNLOADED]
        assert right(mirror, store.contents(f"by {way}"))


async def test_what_is_missing_is_said(store, tmp_path, monkeypatch):
    async with Emulator(few(1)) as mirror:
        with pytest.raises(DestinationError, match="NoSuchBucket") as caught:
            await bring(mirror, tmp_path, store.url("x", bucket="not-there"))
        assert "Create the bucket first" in caught.value.hint
        for text in (None, "no JSON", "{}"):
            file = tmp_path / "keys.json"
            if text is not None:
                file.write_text(text)
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
            with pytest.raises(SettingsError) as settings:
                await bring(mirror, tmp_path, store.url("x"))
            assert "GOOGLE_APPLICATION_CREDENTIALS" in str(settings.value) + settings.value.hint
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "expired-token")
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
        with pytest.raises(DestinationError, match="AuthenticationRequired") as caught:
            await bring(mirror, tmp_path, store.url("x"))
        assert "renew them (GOOGLE_" in caught.value.hint
        assert "expired-token" not in str(caught.value) + caught.value.hint


async def test_a_run_that_was_killed_in_the_middle_of_a_product(store: StoreServer, tmp_path):
    """What it left stays until the bucket's rule ends it; nobody sees it."""
    url, under_way = store.url("pieces"), asyncio.Event()

    async def hold_second(request: web.BaseRequest) -> None:
        if request.query.get("partNumber") == "2":
            under_way.set()
            await asyncio.Event().wait()

    async with between(store, hold_second) as endpoint, Emulator(few(1, 20_000_000)) as mirror:
        process = await started(mirror, tmp_path, url, GOOGLE_BASE_URL=endpoint)
        await asyncio.wait_for(under_way.wait(), 30)
        process.kill()
        await process.wait()
        assert store.contents("pieces") == {}
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED]
        assert mirror.stats.bytes_sent == served
        assert right(mirror, store.contents("pieces"))
