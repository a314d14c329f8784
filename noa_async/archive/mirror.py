"""A folder kept equal to what a query matches: one run of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.archive import FAILURES
from noa_async.archive.file_check import FileCheck, check_files, note_changed
from noa_async.archive.following import make_plan
from noa_async.archive.journal import Journal, service_key
from noa_async.archive.removing import remove_gone
from noa_async.archive.schema import TROUBLED
from noa_async.archive.sightings import Errand, Sightings, expected_coverage
from noa_async.archive.states import State
from noa_async.archive.telling import Sums, Teller
from noa_async.archive.todo import ToDo
from noa_async.archive.trash import empty_trash, take_back
from noa_async.errors import ListingShrunk, NoaError, ServiceAway, ServiceError
from noa_async.events import AllQueued, MirrorPlanned, Observer, Status, TrashEmptied, ignore
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
_WANTED = f"state NOT IN ('{State.REMOVED}', '{State.CONSUMED}') AND accepted IS NULL"
_ABSENT = f"{TROUBLED} AND {_WANTED}"
"""As the index of what is in trouble has it. A product that the service has no more counts, too: it
cannot be had again, and somebody has to know."""


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
    """Products of the query that are not here, or not as the catalogue has them, and of which
    nobody has accepted that."""
    watermark: datetime | None
    """What was published until then is in the ledger."""
    held: int = 0
    """Files that the service's last listing would have had deleted, had they not been too many."""
    hooks_due: int = 0
    """Products of the query whose hook has not passed yet; 0 in a run with no hook."""

    @property
    def ok(self) -> bool:
        """Whether the folder is equal to the query, and nothing waits for a person."""
        failed = self.counts.get(Status.FAILED, 0)
        return not (failed or self.absent or self.held or self.hooks_due)


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
    hooked: bool = False
    """Whether a hook runs for each product that comes."""
    consumes: bool = False
    """Whether that may take the product's file."""


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
        now = self._archive.clock()
        service = service_key(self._catalogue.url({}))
        found = await self._journal.follow(query.filter, service)
        followed = found.as_of(now)
        others = await self._journal.others(query.filter, service)
        self._archive.follows = True
        run = await self._journal.begin("mirror", followed.number, now)
        plan = make_plan(query, followed, self._following, run.started, reconcile=reconcile)
        changed = others > 0 and found.watermark is None and found.listed is None
        self._observer(MirrorPlanned(full=plan.full, since=plan.since, changed=changed))
        errand = Errand(query, followed, run, self._following)
        teller = Teller(tell, self._keeper, self._observer)
        ending = _INTERRUPTED
        try:
            check = await self._look_at_files()
            if retry_failed:
                await self._retry(followed.number)
            if self._pool.hooked:
                await self._take_up_hooks(followed.number)
            await self._list_and_fetch(plan, errand, teller, check)
            await self._empty_trash()
            ending = _COMPLETE
        except NoaError as error:
            ending = error.message
            raise
        finally:
            await self._journal.end(teller.sums.into(run), ending, self._archive.clock())
        return await self._report(plan, followed.number, teller.sums)

    async def _look_at_files(self) -> FileCheck:
        """Find out what was removed, changed or put back by hand since the last run."""
        if self._archive.folder.root is not None:
            await take_back(self._archive)
        if not self._following.check_files:
            return FileCheck()
        return await check_files(
            self._archive,
            accept_missing=self._following.accept_missing,
            consumes=self._pool.consumes,
        )

    async def _take_up_hooks(self, query: int) -> None:
        """Put what waits for its hook on the list: it is here, and comes to that at once."""
        ledger = self._archive.ledger
        due = f"query = {query} AND hook_due IS NOT NULL AND todo IS NULL"
        async for record in ledger.records(due):
            ledger.put(replace(record, todo=ledger.next_place()))

    async def _empty_trash(self) -> None:
        if files := await empty_trash(self._archive, self._following.keep_trash):
            self._observer(TrashEmptied(files))

    async def _list_and_fetch(
        self, plan: Plan, errand: Errand, teller: Teller, check: FileCheck
    ) -> None:
        """List and fetch at the same time; what broke either is raised when both are over."""
        todo = ToDo(self._archive.ledger, errand.followed.number)
        broken: list[NoaError] = []

        async def list_all() -> None:
            try:
                try:
                    await self._list(plan, errand, todo, teller)
                except NoaError as error:
                    broken.append(error)
                await note_changed(self._archive, check)
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
        expected = await expected_coverage(archive, errand.followed)
        held = 0
        try:
            plan = await sightings.take(plan)
            if plan.full:
                todo.grown()
                shrunk = await sightings.believe(expected)
                teller.sums.removed, held = await remove_gone(
                    archive, catalogue, errand, self._observer, only_note=shrunk
                )
        except ListingShrunk:
            raise
        except ServiceError:
            if plan.full:
                await sightings.broke_off()
            raise
        await sightings.done(plan, held)

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
        mine = f"query = {query} AND {_WANTED} AND ({given_up})"
        async for record in ledger.records(mine):
            self._archive.retry(record.product)
            listed = ledger.get(record.id)
            if listed is not None:
                ledger.put(replace(listed, todo=listed.todo or ledger.next_place()))

    async def _report(self, plan: Plan, query: int, sums: Sums) -> MirrorReport:
        followed = await self._journal.followed(query)
        ledger = self._archive.ledger
        due = f"query = {query} AND hook_due IS NOT NULL"
        return MirrorReport(
            full=plan.full,
            listed=sums.listed,
            counts=dict(sums.counts),
            bytes=sums.bytes,
            removed=sums.removed,
            absent=await ledger.count(f"query = {query} AND {_ABSENT}"),
            watermark=followed.watermark,
            held=followed.held,
            hooks_due=await ledger.count(due) if self._pool.hooked else 0,
        )
