"""A folder kept equal to what a query matches: one run of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.archive import FAILURES
from noa_async.archive.following import make_plan
from noa_async.archive.journal import Journal
from noa_async.archive.removing import remove_gone
from noa_async.archive.sightings import Errand, Sightings
from noa_async.archive.states import State
from noa_async.archive.telling import Sums, Teller
from noa_async.archive.todo import ToDo
from noa_async.errors import NoaError, ServiceAway, ServiceError
from noa_async.events import AllQueued, MirrorPlanned, Observer, Status, ignore
from noa_async.pipeline import foremost, run_pipeline

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Iterable,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    from noa_async.archive.archive import Archive
    from noa_async.archive.following import Plan
    from noa_async.archive.keeper import Keeper
    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.pipeline import Later
    from noa_async.settings import Following
    from noa_async.transfer.outcome import Outcome

_COMPLETE = "complete"
_INTERRUPTED = "interrupted"
_ABSENT = "state NOT IN ('verified', 'unverified') AND state <> 'removed' AND gone IS NULL"
"""As the index of what is in trouble has it."""


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What one run did, and how the folder stands after it."""

    full: bool
    """Whether all of the query was listed, not only what was published lately."""
    listed: int
    """Products that the listing met."""
    counts: Mapping[Status, int]
    """Outcomes of the products that were listed, or still to be fetched from earlier."""
    bytes: int
    """Of the products that this run brought."""
    removed: int
    """Files deleted because the service has the products no more."""
    absent: int
    """Products of the query that are not here, or not as the catalogue has them."""
    watermark: datetime | None
    """What was published until then is in the ledger."""


@dataclass(frozen=True, slots=True)
class Pool:
    """How products are brought."""

    bring: Callable[[Product], Awaitable[Outcome | Later]]
    """As ``Keeper.bring``."""
    workers: int
    depth: int
    """Products that may wait for a worker."""
    drained: Callable[[], object]
    """Called when none waits any more, and none will come."""
    size: Callable[[Product], int | None]
    """The largest of them goes first."""


