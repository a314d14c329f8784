"""Listings cut into windows: nothing lost past any limit, nothing twice, never too much at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from noa_async import Limits, NoaClient, Query, ServiceError, ServiceFault, Timeouts
from noa_async.catalogue.listing import Listing
from noa_async.catalogue.product import Product
from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    make_product,
)
from noa_async.emulator import Product as Held
from noa_async.emulator.errors import RefusedError
from noa_async.events import Event, PageListed

from .conftest import WHO, Connect, Recorder, settings_for

ALL = Query(everything=True)
START = datetime(2026, 1, 12, 9, 23, 21, 24_000, tzinfo=UTC)
HOUR = timedelta(hours=1)


def made(starts: Sequence[datetime], **changes: object) -> list[Held]:
    """A product for each start; their publications are a second apart."""
    return [
        make_product(f"P{at}.nc", 100, start=start, published=START + timedelta(seconds=at))
        for at, start in enumerate(starts)
    ]


def spread(count: int, *, each: int = 1) -> list[datetime]:
    """Instants some minutes apart, ``each`` products on one."""
    return [START + timedelta(minutes=7 * (at // each)) for at in range(count)]


def mirror_of(products: Sequence[Held], **settings: object) -> Emulator:
    return Emulator(EmulatorSettings(**settings), catalogue=Catalogue(products))  # type: ignore[arg-type]


def ids(mirror: Emulator) -> list[str]:
    return sorted(product.id for product in mirror.catalogue.products)


async def listed(noa: NoaClient) -> list[Product]:
    return [product async for product in noa.search(ALL)]


def listing(noa: NoaClient, query: Query = ALL) -> Listing:
    return noa._open.catalogue.listing(query)


async def taken(of: Listing) -> list[str]:
    """The Ids of a listing, also where it ends with an error."""
    found: list[str] = []
    try:
        async for page in of.pages():
            found += [product.id for product in page]
    except ServiceError:
        return sorted(found)
    return sorted(found)


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("each", [1, 22])
async def test_past_a_skip_limit_nothing_is_lost(
    connect: Connect, each: int, refused: bool
) -> None:
    products = made(spread(2000, each=each))
    async with mirror_of(products, max_skip=100, refused_links=refused) as mirror:
        async with connect(mirror) as noa:
            found = await listed(noa)
        assert sorted(product.id for product in found) == ids(mirror)
    starts = [product.sensing_start for product in found]
    assert all(one <= other for one, other in pairwise(starts))  # type: ignore[operator]


@pytest.mark.parametrize("refused", [False, True])
async def test_a_crowded_instant_is_cut_by_publication(connect: Connect, refused: bool) -> None:
    starts = [START - HOUR] * 60 + [START] * 700 + [START + HOUR] * 60
    async with mirror_of(made(starts), max_skip=100, refused_links=refused) as mirror:
        async with connect(mirror) as noa:
            found = await listed(noa)
        assert sorted(product.id for product in found) == ids(mirror)


@pytest.mark.parametrize("probability", [0.5, 1.0])
async def test_links_that_silently_end_lose_nothing(connect: Connect, probability: float) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_NO_LINK, times=None, probability=probability),))
    async with mirror_of(made(spread(1000, each=22)), faults=plan) as mirror:
        async with connect(mirror) as noa:
            assert sorted(each.id for each in await listed(noa)) == ids(mirror)


@pytest.mark.parametrize("max_skip", [None, 100])
@pytest.mark.parametrize("starts", [spread(900, each=22), [START] * 120 + spread(120)])
async def test_without_counts_the_dates_lead_on(
    connect: Connect, starts: list[datetime], max_skip: int | None
) -> None:
    async with mirror_of(made(starts), counts=False, max_skip=max_skip) as mirror:
        async with connect(mirror) as noa:
            of = listing(noa)
            assert await taken(of) == ids(mirror)
            assert (of.counted, of.listed, of.shortfalls) == (None, len(starts), [])


@pytest.mark.parametrize("max_skip", [0, 100])
@pytest.mark.parametrize("starts", [spread(300), spread(300, each=15), [START] * 290 + spread(10)])
async def test_without_counts_pages_shorter_than_asked_for_are_full_too(
    connect: Connect, starts: list[datetime], max_skip: int
) -> None:
    """The service gives 20 at most, whatever is asked for, and its links end silently."""
    clamped = {"counts": False, "max_skip": max_skip, "max_top": 20, "clamp_top": True}
    async with mirror_of(made(starts), **clamped) as mirror, connect(mirror) as noa:
        of = listing(noa)
        assert await taken(of) == ids(mirror)
        assert of.shortfalls == []


@pytest.mark.parametrize("count", [1, 9, 10, 19, 20])
@pytest.mark.parametrize("clamped", [False, True])
async def test_without_counts_what_is_on_one_page_is_all(
    connect: Connect, count: int, clamped: bool
) -> None:
    """One instant, one publication: nothing leads on, and the service says that nothing is left."""
    products = [replace(each, published=START) for each in made([START] * count)]
    settings = {"counts": False, "max_top": 20, "clamp_top": True} if clamped else {"counts": False}
    async with mirror_of(products, **settings) as mirror, connect(mirror) as noa:
        assert sorted(product.id for product in await listed(noa)) == ids(mirror)


@pytest.mark.parametrize("max_skip", [0, 10])
async def test_without_counts_a_clamped_instant_with_no_way_on_is_said(
    connect: Connect, max_skip: int
) -> None:
    products = [replace(each, published=START) for each in made([START] * 60)]
    clamped = {"counts": False, "max_skip": max_skip, "max_top": 20, "clamp_top": True}
    async with mirror_of(products, **clamped) as mirror, connect(mirror) as noa:
        with pytest.raises(ServiceFault, match="listed 20 products; the last page has no link"):
            await listed(noa)


async def test_without_counts_and_a_way_on_it_is_said(connect: Connect) -> None:
    products = [replace(each, published=START) for each in made([START] * 120)]
    async with mirror_of(products, counts=False, max_skip=10) as mirror:
        async with connect(mirror) as noa:
            with pytest.raises(
                ServiceFault, match="listed 100 products; the last page has no link"
            ):
                await listed(noa)


class Meddler:
    """An observer that changes the catalogue at each page listed."""

    def __init__(self) -> None:
        self.change: Callable[[int], None] = lambda _: None
        self.pages = 0

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, PageListed):
            self.change(self.pages)
            self.pages += 1


@pytest.mark.parametrize("adding", [True, False])
@pytest.mark.parametrize("removing", [True, False])
@pytest.mark.parametrize("count", [300, 3000])
async def test_what_is_there_all_the_time_is_listed_once_whatever_comes_and_goes(
    count: int, adding: bool, removing: bool
) -> None:
    meddler = Meddler()
    products = made(spread(count))
    # Both in one window between two pages would leave its count as it was: that cannot be seen.
    early, late = products[: count // 2], products[count // 2 :]
    gone: set[str] = set()
    async with mirror_of(products) as mirror:

        def change(page: int) -> None:
            if adding and page < 40:
                start = early[page * 97 % len(early)].start + timedelta(minutes=1)
                mirror.catalogue.add(make_product(f"New{page}.nc", 100, start=start))
            if removing and page < 40:
                product = late[page * 89 % len(late)]
                if product.id not in gone:
                    gone.add(product.id)
                    mirror.catalogue.remove(product.id)

        meddler.change = change
        async with NoaClient(settings_for(mirror), WHO, observer=meddler) as noa:
            found = [product.id async for product in noa.search(ALL)]
    assert meddler.pages > 5
    assert len(set(found)) == len(found)
    assert {product.id for product in products} - gone <= set(found)


async def test_what_came_in_meanwhile_shows_in_the_count() -> None:
    meddler = Meddler()
    async with mirror_of(made(spread(2000))) as mirror:

        def change(page: int) -> None:
            if page == 20:
                mirror.catalogue.add(make_product("New.nc", 100, start=START))

        meddler.change = change
        async with NoaClient(settings_for(mirror), WHO, observer=meddler) as noa:
            of = listing(noa)
            await taken(of)
    assert (of.listed, of.counted, of.shortfalls) == (2000, 2001, [])


@pytest.mark.parametrize("count", [30, 170, 2000])
async def test_products_missing_from_an_answer_are_found_by_a_second_look(
    connect: Connect, count: int
) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_MISSING, times=1),))
    async with mirror_of(made(spread(count)), faults=plan) as mirror:
        async with connect(mirror) as noa:
            assert sorted(each.id for each in await listed(noa)) == ids(mirror)


@pytest.mark.parametrize("count", [30, 170, 2000])
async def test_what_is_missing_for_good_is_said_after_all_the_others(
    connect: Connect, count: int
) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_MISSING, page=0, times=None),))
    async with mirror_of(made(spread(count)), faults=plan) as mirror, connect(mirror) as noa:
        of = listing(noa)
        found: list[str] = []
        with pytest.raises(ServiceFault, match=rf"listed \d+ of the {count} products") as fault:
            async for page in of.pages():
                found += [product.id for product in page]
        assert count * 0.7 <= len(set(found)) == len(found) < count
        assert of.shortfalls
        assert of.listed == len(found)
        if count > 50:
            assert "for ContentDate/Start" in fault.value.hint


async def test_a_page_that_never_comes_ends_it_after_what_comes_before(connect: Connect) -> None:
    """The products before the broken window in time come first, then the error."""
    plan = FaultPlan((Fault(FaultKind.PAGE_ERROR, page=5, times=None),))
    async with mirror_of(made(spread(2000)), faults=plan) as mirror, connect(mirror) as noa:
        found: list[str] = []
        with pytest.raises(ServiceError, match="answered 5"):
            async for page in listing(noa).pages():
                found += [product.id for product in page]
        assert found == [product.id for product in mirror.catalogue.products[: len(found)]]
        assert len(found) == 250


@pytest.mark.parametrize("at_once", [1, 3])
async def test_never_more_requests_at_once_than_allowed(connect: Connect, at_once: int) -> None:
    async with mirror_of(made(spread(3000)), latency=0.02) as mirror:
        async with connect(mirror, limits=Limits(listings=at_once)) as noa:
            one, other = await asyncio.gather(listed(noa), listed(noa))
        assert len(one) == len(other) == 3000
        assert mirror.stats.lists_peak == at_once


async def test_more_requests_at_once_while_that_goes_well(connect: Connect) -> None:
    async with mirror_of(made(spread(4000)), latency=0.05) as mirror, connect(mirror) as noa:
        assert noa._open.catalogue.at_once == 4
        assert len(await listed(noa)) == 4000
        assert noa._open.catalogue.at_once == 8
        assert 4 < mirror.stats.lists_peak <= 8


async def test_the_pages_of_one_window_come_several_at_once(connect: Connect) -> None:
    async with mirror_of(made(spread(700)), latency=0.05) as mirror, connect(mirror) as noa:
        found = [product.id for product in await listed(noa)]
        assert found == [product.id for product in mirror.catalogue.products]
        assert mirror.stats.pages == 14
        assert 4 <= mirror.stats.lists_peak <= 8


def refusing(status: int, page: int) -> Fault:
    if status == 429:
        return Fault(FaultKind.PAGE_TOO_MANY, page=page)
    return Fault(FaultKind.PAGE_ERROR, page=page, status=status)


@pytest.mark.parametrize(("status", "at_once"), [(429, 2), (503, 2), (504, 2), (500, 4)])
async def test_fewer_requests_at_once_where_the_service_is_in_trouble(
    connect: Connect, status: int, at_once: int
) -> None:
    faults = FaultPlan((refusing(status, 1),))
    async with mirror_of(made(spread(80)), faults=faults) as mirror, connect(mirror) as noa:
        assert len(await listed(noa)) == 80
        assert noa._open.catalogue.at_once == at_once


async def test_fewer_requests_at_once_where_no_answer_comes(connect: Connect) -> None:
    faults = FaultPlan((Fault(FaultKind.PAGE_SLOW, seconds=30.0),))
    async with mirror_of(made(spread(10)), faults=faults) as mirror:
        async with connect(mirror, timeouts=Timeouts(answer=0.2)) as noa:
            assert len(await listed(noa)) == 10
            assert noa._open.catalogue.at_once == 2


async def test_a_service_that_refuses_now_and_then_loses_nothing(connect: Connect) -> None:
    faults = FaultPlan((Fault(FaultKind.PAGE_TOO_MANY, probability=0.5),))
    async with mirror_of(made(spread(3000)), faults=faults) as mirror, connect(mirror) as noa:
        assert sorted(each.id for each in await listed(noa)) == ids(mirror)
        assert 1 <= noa._open.catalogue.at_once < 8


async def test_leaving_early_leaves_no_task(connect: Connect) -> None:
    async with mirror_of(made(spread(5000)), latency=0.01) as mirror, connect(mirror) as noa:
        before = len(asyncio.all_tasks())
        async with aclosing(noa.search(ALL)) as products:
            async for _ in products:
                break
        requests = mirror.stats.requests
        while len(asyncio.all_tasks()) > before:  # the emulator's own, of what was cut off
            await asyncio.sleep(0)
        assert mirror.stats.requests - requests <= 1
        assert noa._open.catalogue._places.taken == 0


async def asked_for_one(mirror: Emulator, noa: NoaClient) -> int:
    """Pages that are asked for where a reader takes one product, and then stands still."""
    async with aclosing(noa.search(ALL)) as products:
        await anext(products)
        pages = -1
        while pages != mirror.stats.pages:
            pages = mirror.stats.pages
            await asyncio.sleep(0.2)
    return pages


@pytest.mark.parametrize(("at_once", "count", "most"), [(4, 6000, 110), (8, 12_000, 220)])
async def test_a_reader_that_stands_still_holds_the_listing_back(
    connect: Connect, at_once: int, count: int, most: int
) -> None:
    limits = Limits(listings=at_once)
    async with mirror_of(made(spread(count))) as mirror, connect(mirror, limits=limits) as noa:
        assert 20 < await asked_for_one(mirror, noa) < most


async def test_a_reader_that_stands_still_has_few_pages_wait_where_none_are_ahead(
    connect: Connect,
) -> None:
    """One page after another, as where nobody counts: none would come later for waiting."""
    async with mirror_of(made(spread(3000)), counts=False) as mirror, connect(mirror) as noa:
        assert 4 < await asked_for_one(mirror, noa) < 12


@pytest.mark.parametrize("limit", [1, 60, 749, 751, 1500])
async def test_a_limit_gives_so_many_of_the_first(connect: Connect, limit: int) -> None:
    async with mirror_of(made(spread(2000)), max_skip=100) as mirror, connect(mirror) as noa:
        query = Query(everything=True, limit=limit)
        found = [product.id async for product in noa.search(query)]
        assert found == [product.id for product in mirror.catalogue.products[:limit]]


NULL = "ContentDate/Start eq null"


def undate(mirror: Emulator, undated: set[str], *, null: bool | None = True) -> None:
    """Some products have no date: no bound holds for them, they come last, and first descending.

    ``null``: whether the service can be asked for them; None: it refuses to be.
    """
    select = mirror.catalogue.select

    def as_a_database(text: str, order: Sequence[tuple[str, bool]], **options: bool) -> list[Held]:
        if NULL in text and null is None:
            raise RefusedError(400, "Invalid filter: null.")
        rest = text.replace(NULL, "Online eq true")
        found = list(select(rest, order, **options))
        dateless = [each for each in found if each.id in undated]
        dated = [each for each in found if each.id not in undated]
        if NULL in text:
            return dateless if null else []
        if "ContentDate/Start" in text:
            return dated
        if ("ContentDate/Start", True) in order:
            return [*dateless, *dated]
        return [*dated, *dateless] if ("ContentDate/Start", False) in order else found

    mirror.catalogue.select = as_a_database  # type: ignore[method-assign,assignment]


def with_undated(count: int, undated: int) -> list[Held]:
    """Of ``count`` products so many have no ContentDate."""
    products = made(spread(count))
    step = max(1, count // max(1, undated))
    for at in range(0, undated * step, step):
        products[at] = replace(products[at], omit=frozenset({"ContentDate"}))
    return products


def undated_of(mirror: Emulator) -> set[str]:
    return {each.id for each in mirror.catalogue.products if "ContentDate" in each.omit}


@pytest.mark.parametrize(("count", "undated"), [(800, 2), (1000, 100), (2000, 1900), (800, 800)])
async def test_products_of_no_date_are_listed_past_the_windows_of_time(
    connect: Connect, count: int, undated: int
) -> None:
    async with mirror_of(with_undated(count, undated), max_skip=100) as mirror:
        undate(mirror, undated_of(mirror))
        async with connect(mirror) as noa:
            of = listing(noa)
            found = await taken(of)
        assert found == ids(mirror)
        assert (of.listed, of.counted, of.shortfalls) == (count, count, [])


async def test_without_counts_products_of_no_date_are_listed_too(connect: Connect) -> None:
    products = with_undated(300, 30)
    async with mirror_of(products, max_skip=100, counts=False) as mirror:
        undate(mirror, undated_of(mirror))
        async with connect(mirror) as noa:
            assert await taken(listing(noa)) == ids(mirror)


async def test_a_limit_above_all_there_is_takes_those_of_no_date_too(connect: Connect) -> None:
    async with mirror_of(with_undated(1000, 20)) as mirror:
        undate(mirror, undated_of(mirror))
        async with connect(mirror) as noa:
            found = listing(noa, Query(everything=True, limit=5000))
            assert await taken(found) == ids(mirror)


@pytest.mark.parametrize("null", [False, None])
async def test_products_of_no_date_that_cannot_be_asked_for_are_missing_and_that_is_said(
    connect: Connect, null: bool | None
) -> None:
    """A service that counts products which no window of time can hold."""
    async with mirror_of(with_undated(1000, 20)) as mirror, connect(mirror) as noa:
        undate(mirror, undated_of(mirror), null=null)
        of = listing(noa)
        with pytest.raises(ServiceFault, match="listed 980 of the 1000 products") as fault:
            async for _ in of.pages():
                pass
        assert "without a ContentDate" in fault.value.hint


async def test_pages_and_products_are_told_as_they_come(
    connect: Connect, recorder: Recorder
) -> None:
    async with mirror_of(made(spread(2000))) as mirror, connect(mirror) as noa:
        await listed(noa)
    told = [event for event in recorder.events if isinstance(event, PageListed)]
    assert all(one.products <= other.products for one, other in pairwise(told))
    assert all(one.pages <= other.pages for one, other in pairwise(told))
    assert told[0].products == 50
    assert told[-1].products == 2000
    assert told[-1].pages == len(told) <= mirror.stats.pages


@profile(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    clusters=st.lists(
        st.tuples(st.integers(0, 2000), st.integers(1, 40), st.sampled_from([0, 400, 10**6])),
        max_size=8,
    ),
    page_size=st.sampled_from([2, 10, 50]),
    max_skip=st.sampled_from([None, 5, 40]),
    undated=st.booleans(),
    counts=st.booleans(),
)
async def test_each_once_whatever_the_instants(
    clusters: list[tuple[int, int, int]],
    page_size: int,
    max_skip: int | None,
    undated: bool,
    counts: bool,
) -> None:
    starts = [
        START + timedelta(milliseconds=place, microseconds=step * at)
        for place, count, step in clusters
        for at in range(count)
    ]
    products = made(starts)
    if undated:
        products[::3] = [replace(each, omit=frozenset({"ContentDate"})) for each in products[::3]]
    async with mirror_of(products, max_skip=max_skip, counts=counts) as mirror:
        settings = settings_for(mirror)
        settings = replace(settings, service=replace(settings.service, page_size=page_size))
        async with NoaClient(settings, WHO) as noa:
            of = listing(noa)
            found = await taken(of)
    if counts or not undated or not of.shortfalls:
        assert found == ids(mirror)
    assert len(set(found)) == len(found)


class Deaf(Catalogue):
    """It answers every question with all that it has."""

    def select(
        self, _text: str, order: Sequence[tuple[str, bool]], *, names: bool = False
    ) -> Sequence[Held]:
        return super().select("", order, names=names)


@pytest.mark.parametrize(("count", "counts"), [(3000, True), (48, False), (120, False)])
async def test_a_service_that_heeds_no_filter_is_not_asked_for_ever(
    connect: Connect, count: int, counts: bool
) -> None:
    settings = EmulatorSettings(counts=counts, max_skip=50)
    async with Emulator(settings, catalogue=Deaf(made([START] * count))) as mirror:
        async with connect(mirror) as noa:
            with pytest.raises(ServiceFault, match="catalogue ignores the filter"):
                await listed(noa)
        assert mirror.stats.pages < 60


async def test_an_instant_that_is_read_again_is_no_endless_list(connect: Connect) -> None:
    """What is read again from its date holds nothing new, for more pages than an endless list."""
    settings = {"counts": False, "max_skip": 40, "page_size": 2, "max_top": 2, "clamp_top": True}
    products = made([START] * 43)
    async with mirror_of(products, **settings) as mirror, connect(mirror) as noa:
        assert sorted(each.id for each in await listed(noa)) == ids(mirror)
