"""The pages of one window: asked for, and what is new on them handed on."""

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
    """Asks for the pages of a window; what is on them goes to ``emit``, an Id once.

    ``known`` are Ids given out before; after ``enough`` products nothing more needs to be asked.

    Error handling: NoaError where a page cannot be had; ServiceFault for one that holds products
    of another time, for without filters that are heeded windows would be cut for ever.
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
        """The Ids given out, the known ones too."""
        self.given = 0
        """Products given out, without the known ones."""
        self.latest: datetime | None = None
        """The last instant on a page so far, by the window's axis."""
        self.unreadable: list[str] = []
        """A sentence for each entry on the pages that is no product."""
        self._catalogue = catalogue
        self._emit = emit
        self._attributes = attributes

    @property
    def orders_ties(self) -> bool:
        """As ``Catalogue.orders_ties``."""
        return self._catalogue.orders_ties

    @property
    def satisfied(self) -> bool:
        """Whether so many were given out that no more are wanted."""
        return self.enough is not None and self.given >= self.enough

    def wanted_of(self, count: int) -> int:
        """How many of so many products are wanted."""
        return count if self.enough is None else min(count, self.enough)

    async def take(self, url: str, ahead: PagesAhead | None = None) -> Page:
        """A page, which may have been asked for ``ahead``; what is new on it is handed on."""
        page = await (ahead or self._catalogue).page(url)
        if instants := self.instants(page):
            last = max(instants)
            if not self.window.spans(min(instants), last):
                raise ServiceFault(
                    f"The catalogue was asked for {self.window.bounds} and gave products of "
                    "another time: it does not heed the filter.",
                    hint="Check the catalogue's address; what was listed before is right.",
                )
            self.latest = last if self.latest is None else max(last, self.latest)
        self.unreadable += page.unreadable
        fresh = [product for product in page.products if self.seen.add(product.id)]
        self.given += len(fresh)
        await self._emit(fresh)
        return page

    def ahead(self) -> PagesAhead:
        """What asks for pages before links lead to them."""
        return PagesAhead(self._catalogue)

    async def look(
        self, window: Window | None = None, *, skip: int = 0, descending: bool = False
    ) -> Page:
        """One entry of the window, or of another, which is not handed on."""
        window = window or self.window
        options = {
            "$filter": window.filter,
            "$orderby": f"{window.axis} {'desc' if descending else 'asc'}",
            "$top": "1",
            "$skip": str(skip or ""),
        }
        return await self._catalogue.page(self._catalogue.url(options))

    def next_link(self, url: str, page: Page) -> str | None:
        """As ``Catalogue.next_link``."""
        return self._catalogue.next_link(url, page)

    def instants(self, page: Page) -> list[datetime]:
        """Where the products of a page lie on the window's axis, as far as they say."""
        if self.window.axis is Axis.SENSED:
            instants = [each.sensing_start for each in page.products]
        else:
            instants = [each.published for each in page.products]
        return [instant for instant in instants if instant is not None]

    def url(self, window: Window | None = None, *, top: int = 0) -> str:
        """The first page of the window, or of another: of ``top`` entries, else as usual."""
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
