"""Report a run's outcomes one at a time, and count them."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from noa_async.events import ProductQueued, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from noa_async.archive.journal import Run
    from noa_async.archive.keeper import Keeper
    from noa_async.catalogue.product import Product
    from noa_async.events import Observer
    from noa_async.transfer.outcome import Outcome


@dataclass(slots=True)
class Sums:
    """Counters of a run."""

    counts: Counter[Status] = field(default_factory=Counter)
    listed: int = 0
    """Number of distinct products listed."""
    brought: int = 0
    bytes: int = 0
    removed: int = 0

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        if outcome.brought:
            self.brought += 1
            self.bytes += outcome.bytes

    def into(self, run: Run) -> Run:
        """Return the run with these counters."""
        return replace(
            run,
            listed=self.listed,
            brought=self.brought,
            bytes=self.bytes,
            failed=self.counts[Status.FAILED],
            removed=self.removed,
        )


class Teller:
    """Reports the outcomes of one run. Safe for concurrent tasks."""

    def __init__(
        self,
        tell: Callable[[Outcome], Awaitable[object]],
        keeper: Keeper,
        observer: Observer,
    ) -> None:
        """``tell`` is awaited for each outcome, one at a time."""
        self._tell = tell
        self._keeper = keeper
        self._observer = observer
        self._turn = asyncio.Lock()
        self.sums = Sums()

    def queued(self, product: Product) -> None:
        """Report that a product was queued."""
        self._observer(ProductQueued(product.id, product.name, product.size))

    async def ended(self, outcome: Outcome) -> None:
        """Count the outcome of a processed product, and report it; its event was emitted before."""
        async with self._turn:
            self.sums.add(outcome)
            await self._tell(outcome)

    async def met(self, outcome: Outcome) -> None:
        """Count and report a product with nothing to be done: it is present, or given up."""
        self.queued(outcome.product)
        self._keeper.tell(outcome)
        await self.ended(outcome)