class Mirror:
    """Brings one folder up to date with queries; one run at a time.

    The listing writes what it finds into the ledger and does not wait for the downloads, which
    take from there: the watermark can move as soon as the listing is complete and written down.

    Error handling: what concerns one product is a failed Outcome. A listing that breaks off raises
    after all that it found is worked off; nothing is deleted then, and the watermark moves only
    where all was asked for in vain and what is new could be listed by itself. A service that is
    away raises when the listing is over.
    """

    def __init__(
        self,
        archive: Archive,
        catalogue: Catalogue,
        keeper: Keeper,
        pool: Pool,
        following: Following,
        observer: Observer = ignore,
    ) -> None:
        self._archive = archive
        self._catalogue = catalogue
        self._keeper = keeper
        self._pool = pool
        self._following = following
        self._observer = observer
        self._journal = Journal(archive.ledger)

    async def run(
        self,
        query: Query,
        tell: Callable[[Outcome], Awaitable[object]],
        *,
        reconcile: bool = False,
        retry_failed: bool = False,
    ) -> MirrorReport:
        """Bring the folder up to date. ``tell`` is awaited for each outcome, one at a time.

        ``reconcile``: list all of the query now. ``retry_failed``: try again also what was given
        up and what is in quarantine.
        """
        followed = await self._journal.follow(query.filter)
        others = await self._journal.others(query.filter)
        run = await self._journal.begin("mirror", followed.number, self._archive.clock())
        plan = make_plan(query, followed, self._following, run.started, reconcile=reconcile)
        changed = others > 0 and followed.watermark is None
        self._observer(MirrorPlanned(full=plan.full, since=plan.since, changed=changed))
        errand = Errand(query, followed, run, self._following)
        teller = Teller(tell, self._keeper, self._observer)
        ending = _INTERRUPTED
        try:
            if retry_failed:
                await self._retry(followed.number)
            await self._list_and_fetch(plan, errand, teller)
            ending = _COMPLETE
        except NoaError as error:
            ending = error.message
            raise
        finally:
            await self._journal.end(teller.sums.into(run), ending, self._archive.clock())
        return await self._report(plan, query, teller.sums)

    async def _list_and_fetch(self, plan: Plan, errand: Errand, teller: Teller) -> None:
        """List and fetch at the same time; what broke either is raised when both are over."""
        todo = ToDo(self._archive.ledger, errand.followed.number)
        broken: list[NoaError] = []

        async def list_all() -> None:
            try:
                await self._list(plan, errand, todo, teller)
            except NoaError as error:
                broken.append(error)
            finally:
                todo.finish()

        async def fetch_all() -> None:
            try:
                await self._fetch(todo, teller)
            except ServiceAway as error:  # the catalogue may be there, and what is new is noted
                broken.insert(0, error)
                await todo.put_back(errand.run.started)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(list_all())
                group.create_task(fetch_all())
        except BaseExceptionGroup as errors:
            raise foremost(errors) from errors
        if broken:
            raise broken[0]

    async def _list(self, plan: Plan, errand: Errand, todo: ToDo, teller: Teller) -> None:
        """Write the listing into the ledger, and what follows from all that it did not meet."""
        archive, catalogue = self._archive, self._catalogue
        sightings = Sightings(archive, catalogue, self._journal, todo, errand, teller)
        try:
            await sightings.take(plan)
            if plan.full:
                todo.grown()
                removed = await remove_gone(archive, catalogue, errand, self._observer)
                teller.sums.removed = removed
        except ServiceError:
            if plan.full:
                await sightings.broke_off()
            raise
        await sightings.done(plan)

    async def _fetch(self, todo: ToDo, teller: Teller) -> None:
        """Bring what is on the list, until that is finished and empty."""
        outcomes = run_pipeline(
            self._queued(todo, teller),
            self._bring,
            workers=self._pool.workers,
            depth=self._pool.depth,
            at_once=self._foresee,
            size=self._pool.size,
            drained=self._pool.drained,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                if outcome is not None:
                    await teller.ended(outcome)

    async def _queued(self, todo: ToDo, teller: Teller) -> AsyncGenerator[Product]:
        async with aclosing(todo.records()) as records:
            async for record in records:
                teller.queued(record.product)
                yield record.product
        self._observer(AllQueued())

    def _foresee(self, products: Sequence[Product]) -> Iterable[None]:
        """All of them are to be brought; the ledger is asked once for them."""
        self._archive.foresee(products)
        return [None] * len(products)

    async def _bring(self, product: Product) -> Outcome | Later | None:
        """Bring a product as it is by now; None where a listing found nothing to be done for it."""
        record = self._archive.ledger.get(product.id)
        if record is None or record.todo is None:
            return None
        return await self._pool.bring(record.product)

    async def _retry(self, query: int) -> None:
        """Put what was given up on the list again."""
        ledger = self._archive.ledger
        given_up = f"state IN ('{State.FAILED}', '{State.QUARANTINED}') OR failures >= {FAILURES}"
        mine = f"query = {query} AND state <> '{State.REMOVED}' AND ({given_up})"
        async for record in ledger.records(mine):
            self._archive.retry(record.product)
            listed = ledger.get(record.id)
            if listed is not None:
                ledger.put(replace(listed, todo=listed.todo or ledger.next_place()))

    async def _report(self, plan: Plan, query: Query, sums: Sums) -> MirrorReport:
        followed = await self._journal.follow(query.filter)
        absent = f"query = {followed.number} AND {_ABSENT}"
        return MirrorReport(
            full=plan.full,
            listed=sums.listed,
            counts=dict(sums.counts),
            bytes=sums.bytes,
            removed=sums.removed,
            absent=await self._archive.ledger.count(absent),
            watermark=followed.watermark,
        )
