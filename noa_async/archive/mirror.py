"""Run a mirror once: bring a folder up to date with a query."""

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
"""The condition of the index of products with problems. It includes products that the service no
longer has: they cannot be downloaded again, and a user has to know."""


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What one run did, and the state of the folder after it."""

    full: bool
    """Whether the whole query was listed, not only recent publications."""
    listed: int
    """Number of products listed."""
    counts: Mapping[Status, int]
    """Outcomes of the products that were listed, or still in the queue from earlier runs."""
    bytes: int
    """Bytes of the products that this run downloaded."""
    removed: int
    """Number of files deleted because the service no longer has the products."""
    absent: int
    """Number of products of the query that are missing or not as in the catalogue, and not accepted
    by a user."""
    watermark: datetime | None
    """Products published until this time are in the ledger."""
    held: int = 0
    """Number of files that the last full listing would have deleted, if they had not been too
    many."""
    hooks_due: int = 0
    """Number of products of the query whose hook has not succeeded yet; 0 in a run without a
    hook."""

    @property
    def ok(self) -> bool:
        """Whether the folder equals the query, and nothing needs a user's decision."""
        failed = self.counts.get(Status.FAILED, 0)
        return not (failed or self.absent or self.held or self.hooks_due)


@dataclass(frozen=True, slots=True)
class Pool:
    """How products are downloaded."""

    bring: Callable[[Product], Awaitable[Outcome | Later]]
    """See ``Keeper.bring``."""
    workers: int
    depth: int
    """Maximum number of products that wait for a worker."""
    drained: Callable[[], object]
    """Called when no product waits and no more will be queued."""
    size: Callable[[Product], int | None]
    """Returns a product's size; the largest waiting product is downloaded first."""
    hooked: bool = False
    """Whether a hook runs for each downloaded product."""
    consumes: bool = False
    """Whether the hook may remove the product's file."""


class Mirror:
    """Brings one folder up to date with queries; one run at a time.

    The listing writes products into the ledger, from which the downloads take them, so it does not
    wait for downloads: the watermark moves as soon as the listing is complete and stored.

    Error handling: an error of one product is a failed Outcome. If the listing fails, its error is
    raised after everything listed was downloaded; nothing is deleted then, and the watermark only
    moves if a full listing failed and recent publications could be listed separately. If the
    service is unavailable for downloads, that error is raised after the listing.
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

        ``reconcile``: list the whole query now. ``retry_failed``: also retry products that were
        given up or quarantined.
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
            check = await self._check_files()
            if retry_failed:
                await self._retry(followed.number)
            if self._pool.hooked:
                await self._queue_due_hooks(followed.number)
            await self._list_and_fetch(plan, errand, teller, check)
            await self._empty_trash()
            ending = _COMPLETE
        except NoaError as error:
            ending = error.message
            raise
        finally:
            await self._journal.end(teller.sums.into(run), ending, self._archive.clock())
        return await self._report(plan, followed.number, teller.sums)

    async def _check_files(self) -> FileCheck:
        """Find files that were removed, changed or restored by others since the last run."""
        if self._archive.folder.root is not None:
            await take_back(self._archive)
        if not self._following.check_files:
            return FileCheck()
        return await check_files(
            self._archive,
            accept_missing=self._following.accept_missing,
            consumes=self._pool.consumes,
        )

    async def _queue_due_hooks(self, query: int) -> None:
        """Queue products whose hook is due; their files are present, so the hook runs at once."""
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
        """List and download concurrently; errors of either are raised when both have ended."""
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
            except ServiceAway as error:  # the catalogue may still be available
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
        """Write the listing into the ledger, and process the products missing in it."""
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
        """Download what is in the queue, until it is finished and empty."""
        outcomes = run_pipeline(
            self._queued(todo, teller),
            self._bring,
            workers=self._pool.workers,
            depth=self._pool.depth,
            at_once=self._prefetch,
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

    def _prefetch(self, products: Sequence[Product]) -> Iterable[None]:
        """Look up queued products in the ledger in one query."""
        self._archive.foresee(products)
        return [None] * len(products)

    async def _bring(self, product: Product) -> Outcome | Later | None:
        """Download a product in its latest version; None if a listing found that nothing is to be
        done."""
        record = self._archive.ledger.get(product.id)
        if record is None or record.todo is None:
            return None
        return await self._pool.bring(record.product)

    async def _retry(self, query: int) -> None:
        """Put the products that were given up back into the queue."""
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
