"""Products that go up as they come: past the scratch, and never seen before they are right."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from noa_async import NoaClient
from noa_async.archive import straight
from noa_async.archive.providers import metadata_name
from noa_async.archive.signed import ask
from noa_async.archive.uploads import read_uploads
from noa_async.emulator import Emulator, EmulatorSettings, make_product
from noa_async.emulator.faults import Fault, FaultKind, FaultPlan
from noa_async.events import FilePutAside, Status, TransferRetried, TransferStarted
from tests.integration.conftest import settings_for

from .parts import needed_module
from .stores import BUCKET, StoreServer
from .storing import ALL, WHO, between, refusal, right, started
from .test_store_troubles import KNOWS_KEYS, asked, begin_upload, unfinished

obstore = needed_module("obstore", "noa-async[s3]")
SIZE = 12_000_000


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The keys of what went up either way."""
    taken: dict[str, list[str]] = {"straight": [], "scratch": []}
    put, open_writer = obstore.put, obstore.open_writer

    def from_scratch(store: object, key: str, *more: Any, **how: Any) -> Any:
        taken["scratch"].append(key)
        return put(store, key, *more, **how)

    def straight_up(store: object, key: str, **how: Any) -> Any:
        taken["straight"].append(key)
        return open_writer(store, key, **how)

    monkeypatch.setattr(obstore, "put", from_scratch)
    monkeypatch.setattr(obstore, "open_writer", straight_up)
    return taken


def large(count: int, *faults: Fault, **more: Any) -> EmulatorSettings:
    plan = FaultPlan(faults)
    return EmulatorSettings(products=count, mean_bytes=SIZE, faults=plan, **more)


async def one_by_one(
    mirror: Emulator, tmp_path: Path, url: str, observe: Callable[[object], None] = lambda _: None
) -> list[Status]:
    """By one worker: all that follow the first know how fast it was."""
    settings = settings_for(mirror, scratch=str(tmp_path / "scratch"), workers=1)
    async with NoaClient(settings, WHO, observer=observe) as noa:
        return [one.status async for one in noa.download_all(noa.search(ALL), url)]


def nothing_left(store: StoreServer, tmp_path: Path) -> bool:
    notes = list((tmp_path / "scratch").rglob("uploads/*"))
    parts = list((tmp_path / "scratch").rglob("*.part"))
    return not (unfinished(store) or notes or parts)


def label_of(store: StoreServer, prefix: str, key: str) -> dict[str, str]:
    found = obstore.get(store.store(prefix), key, options={"head": True})
    return {metadata_name(name): str(value) for name, value in found.attributes.items()}


async def test_all_but_the_first_go_straight_up(store, tmp_path, ways):
    url = store.url("straight")
    async with Emulator(large(4)) as mirror:
        assert await one_by_one(mirror, tmp_path, url) == [Status.DOWNLOADED] * 4
        held = store.contents("straight")
        assert right(mirror, held)
        assert (len(ways["scratch"]), len(ways["straight"])) == (1, 3)
        assert {*ways["scratch"], *ways["straight"]} == held.keys()
        [product] = (each for each in mirror.catalogue.products if each.name in ways["straight"][0])
        label = label_of(store, "straight", ways["straight"][0])
        assert label["noa-id"] == product.id
        assert label["noa-checksum"] == f"md5:{mirror.content(product.id).md5}"
        served = mirror.stats.bytes_sent
        assert await one_by_one(mirror, tmp_path, url) == [Status.PRESENT] * 4
        assert mirror.stats.bytes_sent == served
    assert nothing_left(store, tmp_path)


async def test_what_is_cut_off_goes_on_where_it_was(store, tmp_path, ways):
    cut = Fault(FaultKind.CUT, at=0.7)
    async with Emulator(large(3, cut)) as mirror:
        outcomes = await one_by_one(mirror, tmp_path, store.url("cut"))
        assert (outcomes, len(ways["straight"])) == ([Status.DOWNLOADED] * 3, 2)
        assert right(mirror, store.contents("cut"))
        for product in mirror.catalogue.products:
            _, again = mirror.stats.downloads[product.id]
            assert again.range_start > product.size / 2
    assert nothing_left(store, tmp_path)


