"""A mode without waits, for the tests of programs that use this library."""

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
    """Whether clients that are opened now do not wait.

    >>> is_testing()
    False
    """
    return _mode.testing


def set_testing(testing: bool, *, retries: int | None = None) -> Restoring:
    """Let clients that are opened from now on wait for nothing between two attempts, or wait again.

    No back-off, no ``Retry-After``, no waiting for a product that is off line: what would be tried
    again after a wait is tried at once, as often as before, or at most ``retries`` times. Events
    still tell the seconds that it would have waited. Time-outs and the cap on bytes a second stay.

    It holds until it is set again, for all threads. Used as a context manager, it is afterwards as
    it was before:

    >>> with set_testing(True, retries=2):
    ...     is_testing()
    True
    >>> is_testing()
    False

    Raises ValueError where ``retries`` is negative.
    """
    global _mode
    if retries is not None and retries < 0:
        raise ValueError("retries is how often something is tried again: 0 or more")
    before, _mode = _mode, _Mode(testing, retries if testing else None)
    return Restoring(before)


class Restoring:
    """Leaving it sets the mode that was before."""

    def __init__(self, before: _Mode) -> None:
        self._before = before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        global _mode  # noqa: PLW0603
        _mode = self._before


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a client waits, of what it would; decided when it is opened."""

    retry: RetryPolicy
    cut: bool
    """Whether it waits for nothing."""

    @classmethod
    def now(cls, retry: RetryPolicy) -> Self:
        """In the mode that is set."""
        retries = retry.retries if _mode.retries is None else min(retry.retries, _mode.retries)
        return cls(replace(retry, retries=retries), _mode.testing)

    def of(self, seconds: float) -> float:
        return 0.0 if self.cut else seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.of(seconds))
