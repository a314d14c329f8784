"""The attempts at one product: when the next may begin, and whether there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.budget import Budget
from noa_async.errors import NoaError, ProductOffline, QuotaExceeded

if TYPE_CHECKING:
    from noa_async.settings import RetryPolicy
    from noa_async.transfer.health import Health


class Attempts:
    """Counts them, and tells what their ends say of the service.

    Error handling: ServiceAway where the service is away, as ``Health`` says.
    """

    def __init__(self, retry: RetryPolicy, health: Health, length: int) -> None:
        """``length``: bytes of the product that are there already."""
        self.made = 0
        self._budget = Budget(retry, length)
        self._health = health
        self._before = length
        self._others = 0

    async def next(self, length: int) -> int:
        """Wait until the service is thought to be there; the number of the attempt to make."""
        await self._health.ready()
        self._before, self._others = length, self._health.successes
        self.made += 1
        return self.made

    def failed(self, error: NoaError, length: int) -> float:
        """Seconds to wait after an attempt that left ``length`` bytes; ``error`` where it was last.

        What is off line is nobody's to wait for here: that takes minutes.
        """
        error.attempts = self.made
        if isinstance(error, ProductOffline):
            raise error
        refused = isinstance(error, QuotaExceeded)
        if length <= self._before and error.retryable and not refused:
            self._health.failed()
        if refused and self._health.successes > self._others:
            self._budget.renew()  # the quota was somebody's of ours
        delay = self._budget.after(error, length)
        if delay is None:
            if error.retryable:
                self._health.gave_up(error)
            raise error
        return delay

    def succeeded(self) -> int:
        """The product is there; how many attempts it took."""
        self._health.succeeded()
        return self.made