async def test_what_begins_anew_leaves_nothing_of_what_went_up(store, tmp_path, ways):
    """The service gives all of it again where only the rest was asked for."""
    faults = Fault(FaultKind.CUT, at=0.7), Fault(FaultKind.IGNORED_RANGE, first=2)
    async with Emulator(large(3, *faults)) as mirror:
        outcomes = await one_by_one(mirror, tmp_path, store.url("anew"))
        assert outcomes == [Status.DOWNLOADED] * 3
        assert list(Counter(ways["straight"]).values()) == [2, 2]
        assert right(mirror, store.contents("anew"))
    assert nothing_left(store, tmp_path)


async def test_wrong_bytes_are_seen_by_nobody(store, tmp_path, ways):
    """They are fetched once more, into the scratch; where they are wrong again, they stay there."""
    wrong = Fault(FaultKind.WRONG_BYTES, index=1), Fault(FaultKind.WRONG_BYTES, index=2, times=None)
    async with Emulator(large(4, *wrong)) as mirror:
        outcomes = await one_by_one(mirror, tmp_path, store.url("wrong"))
        assert sorted(outcomes) == [*[Status.DOWNLOADED] * 3, Status.FAILED]
        spoilt = mirror.catalogue.products[2]
        held = store.contents("wrong")
        assert len(held) == 3
        assert not [key for key in held if spoilt.name in key]
        assert len(mirror.stats.downloads[spoilt.id]) == 2
        sums = {mirror.content(each.id).md5 for each in mirror.catalogue.products}
        assert {hashlib.md5(one).hexdigest() for one in held.values()} < sums
        assert [key for key in ways["straight"] if spoilt.name in key]
    assert list((tmp_path / "scratch").rglob(f"quarantine/{spoilt.id}.part"))
    assert unfinished(store) == []


async def test_what_changed_in_the_catalogue_meanwhile_has_its_new_label(store, tmp_path, ways):
    """A label is told before the first byte is sent, by what the listing said."""
    begun = []
    async with Emulator(large(2)) as mirror:

        def observe(event: object) -> None:
            if isinstance(event, TransferStarted) and not begun:
                begun.append(event.product_id)
                [other] = {one.id for one in mirror.catalogue.products} - {event.product_id}
                mirror.catalogue.replace(other)

        outcomes = await one_by_one(mirror, tmp_path, store.url("renewed"), observe)
        assert (outcomes, len(ways["straight"])) == ([Status.DOWNLOADED] * 2, 1)
        assert right(mirror, store.contents("renewed"))
        label = label_of(store, "renewed", ways["straight"][0])
        md5 = mirror.content(label["noa-id"]).md5
        assert label["noa-checksum"] == f"md5:{md5}"
    assert nothing_left(store, tmp_path)


@KNOWS_KEYS
async def test_what_the_store_does_not_take_is_fetched_into_the_scratch(
    store, tmp_path, ways, monkeypatch
):
    """And so is all that follows: it tells what is the matter, and loses nothing."""
    refused, told = [], []

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if ways["straight"] and request.query.get("partNumber") == "2" and not refused:
            refused.append(request.path)
            return refusal(403, "AccessDenied")
        return None

    def observe(event: object) -> None:
        if isinstance(event, TransferRetried):
            told.append(event.reason)

    async with between(store, refuse) as endpoint, Emulator(large(4)) as mirror:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        outcomes = await one_by_one(mirror, tmp_path, f"s3://{BUCKET}/no", observe)
        assert outcomes == [Status.DOWNLOADED] * 4
        assert (len(refused), len(ways["straight"]), len(ways["scratch"])) == (1, 1, 4)
        assert right(mirror, store.contents("no"))
    assert ["AccessDenied" in reason for reason in told] == [True]
    assert nothing_left(store, tmp_path)


