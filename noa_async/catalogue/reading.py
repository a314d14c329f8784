"""Read the pages of one window in order, and decide whether they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.catalogue.links import Links
from noa_async.catalogue.uncounted import UncountedReader
from noa_async.catalogue.windows import (
    INSTANT,
    Reading,
    Shortfall,
    Verdict,
    Window,
    judge,
    largest,
    parts_for,
)
from noa_async.errors import ServiceRefused

if TYPE_CHECKING:
    from datetime import datetime

    from noa_async.catalogue.page import Page
    from noa_async.catalogue.window_pages import WindowPages


class WindowReader:
    """Reader of one window, which compares the products on its pages with the count on the first.

    ``total`` is the count of the whole listing. If the service does not count, `UncountedReader` is
    used.
    """

    def __init__(self, pages: WindowPages, *, total: int = 0) -> None:
        self._pages = pages
        self._window = pages.window
        self._most = largest(pages.page_size, total)
        self.counted: int | None = None
        """The count on the first page; None if the service does not count."""
        self.shortfall: Shortfall | None = None
        self.by_date = False
        """Whether reading continued by date after the links ended."""

    async def read(self) -> tuple[Window, ...]:
        """Emit the window's products. Return windows to read instead, if it was not complete.

        Raise NoaError if a page cannot be read.
        """
        page = await self._pages.take(self._pages.url())
        self.counted = page.count
        if page.count is None:
            uncounted = UncountedReader(self._pages)
            pieces = await uncounted.read(page)
            self.shortfall, self.by_date = uncounted.shortfall, uncounted.by_date
            return pieces
        cuttable = True
        if self._pages.enough is None and page.count > self._most:
            if pieces := await self._cut(page):
                return pieces
            cuttable = False
        passes = 1
        while True:
            reading = await self._follow(page)
            if self._pages.satisfied:
                return ()
            verdict = judge(reading, self._pages.page_size, passes=passes, cuttable=cuttable)
            if verdict is Verdict.CUT:
                if pieces := await self._cut(page):
                    return pieces
                cuttable = False
                verdict = judge(reading, self._pages.page_size, passes=passes, cuttable=cuttable)
            if verdict is not Verdict.AGAIN:
                break
            passes += 1
            page = await self._pages.take(self._pages.url())
        if verdict is Verdict.SHORT:
            self.shortfall = Shortfall(self._window, reading.listed, reading.counted)
        return ()

    async def _follow(self, page: Page) -> Reading:
        """Follow the links from the window's first page to the last."""
        counted, steady = page.count, True
        first = page
        listed = {product.id for product in page.products}
        unreadable = len(page.unreadable)
        url = self._pages.url()
        links = Links(url)
        async with self._pages.ahead() as ahead:
            while not self._pages.satisfied and (link := self._pages.next_link(url, page)):
                if not links.add(link):
                    break  # a circle: the count tells whether products are missing
                before, url = url, link
                if page is not first and page.count == counted:
                    ahead.begin(before, url, self._pages.wanted_of(page.count or 0))
                try:
                    page = await self._pages.take(url, ahead)
                except ServiceRefused:
                    break  # some services reject their own links beyond a limit
                if page.count != counted:
                    # When the count changes, products move across page boundaries, and a page
                    # prefetched before may lack one of them.
                    await ahead.end()
                steady = steady and page.count in {None, counted}
                held = len(listed)
                listed.update(product.id for product in page.products)
                unreadable += len(page.unreadable)
                if not links.lead_on(len(listed) - held):
                    break
        return Reading(counted, len(listed) + unreadable, steady)

    async def _cut(self, page: Page) -> tuple[Window, ...]:
        """Split the window by time, or else by publication; empty if it cannot be split."""
        pieces: tuple[Window, ...] = ()
        first = min(self._pages.instants(page), default=None)
        if first is not None:
            last = await self._last()
            parts = parts_for(page.count or 0, self._most)
            pieces = self._window.cut(first, max(first, last), parts) if last else ()
        deeper = self._window.deeper()
        return pieces or ((deeper,) if deeper is not None else ())

    async def _last(self) -> datetime | None:
        """Return the latest date in the window; if it has no end, ask the service."""
        if self._window.end is not None:
            return self._window.end - INSTANT
        dated = self._window.dated()  # some services sort null first
        page = await self._pages.look(dated, descending=True)
        return max(self._pages.instants(page), default=self._pages.latest)
