"""A listing written into the ledger: what is here is told, the rest put on the to-do list."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.archive import FAILURES
from noa_async.archive.decisions import Sighting
from noa_async.archive.following import new_watermark, plan_since

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from noa_async.archive.archive import Archive
    from noa_async.archive.following import Plan
    from noa_async.archive.journal import Followed, Journal, Run
    from noa_async.archive.todo import ToDo
    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.events import Observer
    from noa_async.settings import Following
    from noa_async.transfer.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Errand:
    """What a run is about."""

    query: Query
    followed: Followed
    run: Run
    following: Following


class Sightings:
    """One run's listing.

    Error handling: raises what the catalogue raises, after all that came before is written down;
    then the watermark stays, and nothing is removed.
    """

    def __init__(
        self,
        archive: Archive,
        catalogue: Catalogue,
        journal: Journal,
        todo: ToDo,
        errand: Errand,
        tell: Callable[[Outcome], Awaitable[None]],
        observer: Observer,
    ) -> None:
        """``tell`` is awaited for each product with nothing to be done: it is here, or given up."""
        self._archive = archive
        self._catalogue = catalogue
        self._journal = journal
        self._todo = todo
        self._errand = errand
        self._tell = tell
        self._observer = observer
        self._latest: datetime | None = None
        self.listed = 0
        """Products that the listing met, each once a listing."""

    async def take(self, plan: Plan) -> None:
        """List what ``plan`` asks for, and do what follows from it."""
        grown = await self._list(plan)
        if grown and plan.full:
            # Published while all was listed: the few of them are asked for by their date.
            mark = self._watermark() or self._errand.followed.watermark
            if mark is not None:
                overlap = self._errand.following.overlap
                await self._list(plan_since(self._errand.query, mark - overlap))
        started = self._errand.run.started
        followed = replace(self._errand.followed, watermark=self._watermark())
        if plan.full:
            followed = replace(followed, reconciled=started)
        await self._journal.keep(followed)

    def _watermark(self) -> datetime | None:
        before = self._errand.followed.watermark
        return new_watermark(before, self._latest, self._errand.run.started)

    async def _list(self, plan: Plan) -> bool:
        """Whether more was counted at the end than was listed."""
        if plan.query is None:
            return False
        attributes = self._archive.layout.needs_attributes
        listing = self._catalogue.listing(plan.query, attributes=attributes)
        async with aclosing(listing.pages()) as pages:
            async for page in pages:
                for product in page:
                    await self._meet(product)
                self._todo.grown()
                await self._archive.ledger.settle()
        return listing.counted is not None and listing.counted > listing.listed

    async def _meet(self, product: Product) -> None:
        self.listed += 1
        if product.published is not None:
            self._latest = max(self._latest or product.published, product.published)
        run, number = self._errand.run, self._errand.followed.number
        sighting = Sighting(run.number, number, self._archive.clock(), FAILURES)
        record = self._archive.note(product, sighting)
        if record.held and record.todo is None:
            await self._tell(self._archive.outcome(product, record))
        elif record.todo is None:
            await self._tell(self._archive.given_up(product, record))
