"""Adapt the number of concurrent catalogue requests: increase on success, halve on overload."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from noa_async.errors import ServiceError, ServiceUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from noa_async.errors import NoaError

_FIRST = 4
_STEP = 8
"""Number of successful pages after which one more concurrent request is allowed."""


class Pace:
    """The number of concurrent requests, at most ``most``.

    An overload reported by a request sent before the last decrease is ignored (``epoch``).

    This differs from the `Window` of downloads, which finds a quota: there, a request too many is
    rejected and the others continue. Here, a request too many slows down all of them.

    >>> pace = Pace(most=8)
    >>> for _ in range(16):
    ...     pace.went_well()
    >>> pace.limit
    6
    >>> sent = pace.epoch
    >>> pace.in_trouble(sent)
    >>> pace.in_trouble(sent)
    >>> pace.limit
    3
    """

    def __init__(self, most: int) -> None:
        self.limit = min(_FIRST, most)
        self.epoch = 0
        self._most = most
        self._well = 0

    def went_well(self) -> None:
        """Record a page that was read."""
        self._well += 1
        if self._well >= _STEP and self.limit < self._most:
            self.limit += 1
            self._well = 0

    def in_trouble(self, epoch: int) -> None:
        """Record that a request sent in ``epoch`` overloaded the service; halve the limit."""
        if epoch != self.epoch:
            return
        self.epoch += 1
        self.limit = max(1, self.limit // 2)
        self._well = 0


def is_strain(error: NoaError) -> bool:
    """Return whether an error means that fewer requests should be sent."""
    if isinstance(error, ServiceUnreachable):
        return True
    return isinstance(error, ServiceError) and error.overloaded


class Places:
    """Permits to request a page, as many as the pace allows; first come, first served."""

    def __init__(self, most: int) -> None:
        self.pace = Pace(most)
        self.taken = 0
        self.wanted = 0
        """Number of permits held plus number of tasks that wait for one."""
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Wait for a permit and hold it."""
        self.wanted += 1
        try:
            async with self._turn:
                while self.taken >= self.pace.limit:
                    self._changed.clear()
                    await self._changed.wait()
                self.taken += 1
            try:
                yield
            finally:
                self.taken -= 1
                self._changed.set()
        finally:
            self.wanted -= 1
