"""Products that are off line: ordered, waited for outside the workers, and given up in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from noa_async import (
    NoaClient,
    Outcome,
    Product,
    Query,
    RetryPolicy,
    Service,
    Settings,
    Status,
)
from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    make_product,
)
from noa_async.emulator import Product as MadeProduct
from noa_async.events import ProductFinished, ProductWaiting, TokenObtained, TransferRetried
from noa_async.pipeline import Later

from .conftest import WHO, Connect, Recorder, assert_right, settings_for

ALL = Query(everything=True)
LONG = 3600.0


class Clock:
    """The mirror's time: it goes on when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tapes_first(tapes: int, disks: int = 0) -> list[MadeProduct]:
    """Products off line, sensed before those on line."""
    start = datetime(2026, 1, 10, tzinfo=UTC)
    return [
        make_product(
            id=f"{'tape' if number < tapes else 'disk'}-{number}",
            start=start + timedelta(hours=number),
            online=number >= tapes,
            size=5000,
        )
        for number in range(tapes + disks)
    ]


def mirror_of(products: list[MadeProduct], clock: Clock, **settings: object) -> Emulator:
    """Its tapes need an hour of ``clock``; its tokens hold for days of it."""
    made = EmulatorSettings(
        **{"retrieval_time": LONG, "token_life": 1e6, "refresh_life": 1e6} | settings  # type: ignore[arg-type]
    )
    return Emulator(made, catalogue=Catalogue(products), clock=clock)


QUICK = RetryPolicy(base=0.001, cap=0.005, offline_wait=30.0)


