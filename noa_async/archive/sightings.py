"""Write a listing into the ledger: report products that are done, queue the others."""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.archive import FAILURES
from noa_async.archive.decisions import Sighting
from noa_async.archive.following import (
    Coverage,
    Plan,
    count_shrunk,
    is_shrunk,
    new_watermark,
    plan_since,
    shrunk_error,
)
from noa_async.archive.rows import milliseconds
from noa_async.archive.states import DONE, State
from noa_async.errors import ServiceError

if TYPE_CHECKING:
    from datetime import datetime

    from noa_async.archive.archive import Archive
    from noa_async.archive.journal import Followed, Journal, Run
    from noa_async.archive.telling import Teller
    from noa_async.archive.todo import ToDo
    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.settings import Following


LISTED = f"state <> '{State.REMOVED}' AND gone IS NULL"
"""The products that the service has, as far as known."""


def _recent(followed: Followed) -> str:
    """Return the products listed since the last full listing, as SQL."""
    return f"query = {followed.number} AND {LISTED} AND seen > {followed.full_run}"


async def expected_coverage(archive: Archive, followed: Followed) -> Coverage:
    """Return what a full listing is expected to contain; call before it starts."""
    if followed.listed is None or followed.full_run is None:
        return Coverage(0, await archive.ledger.count(f"query = {followed.number} AND {LISTED}"))
    recent = await archive.ledger.count(_recent(followed))
    return Coverage(0, followed.listed, recent)


@dataclass(frozen=True, slots=True)
class Errand:
    """The query, run and settings that a listing belongs to."""

    query: Query
    followed: Followed
    run: Run
    following: Following


class Sightings:
    """One run's listing.

    Error handling: raises the catalogue's errors after everything listed before is stored; then the
    watermark stays, and nothing may be deleted. The same holds for ListingShrunk.
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
        """``teller`` is called for each product with nothing to be done."""
        self._archive = archive
        self._catalogue = catalogue
        self._journal = journal
        self._todo = todo
        self._errand = errand
        self._teller = teller
        self._followed = errand.followed
        self._whole = False
        self._latest: datetime | None = None
        self._listings = 0

    async def take(self, plan: Plan) -> Plan:
        """List what ``plan`` requests. Return the plan that was executed.

        A listing of recent publications also contains known products within the overlap. If it is
        empty although several products of that time are known, the whole query is listed.
        """
        grown = await self._list(plan)
        if not plan.full and plan.query is not None and await self._is_suspiciously_empty(plan):
            plan = Plan(self._errand.query, full=True)
            grown = await self._list(plan)
        if grown and plan.full:
            # Products published during a full listing: the few of them are listed by publication
            # date.
            await self._list_recent(self._watermark())
        self._whole = True
        return plan

    async def _is_suspiciously_empty(self, plan: Plan) -> bool:
        """Return whether a partial listing is empty although products of that time are known."""
        since = milliseconds(plan.since)
        if self._teller.sums.listed or since is None:
            return False
        known = f"query = {self._followed.number} AND {LISTED} AND published >= {since}"
        return await self._archive.ledger.count(known) > 1  # a single one may have been withdrawn

    async def believe(self, expected: Coverage) -> bool:
        """Raise ListingShrunk if the full listing is too short to be trusted yet.

        Return whether it is too short, but trusted. ``expected``: the result of
        ``expected_coverage``.
        """
        ledger, run, following = self._archive.ledger, self._errand.run, self._errand.following
        coverage = replace(expected, listed=self._teller.sums.listed)
        if expected.recent:
            missed = await ledger.count(f"{_recent(self._followed)} AND seen < {run.number}")
            coverage = replace(coverage, recent_listed=expected.recent - missed)
        shrunk = is_shrunk(coverage, following)
        if shrunk:
            self._followed, believed = count_shrunk(
                self._followed, coverage.listed, run.started, following
            )
            await self._journal.keep(self._followed)
            if not believed:
                raise shrunk_error(self._followed, coverage, following)
        self._followed = replace(
            self._followed,
            shrunk=0,
            shrunk_at=None,
            shrunk_to=None,
            listed=coverage.listed,
            full_run=run.number,
        )
        return shrunk

    async def done(self, plan: Plan, held: int = 0) -> None:
        """Move the watermark: the listing is complete, and the products missing in it are
        processed.

        ``held``: files that a full listing would have deleted, if they had not been too many.
        """
        followed = replace(self._followed, watermark=self._watermark())
        if plan.full:
            started = self._errand.run.started
            followed = replace(followed, reconciled=started, tried=None, held=held)
        await self._journal.keep(followed)

    async def broke_off(self) -> None:
        """After a failed full listing, list recent publications anyway, so that they are not
        delayed.

        That may move the watermark; the next full listing is due tomorrow.
        """
        followed = replace(self._followed, tried=self._errand.run.started)
        await self._journal.keep(followed)
        with suppress(ServiceError):  # the first error is reported
            if not self._whole:
                if followed.watermark is None:
                    return  # the next run starts again
                await self._list_recent(followed.watermark)
            await self._journal.keep(replace(followed, watermark=self._watermark()))

    def _watermark(self) -> datetime | None:
        before = self._followed.watermark
        return new_watermark(before, self._latest, self._errand.run.started)

    async def _list_recent(self, mark: datetime | None) -> None:
        if mark is not None:
            overlap = self._errand.following.overlap
            await self._list(plan_since(self._errand.query, mark - overlap))

    async def _list(self, plan: Plan) -> bool:
        """Return whether the final count was higher than the number of products listed."""
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
                    await self._record(product)
                self._todo.grown()
                await self._archive.ledger.settle()
        return listing.counted is not None and listing.counted > listing.listed

    async def _record(self, product: Product) -> None:
        if product.published is not None:
            self._latest = max(self._latest or product.published, product.published)
        run, number = self._errand.run, self._followed.number
        again = self._listings > 1 and self._was_listed(product)
        sighting = Sighting(run.number, number, self._archive.clock(), FAILURES)
        record = self._archive.note(product, sighting)
        if again:
            return
        self._teller.sums.listed += 1
        if record.todo is not None or run.started <= record.updated <= self._archive.clock():
            return  # still queued, or downloaded in this run and already reported
        if record.state in DONE:
            await self._teller.met(self._archive.outcome(product, record))
        elif record.accepted is None:
            await self._teller.met(self._archive.given_up(product, record))

    def _was_listed(self, product: Product) -> bool:
        """Return whether an earlier listing of this run contained the product."""
        record = self._archive.ledger.get(product.id)
        return record is not None and record.seen == self._errand.run.number
