"""Download products as ``transfer.download`` does, each attempt on a worker of a cluster."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.cluster.crew import WorkerLost
from noa_async.cluster.messages import Order, Received
from noa_async.errors import QuotaExceeded, TransferInterrupted
from noa_async.events import (
    Observer,
    TransferAdvanced,
    TransferRetried,
    TransferStarted,
    ignore,
)
from noa_async.failure import Failure
from noa_async.transfer.attempts import Attempts
from noa_async.transfer.fetching import Fetched, Fetching, Whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from noa_async.catalogue.product import Product
    from noa_async.cluster.crew import Crew
    from noa_async.cluster.stocks import Stock
    from noa_async.events import Event
    from noa_async.transfer.limiter import Lease
    from noa_async.transfers import Transfers

_T = TypeVar("_T")
_S = TypeVar("_S")
_LOST = "A worker was lost; another one continues."
_MOST_LOST = 5
"""Number of workers that may be lost with one product, in addition to its retries."""


class ClusterFetcher(Fetching):
    """Downloads products into part files on workers; permits are granted here, for all workers.

    A product with a wrong checksum is fetched again with an order of its own, after the first
    permit was returned.
    """

    hands = 2
    """While a worker syncs and seals a product, and its report is pending, another takes its
    permit."""

    def __init__(
        self, crew: Crew, stock: Stock, transfers: Transfers, observer: Observer = ignore
    ) -> None:
        super().__init__(transfers.connection.catalogue, observer)
        self._crew = crew
        self._stock = stock
        self._tokens = transfers.connection.tokens
        self._retry = transfers.connection.waits.retry
        self._sleep = transfers.connection.waits.sleep
        self._traffic = transfers.traffic

    async def fetch_once(
        self,
        product: Product,
        path: Path,
        admit: Callable[[Fetched], Awaitable[_T]],
        *,
        fresh: bool,
    ) -> _T:
        """See ``Fetching.fetch_once``; any worker may resume the part file at ``path``."""

        def give_away(
            publish: Callable[..., _S],
            *given: Any,
            brief: bool,  # noqa: ARG001 (a worker may not know)
            stable: bool,  # noqa: ARG001 (as the worker left it)
        ) -> Awaitable[_S]:
            return self._stock.give_away(path, publish, *given)

        for _ in range(_MOST_LOST):
            whole = await self._until_complete(product, path, fresh=fresh)
            try:
                return await admit(Fetched(whole, give_away))
            except WorkerLost:  # the worker that held the product
                told = TransferRetried(product.id, product.name, whole.attempts, 0.0, _LOST)
                self._observer(told)
        raise TransferInterrupted(f"{_MOST_LOST} workers in a row were lost while downloading it.")

    async def _until_complete(self, product: Product, path: Path, *, fresh: bool) -> Whole:
        """Run attempts, each on a worker, until the product's part file is complete."""
        attempts = Attempts(product, self._retry, self._traffic, self._observer, self._sleep)

        async def once(attempt: int) -> Whole:
            return await self._attempt(product, path, attempt, fresh=fresh and attempt == 1)

        async def length() -> int:
            return 0 if fresh and not attempts.made else await self._stock.length(path)

        whole = await attempts.make(once, length)
        return replace(whole, attempts=attempts.made - 1 + whole.attempts)

    async def _attempt(self, product: Product, path: Path, attempt: int, *, fresh: bool) -> Whole:
        async with self._traffic.slots.lease() as lease:
            await self._tokens.token()  # a worker cannot detect that there is none
            part, there = await self._stock.begin(product.id, path, fresh=fresh)
            order = Order(uuid.uuid4().hex, product, part, not there, lease.others_served)
            return await self._ask(order, path, lease, attempt)

    async def _ask(self, order: Order, path: Path, lease: Lease, attempt: int) -> Whole:
        """Run one attempt on a worker; afterwards the part file is back in its place, also after
        errors."""
        told, at = self._listener(lease, attempt), self._stock.whereabouts(order.product.id)
        try:
            done = await self._crew.work(order, told, at=at)
        except WorkerLost:
            await asyncio.sleep(self._crew.free_after)  # until then it may keep its connection
            await self._stock.rescue(order, path)
            raise TransferInterrupted(_LOST, more_tries=_MOST_LOST) from None
        except BaseException:  # the worker may not know that the order is cancelled
            await self._stock.rescue(order, path)
            raise
        await self._stock.end(order, path, done)
        if isinstance(done.result, Whole):
            return done.result
        if not isinstance(done.result, Failure):
            raise RuntimeError(f"A worker failed: {done.result}")  # noqa: TRY004 (not a type error)
        error = done.result.error()
        if isinstance(error, QuotaExceeded):
            lease.refused(error.retry_after)
        raise error

    def _listener(self, lease: Lease, attempt: int) -> Callable[[Event | Received], None]:
        """Return a callback that forwards a worker's events to the observer."""

        def told(event: Event | Received) -> None:
            if isinstance(event, Received):
                lease.give_back()
                return
            if isinstance(event, TransferStarted):
                lease.granted()
                event = replace(event, attempt=attempt)
            elif isinstance(event, TransferAdvanced):
                self._traffic.health.succeeded()
            self._observer(event)

        return told
