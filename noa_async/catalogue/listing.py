"""A listing: windows of time read several at once, given out in order, checked against counts."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noa_async.catalogue.links import REMEMBERED
from noa_async.catalogue.reading import WindowReader
from noa_async.catalogue.recent import Recent
from noa_async.catalogue.wholeness import Tally
from noa_async.catalogue.window_pages import WindowPages
from noa_async.catalogue.windows import Axis, Shortfall, Window, largest
from noa_async.errors import NoaError, ServiceRefused
from noa_async.events import EntrySkipped, PageListed
from noa_async.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.events import Observer

_AHEAD_PAGES = 10
"""So many pages for each request at once may wait for their turn before no window is begun but the
next ones: many windows are empty, so their number says little."""
_HELD_PAGES = 30
"""Pages of one window that may wait for its turn."""
_SKIPPED_REMEMBERED = 1000
_PAGES_AT_HAND = 4
"""Pages of the window whose turn it is that may wait for whoever takes them: more come as soon."""


@dataclass(slots=True, eq=False)
class _Part:
    """A window in its place in the order, and what of it is still to be given out."""

    window: Window
    known: Iterable[str] = ()
    """Ids given out before; once it was read, those on its pages too."""
    counted: int = 0
    """By the service, when it was read."""
    enough: int | None = None
    pages: deque[Sequence[Product]] = field(default_factory=deque)
    started: bool = False
    done: bool = False
    error: NoaError | None = None


class Listing:
    """The products that a query matches, to be gone through once with ``pages``.

    The first page tells how many there are. Up to about fifteen pages are followed by their links;
    what is more is cut into windows of time, at most ``at_once`` of them read at a time and given
    out in order. A window whose products and count disagree is read again, in halves where it can
    be cut. Where all windows together fall short, the products that have no date are asked for.

    An entry that is no product is skipped and told as EntrySkipped, and the listing is not whole.

    Error handling: a page that cannot be had raises after all that comes before it was given out;
    so does, at the end, ServiceFault where the listing is not whole. Ended without either, it is.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        query: Query,
        *,
        attributes: bool,
        attributes_optional: bool = False,
        at_once: int,
        observer: Observer,
    ) -> None:
        self._catalogue = catalogue
        self._query = query
        self._attributes = attributes
        self._attributes_optional = attributes_optional
        self._at_once = at_once
        self._observer = observer
        self._changed = asyncio.Event()
        self._read = 0
        self._seen = Recent(REMEMBERED)
        small = query.limit is not None and query.limit <= largest(catalogue.page_size)
        self._root = _Part(Window(query.filter), enough=query.limit if small else None)
        self._order = [self._root]
        self._first_count: int | None = None
        self._by_time = False
        self._by_publication = False
        self._beside: _Part | None = None
        """The products of no date: read where the windows of time fall short of the count."""
        self.listed = 0
        """Products given out so far."""
        self.counted: int | None = None
        """How many there are by the service's latest count, not above ``query.limit``; at the end
        more than ``listed`` where products came in meanwhile. None where it does not count."""
        self.shortfalls: list[Shortfall] = []
        """The windows that could not be listed whole."""
        self.skipped: dict[str, None] = {}
        """A sentence for each entry that is no product; the same sentence once."""

    async def pages(self) -> AsyncGenerator[Sequence[Product]]:
        """The products, some at a time, by sensing time (what a second look finds comes later).

        Resources: closing the generator cancels every request under way and waits for it.
        """
        conductor = asyncio.create_task(self._conduct())
        conductor.add_done_callback(lambda _: self._notify())
        try:
            while self._order or await self._look_beside():
                part = self._order[0]
                while part.pages:
                    if fresh := self._taken(part):
                        yield fresh
                    if self.listed == self._query.limit:
                        return
                if part.error is not None:
                    raise part.error
                if part.done:
                    del self._order[0]
                    self._notify()
                elif conductor.done():
                    conductor.result()
                else:
                    await self._changed.wait()
        finally:
            await end_tasks(conductor)
        await self._check()

    def _taken(self, part: _Part) -> list[Product]:
        fresh = [product for product in part.pages.popleft() if self._seen.add(product.id)]
        if self._query.limit is not None:
            del fresh[self._query.limit - self.listed :]
        self.listed += len(fresh)
        self._notify()
        self._observer(PageListed(pages=self._read, products=self.listed))
        return fresh

    def _notify(self) -> None:
        """Wake all who wait now; each looks for itself."""
        self._changed.set()
        self._changed.clear()

    async def _conduct(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            if (part := self._next()) is None:
                await self._changed.wait()
                continue
            part.started = True
            await self._list(part)

    def _next(self) -> _Part | None:
        """The window to begin with now; the first ones always, that those held can have a turn."""
        place = next((at for at, part in enumerate(self._order) if not part.started), None)
        if place is None:
            return None
        held = sum(bool(page) for part in self._order for page in part.pages)
        at_once = self._catalogue.at_once
        free = place < at_once or held < at_once * _AHEAD_PAGES
        return self._order[place] if free else None

    def _room(self, part: _Part) -> int:
        """How many pages of a window may wait."""
        return _PAGES_AT_HAND if part in self._order[:1] else _HELD_PAGES

    async def _list(self, part: _Part) -> None:
        async def emit(products: Sequence[Product]) -> None:
            self._read += 1
            self._skip(pages.unreadable)
            part.pages.append(products)
            self._notify()
            while len(part.pages) > self._room(part):
                await self._changed.wait()

        pages = WindowPages(
            self._catalogue,
            part.window,
            emit,
            attributes=self._attributes,
            known=part.known,
            enough=part.enough,
        )
        reader = WindowReader(pages, total=self._first_count or 0)
        pieces: tuple[Window, ...] = ()
        try:
            pieces = await reader.read()
        except ServiceRefused as error:
            if self._attributes_optional and self._attributes and not self._read:
                self._attributes = False
                await self._list(part)
                return
            if part is not self._beside:  # not every service can be asked for what has no date
                part.error = error
        except NoaError as error:
            part.error = error
        part.known, part.counted = pages.seen, reader.counted or 0
        if part is self._root:
            self._first_count = reader.counted
        self._by_time = self._by_time or reader.by_date or bool(pieces)
        if reader.shortfall is not None:
            self.shortfalls.append(reader.shortfall)
        self._put(part, pieces, pages.seen)
        part.done = True
        self._notify()

    def _skip(self, unreadable: Sequence[str]) -> None:
        """Tell of entries that are no products; an archive of nonsense is not remembered whole."""
        for reason in unreadable:
            if reason not in self.skipped and len(self.skipped) < _SKIPPED_REMEMBERED:
                self.skipped[reason] = None
                self._observer(EntrySkipped(reason))

    def _put(self, part: _Part, pieces: Iterable[Window], known: Iterable[str]) -> None:
        """Put ``pieces`` where ``part`` is; nothing comes after an error."""
        if part not in self._order:
            return
        after = self._order.index(part) + 1
        if part.error is not None:
            del self._order[after:]
        parts = [_Part(piece, known) for piece in pieces]
        self._order[after:after] = parts
        if any(each.window.axis is Axis.PUBLISHED for each in parts):
            self._by_publication = True

    async def _look_beside(self) -> bool:
        """After all windows: whether there is one more to read, of the products with no date."""
        if self._beside is not None:
            return False
        first = self.counted = self._capped(self._first_count)
        if first is not None and (self._by_time or self.listed < first):
            again = await self._catalogue.count_or_none(self._query.filter)
            self.counted = first if again is None else self._capped(again)
        if not self._tally().may_lie_beside:
            return False
        self._beside = _Part(Window(self._query.filter).undated(), known=self._root.known)
        self._order.append(self._beside)
        self._notify()
        return True

    async def _check(self) -> None:
        """Compare with the service's counts. Raises ServiceFault where something is missing."""
        tally = self._tally()
        if tally.short and not await self._every_window_told(tally):
            raise tally.fault()
        if tally.skipped:
            raise tally.unread()

    async def _every_window_told(self, tally: Tally) -> bool:
        """Whether nothing can lie beside the windows, each of which was whole when it was read."""
        if self._beside is None or self._by_publication or self._query.limit is not None:
            return False
        dated = await self._catalogue.count_or_none(Window(self._query.filter).dated().filter)
        return dated is not None and tally.accounts_for(dated, self._beside.counted)

    def _tally(self) -> Tally:
        return Tally(
            first=self._capped(self._first_count),
            again=self.counted,
            listed=self.listed,
            shortfalls=tuple(self.shortfalls),
            by_time=self._by_time,
            skipped=tuple(self.skipped),
        )

    def _capped(self, count: int | None) -> int | None:
        limit = self._query.limit
        return count if count is None or limit is None else min(count, limit)
