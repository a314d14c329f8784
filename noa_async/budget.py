"""Whether and when something is tried again: pure."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from noa_async.errors import NoaError, ProductOffline

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.settings import RetryPolicy

_PASSING_WAIT = 5.0


class Budget:
    """The failures in a row that a page or a product may have; bytes never had before renew it.

    >>> from noa_async.errors import TransferInterrupted
    >>> from noa_async.settings import RetryPolicy
    >>> budget = Budget(RetryPolicy(retries=2), length=0, draw=lambda: 1.0)
    >>> cut = TransferInterrupted("cut")
    >>> [budget.after(cut, length) for length in (0, 0, 10, 10, 10)]
    [1.0, 2.0, 1.0, 2.0, None]
    """

    def __init__(
        self, policy: RetryPolicy, length: int = 0, *, draw: Callable[[], float] = random.random
    ) -> None:
        self._policy = policy
        self._furthest = length
        self._draw = draw
        self._failures = 0
        self._passed = 0

    def renew(self) -> None:
        """Begin counting anew."""
        self._failures = 0

    def after(self, error: NoaError, length: int = 0) -> float | None:
        """Seconds to wait after ``error`` with ``length`` bytes there; None where it is final."""
        if length > self._furthest:
            self._furthest = length
            self.renew()
        self._failures += 1
        asked = error.retry_after
        if self._passed < error.more_tries:
            self._passed += 1
            return min(_PASSING_WAIT, self._policy.cap)
        if not error.retryable or not self._policy.allows(self._failures, asked=asked):
            return None
        if isinstance(error, ProductOffline) and asked is None:
            return self._policy.cap  # tapes take minutes
        return self._policy.delay(self._failures, asked=asked, draw=self._draw)
