"""A folder kept equal to what a query matches: one run of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from noa_async.archive.following import make_plan
from noa_async.archive.journal import Journal
from noa_async.archive.removing import remove_gone
from noa_async.archive.sightings import Errand, Sightings
from noa_async.archive.states import State
from noa_async.archive.todo import ToDo
from noa_async.errors import NoaError
from noa_async.events import AllQueued, MirrorPlanned, Observer, ProductQueued, Status, ignore
from noa_async.pipeline import foremost, run_pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from datetime import datetime

    from noa_async.archive.archive import Archive
    from noa_async.archive.following import Plan
    from noa_async.archive.journal import Run
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
    size: Callable[[Product], int | None]
    """The largest of them goes first."""


@dataclass(slots=True)
class _Sums:
    """What adds up during a run."""

    counts: Counter[Status] = field(default_factory=Counter)
    brought: int = 0
    bytes: int = 0
    removed: int = 0

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        if outcome.ok and outcome.attempts:
            self.brought += 1
            self.bytes += outcome.bytes

    def into(self, run: Run, sightings: Sightings) -> Run:
        """The run with its sums."""
        return replace(
            run,
            listed=sightings.listed,
            brought=self.brought,
            bytes=self.bytes,
            failed=self.counts[Status.FAILED],
            removed=self.removed,
        )


class Mirror:
    """Brings one folder up to date with queries; one run at a time.

    The listing writes what it finds into the ledger and does not wait for the downloads, which
    take from there: the watermark can move as soon as the listing is complete and written down.

    Error handling: what concerns one product is a failed Outcome. A listing that breaks off raises
    after all that it found is worked off; the watermark stays then, and nothing is deleted.
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
        sums, turn = _Sums(), asyncio.Lock()

        async def told(outcome: Outcome) -> None:
            async with turn:
                sums.add(outcome)
                await tell(outcome)

        async def met(outcome: Outcome) -> None:
            self._announce(outcome.product)
            self._keeper.tell(outcome)
            await told(outcome)

        errand = Errand(query, followed, run, self._following)
        todo = ToDo(self._archive.ledger, followed.number)
        sightings = Sightings(
            self._archive, self._catalogue, self._journal, todo, errand, met, self._observer
        )
        ending = _INTERRUPTED
        try:
            if retry_failed:
                await self._retry(followed.number)
            await self._list_and_fetch(sightings, todo, plan, told)
            if plan.full:  # and complete, or it had raised
                sums.removed = await remove_gone(
                    self._archive, self._catalogue, errand, self._observer
                )
            ending = _COMPLETE
        except NoaError as error:
            ending = error.message
            raise
        finally:
            done = sums.into(run, sightings)
            await self._journal.end(done, ending, self._archive.clock())
        return await self._report(plan, errand, sightings, sums)

    async def _list_and_fetch(
        self,
        sightings: Sightings,
        todo: ToDo,
        plan: Plan,
        told: Callable[[Outcome], Awaitable[object]],
    ) -> None:
        """List and fetch at the same time; what broke the listing is raised after the downloads."""
        broken: list[NoaError] = []

        async def list_all() -> None:
            try:
                await sightings.take(plan)
            except NoaError as error:
                broken.append(error)
            finally:
                todo.finish()

        async def fetch_all() -> None:
            outcomes = run_pipeline(
                self._queued(todo),
                self._pool.bring,
                workers=self._pool.workers,
                depth=self._pool.depth,
                size=self._pool.size,
            )
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    await told(outcome)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(list_all())
                group.create_task(fetch_all())
        except BaseExceptionGroup as errors:
            raise foremost(errors) from errors
        if broken:
            raise broken[0]

    async def _queued(self, todo: ToDo) -> AsyncGenerator[Product]:
        async with aclosing(todo.records()) as records:
            async for record in records:
                self._announce(record.product)
                yield record.product
        self._observer(AllQueued())

    def _announce(self, product: Product) -> None:
        self._observer(ProductQueued(product.id, product.name, product.size))

    async def _retry(self, query: int) -> None:
        """Put what was given up on the list again."""
        ledger = self._archive.ledger
        given_up = (State.FAILED, State.QUARANTINED)
        states = ", ".join(f"'{state}'" for state in given_up)
        async for record in ledger.records(f"query = {query} AND state IN ({states})"):
            self._archive.retry(record.product)
            listed = ledger.get(record.id)
            if listed is not None:
                ledger.put(replace(listed, todo=listed.todo or ledger.next_place()))

    async def _report(
        self, plan: Plan, errand: Errand, sightings: Sightings, sums: _Sums
    ) -> MirrorReport:
        followed = await self._journal.follow(errand.query.filter)
        absent = f"query = {followed.number} AND {_ABSENT}"
        return MirrorReport(
            full=plan.full,
            listed=sightings.listed,
            counts=dict(sums.counts),
            bytes=sums.bytes,
            removed=sums.removed,
            absent=await self._archive.ledger.count(absent),
            watermark=followed.watermark,
        )
