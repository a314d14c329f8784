"""Pages asked for ahead: which ones, when, and that none of it can lose a product."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noa_async.catalogue.ahead import PagesAhead, following
from noa_async.catalogue.page import Page
from noa_async.catalogue.product import Product
from noa_async.catalogue.reading import WindowReader
from noa_async.catalogue.window_pages import WindowPages
from noa_async.catalogue.windows import Axis, Window
from noa_async.errors import ServiceFault

START = datetime(2026, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "link", "count", "expected"),
    [
        ("P?$top=50", "P?$skip=50&$top=50", 151, ["P?$skip=100&$top=50", "P?$skip=150&$top=50"]),
        ("P?%24skip=20", "P?%24skip=40", 61, ["P?%24skip=60"]),
        ("P?$skip=20", "P?a=b%20c+d&$SKIP=40", 60, []),
        ("P?$skip=40", "P?$skip=40", 500, []),  # a circle
        ("P?$skip=40", "P?$skip=20", 500, []),
        ("P?$skip=40", "P?$skiptoken=40", 500, []),
        ("P?$skip=40", "P?$skip=9999999999", 500, []),
        ("P?$skip=40", "P", 500, []),
    ],
)
def test_links_that_follow(before: str, link: str, count: int, expected: list[str]) -> None:
    assert list(following(before, link, count)) == expected


class Asked:
    """A catalogue whose pages come when they are let."""

    def __init__(self, free: int = 8, at_once: int = 8) -> None:
        self.at_once = at_once
        self.answers: dict[str, asyncio.Future[Page]] = {}
        self._free = free

    @property
    def free(self) -> int:
        return self._free - sum(not one.done() for one in self.answers.values())

    async def page(self, url: str) -> Page:
        self.answers[url] = asyncio.get_running_loop().create_future()
        return await self.answers[url]

    @property
    def urls(self) -> list[str]:
        return list(self.answers)


def ahead_of(catalogue: Asked) -> PagesAhead:
    return PagesAhead(catalogue)  # type: ignore[arg-type] # a stand-in, with what it asks for


async def test_what_follows_is_reckoned_no_further_than_it_is_asked_for() -> None:
    catalogue = Asked(free=3)
    async with ahead_of(catalogue) as ahead:
        ahead.begin("P?$skip=0", "P?$skip=1", 10**17)
        await asyncio.sleep(0)
        assert len(catalogue.urls) == 3


async def test_nothing_is_used_after_the_end() -> None:
    catalogue = Asked()
    async with ahead_of(catalogue) as ahead:
        ahead.begin("P?$skip=0", "P?$skip=10", 50)
        await asyncio.sleep(0)
        await ahead.end()
        assert all(answer.cancelled() for answer in catalogue.answers.values())
        asking = asyncio.create_task(ahead.page("P?$skip=20"))
        await asyncio.sleep(0)
        catalogue.answers["P?$skip=20"].set_result(page(7))
        assert (await asking).count == 7


def page(count: int | None = 100) -> Page:
    return Page(products=(), next_link=None, count=count)


@pytest.mark.parametrize(
    ("free", "at_once", "skips"),
    [(8, 8, [10, 20, 30, 40]), (3, 8, [10, 20, 30]), (8, 2, [10, 20]), (1, 8, [10]), (-2, 8, [10])],
)
async def test_only_free_places_are_taken(free: int, at_once: int, skips: list[int]) -> None:
    catalogue = Asked(free, at_once)
    async with ahead_of(catalogue) as ahead:
        ahead.begin("P?$skip=0", "P?$skip=10", 50)
        await asyncio.sleep(0)
        assert catalogue.urls == [f"P?$skip={skip}" for skip in skips]


async def test_each_page_is_asked_for_once_and_given_where_its_link_leads() -> None:
    catalogue = Asked()
    async with ahead_of(catalogue) as ahead:
        for skip in (10, 20, 30, 40):
            ahead.begin(f"P?$skip={skip - 10}", f"P?$skip={skip}", 50)
            await asyncio.sleep(0)
            catalogue.answers[f"P?$skip={skip}"].set_result(page(skip))
            assert (await ahead.page(f"P?$skip={skip}")).count == skip
        assert catalogue.urls == [f"P?$skip={skip}" for skip in (10, 20, 30, 40)]


async def test_a_link_that_leads_elsewhere_ends_it() -> None:
    catalogue = Asked()
    async with ahead_of(catalogue) as ahead:
        ahead.begin("P?$skip=0", "P?$skip=10", 50)
        await asyncio.sleep(0)
        catalogue.answers["P?$skip=10"].set_result(page())
        await ahead.page("P?$skip=10")
        ahead.begin("P?$skip=10", "P?$skip=15", 50)
        asking = asyncio.create_task(ahead.page("P?$skip=15"))
        while "P?$skip=15" not in catalogue.answers:
            await asyncio.sleep(0)
        assert all(catalogue.answers[f"P?$skip={skip}"].cancelled() for skip in (20, 30, 40))
        catalogue.answers["P?$skip=15"].set_result(page(7))
        assert (await asking).count == 7
        asked = catalogue.urls
        ahead.begin("P?$skip=15", "P?$skip=20", 50)
        await asyncio.sleep(0)
        assert catalogue.urls == asked


async def test_an_error_is_raised_where_its_page_is_due_and_else_not() -> None:
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    catalogue = Asked()
    async with ahead_of(catalogue) as ahead:
        ahead.begin("P?$skip=0", "P?$skip=10", 40)
        await asyncio.sleep(0)
        for url in catalogue.urls[1:]:
            catalogue.answers[url].set_exception(ServiceFault(url))
        catalogue.answers["P?$skip=10"].set_result(page())
        await ahead.page("P?$skip=10")
        ahead.begin("P?$skip=10", "P?$skip=20", 40)
        with pytest.raises(ServiceFault, match="skip=20"):
            await ahead.page("P?$skip=20")
    catalogue.answers.clear()
    gc.collect()
    assert troubles == []


async def test_leaving_leaves_nothing_under_way() -> None:
    catalogue = Asked()
    before = len(asyncio.all_tasks())
    async with ahead_of(catalogue) as ahead:
        ahead.begin("P?$skip=0", "P?$skip=10", 50)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before + 4
    assert len(asyncio.all_tasks()) == before


PAGE = 3


def product(at: float) -> Product:
    start = START + timedelta(seconds=at)
    return Product.from_entry({"Id": f"p{at}", "Name": f"P{at}", "ContentDate": {"Start": start}})


class Changing:
    """A catalogue in which products come or go while its pages are under way, in any order.

    ``change`` is called before each answer; ``wait`` says how many turns of the loop it takes.
    """

    page_size = PAGE
    at_once = 4
    expand = ""
    orders_ties = True

    def __init__(
        self,
        products: Sequence[float],
        *,
        each_counts: bool,
        change: Callable[[list[float]], None],
        wait: Callable[[], int],
    ) -> None:
        self.products = list(products)
        self.asked: list[str] = []
        self._each_counts = each_counts
        self._change = change
        self._wait = wait
        self._wanted = 0

    @property
    def free(self) -> int:
        return self.at_once - self._wanted

    def url(self, _: object) -> str:
        return "P?"

    def order(self, axis: Axis) -> str:
        return f"{axis} asc"

    def next_link(self, _: str, of: Page) -> str | None:
        return of.next_link

    async def page(self, url: str) -> Page:
        self.asked.append(url)
        self._wanted += 1
        for _ in range(self._wait()):
            await asyncio.sleep(0)
        self._wanted -= 1
        found = re.search(r"skip=(\d+)", url)
        skip = 0 if found is None else int(found[1])
        shown = sorted(self.products)[skip : skip + PAGE]
        more = skip + PAGE < len(self.products)
        answer = Page(
            products=tuple(map(product, shown)),
            next_link=f"P?$skip={skip + PAGE}" if more else None,
            count=len(self.products) if self._each_counts or not skip else None,
        )
        self._change(self.products)
        return answer


@dataclass
class Found:
    """What a reading gave while the catalogue changed."""

    stayed: set[float]
    given: list[float]
    whole: bool


def read_while_it_changes(
    draw: Callable[[st.SearchStrategy[Any]], Any],
    *,
    adding: bool,
    each_counts: bool,
    enough: int | None = None,
) -> Found:
    """Products come, or go: both between two pages would leave the count as it was."""
    count = draw(st.integers(2 * PAGE, 6 * PAGE))
    stayed = set(map(float, range(count)))
    moments = st.tuples(st.integers(0, 7), st.integers(1, count - 1))
    changes = draw(st.lists(moments, min_size=1, max_size=3))
    answers = itertools.count()

    def change(products: list[float]) -> None:
        now = next(answers)
        for number, at in [one for one in enumerate(changes) if one[1][0] == now]:
            if adding:
                products.append(at[1] - 0.5 + number / 100)
            elif float(at[1]) in products:
                products.remove(float(at[1]))
                stayed.discard(float(at[1]))

    waits = iter(draw(st.lists(st.integers(0, 9), min_size=8, max_size=8)))
    catalogue: Any = Changing(
        sorted(stayed), each_counts=each_counts, change=change, wait=lambda: next(waits, 1)
    )
    given: list[float] = []

    async def emit(products: Sequence[Product]) -> None:
        given.extend(float(one.id[1:]) for one in products)

    async def read() -> bool:
        reader = WindowReader(WindowPages(catalogue, Window(""), emit, enough=enough))
        return await reader.read() == () and reader.shortfall is None

    whole = asyncio.run(read())
    assert len(set(given)) == len(given)
    return Found(stayed, given, whole)


@settings(max_examples=300)
@given(data=st.data(), adding=st.booleans(), each_counts=st.booleans())
def test_what_is_called_whole_holds_all_that_was_there_all_the_time(
    data: st.DataObject, *, adding: bool, each_counts: bool
) -> None:
    found = read_while_it_changes(data.draw, adding=adding, each_counts=each_counts)
    assert not found.whole or found.stayed <= set(found.given)


@settings(max_examples=600)
@given(data=st.data())
def test_the_first_few_have_no_gap_where_others_come_meanwhile(data: st.DataObject) -> None:
    found = read_while_it_changes(data.draw, adding=True, each_counts=True, enough=3 * PAGE + 1)
    last = max(found.given)
    assert {at for at in found.stayed if at < last} <= set(found.given)


@pytest.mark.parametrize("each_counts", [True, False])
async def test_pages_come_ahead_only_where_each_has_its_count(*, each_counts: bool) -> None:
    most = 0

    def wait() -> int:
        nonlocal most
        most = max(most, catalogue._wanted)
        return 3

    catalogue: Any = Changing(
        list(map(float, range(30))), each_counts=each_counts, change=lambda _: None, wait=wait
    )

    async def emit(_: Sequence[Product]) -> None:
        pass

    assert await WindowReader(WindowPages(catalogue, Window(""), emit)).read() == ()
    assert len(catalogue.asked) == len(set(catalogue.asked)) == 10
    assert most == (4 if each_counts else 1)
