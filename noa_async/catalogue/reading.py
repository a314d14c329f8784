"""Reading one window of a listing: its pages in order, and whether they were all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.catalogue.windows import (
    INSTANT,
    Axis,
    Reading,
    Shortfall,
    Verdict,
    Window,
    judge,
    largest,
    parts_for,
)
from noa_async.errors import ServiceFault, ServiceRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from noa_async.catalogue.pages import Catalogue, Page
    from noa_async.catalogue.product import Product

    Emit = Callable[[Sequence[Product]], Awaitable[None]]

REMEMBERED = 20_000


class WindowReader:
    """One window: what is on its pages goes to ``emit``, an Id once.

    ``total`` is what the whole listing counts, ``known`` are Ids given out before; after ``enough``
    products nothing more is asked for.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        window: Window,
        emit: Emit,
        *,
        attributes: bool,
        total: int = 0,
        known: Iterable[str] = (),
        enough: int | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._window = window
        self._emit = emit
        self._attributes = attributes
        self._page_size = catalogue.page_size
        self._most = largest(catalogue.page_size, total)
        self._enough = enough
        self._given = 0
        self._latest: datetime | None = None
        self.seen = Recent(REMEMBERED, known)
        """The Ids given out, the known ones too."""
        self.counted: int | None = None
        """The count of the first page, where the service counts."""
        self.shortfall: Shortfall | None = None

    async def read(self) -> tuple[Window, ...]:
        """Give out the window's products; the windows to read instead, where that was not all.

        Raises NoaError where a page cannot be had.
        """
        page = await self._first()
        self.counted = page.count
        if page.count is None:
            return await self._read_uncounted(page)
        cuttable = True
        if self._enough is None and page.count > self._most:
            if pieces := await self._cut(page):
                return pieces
            cuttable = False
        passes = 1
        while True:
            reading = await self._follow(page)
            if self._satisfied:
                return ()
            verdict = judge(reading, self._page_size, passes=passes, cuttable=cuttable)
            if verdict is Verdict.CUT:
                if pieces := await self._cut(page):
                    return pieces
                cuttable = False
                verdict = judge(reading, self._page_size, passes=passes, cuttable=cuttable)
            if verdict is not Verdict.AGAIN:
                break
            passes += 1
            page = await self._first()
        if verdict is Verdict.SHORT:
            self.shortfall = Shortfall(self._window, reading.listed, reading.counted)
        return ()

    @property
    def _satisfied(self) -> bool:
        return self._enough is not None and self._given >= self._enough

    async def _first(self) -> Page:
        page = await self._catalogue.page(self._url(self._window))
        await self._give(page)
        return page

    async def _follow(self, page: Page) -> Reading:
        """Read from the window's first page on to its end, which can come too early."""
        counted, steady = page.count, True
        listed = {product.id for product in page.products}
        url = self._url(self._window)
        links = Recent(REMEMBERED, [url])
        while not self._satisfied and (link := self._catalogue.next_link(url, page)):
            url = _unmet(link, links)
            try:
                page = await self._catalogue.page(url)
            except ServiceRefused:
                break  # past the site's limit some refuse what their own link asks for
            steady = steady and page.count in {None, counted}
            listed.update(product.id for product in page.products)
            await self._give(page)
        return Reading(counted, len(listed), steady)

    async def _read_uncounted(self, page: Page) -> tuple[Window, ...]:
        """Follow the links of a service that does not count, and go on by date where they end."""
        url = self._url(self._window)
        links = Recent(REMEMBERED, [url])
        while not self._satisfied:
            link, onwards = self._catalogue.next_link(url, page), self._onwards(page)
            if link is None and onwards in links:
                return await self._around()
            ways = [way for way in (link, onwards) if way is not None]
            if not ways:
                break
            try:
                url = _unmet(ways[0], links)
                page = await self._catalogue.page(url)
            except ServiceRefused:
                if len(ways) == 1:
                    raise
                if ways[1] in links:
                    return await self._around()
                url = _unmet(ways[1], links)
                page = await self._catalogue.page(url)
            await self._give(page)
        return ()

    async def _around(self) -> tuple[Window, ...]:
        """The way on where a page or more shares one instant and no link leads on.

        By publication; where that is one, too, by a page of twice the size, which shows whether
        there is more.
        """
        assert self._latest is not None
        if pieces := self._window.around(self._latest):
            return pieces
        larger = 2 * self._page_size
        shown = larger
        try:
            page = await self._catalogue.page(self._url(self._window.onwards(self._latest), larger))
            shown = len(page.products)
            await self._give(page)
        except ServiceRefused:
            pass  # no page may be that large
        if shown >= larger:
            self.shortfall = Shortfall(self._window, self._given, None)
        return ()

    def _onwards(self, page: Page) -> str | None:
        """The way on by date: a full page with no link may be a silent limit.

        The instant of the last date is taken whole again, for many products can share it.
        """
        full = len(page.products) >= self._page_size
        if not full or self._latest is None:
            return None
        return self._url(self._window.onwards(self._latest))

    async def _give(self, page: Page) -> None:
        """Hand on what is new on a page."""
        fresh = [product for product in page.products if self.seen.add(product.id)]
        self._given += len(fresh)
        instants = self._instants(page)
        if instants:
            self._latest = max(instants if self._latest is None else [*instants, self._latest])
        await self._emit(fresh)

    async def _cut(self, page: Page) -> tuple[Window, ...]:
        """The window in pieces, by time or else by publication; empty where it cannot be cut."""
        pieces: tuple[Window, ...] = ()
        first = min(self._instants(page), default=None)
        if first is not None:
            last = await self._last()
            parts = parts_for(page.count or 0, self._most)
            pieces = self._window.cut(first, max(first, last), parts) if last else ()
        deeper = self._window.deeper()
        return pieces or ((deeper,) if deeper is not None else ())

    async def _last(self) -> datetime | None:
        """The last instant that can be in the window; asked for where it has no end."""
        if self._window.end is not None:
            return self._window.end - INSTANT
        axis, filter_ = self._window.axis, self._window.filter
        options = {"$filter": filter_, "$orderby": f"{axis} desc", "$top": "1"}
        page = await self._catalogue.page(self._catalogue.url(options))
        return max(self._instants(page), default=self._latest)

    def _instants(self, page: Page) -> list[datetime]:
        sensed = self._window.axis is Axis.SENSED
        instants = (each.sensing_start if sensed else each.published for each in page.products)
        return [instant for instant in instants if instant is not None]

    def _url(self, window: Window, top: int | None = None) -> str:
        options: dict[str, str] = {
            "$filter": window.filter,
            "$orderby": f"{window.axis} asc",
            "$top": str(top or self._page_size),
            "$count": "true",
        }
        if self._attributes:
            options["$expand"] = "Attributes"
        return self._catalogue.url(options)


def _unmet(url: str, links: Recent) -> str:
    if not links.add(url):
        raise ServiceFault(
            "The catalogue's pages lead in a circle.", hint="Ask for a shorter time."
        )
    return url


class Recent:
    """The last keys met, ``size`` of them: pages shift and repeat, but not by far."""

    def __init__(self, size: int, keys: Iterable[str] = ()) -> None:
        self._size = size
        self._keys = dict.fromkeys(keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: str) -> bool:
        """Whether ``key`` is new."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            del self._keys[next(iter(self._keys))]
        return True
