"""A listing written into the ledger: what is here is told, the rest put on the to-do list."""

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
"""The products that the service has, as far as is known."""


def _recent(followed: Followed) -> str:
    """The products that were met since the last listing of all, as SQL."""
    return f"query = {followed.number} AND {LISTED} AND seen > {followed.full_run}"


async def expected_coverage(archive: Archive, followed: Followed) -> Coverage:
    """What a listing of all can be expected to meet; asked for before it begins."""
    if followed.listed is None or followed.full_run is None:
        return Coverage(0, await archive.ledger.count(f"query = {followed.number} AND {LISTED}"))
    recent = await archive.ledger.count(_recent(followed))
    return Coverage(0, followed.listed, recent)


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
    then the watermark stays, and nothing may be removed. ListingShrunk the same.
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
        self._followed = errand.followed
        self._whole = False
        self._latest: datetime | None = None
        self._listings = 0

    async def take(self, plan: Plan) -> Plan:
        """List what ``plan`` asks for; the plan that was followed at the end.

        A listing of what is new lists what is known again, as far as the overlap reaches. If it is
        empty though several products are known from then, all is listed.
        """
        grown = await self._list(plan)
        if not plan.full and plan.query is not None and await self._lacks_all(plan):
            plan = Plan(self._errand.query, full=True)
            grown = await self._list(plan)
        if grown and plan.full:
            # Published while all was listed: the few of them are asked for by their date.
            await self._list_lately(self._watermark())
        self._whole = True
        return plan

    async def _lacks_all(self, plan: Plan) -> bool:
        """Whether a listing since an instant met nothing, though products are known from then."""
        since = milliseconds(plan.since)
        if self._teller.sums.listed or since is None:
            return False
        known = f"query = {self._followed.number} AND {LISTED} AND published >= {since}"
        return await self._archive.ledger.count(known) > 1  # one may have been withdrawn

    async def believe(self, expected: Coverage) -> bool:
        """Raise ListingShrunk if the listing of all is too short to be believed as yet.

        Return whether it is too short, but believed. ``expected``: as of ``expected_coverage``,
        before it began.
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
        """Move the watermark: all was listed, and what it did not meet has been seen to.

        ``held``: files that a listing of all would have had deleted, had they not been too many.
        """
        followed = replace(self._followed, watermark=self._watermark())
        if plan.full:
            started = self._errand.run.started
            followed = replace(followed, reconciled=started, tried=None, held=held)
        await self._journal.keep(followed)

    async def broke_off(self) -> None:
        """A listing of all failed: what was published lately does not wait until it is mended.

        That may move the watermark; another listing of all has time until tomorrow.
        """
        followed = replace(self._followed, tried=self._errand.run.started)
        await self._journal.keep(followed)
        with suppress(ServiceError):  # what broke the first is told
            if not self._whole:
                if followed.watermark is None:
                    return  # the next run begins anew
                await self._list_lately(followed.watermark)
            await self._journal.keep(replace(followed, watermark=self._watermark()))

    def _watermark(self) -> datetime | None:
        before = self._followed.watermark
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
        run, number = self._errand.run, self._followed.number
        again = self._listings > 1 and self._was_met(product)
        sighting = Sighting(run.number, number, self._archive.clock(), FAILURES)
        record = self._archive.note(product, sighting)
        if again:
            return
        self._teller.sums.listed += 1
        if record.todo is not None or run.started <= record.updated <= self._archive.clock():
            return  # it is to come, or came in this run and is told already
        if record.state in DONE:
            await self._teller.met(self._archive.outcome(product, record))
        elif record.accepted is None:
            await self._teller.met(self._archive.given_up(product, record))

    def _was_met(self, product: Product) -> bool:
        """Whether an earlier listing of this run met it."""
        record = self._archive.ledger.get(product.id)
        return record is not None and record.seen == self._errand.run.number
