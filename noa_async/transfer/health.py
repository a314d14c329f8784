"""Whether the service is there at all: one fault of many products is not many products' fault."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from noa_async.errors import NoaError, ServiceAway, ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_MOST_FAILED_PRODUCTS = 10


class Health:
    """Counts failures in a row, over all workers, and holds everyone while the service is away.

    After ``suspicious`` failed requests in a row with no success between, one worker asks the
    catalogue a small question (``probe``, which has retries of its own) and all others wait. An
    answer lets them go on; none ends the run, before thousands of products fail one by one. So do
    ten products in a row that are given up for the service's sake.

    Error handling: ``ready`` and ``gave_up`` raise ServiceAway where the service is away.
    """

    def __init__(self, probe: Callable[[], Awaitable[object]], *, suspicious: int) -> None:
        self._probe = probe
        self._suspicious = suspicious
        self.successes = 0
        self._failures = 0
        self._given_up = 0
        self._gate = asyncio.Lock()
        self._away: ServiceAway | None = None

    def renew(self) -> None:
        """Begin anew: what was away may be back."""
        self._failures = self._given_up = 0
        self._away = None

    def succeeded(self) -> None:
        """A product's bytes arrived."""
        self.successes += 1
        self._failures = 0
        self._given_up = 0

    def failed(self) -> None:
        """A request failed in a way that may be the service's."""
        self._failures += 1

    def gave_up(self, error: NoaError) -> None:
        """A product is given up for a fault that may be the service's."""
        self._given_up += 1
        if self._given_up >= _MOST_FAILED_PRODUCTS:
            raise self._declare(f"{self._given_up} products in a row failed, the last: {error}")

    async def ready(self) -> None:
        """Wait until the service is thought to be there."""
        if self._failures < self._suspicious and self._away is None:
            return
        async with self._gate:
            if self._away is not None:
                raise self._away
            if self._failures < self._suspicious:
                return
            try:
                await self._probe()
            except ServiceError as error:
                raise self._declare(error.message) from error
            self._failures = 0

    def _declare(self, reason: str) -> ServiceAway:
        self._away = ServiceAway(
            f"The service is away: {reason}",
            hint="What has arrived is kept; start again later to go on.",
        )
        return self._away
