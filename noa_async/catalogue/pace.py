"""How many pages of the catalogue at once: more while that goes well, half where it does not."""

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
"""So many pages that came without trouble make room for one more at once."""


class Pace:
    """How many pages at once the catalogue bears, never above ``most``.

    What requests meet that were sent before the last trouble says nothing new (``epoch``).

    Not the `Window` of downloads: that one finds a quota, which refuses one product too many while
    it serves the others, and comes back to just below it. A page too many slows all of them down.

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
        """A page came."""
        self._well += 1
        if self._well >= _STEP and self.limit < self._most:
            self.limit += 1
            self._well = 0

    def in_trouble(self, epoch: int) -> None:
        """A request of ``epoch`` was too much for the service."""
        if epoch != self.epoch:
            return
        self.epoch += 1
        self.limit = max(1, self.limit // 2)
        self._well = 0


def is_strain(error: NoaError) -> bool:
    """Whether a service that answers so, or not at all, is to be asked less."""
    if isinstance(error, ServiceUnreachable):
        return True
    return isinstance(error, ServiceError) and error.overloaded


class Places:
    """The right to ask for a page, dealt out as the pace allows; first come, first served."""

    def __init__(self, most: int) -> None:
        self.pace = Pace(most)
        self.taken = 0
        self.wanted = 0
        """Those taken, and those waited for."""
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Wait for a place, and hold it."""
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
