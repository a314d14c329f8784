"""Reading a window of a service that does not count: by its links, and by date where they end."""

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
    """Follows the links from a window's first page on; a full page with none may be a silent limit.

    The way on from there is by date. The instant of the last date is taken whole again, for many
    products can share it; where a page or more does, the rest is cut by publication.

    If the service does not order the products of one instant, their order can change from page to
    page. Then each instant that goes over from one page to the next is a window of its own, to be
    read afterwards: what is on a single page cannot be torn.
    """

    def __init__(self, pages: WindowPages) -> None:
        self._pages = pages
        self._longest = 0
        """Entries on the longest page."""
        self._linked = 0
        """The same, of the pages with a link: so many the service gives where there are more."""
        self._met = Recent(REMEMBERED)
        """The Ids on the pages read since it last went on by date."""
        self._torn: dict[datetime, None] = {}
        """The instants that went over from one page to the next."""
        self.shortfall: Shortfall | None = None
        self.by_date = False
        """Whether it went on by date: what has none may have been passed by."""

    async def read(self, page: Page) -> tuple[Window, ...]:
        """Give out what comes after the first page; the windows to read instead of the rest.

        Raises NoaError where a page cannot be had.
        """
        pages = self._pages
        url = pages.url()
        links = Links(url)
        while not pages.satisfied:
            new = [self._met.add(product.id) for product in page.products]
            if not links.lead_on(sum(new)):
                raise endless_list()
            link, onwards = self._ways(url, page)
            if link is None and onwards is None:
                await self._check_end(page)
                break
            try:
                if link is not None:
                    if not links.add(link):
                        raise endless_list()
                    before, url = page, link
                    page = await pages.take(url)
                    self._note_torn(before, page)
                    continue
            except ServiceRefused:  # past the site's limit some refuse what their own link asks for
                if onwards is None:
                    raise
            self.by_date = True
            if onwards is None or not links.add(onwards):
                return (*await self._around(), *self._torn_windows())
            url = onwards
            page = await pages.take(url)
            self._met = Recent(REMEMBERED)  # that instant is read once more, from its beginning
        return self._torn_windows()

    def _note_torn(self, before: Page, page: Page) -> None:
        """Remember the instant that two pages share, if its products may have changed places."""
        if self._pages.orders_ties:
            return
        last, first = self._pages.instants(before), self._pages.instants(page)
        if last and first and max(last) >= min(first):
            self._torn[max(last)] = None

    def _torn_windows(self) -> tuple[Window, ...]:
        windows = [self._pages.window.at(instant) for instant in self._torn]
        if None in windows:  # they share the publication, too: nothing orders them
            self._fall_short()
        return tuple(window for window in windows if window is not None)

    def _ways(self, url: str, page: Page) -> tuple[str | None, str | None]:
        """The page's link, and the way on by date where there may be more."""
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
        """At a page with no way on: it is the last, or has no date that leads on from it."""
        given = self._pages.given + len(self._pages.unreadable)
        if self._full(page) and not await self._nothing_after(self._pages.window, given):
            self._fall_short()

    async def _around(self) -> tuple[Window, ...]:
        """The way on where a page or more shares one instant and no link leads on.

        By publication; where that is one, too, by a page of twice the size, which shows whether
        there is more.
        """
        pages = self._pages
        assert pages.latest is not None
        if pieces := pages.window.around(pages.latest):
            return pieces
        larger = 2 * pages.page_size
        rest = pages.window.onwards(pages.latest)
        try:
            page = await pages.take(pages.url(rest, top=larger))
        except ServiceRefused:  # no page may be that large
            self._fall_short()
            return ()
        shown = page.entries
        bounded = shown <= self._longest and self._full(page)  # by the service, not by what it has
        if shown >= larger or (bounded and not await self._nothing_after(rest, shown)):
            self._fall_short()
        return ()

    async def _nothing_after(self, window: Window, count: int) -> bool:
        """Whether the service says that a window holds no more than ``count`` products."""
        try:
            page = await self._pages.look(window, skip=count)
        except ServiceRefused:
            return False
        return not page.entries

    def _fall_short(self) -> None:
        self.shortfall = Shortfall(self._pages.window, self._pages.given, None)
