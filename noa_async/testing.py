"""A test mode without delays, for the tests of programs that use this library."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from noa_async.settings import RetryPolicy


@dataclass(frozen=True, slots=True)
class _Mode:
    testing: bool = False
    retries: int | None = None


_mode = _Mode()


def is_testing() -> bool:
    """Return whether the test mode is on for clients opened now.

    >>> is_testing()
    False
    """
    return _mode.testing


def set_testing(testing: bool, *, retries: int | None = None) -> Restoring:
    """Switch the test mode, in which retries are not delayed, on or off for clients opened later.

    In test mode there is no back-off, no ``Retry-After`` delay and no wait for offline products:
    every retry is immediate. The number of retries is as usual, or at most ``retries``. Events
    still report the delays that would have been used. Timeouts and the bandwidth limit still apply.

    The mode applies to all threads until it is set again. As a context manager, it restores the
    previous mode at the end:

    >>> with set_testing(True, retries=2):
    ...     is_testing()
    True
    >>> is_testing()
    False

    Raise ValueError if ``retries`` is negative.
    """
    global _mode
    if retries is not None and retries < 0:
        raise ValueError("retries must be 0 or more")
    before, _mode = _mode, _Mode(testing, retries if testing else None)
    return Restoring(before)


class Restoring:
    """A context manager that restores the previous mode on exit."""

    def __init__(self, before: _Mode) -> None:
        self._before = before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        global _mode  # noqa: PLW0603
        _mode = self._before


@dataclass(frozen=True, slots=True)
class Waits:
    """The retry policy and delays of a client, fixed when it is opened."""

    retry: RetryPolicy
    cut: bool
    """Whether delays are skipped."""

    @classmethod
    def now(cls, retry: RetryPolicy) -> Self:
        """Return the policy and delays for the current mode."""
        retries = retry.retries if _mode.retries is None else min(retry.retries, _mode.retries)
        return cls(replace(retry, retries=retries), _mode.testing)

    def of(self, seconds: float) -> float:
        return 0.0 if self.cut else seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.of(seconds))