@KNOWS_KEYS
async def test_what_was_put_aside_for_what_did_not_come_through_is_told(
    store, tmp_path, ways, monkeypatch
):
    refused, told = [], []

    def refuse(request: web.BaseRequest) -> web.Response | None:
        last = request.method == "POST" and "uploadId" in request.query
        if ways["straight"] and last and not refused:
            refused.append(request.path)
            return refusal(403, "AccessDenied")
        return None

    def observe(event: object) -> None:
        if isinstance(event, FilePutAside):
            told.append((event.path, event.kept_at))

    async with between(store, refuse) as endpoint, Emulator(large(2)) as mirror:
        keys = [product.name for product in mirror.catalogue.products]
        for key in keys:
            obstore.put(store.store("foreign"), key, b"foreign")
        ways["scratch"].clear()
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        outcomes = await one_by_one(mirror, tmp_path, f"s3://{BUCKET}/foreign", observe)
        assert (outcomes, len(refused)) == ([Status.DOWNLOADED] * 2, 1)
        held = store.contents("foreign")
    asides = [key for key in held if key.startswith(".noa-async/")]
    assert [held.pop(key) for key in asides] == [b"foreign"] * 2
    assert right(mirror, held)
    assert sorted(key for key, _ in told) == sorted(keys)
    assert {where.partition("/foreign/")[2] for _, where in told} == set(asides)
    assert nothing_left(store, tmp_path)


async def test_a_killed_run_leaves_nothing_that_the_next_does_not_end(store, tmp_path):
    url = f"s3://{BUCKET}/cut-short"
    seconds, under_way = [], asyncio.Event()

    async def hold(request: web.BaseRequest) -> None:
        if request.query.get("partNumber") == "2":
            seconds.append(request.path)
            if len(seconds) == 2:
                under_way.set()
                await asyncio.Event().wait()

    words = ("download", "--everything", "--workers", "1", "--output")
    async with between(store, hold) as endpoint, Emulator(large(3)) as mirror:
        process = await started(mirror, tmp_path, url, words, AWS_ENDPOINT_URL=endpoint)
        await asyncio.wait_for(under_way.wait(), 30)
        process.kill()
        await process.wait()
        assert len(unfinished(store)) == 1
        assert not list((tmp_path / "scratch").rglob("*.part")), "it went by the scratch"
        assert await one_by_one(mirror, tmp_path, url) == [Status.PRESENT, *[Status.DOWNLOADED] * 2]
        assert right(mirror, store.contents("cut-short"))
        assert sorted(map(len, mirror.stats.downloads.values())) == [1, 1, 2]
    assert nothing_left(store, tmp_path)


async def test_who_stops_leaves_nothing_in_the_store(store, tmp_path, ways):
    stall = Fault(FaultKind.STALL, index=1, at=0.8, seconds=60.0, times=None)
    async with Emulator(large(2, stall)) as mirror:
        bringing = asyncio.create_task(one_by_one(mirror, tmp_path, store.url("stopped")))
        while not unfinished(store) or not ways["straight"]:
            await asyncio.sleep(0.02)
            assert not bringing.done()
        foreign = f"stopped/{ways['straight'][0]}"
        begin_upload(store, foreign)
        bringing.cancel()
        with suppress(asyncio.CancelledError):
            await bringing
    assert len(store.contents("stopped")) == 1
    assert unfinished(store) == [foreign], "another's, to the same key"
    end_upload(store, foreign)
    assert nothing_left(store, tmp_path)


def end_upload(store: StoreServer, key: str) -> None:
    bucket = asked(store)
    text, _ = ask(bucket, "GET", "", {"uploads": ""})
    [one] = read_uploads(text)
    ask(bucket, "DELETE", key, {"uploadId": one.id})


@KNOWS_KEYS
@pytest.mark.parametrize("names", [("a.SAFE", "b.nc"), ("a.nc", "b.SAFE")])
async def test_what_is_no_zip_after_all_lies_where_it_belongs(
    store, tmp_path, ways, monkeypatch, names
):
    """And what is one, though those before were none."""
    monkeypatch.setattr(straight, "_ending", lambda _: "any")
    where = "-".join(names)
    async with Emulator(EmulatorSettings(products=0)) as mirror:
        for hour, name in enumerate(names):
            published = datetime(2026, 1, 12, hour, tzinfo=UTC)
            mirror.catalogue.add(make_product(name, SIZE, published=published))
        outcomes = await one_by_one(mirror, tmp_path, store.url(where))
        assert outcomes == [Status.DOWNLOADED] * 2
        held = store.contents(where)
        assert right(mirror, held)
    lie = {name if name.endswith(".nc") else f"{name}.zip" for name in names}
    assert held.keys() == set(ways["scratch"]) == lie
    assert len(ways["straight"]) == 1
    assert ways["straight"][0] not in lie
    assert nothing_left(store, tmp_path)
