"""How fast all workers together may go."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_BURST = 0.25
"""Seconds of unused rate that may be made up for."""


class Bandwidth:
    """A cap on the sum of what all workers receive, in bytes a second; None is no cap."""

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0

    def batch(self, largest: int) -> int:
        """How many bytes to take at once, so that a slow rate flows evenly."""
        return largest if self._rate is None else max(1, min(largest, int(self._rate * _BURST)))

    async def take(self, amount: int) -> None:
        """Wait until ``amount`` more bytes are within the cap."""
        if self._rate is None:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now - _BURST) + amount / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)
