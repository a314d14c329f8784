"""Whether and when something is tried again: pure."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.errors import NoaError
    from noa_async.settings import RetryPolicy

_PASSING_WAIT = 5.0
_RAREST = 15
"""What is off line is asked for again after at most so many of the longest waits."""
_MOST_SHORT = 10
"""How often a Retry-After that is shorter than our own wait is followed."""


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
            return min(asked or _PASSING_WAIT, self._policy.cap)
        if not error.retryable or not self._policy.allows(self._failures, asked=asked):
            return None
        return self._policy.delay(self._failures, asked=asked, draw=self._draw)


class Patience:
    """How long a product that is off line is waited for, and how often it is asked for.

    >>> from noa_async.settings import RetryPolicy
    >>> patience = Patience(RetryPolicy(cap=60, offline_wait=500))
    >>> [patience.after(waited) for waited in (0, 60, 180)]
    [60.0, 120.0, 240.0]
    >>> patience.after(420), patience.after(500)
    (80, None)
    >>> [Patience(RetryPolicy()).after(0, asked) for asked in (1.0, 90.0, 0.1)]
    [1.0, 90.0, 60.0]
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._asks = self._short = 0
        self._given = 0.0
        """The waits so far: no less has passed, even where a test cuts them short."""

    def after(self, waited: float, asked: float | None = None) -> float | None:
        """Seconds until the next ask, ``waited`` seconds after the first; None: no longer.

        ``asked`` is the service's Retry-After in seconds: never less than that. One of a second or
        more is followed though it is shorter than our own wait, ten times in all. The last ask
        comes when the time is up.
        """
        cap, left = self._policy.cap, self._policy.offline_wait - max(waited, self._given)
        ours = min(cap * 2.0 ** min(self._asks, 32), _RAREST * cap)
        short = 1.0 <= (asked or 0.0) < ours and self._short < _MOST_SHORT
        self._short += short
        self._asks += not short
        if left <= 0 or (asked or 0.0) > left:
            return None
        wait = (asked or 0.0) if short else max(asked or 0.0, min(ours, left))
        self._given += wait
        return wait