async def brought(
    noa: NoaClient, folder: Path, each: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    outcomes = []
    async for outcome in noa.download_all(noa.search(ALL), folder):
        outcomes.append(outcome)
        each(outcome)
    return outcomes


@pytest.mark.parametrize("orders", [True, False])
async def test_tapes_block_no_worker(tmp_path: Path, *, orders: bool) -> None:
    """Two workers, three tapes listed first: all that is on line ends before they do."""
    clock, recorder, done = Clock(), Recorder(), []

    def tell(event: object) -> None:
        recorder(event)  # type: ignore[arg-type]
        done.extend([event] if isinstance(event, ProductFinished) else [])
        if len(done) == 10:
            clock.now = LONG  # only now can a tape be read

    async with mirror_of(tapes_first(3, 10), clock, orders=orders) as mirror:
        settings = settings_for(mirror, workers=2, retry=QUICK)
        async with NoaClient(settings, WHO, observer=tell) as noa:
            outcomes = await brought(noa, tmp_path)
        names = [outcome.product.id.partition("-")[0] for outcome in outcomes]
        assert names == ["disk"] * 10 + ["tape"] * 3
        assert {outcome.status for outcome in outcomes} == {Status.DOWNLOADED}
        assert_right(mirror, tmp_path, 13)
        assert mirror.stats.orders == (3 if orders else 1)
        for outcome in outcomes[10:]:
            assert outcome.attempts == len(mirror.stats.downloads[outcome.product.id]) > 1
    waits = recorder.of(ProductWaiting)
    assert {event.product_id for event in waits} == {"tape-0", "tape-1", "tape-2"}  # type: ignore[union-attr]
    assert {event.ordered for event in waits} == {orders}  # type: ignore[union-attr]
    assert not recorder.of(TransferRetried)
    assert len(recorder.of(ProductFinished)) == 13


async def test_many_tapes_on_one_worker(connect: Connect, tmp_path: Path) -> None:
    """More of them than worker and queue hold."""
    clock = Clock()
    async with mirror_of(tapes_first(30, 5), clock) as mirror:
        async with connect(mirror, workers=1, retry=QUICK) as noa:

            def go_on(_: Outcome) -> None:
                clock.now = LONG

            outcomes = await brought(noa, tmp_path, go_on)
        assert all(outcome.product.id.startswith("disk") for outcome in outcomes[:1])
        assert {outcome.status for outcome in outcomes} == {Status.DOWNLOADED}
        assert_right(mirror, tmp_path, 35)
        assert mirror.stats.orders <= 30


async def test_so_many_are_waited_for_and_no_more(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    """The others are neither ordered nor held in memory: a later run goes on with them."""
    clock = Clock()
    async with mirror_of(tapes_first(8, 2), clock) as mirror:

        async def tell(outcome: Outcome) -> None:
            if outcome.product.id == "disk-9":
                clock.now = LONG  # all tapes have been asked for by now

        async with connect(mirror, workers=1, retry=replace(QUICK, offline_most=3)) as noa:
            report = await noa.mirror(ALL, tmp_path, tell=tell)
        assert report.counts == {Status.DOWNLOADED: 5, Status.FAILED: 5}
        assert mirror.stats.orders == 3
        left = [each for each in recorder.of(ProductFinished) if each.error]  # type: ignore[union-attr]
        assert all("left to a later run" in each.error for each in left)  # type: ignore[union-attr]
        async with connect(mirror, retry=QUICK) as noa:
            report = await noa.mirror(ALL, tmp_path)
        assert report.counts[Status.DOWNLOADED] == 5
        assert_right(mirror, tmp_path, 10)


async def test_one_product_is_waited_for_too(connect: Connect, tmp_path: Path) -> None:
    clock = Clock()
    async with mirror_of(tapes_first(1), clock) as mirror:

        def tell(event: object) -> None:
            if isinstance(event, ProductWaiting):
                clock.now += LONG / 2

        settings = settings_for(mirror, retry=QUICK)
        async with NoaClient(settings, WHO, observer=tell) as noa:
            [product] = [each async for each in noa.search(ALL)]
            outcome = await noa.download(product, tmp_path)
        assert (outcome.status, outcome.attempts) == (Status.DOWNLOADED, 3)
        assert mirror.stats.orders == 1


async def test_an_entry_that_says_online_though_it_is_not(connect: Connect, tmp_path: Path) -> None:
    """It is the 202 that tells; then it is ordered."""
    clock = Clock()
    async with mirror_of(tapes_first(2), clock) as mirror:
        async with connect(mirror, retry=replace(QUICK, offline_wait=0.0)) as noa:
            products = [replace(each, online=True) async for each in noa.search(ALL)]
            outcomes = [each async for each in noa.download_all(products, tmp_path)]
        assert {outcome.attempts for outcome in outcomes} == {1}
        assert mirror.stats.orders == 2


async def test_an_order_that_is_completed_already_costs_no_wait(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    """The entry is old news: the bytes are asked for at once."""
    clock = Clock()
    async with mirror_of(tapes_first(1), clock) as mirror:
        async with connect(mirror, retry=QUICK) as noa:
            [product] = [each async for each in noa.search(ALL)]
            mirror.catalogue.update("tape-0", online=True)
            outcome = await noa.download(product, tmp_path)
        assert (outcome.status, outcome.attempts) == (Status.DOWNLOADED, 1)
        assert not recorder.of(ProductWaiting)


@pytest.mark.parametrize(("orders", "word"), [(True, "ordered"), (False, "asked for")])
async def test_patience_runs_out(
    connect: Connect, recorder: Recorder, tmp_path: Path, *, orders: bool, word: str
) -> None:
    async with mirror_of(tapes_first(2, 1), Clock(), orders=orders) as mirror:
        brief = RetryPolicy(cap=0.01, offline_wait=0.5)
        async with connect(mirror, retry=brief) as noa:
            outcomes = {each.product.id: each for each in await brought(noa, tmp_path)}
        assert outcomes.pop("disk-2").ok
        for outcome in outcomes.values():
            assert type(outcome.error).__name__ == "ProductOffline"
            assert "not on line yet" in str(outcome.error)
            assert f"It is {word}; this run waits no longer, a later one" in str(outcome.error)
            assert outcome.attempts == len(mirror.stats.downloads[outcome.product.id])
            waits = [
                event.delay  # type: ignore[union-attr]
                for event in recorder.of(ProductWaiting)
                if event.product_id == outcome.product.id  # type: ignore[union-attr]
            ]
            assert len(waits) == outcome.attempts - 1
            assert waits[:2] == [0.01, 0.02]
        assert len(recorder.of(ProductFinished)) == 3


async def test_a_later_run_goes_on(connect: Connect, tmp_path: Path) -> None:
    clock = Clock()
    async with mirror_of(tapes_first(1), clock) as mirror:
        async with connect(mirror, retry=replace(QUICK, offline_wait=0.0)) as noa:
            assert [each.status for each in await brought(noa, tmp_path)] == [Status.FAILED]
        clock.now = LONG
        async with connect(mirror, retry=replace(QUICK, offline_wait=0.0)) as noa:
            assert [each.status for each in await brought(noa, tmp_path)] == [Status.DOWNLOADED]


async def test_what_was_quarantined_may_be_off_line_by_now(
    connect: Connect, tmp_path: Path
) -> None:
    clock = Clock()
    spoilt = FaultPlan((Fault(FaultKind.WRONG_BYTES, times=2),))
    async with mirror_of(tapes_first(0, 1), clock, faults=spoilt) as mirror:
        async with connect(mirror, retry=replace(QUICK, offline_wait=0.0)) as noa:
            [product] = [each async for each in noa.search(ALL)]
            assert not (await noa.download(product, tmp_path)).ok
            mirror.catalogue.update(product.id, online=False)
            outcome = await noa.download(product, tmp_path, retry_failed=True)
            assert "not on line yet" in str(outcome.error)
            clock.now = LONG
            assert (await noa.download(product, tmp_path)).ok


async def test_no_wait_at_all(connect: Connect, recorder: Recorder, tmp_path: Path) -> None:
    async with mirror_of(tapes_first(3), Clock()) as mirror:
        async with connect(mirror, retry=RetryPolicy(offline_wait=0.0)) as noa:
            outcomes = await brought(noa, tmp_path)
        assert {(each.status, each.attempts) for each in outcomes} == {(Status.FAILED, 1)}
        assert mirror.stats.orders == 3
    assert not recorder.of(ProductWaiting)


@pytest.mark.parametrize(
    ("asked", "offline_wait", "waits"),
    [("1", 30.0, [1.0]), ("31", 30.0, []), ("1", 0.5, [])],
)
async def test_the_services_own_wait_is_kept_or_not_waited_for(
    connect: Connect,
    recorder: Recorder,
    tmp_path: Path,
    asked: str,
    offline_wait: float,
    waits: list[float],
) -> None:
    clock = Clock()
    policy = replace(QUICK, offline_wait=offline_wait)
    async with mirror_of(tapes_first(1), clock, retry_after=asked) as mirror:

        def tell(event: object) -> None:
            recorder(event)  # type: ignore[arg-type]
            if isinstance(event, ProductWaiting):
                clock.now = LONG

        settings = settings_for(mirror, retry=policy)
        async with NoaClient(settings, WHO, observer=tell) as noa:
            [outcome] = await brought(noa, tmp_path)
    assert [event.delay for event in recorder.of(ProductWaiting)] == waits  # type: ignore[union-attr]
    assert outcome.ok == bool(waits)


async def test_nobody_else_waits_for_the_lock_of_what_waits(
    connect: Connect, tmp_path: Path
) -> None:
    """Between two asks another task may take the product: only_one is free."""
    clock = Clock()
    async with (
        mirror_of(tapes_first(1), clock) as mirror,
        connect(mirror, retry=RetryPolicy(cap=LONG, offline_wait=LONG)) as noa,
    ):
        [product] = [each async for each in noa.search(ALL)]
        keeper = await noa._downloads.keeper(tmp_path, "flat", retry_failed=False)
        first = await keeper.bring(product)
        assert first == Later(LONG)
        record = noa._downloads.archives[tmp_path.resolve()].ledger.get(product.id)
        assert record is not None
        assert record.state == "waiting"  # and stays so where the run is cut short here
        clock.now = LONG
        second = await keeper.bring(product)
        assert isinstance(second, Outcome)
        assert second.ok


async def test_what_ended_is_ordered_anew_another_time(connect: Connect, tmp_path: Path) -> None:
    """It may have come, and gone from the service's disks again."""
    async with mirror_of(tapes_first(1), Clock()) as mirror:
        async with connect(mirror, retry=replace(QUICK, offline_wait=0.0)) as noa:
            for _ in range(2):
                await brought(noa, tmp_path)
        assert mirror.stats.orders == 2


async def test_an_order_renews_a_token_that_was_revoked(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    async with mirror_of(tapes_first(1), Clock()) as mirror:
        async with connect(mirror, retry=replace(QUICK, offline_wait=0.0)) as noa:
            [product] = [each async for each in noa.search(ALL)]
            mirror.revoke_tokens()
            await noa.download(product, tmp_path)
        assert (mirror.stats.unauthorised, mirror.stats.orders) == (1, 1)
    assert len(recorder.of(TokenObtained)) == 2


Answer = Callable[[int], web.Response | None]


class Site:
    """A service with no product on line; orders are answered as a test wants, None breaks off."""

    def __init__(self, answer: Answer) -> None:
        self.ordered: list[str] = []
        self.asked: list[str] = []
        self._answer = answer

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return web.json_response({"access_token": "x", "expires_in": 300})
        self.asked.append(request.method)
        if request.method == "POST":
            assert await request.json() == {}
            assert request.headers["Authorization"] == "Bearer x"
            self.ordered.append(request.path.partition("(")[2].partition(")")[0])
            answer = self._answer(len(self.ordered))
            if answer is None:
                assert request.transport is not None
                request.transport.abort()
            return answer or web.Response()
        return web.Response(status=202)


def site_client(base: str, retry: RetryPolicy) -> NoaClient:
    service = Service(catalogue_url=f"{base}/Products", token_url=f"{base}/token")
    return NoaClient(Settings(service=service, retry=retry), WHO)


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (lambda _: web.Response(status=404), 1),
        (lambda _: web.Response(status=405), 1),
        (lambda _: web.Response(status=501), 1),
        (lambda _: web.Response(status=400), 1),
        (lambda _: web.json_response({"Status": "queued"}, status=201), 2),
        (lambda _: web.json_response(["no", "order"]), 2),
        (lambda _: web.Response(text="<html>"), 2),
        (lambda _: web.Response(status=307, headers={"Location": "/elsewhere"}), 6),
        (lambda _: web.Response(status=500), 6),
        (lambda _: None, 6),
        (lambda count: web.Response(status=503 if count < 3 else 201), 4),
    ],
)
async def test_orders_are_sent_once_where_they_are_taken(
    tmp_path: Path,
    serve: Callable[..., Awaitable[str]],
    answer: Answer,
    sent: int,
) -> None:
    """Two products, three asks each; whatever an order comes to, the bytes are asked for."""
    site = Site(answer)
    products = [Product.from_entry({"Id": f"p{n}", "Name": f"N{n}"}) for n in range(2)]
    async with site_client(await serve(site), QUICK) as noa:
        keeper = await noa._downloads.keeper(tmp_path, "flat", retry_failed=False)
        for _ in range(3):
            for product in products:
                assert isinstance(await keeper.bring(product), Later)
    assert len(site.ordered) == sent
    assert set(site.ordered) <= {"p0", "p1"}


async def test_orders_that_are_not_answered_hold_nobody_up(
    tmp_path: Path, serve: Callable[..., Awaitable[str]]
) -> None:
    """Once one has failed, the others do not stand in line for the next: all are asked at once."""
    all_asked = asyncio.Event()
    under_way, most = [0], [0]

    class Hanging(Site):
        async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
            if request.method == "POST" and request.path != "/token" and self.ordered:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
                if most[0] == 4:
                    all_asked.set()
                await all_asked.wait()
                under_way[0] -= 1
            return await super().__call__(request)

    site = Hanging(lambda _: None)
    async with site_client(await serve(site), QUICK) as noa:
        keeper = await noa._downloads.keeper(tmp_path, "flat", retry_failed=False)
        products = [Product.from_entry({"Id": f"p{n}", "Name": f"N{n}"}) for n in range(5)]
        await keeper.bring(products[0])
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for product in products[1:]:
                group.create_task(keeper.bring(product))
    assert most == [4]


@pytest.mark.parametrize(("online", "asked"), [(True, "GET POST"), (False, "POST GET")])
async def test_what_is_said_to_be_off_line_is_ordered_first(
    tmp_path: Path, serve: Callable[..., Awaitable[str]], *, online: bool, asked: str
) -> None:
    site = Site(lambda _: web.Response(status=201))
    async with site_client(await serve(site), QUICK) as noa:
        keeper = await noa._downloads.keeper(tmp_path, "flat", retry_failed=False)
        product = Product.from_entry({"Id": "p0", "Name": "N0", "Online": online})
        assert isinstance(await keeper.bring(product), Later)
    assert site.asked == asked.split()


async def test_a_completed_order_is_believed_once(
    tmp_path: Path, serve: Callable[..., Awaitable[str]]
) -> None:
    """A service that says completed and goes on with 202 is not asked without a pause."""
    site = Site(lambda _: web.json_response({"Status": "completed"}, status=201))
    product = Product.from_entry({"Id": "p0", "Name": "N0"})
    async with site_client(await serve(site), RetryPolicy(cap=7.0, offline_wait=100.0)) as noa:
        keeper = await noa._downloads.keeper(tmp_path, "flat", retry_failed=False)
        waits = [await keeper.bring(product) for _ in range(3)]
    assert waits == [Later(0.0), Later(7.0), Later(14.0)]
    assert site.ordered == ["p0"]
