"""Read a window of a service that does not count: follow links, then continue by date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.catalogue.links import REMEMBERED, Links, endless_list
from noa_async.catalogue.recent import Recent
from noa_async.catalogue.windows import Shortfall, is_full
from noa_async.errors import ServiceRefused

if TYPE_CHECKING:
    from datetime import datetime

    from noa_async.catalogue.page import Page
    from noa_async.catalogue.window_pages import WindowPages
    from noa_async.catalogue.windows import Window


class UncountedReader:
    """Reader that follows links from a window's first page; a full page without a link may be a
    limit.

    After such a page, reading continues by date, from the whole of the last instant, because many
    products can share it. If a page or more shares one instant, the rest is split by publication.

    If the service does not sort products with the same time, their order can change between pages.
    Each instant that continues from one page to the next is then read again as a window of its own.
    """

    def __init__(self, pages: WindowPages) -> None:
        self._pages = pages
        self._longest = 0
        """Number of entries on the longest page."""
        self._linked = 0
        """Number of entries on the longest page with a link, which is the service's maximum."""
        self._recent_ids = Recent(REMEMBERED)
        """Ids on the pages read since the last continuation by date."""
        self._split_instants: dict[datetime, None] = {}
        """The instants that continue from one page to the next."""
        self.shortfall: Shortfall | None = None
        self.by_date = False
        """Whether reading continued by date: products without a date may be missing."""

    async def read(self, page: Page) -> tuple[Window, ...]:
        """Emit the products after the first page. Return the windows to read instead of the rest.

        Raise NoaError if a page cannot be read.
        """
        pages = self._pages
        url = pages.url()
        links = Links(url)
        while not pages.satisfied:
            new = [self._recent_ids.add(product.id) for product in page.products]
            if not links.lead_on(sum(new)):
                raise endless_list()
            link, onwards = self._next_urls(url, page)
            if link is None and onwards is None:
                await self._check_end(page)
                break
            try:
                if link is not None:
                    if not links.add(link):
                        raise endless_list()
                    before, url = page, link
                    page = await pages.take(url)
                    self._note_split_instant(before, page)
                    continue
            except ServiceRefused:  # some services reject their own links beyond a limit
                if onwards is None:
                    raise
            self.by_date = True
            if onwards is None or not links.add(onwards):
                return (*await self._around(), *self._split_windows())
            url = onwards
            page = await pages.take(url)
            self._recent_ids = Recent(REMEMBERED)  # that instant is read again from its start
        return self._split_windows()

    def _note_split_instant(self, before: Page, page: Page) -> None:
        """Record the instant that two pages share, if its products may have changed their order."""
        if self._pages.orders_ties:
            return
        last, first = self._pages.instants(before), self._pages.instants(page)
        if last and first and max(last) >= min(first):
            self._split_instants[max(last)] = None

    def _split_windows(self) -> tuple[Window, ...]:
        windows = [self._pages.window.at(instant) for instant in self._split_instants]
        if None in windows:  # they share the publication date too, so nothing sorts them
            self._record_shortfall()
        return tuple(window for window in windows if window is not None)

    def _next_urls(self, url: str, page: Page) -> tuple[str | None, str | None]:
        """Return the page's link, and the URL to continue by date if there may be more products."""
        link = self._pages.next_link(url, page)
        self._longest = max(self._longest, page.entries)
        if link is not None:
            self._linked = max(self._linked, page.entries)
        latest = self._pages.latest
        if latest is None or not (link or self._full(page)):
            return link, None
        return link, self._pages.url(self._pages.window.onwards(latest))

    def _full(self, page: Page) -> bool:
        return is_full(page.entries, self._pages.page_size, self._linked)

    async def _check_end(self, page: Page) -> None:
        """Check a page without a link or a date to continue from: it is the last, or products are
        missing."""
        given = self._pages.given + len(self._pages.unreadable)
        if self._full(page) and not await self._nothing_after(self._pages.window, given):
            self._record_shortfall()

    async def _around(self) -> tuple[Window, ...]:
        """Return the windows to read if a page or more shares one instant and has no link.

        Split by publication. If that date is shared too, request a page of twice the size, which
        shows whether there are more products.
        """
        pages = self._pages
        assert pages.latest is not None
        if pieces := pages.window.around(pages.latest):
            return pieces
        larger = 2 * pages.page_size
        rest = pages.window.onwards(pages.latest)
        try:
            page = await pages.take(pages.url(rest, top=larger))
        except ServiceRefused:  # the service rejects pages of that size
            self._record_shortfall()
            return ()
        shown = page.entries
        bounded = shown <= self._longest and self._full(page)  # limited by the service
        if shown >= larger or (bounded and not await self._nothing_after(rest, shown)):
            self._record_shortfall()
        return ()

    async def _nothing_after(self, window: Window, count: int) -> bool:
        """Return whether the service says that a window has at most ``count`` products."""
        try:
            page = await self._pages.look(window, skip=count)
        except ServiceRefused:
            return False
        return not page.entries

    def _record_shortfall(self) -> None:
        self.shortfall = Shortfall(self._pages.window, self._pages.given, None)
