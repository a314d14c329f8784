"""Object stores that others wrote as outputs: what goes in, what comes back, what refuses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from benchmarks.stores import free_port
from noa_async import NoaClient
from noa_async.archive.objects import ObjectFolder
from noa_async.archive.providers import metadata_name
from noa_async.cli.program import run
from noa_async.emulator import Emulator
from noa_async.errors import DestinationError
from noa_async.events import Status, TransferStarted
from noa_async.settings import Following, OnRemoved
from noa_async.transfer import sink
from tests.integration.conftest import settings_for

from . import stores
from .parts import needed_module
from .stores import BUCKET
from .storing import ALL, WHO, between, bring, few, forward_proxy, right, said, started

obstore = needed_module("obstore", "noa-async[s3]")
everywhere = pytest.mark.parametrize(
    "server", ["seaweed", "rclone", "azurite", "google"], indirect=True, scope="module"
)
"""What stores of different kinds could do in different ways."""


@everywhere
async def test_products_go_in_and_are_there_for_the_next_run(store, tmp_path):
    url, count = store.url("many"), 200 if store.scheme == "s3" else 30
    async with Emulator(few(count)) as mirror:
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED] * count
        assert right(mirror, store.contents("many"))
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url) == [Status.PRESENT] * count
        assert mirror.stats.bytes_sent == served


async def test_parts_that_go_up_are_not_written_through_to_the_disk(store, tmp_path, monkeypatch):
    """They are gone in a moment: what a power cut leaves of them is read again before its use."""
    synced, fsync = [], os.fsync

    def look(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().suffix)
        fsync(descriptor)

    monkeypatch.setattr(sink.os, "fsync", look)
    async with Emulator(few(2, 2_000_000)) as mirror:
        assert await bring(mirror, tmp_path, store.url("brisk")) == [Status.DOWNLOADED] * 2
        assert ".part" not in synced
        assert await bring(mirror, tmp_path, str(tmp_path / "here")) == [Status.DOWNLOADED] * 2
        assert synced.count(".part") == 2


@everywhere
async def test_a_large_product_goes_up_in_pieces_with_its_label(store, tmp_path):
    async with Emulator(few(1, 12_000_000)) as mirror:
        assert await bring(mirror, tmp_path, store.url("large")) == [Status.DOWNLOADED]
        held = store.contents("large")
        assert right(mirror, held)
        [product], [key] = mirror.catalogue.products, held
        label = obstore.get(store.store("large"), key, options={"head": True}).attributes
        label = {metadata_name(name): value for name, value in label.items()}
        assert label["noa-id"] == product.id
        assert label["noa-checksum"] == f"md5:{mirror.content(product.id).md5}"


@pytest.mark.parametrize("kind", ["seaweed", "rclone"])
def test_a_server_that_finds_its_port_taken_gets_others(kind, tmp_path, monkeypatch):
    """What starts the stores here: many are started at once, on the same machine."""
    free = free_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken = iter([other.getsockname()[1]])
        monkeypatch.setattr("benchmarks.stores.free_port", lambda: next(taken, None) or free())
        with getattr(stores, kind)(tmp_path) as server:
            assert server.keys() == []
        assert next(taken, None) is None


async def test_while_one_product_goes_up_the_next_one_comes(store, tmp_path, monkeypatch):
    """With one worker: the first upload does not go on before the next download has begun."""
    put, second, begun, sent = obstore.put, threading.Event(), [], []

    def waiting(*arguments: object, **how: object) -> object:
        sent.append(arguments)
        assert len(sent) != 1 or second.wait(20)
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
            outcomes = noa.download_all(noa.search(ALL), store.url("meanwhile"))
            assert [one.status async for one in outcomes] == [Status.DOWNLOADED] * 3
        assert right(mirror, store.contents("meanwhile"))


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_a_run_that_is_killed_while_products_wait_for_their_upload(store, tmp_path, by_proxy):
    """A slow store: all of them are in the scratch, and the next run asks the mirror for none."""
    prefix = f"slow-{by_proxy}"
    url, uploads, may_go_on = f"s3://{BUCKET}/{prefix}", [], asyncio.Event()

    async def hold(request: web.BaseRequest) -> web.Response | None:
        if request.method == "PUT" and request.content_length:
            uploads.append(request.path)
            await may_go_on.wait()
            if request.transport is None:  # the client was killed: the store never sees its upload
                return web.Response(status=503)
        return None

    words = ("download", "--everything", "--workers", "2", "--output")
    async with (
        between(store, hold) as endpoint,
        forward_proxy() as proxy,
        Emulator(few(6, 3_000_000)) as mirror,
    ):
        sums = {mirror.content(product.id).md5 for product in mirror.catalogue.products}

        def whole() -> int:
            parts = (tmp_path / "scratch").rglob("*.part")
            return sum(hashlib.md5(part.read_bytes()).hexdigest() in sums for part in parts)

        environ = {"AWS_ENDPOINT_URL": endpoint.replace("127.0.0.1", "localhost")}
        if by_proxy:  # aiohttp downloads: the last batch of bytes may be written later
            environ |= {"http_proxy": proxy, "no_proxy": "localhost"}
        process = await started(mirror, tmp_path, url, words, **environ)
        try:
            async with asyncio.timeout(30):
                while whole() < 4 or len(uploads) < 2:
                    await asyncio.sleep(0.02)
                    assert process.returncode is None
        finally:
            process.kill()
        await process.wait()
        assert (len(uploads), len(mirror.stats.downloads)) == (2, 4)
        may_go_on.set()
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED] * 6
        assert sorted(map(len, mirror.stats.downloads.values())) == [1] * 6
        assert right(mirror, store.contents(prefix))


@everywhere
async def test_another_layout_moves_what_is_there(store, tmp_path):
    url = store.url("moved")
    async with Emulator(few(3)) as mirror:
        await bring(mirror, tmp_path, url)
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url, layout="date") == [Status.PRESENT] * 3
        assert mirror.stats.bytes_sent == served
        held = store.contents("moved")
        assert right(mirror, held)
        assert all(key.count("/") == 3 for key in held)


async def test_export_tells_where_each_object_is_and_asks_nobody(
    store, tmp_path, monkeypatch, capsys
):
    url = store.url("told")
    async with Emulator(few(3)) as mirror:
        await bring(mirror, tmp_path, url, layout="date")
    held = store.contents("told")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    words = ["export", url, "--scratch", str(tmp_path / "scratch")]
    assert run([*words, "--format", "stac"]) == 0
    assets = [item["assets"]["data"] for item in json.loads(capsys.readouterr().out)["features"]]
    assert {asset["href"]: asset["file:checksum"] for asset in assets} == {
        f"{url}/{key}": f"d50110{hashlib.md5(content).hexdigest()}" for key, content in held.items()
    }
    assert len(assets) == 3
    assert run([*words, "--output", str(tmp_path / "scratch" / "x")]) == 0  # beside the ledger's
    [state] = [one for one in (tmp_path / "scratch").iterdir() if one.is_dir()]
    assert run([*words, "--output", str(state / "x")]) == 5
    assert "archive's internal folder" in capsys.readouterr().err


@everywhere
async def test_what_lost_its_ledger_is_known_by_its_label(store, tmp_path, monkeypatch):
    """After another layout, too: the label goes with its object."""
    url, read = store.url("anew"), []
    monkeypatch.setattr(ObjectFolder, "digest", lambda *asked: read.append(asked))
    async with Emulator(few(3)) as mirror:
        await bring(mirror, tmp_path, url)
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path / "other", url) == [Status.PRESENT] * 3
        assert await bring(mirror, tmp_path, url, layout="date") == [Status.PRESENT] * 3
        assert await bring(mirror, tmp_path / "third", url, layout="date") == [Status.PRESENT] * 3
        assert read == []
        assert mirror.stats.bytes_sent == served


async def test_what_could_not_go_up_goes_up_later_and_is_not_fetched_again(
    store, tmp_path, monkeypatch
):
    """The upload fails, as by a key that has expired; the part is whole."""
    url = store.url("later")
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


@everywhere
async def test_wrong_keys_and_a_bucket_that_is_not_there_are_told(store, tmp_path, monkeypatch):
    async with Emulator(few(1)) as mirror:
        with pytest.raises(DestinationError, match="cannot be"):
            await bring(mirror, tmp_path, store.url("x", bucket="not-there"))
        for name, value in store.wrong.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(DestinationError, match="cannot be listed"):
            await bring(mirror, tmp_path, store.url("x"))
        assert mirror.stats.bytes_sent == 0


@everywhere
async def test_what_changed_in_the_bucket_is_found(store, tmp_path):
    """A changed object is read and fetched again; a foreign one in the way is put aside."""
    url = store.url("changed")
    async with Emulator(few(2)) as mirror:
        await bring(mirror, tmp_path, url)
        first, second = sorted(store.contents("changed"))
        obstore.put(store.store("changed"), first, b"x" * len(store.contents("changed")[first]))
        obstore.delete(store.store("changed"), second)
        assert sorted(await bring(mirror, tmp_path, url)) == [Status.DOWNLOADED] * 2
        assert right(mirror, store.contents("changed"))
        obstore.put(store.store("foreign"), first, b"foreign")
        await bring(mirror, tmp_path, store.url("foreign"))
        held = store.contents("foreign")
        [aside] = [key for key in held if key.startswith(".noa-async/")]
        assert held.pop(aside) == b"foreign"
        assert right(mirror, held)


async def test_a_run_that_was_killed_is_gone_on_with(store, tmp_path):
    """Nothing is fetched twice but what was under way."""
    url, workers, size = store.url("killed"), 4, 20_000
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


@everywhere
@pytest.mark.parametrize(
    ("on_removed", "most", "gone", "deleted"),
    [("keep", 1.0, 1, 0), ("delete", 1.0, 1, 1), ("delete", 0.3, 2, 0)],
)
async def test_what_the_service_removed(store, tmp_path, on_removed, most, gone, deleted):
    """Kept, deleted, or held back where too many would go."""
    prefix = f"removed-{on_removed}-{gone}"
    following = Following(
        on_removed=OnRemoved(on_removed), max_delete=most, gone_listings=1, gone_for=timedelta(0)
    )
    async with Emulator(few(4)) as mirror:
        settings = settings_for(mirror, scratch=str(tmp_path / "scratch"), following=following)
        async with NoaClient(settings, WHO) as noa:
            await noa.mirror(ALL, store.url(prefix))
        before = store.contents(prefix)
        lost = list(mirror.catalogue.products)[:gone]
        for product in lost:
            mirror.catalogue.remove(product.id)
        async with NoaClient(settings, WHO) as noa:
            report = await noa.mirror(ALL, store.url(prefix), reconcile=True)
        assert report.removed == deleted
        names = {one.name for one in lost[:deleted]}
        kept = {key: held for key, held in before.items() if key.removesuffix(".zip") not in names}
        kept = {key: held for key, held in kept.items() if key not in names}
        assert len(kept) == 4 - deleted
        assert store.contents(prefix) == kept


@everywhere
async def test_verify_finds_what_is_wrong_and_repairs_it(store, tmp_path):
    url, there = store.url("verified"), store.store("verified")
    async with Emulator(few(5)) as mirror:
        await bring(mirror, tmp_path, url)
        whole = store.contents("verified")
        assert await said(await started(mirror, tmp_path, url, ("verify", "--quiet"))) == (0, "")
        same, shorter, missing, *_ = sorted(whole)
        obstore.put(there, same, b"x" * len(whole[same]))
        obstore.put(there, shorter, whole[shorter][:-1])
        obstore.delete(there, missing)
        obstore.put(there, "foreign", b"foreign")
        wrong = {same: "damaged", shorter: "damaged", missing: "missing", "foreign": "foreign"}
        code, text = await said(await started(mirror, tmp_path, url, ("verify", "--quiet")))
        assert code == 1
        assert dict(told(text)) == wrong
        served = mirror.stats.bytes_sent
        code, _ = await said(await started(mirror, tmp_path, url, ("verify", "--repair")))
        assert code == 0
        three = sum(len(whole[key]) for key in (same, shorter, missing))
        assert mirror.stats.bytes_sent - served == three
        assert store.contents("verified") == whole | {"foreign": b"foreign"}


def told(text: str) -> list[tuple[str, str]]:
    """The findings in lines such as ``damaged  KEY  why``."""
    return [(line.split()[1].rstrip(":"), line.split()[0]) for line in text.splitlines()]
