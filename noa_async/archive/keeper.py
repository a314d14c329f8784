"""One product from the catalogue into the archive: there already, or fetched, checked, admitted."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.archive.admission import Admission
from noa_async.budget import Patience
from noa_async.errors import (
    CredentialsError,
    DestinationError,
    FileInaccessible,
    NoaError,
    ProductCorrupt,
    ProductGone,
    ProductOffline,
    ProductTooLarge,
    ServiceAway,
)
from noa_async.events import Observer, ProductFinished, ProductWaiting, ignore
from noa_async.pipeline import Later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from noa_async.archive.archive import Archive
    from noa_async.catalogue.orders import Orders
    from noa_async.catalogue.product import Product
    from noa_async.settings import RetryPolicy
    from noa_async.transfer.fetching import Fetched, Fetching
    from noa_async.transfer.outcome import Outcome


_RAISED = (CredentialsError, DestinationError, FileInaccessible, ProductTooLarge, ServiceAway)
"""Errors of a fetch that the caller handles: most end the run."""


@dataclass(slots=True)
class _Wait:
    """A product that is off line, between two asks."""

    patience: Patience
    since: float
    attempts: int = 0
    """Requests for its bytes so far."""


class Keeper:
    """Brings products home. Safe for many tasks at once.

    Error handling: what concerns one product becomes a failed Outcome; CredentialsError,
    DestinationError and ServiceAway concern all of them and are raised.
    Resources: a few numbers for each product that is waited for, at most
    ``RetryPolicy.offline_most``.
    """

    def __init__(  # noqa: PLR0913 (each is another part's)
        self,
        archive: Archive,
        fetcher: Fetching,
        orders: Orders,
        retry: RetryPolicy,
        observer: Observer = ignore,
        *,
        retry_failed: bool = False,
        hooked: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``retry_failed``: fetch again what an earlier run had to put in quarantine.

        ``hooked``: a hook is due for each product that comes.
        """
        self.archive = archive
        self._admission = Admission(archive, hooked=hooked)
        self._fetcher = fetcher
        self._orders = orders
        self._retry = retry
        self._observer = observer
        self._retry_failed = retry_failed
        self._clock = clock
        self._waits: dict[str, _Wait] = {}
        self._arrived = 0
        self._downloads = asyncio.Semaphore(sys.maxsize)
        self._uploads = asyncio.Semaphore(sys.maxsize)

    def hands(self, connections: int) -> int:
        """Return how many products a run works on at once if ``connections`` may download.

        Into a store as many uploads run beside the downloads. A complete product keeps its download
        permit until it has an upload permit, so a slow store holds the downloads back.
        """
        downloads = connections * self._fetcher.hands
        if self.archive.folder.brief:
            return downloads
        self._downloads = asyncio.Semaphore(downloads)
        self._uploads = asyncio.Semaphore(connections)
        return max(downloads, 2 * connections)

    async def bring(self, product: Product) -> Outcome | Later:
        """The product's outcome, told to the observer.

        Later where it is off line: it is ordered, and to be brought again in so many seconds.
        """
        async with self.archive.only_one(product.id):
            known = self.archive.known(product)
            try:
                outcome = (
                    await self._admission.present(product)
                    or self._condemned(product)
                    or await self._fetch(product, known)
                )
            except (FileInaccessible, ProductTooLarge) as error:
                outcome = self.archive.inaccessible(product, error)
        if not isinstance(outcome, Later):
            self._ended(outcome)
        return outcome

    def at_once(self, products: Sequence[Product]) -> Iterable[Outcome | None]:
        """The outcomes of products that lie here as the ledger knows them, told to the observer.

        None for each that has to be brought. The ledger is asked once for all of them.
        """
        self.archive.foresee(products, whole=False)
        for product in products:
            busy = self.archive.is_held(product.id)
            outcome = None if busy else self._admission.present_at_once(product)
            if outcome is not None:
                self._ended(outcome)
            yield outcome

    def _ended(self, outcome: Outcome) -> None:
        self._waits.pop(outcome.product.id, None)
        self._orders.forget(outcome.product.id)
        self.tell(outcome)

    def tell(self, outcome: Outcome) -> None:
        """Tell the observer how a product ended."""
        self._observer(
            ProductFinished(
                outcome.product.id,
                outcome.product.name,
                outcome.status,
                outcome.key,
                outcome.bytes,
                outcome.attempts,
                str(outcome.error) if outcome.error else None,
            )
        )

    def _condemned(self, product: Product) -> Outcome | None:
        if not self._retry_failed:
            return self.archive.condemned(product)
        self.archive.retry(product)
        return None

    async def _fetch(self, product: Product, known: Product) -> Outcome | Later:
        part = self.archive.folder.part(product.id)
        wait = self._waits.get(product.id)
        before, arrived = wait.attempts if wait else 0, self._arrived

        async def admit(fetched: Fetched) -> Outcome:
            async with self._uploads:
                await download.aclose()
                fetched.add_attempts(before)
                return await self._admission.admit(fetched, known, part)

        try:
            if not product.online and self._may_wait(product):
                await self._orders.order(product.id)
            async with AsyncExitStack() as download:
                await download.enter_async_context(self._downloads)
                async with self.archive.room_for(product):
                    outcome = await self._fetcher.fetch(
                        product, part, admit, fresh=not self.archive.folder.begin(product.id)
                    )
        except _RAISED:
            raise
        except NoaError as error:
            error.attempts += before
            if isinstance(error, ProductOffline):
                return await self._put_off(product, error)
            if isinstance(error, ProductGone) and await self._fetcher.is_gone(product):
                await self.archive.in_thread(self.archive.folder.drop_part, product.id)
                return self.archive.gone(product, error)
            if isinstance(error, ProductCorrupt):
                return await self.archive.quarantine(product, part, error)
            return self.archive.failed(product, error, others_came=self._arrived > arrived)
        self._arrived += 1
        return outcome

    def _may_wait(self, product: Product) -> bool:
        return product.id in self._waits or len(self._waits) < self._retry.offline_most

    async def _put_off(self, product: Product, error: ProductOffline) -> Outcome | Later:
        """Order what is off line, and say when to ask for it again, as long as patience lasts."""
        if not self._may_wait(product):
            error.hint = "So many others are waited for that it is left to a later run."
            return self.archive.waiting(product, error)
        now = self._clock()
        wait = self._waits.setdefault(product.id, _Wait(Patience(self._retry), now))
        wait.attempts = error.attempts
        there = await self._orders.order(product.id)
        ordered = self._orders.has(product.id)
        delay = 0.0 if there else wait.patience.after(now - wait.since, error.retry_after)
        if delay is None:
            asked = "ordered" if ordered else "asked for"
            error.hint = f"It is {asked}; this run waits no longer, a later one goes on with it."
        outcome = self.archive.waiting(product, error)  # also where this run is cut short
        if delay is None:
            return outcome
        self._observer(ProductWaiting(product.id, product.name, delay, ordered))
        return Later(delay)
