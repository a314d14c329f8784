"""List all products of a query: read time windows concurrently, yield them in order, check
counts."""

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
"""Pages per permitted request that may be buffered before no further windows are started, except
the next ones in order. Windows are not counted, because many are empty."""
_HELD_PAGES = 30
"""Maximum number of buffered pages of a window that is not the next to be yielded."""
_SKIPPED_REMEMBERED = 1000
_PAGES_AT_HAND = 4
"""Maximum number of buffered pages of the window being yielded."""


@dataclass(slots=True, eq=False)
class _Part:
    """A window at its place in the order, with its pages not yet yielded."""

    window: Window
    known: Iterable[str] = ()
    """Ids yielded before; after reading, also those on the window's pages."""
    counted: int = 0
    """The service's count, once the window has been read."""
    enough: int | None = None
    pages: deque[Sequence[Product]] = field(default_factory=deque)
    started: bool = False
    done: bool = False
    error: NoaError | None = None


class Listing:
    """The products that match a query; iterate once over ``pages``.

    The first page has the total count. Up to about fifteen pages are read by following links;
    longer listings are split into time windows, at most ``at_once`` of which are read concurrently
    and yielded in order. A window whose products and count disagree is read again, split if
    possible. If all windows together have too few products, products without a date are requested
    as well.

    An entry that cannot be parsed is skipped and reported as EntrySkipped; the listing is then
    incomplete.

    Error handling: if a page cannot be read, its error is raised after everything before it was
    yielded. If the listing is incomplete, ServiceFault is raised at the end. A listing that ends
    without an error is complete.
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
        self._undated: _Part | None = None
        """The window of products without a date, which is read if the time windows fall short of
        the count."""
        self.listed = 0
        """Number of products yielded so far."""
        self.counted: int | None = None
        """The service's latest count, at most ``query.limit``; None if it does not count. At the
        end it can exceed ``listed`` if products were added meanwhile."""
        self.shortfalls: list[Shortfall] = []
        """The windows that could not be listed completely."""
        self.skipped: dict[str, None] = {}
        """One sentence for each entry that could not be parsed, without repetitions."""

    async def pages(self) -> AsyncGenerator[Sequence[Product]]:
        """Yield the products in batches, by sensing time; products found by a second reading come
        later.

        Resources: closing the generator cancels all requests in flight and waits for them.
        """
        conductor = asyncio.create_task(self._run_workers())
        conductor.add_done_callback(lambda _: self._notify())
        try:
            while self._order or await self._add_undated():
                part = self._order[0]
                while part.pages:
                    if fresh := self._take_new(part):
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

    def _take_new(self, part: _Part) -> list[Product]:
        fresh = [product for product in part.pages.popleft() if self._seen.add(product.id)]
        if self._query.limit is not None:
            del fresh[self._query.limit - self.listed :]
        self.listed += len(fresh)
        self._notify()
        self._observer(PageListed(pages=self._read, products=self.listed))
        return fresh

    def _notify(self) -> None:
        """Wake all waiting tasks; each checks its own condition."""
        self._changed.set()
        self._changed.clear()

    async def _run_workers(self) -> None:
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
        """Return the next window to start, or None if too many pages are buffered.

        The first windows in order are always started, so that the buffered ones can be yielded.
        """
        place = next((at for at, part in enumerate(self._order) if not part.started), None)
        if place is None:
            return None
        held = sum(bool(page) for part in self._order for page in part.pages)
        at_once = self._catalogue.at_once
        free = place < at_once or held < at_once * _AHEAD_PAGES
        return self._order[place] if free else None

    def _buffer_limit(self, part: _Part) -> int:
        """Return how many pages of a window may be buffered."""
        return _PAGES_AT_HAND if part in self._order[:1] else _HELD_PAGES

    async def _list(self, part: _Part) -> None:
        async def emit(products: Sequence[Product]) -> None:
            self._read += 1
            self._skip(pages.unreadable)
            part.pages.append(products)
            self._notify()
            while len(part.pages) > self._buffer_limit(part):
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
            if (
                part is not self._undated
            ):  # not every service can filter for products without a date
                part.error = error
        except NoaError as error:
            part.error = error
        part.known, part.counted = pages.seen, reader.counted or 0
        if part is self._root:
            self._first_count = reader.counted
        self._by_time = self._by_time or reader.by_date or bool(pieces)
        if reader.shortfall is not None:
            self.shortfalls.append(reader.shortfall)
        self._insert(part, pieces, pages.seen)
        part.done = True
        self._notify()

    def _skip(self, unreadable: Sequence[str]) -> None:
        """Report entries that cannot be parsed; only the first ones are kept."""
        for reason in unreadable:
            if reason not in self.skipped and len(self.skipped) < _SKIPPED_REMEMBERED:
                self.skipped[reason] = None
                self._observer(EntrySkipped(reason))

    def _insert(self, part: _Part, pieces: Iterable[Window], known: Iterable[str]) -> None:
        """Insert ``pieces`` after ``part``, or drop everything after ``part`` if it failed."""
        if part not in self._order:
            return
        after = self._order.index(part) + 1
        if part.error is not None:
            del self._order[after:]
        parts = [_Part(piece, known) for piece in pieces]
        self._order[after:after] = parts
        if any(each.window.axis is Axis.PUBLISHED for each in parts):
            self._by_publication = True

    async def _add_undated(self) -> bool:
        """After all windows, return whether one more is to be read: the products without a date."""
        if self._undated is not None:
            return False
        first = self.counted = self._capped(self._first_count)
        if first is not None and (self._by_time or self.listed < first):
            again = await self._catalogue.count_or_none(self._query.filter)
            self.counted = first if again is None else self._capped(again)
        if not self._tally().may_lie_beside:
            return False
        self._undated = _Part(Window(self._query.filter).undated(), known=self._root.known)
        self._order.append(self._undated)
        self._notify()
        return True

    async def _check(self) -> None:
        """Compare the listing with the service's counts. Raise ServiceFault if products are
        missing."""
        tally = self._tally()
        if tally.short and not await self._counts_explain_shortage(tally):
            raise tally.fault()
        if tally.skipped:
            raise tally.unread()

    async def _counts_explain_shortage(self, tally: Tally) -> bool:
        """Return whether the dated and undated windows, each complete when read, account for the
        count."""
        if self._undated is None or self._by_publication or self._query.limit is not None:
            return False
        dated = await self._catalogue.count_or_none(Window(self._query.filter).dated().filter)
        return dated is not None and tally.accounts_for(dated, self._undated.counted)

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
