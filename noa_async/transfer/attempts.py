"""The attempts at one product: when the next may begin, and whether there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from noa_async.budget import Budget
from noa_async.errors import (
    NoaError,
    ProductOffline,
    QuotaExceeded,
    ServiceUnreachable,
    TransferInterrupted,
)
from noa_async.events import Observer, TransferRetried

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from noa_async.catalogue.product import Product
    from noa_async.settings import RetryPolicy
    from noa_async.transfer.traffic import Traffic

_T = TypeVar("_T")


class Attempts:
    """Makes them, counts them, and tells the service's health how they end.

    Error handling: ``make`` raises what ended the last one, and ServiceAway as ``Health`` says.
    """

    def __init__(
        self,
        product: Product,
        retry: RetryPolicy | None,
        traffic: Traffic,
        observer: Observer,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """``retry``: None is one attempt, whatever ends it."""
        self.made = 0
        self._product = product
        self._retry = retry
        self._health = traffic.health
        self._slots = traffic.slots
        self._observer = observer
        self._sleep = sleep
        self._budget: Budget | None = None
        self._telling: NoaError | None = None
        """The last error since the last progress that says more than that a connection broke."""
        self._others = 0
        """Products that had come when the attempt began."""
        self._granted = 0
        """Products that the service had begun to give by then."""

    async def make(
        self, once: Callable[[int], Awaitable[_T]], length: Callable[[], Awaitable[int]]
    ) -> _T:
        """What ``once`` gives, awaited again and again with the attempt's number.

        ``length`` gives the bytes that are there, before the first attempt and after each.
        """
        there = await length()
        while True:
            before = there
            try:
                result = await self._attempt(once, before)
            except NoaError as error:
                there = await length()
                await self._pause(error, there, before)
            else:
                self._health.succeeded()
                return result

    async def _attempt(self, once: Callable[[int], Awaitable[_T]], there: int) -> _T:
        if self._budget is None and self._retry is not None:
            self._budget = Budget(self._retry, there)
        await self._health.ready()
        self._others = self._health.successes
        self._granted = self._slots.granted
        self.made += 1
        return await once(self.made)

    async def _pause(self, error: NoaError, length: int, before: int) -> None:
        """Wait until the next attempt may begin. Raise ``error`` if there is none.

        If the service refused for a quota, or failed while it gave no product at all, the wait ends
        when it gives one: ``Slots`` bounds how many are requested then.
        """
        delay = self._failed(error, length, before)
        product = self._product
        told = TransferRetried(product.id, product.name, self.made, delay, error.message)
        self._observer(told)
        gave_none = self._slots.granted == self._granted and not self._slots.streaming
        if isinstance(error, QuotaExceeded) or (
            isinstance(error, TransferInterrupted) and gave_none
        ):
            await self._slots.granted_or(self._sleep(delay))
        else:
            await self._sleep(delay)

    def _failed(self, error: NoaError, length: int, before: int) -> float:
        """Seconds to wait after an attempt; ``error`` is raised where it was the last.

        What is off line is nobody's to wait for here: that takes minutes.
        """
        error.attempts = self.made
        budget = self._budget
        if isinstance(error, ProductOffline) or budget is None:
            raise error
        if length > before:
            self._telling = None
        refused = isinstance(error, QuotaExceeded)
        if length <= before and error.retryable and not refused:
            self._health.failed()
        if refused and self._health.successes > self._others:
            budget.renew()  # the quota was somebody's of ours
        delay = budget.after(error, length)
        if delay is None:
            if error.retryable:
                self._health.gave_up(error)
            raise most_telling(self._telling, error)
        self._telling = self._telling if _is_bare(error) else error
        return delay


def most_telling(before: NoaError | None, last: NoaError) -> NoaError:
    """Return the error to report: the last, but not a broken connection that hides a reason."""
    if before is None or not _is_bare(last):
        return last
    before.attempts = last.attempts
    before.hint = f"{before.hint} The last attempt: {last.message}".lstrip()
    return before


def _is_bare(error: NoaError) -> bool:
    return type(error) in {TransferInterrupted, ServiceUnreachable}
