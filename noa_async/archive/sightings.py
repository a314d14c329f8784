"""A listing written into the ledger: what is here is told, the rest put on the to-do list."""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.archive import FAILURES
from noa_async.archive.decisions import Sighting
from noa_async.archive.following import new_watermark, plan_since
from noa_async.errors import ServiceError

if TYPE_CHECKING:
    from datetime import datetime

    from noa_async.archive.archive import Archive
    from noa_async.archive.following import Plan
    from noa_async.archive.journal import Followed, Journal, Run
    from noa_async.archive.telling import Teller
    from noa_async.archive.todo import ToDo
    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.settings import Following


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
    then the watermark stays, and nothing may be removed.
    """

    def __init__(
        self,
        archive: Archive,
        catalogue: Catalogue,
        journal: Journal,
        todo: ToDo,
        errand: Errand,
        teller: Teller,
    ) -> None:
        """``teller`` is told of each product with nothing to be done."""
        self._archive = archive
        self._catalogue = catalogue
        self._journal = journal
        self._todo = todo
        self._errand = errand
        self._teller = teller
        self._whole = False
        self._latest: datetime | None = None
        self._listings = 0

    async def take(self, plan: Plan) -> None:
        """List what ``plan`` asks for."""
        grown = await self._list(plan)
        if grown and plan.full:
            # Published while all was listed: the few of them are asked for by their date.
            await self._list_lately(self._watermark())
        self._whole = True

    async def done(self, plan: Plan) -> None:
        """Move the watermark: all was listed, and what it did not meet has been seen to."""
        followed = replace(self._errand.followed, watermark=self._watermark())
        if plan.full:
            followed = replace(followed, reconciled=self._errand.run.started, tried=None)
        await self._journal.keep(followed)

    async def broke_off(self) -> None:
        """A listing of all failed: what was published lately does not wait until it is mended.

        That may move the watermark; another listing of all has time until tomorrow.
        """
        followed = replace(self._errand.followed, tried=self._errand.run.started)
        await self._journal.keep(followed)
        with suppress(ServiceError):  # what broke the first is told
            if not self._whole:
                if followed.watermark is None:
                    return  # the next run begins anew
                await self._list_lately(followed.watermark)
            await self._journal.keep(replace(followed, watermark=self._watermark()))

    def _watermark(self) -> datetime | None:
        before = self._errand.followed.watermark
        return new_watermark(before, self._latest, self._errand.run.started)

    async def _list_lately(self, mark: datetime | None) -> None:
        if mark is not None:
            overlap = self._errand.following.overlap
            await self._list(plan_since(self._errand.query, mark - overlap))

    async def _list(self, plan: Plan) -> bool:
        """Whether more was counted at the end than was listed."""
        if plan.query is None:
            return False
        self._listings += 1
        needed = self._archive.layout.needs_attributes
        listing = self._catalogue.listing(
            plan.query,
            attributes=needed or self._errand.following.attributes,
            attributes_optional=not needed,
        )
        async with aclosing(listing.pages()) as pages:
            async for page in pages:
                self._archive.foresee(page, paths=False)
                for product in page:
                    await self._meet(product)
                self._todo.grown()
                await self._archive.ledger.settle()
        return listing.counted is not None and listing.counted > listing.listed

    async def _meet(self, product: Product) -> None:
        if product.published is not None:
            self._latest = max(self._latest or product.published, product.published)
        run, number = self._errand.run, self._errand.followed.number
        again = self._listings > 1 and self._was_met(product)
        sighting = Sighting(run.number, number, self._archive.clock(), FAILURES)
        record = self._archive.note(product, sighting)
        if again:
            return
        self._teller.sums.listed += 1
        if record.todo is not None:
            return
        if not record.held:
            await self._teller.met(self._archive.given_up(product, record))
        elif record.updated < run.started:  # else it came in this run, and is told already
            await self._teller.met(self._archive.outcome(product, record))

    def _was_met(self, product: Product) -> bool:
        """Whether an earlier listing of this run met it."""
        record = self._archive.ledger.get(product.id)
        return record is not None and record.seen == self._errand.run.number
