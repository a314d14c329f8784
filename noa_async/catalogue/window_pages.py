"""Request the pages of one window, and emit the new products on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.catalogue.ahead import PagesAhead
from noa_async.catalogue.links import REMEMBERED
from noa_async.catalogue.recent import Recent
from noa_async.catalogue.windows import Axis
from noa_async.errors import ServiceFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

    from noa_async.catalogue.page import Page
    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.windows import Window

    Emit = Callable[[Sequence[Product]], Awaitable[None]]


class WindowPages:
    """Requests the pages of a window; passes each new product to ``emit`` once.

    ``known``: Ids emitted before. ``enough``: number of products after which to stop.

    Error handling: NoaError if a page cannot be read; ServiceFault for a page with products outside
    the window, because splitting would never end if the service ignores the filter.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        window: Window,
        emit: Emit,
        *,
        attributes: bool = False,
        known: Iterable[str] = (),
        enough: int | None = None,
    ) -> None:
        self.window = window
        self.enough = enough
        self.page_size: int = catalogue.page_size
        self.seen = Recent(REMEMBERED, known)
        """Ids emitted, including the known ones."""
        self.given = 0
        """Number of products emitted, without the known ones."""
        self.latest: datetime | None = None
        """The latest date on the pages so far, on the window's axis."""
        self.unreadable: list[str] = []
        """One sentence for each entry on the pages that could not be parsed."""
        self._catalogue = catalogue
        self._emit = emit
        self._attributes = attributes

    @property
    def orders_ties(self) -> bool:
        """See ``Catalogue.orders_ties``."""
        return self._catalogue.orders_ties

    @property
    def satisfied(self) -> bool:
        """Whether ``enough`` products were emitted."""
        return self.enough is not None and self.given >= self.enough

    def wanted_of(self, count: int) -> int:
        """Return how many of ``count`` products are wanted."""
        return count if self.enough is None else min(count, self.enough)

    async def take(self, url: str, ahead: PagesAhead | None = None) -> Page:
        """Return a page, possibly prefetched by ``ahead``, and emit the new products on it."""
        page = await (ahead or self._catalogue).page(url)
        if instants := self.instants(page):
            last = max(instants)
            if not self.window.spans(min(instants), last):
                raise ServiceFault(
                    f"The catalogue ignores the filter: asked for {self.window.bounds}, it "
                    "returned products of another time.",
                    hint="Check the catalogue address. The products listed so far are valid.",
                )
            self.latest = last if self.latest is None else max(last, self.latest)
        self.unreadable += page.unreadable
        fresh = [product for product in page.products if self.seen.add(product.id)]
        self.given += len(fresh)
        await self._emit(fresh)
        return page

    def ahead(self) -> PagesAhead:
        """Return the prefetcher of this window's pages."""
        return PagesAhead(self._catalogue)

    async def look(
        self, window: Window | None = None, *, skip: int = 0, descending: bool = False
    ) -> Page:
        """Return a page of one entry of the window, or of another window, without emitting it."""
        window = window or self.window
        options = {
            "$filter": window.filter,
            "$orderby": f"{window.axis} {'desc' if descending else 'asc'}",
            "$top": "1",
            "$skip": str(skip or ""),
        }
        return await self._catalogue.page(self._catalogue.url(options))

    def next_link(self, url: str, page: Page) -> str | None:
        """See ``Catalogue.next_link``."""
        return self._catalogue.next_link(url, page)

    def instants(self, page: Page) -> list[datetime]:
        """Return the dates of a page's products on the window's axis, without missing ones."""
        if self.window.axis is Axis.SENSED:
            instants = [each.sensing_start for each in page.products]
        else:
            instants = [each.published for each in page.products]
        return [instant for instant in instants if instant is not None]

    def url(self, window: Window | None = None, *, top: int = 0) -> str:
        """Return the URL of the first page of the window, or of another one; ``top`` is its page
        size."""
        window = window or self.window
        options: dict[str, str] = {
            "$filter": window.filter,
            "$orderby": self._catalogue.order(window.axis),
            "$top": str(top or self.page_size),
            "$count": "true",
        }
        if self._attributes:
            options["$expand"] = self._catalogue.expand
        return self._catalogue.url(options)
