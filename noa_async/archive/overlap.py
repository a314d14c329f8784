"""Products that come while others go up: more of them at once, but only where that is of use."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_WEIGHT = 0.25
"""Of the newest product, in what one takes on average."""


def at_once(connections: int, most: int, coming: float, going: float) -> int:
    """How many products may be under way, by the seconds that one comes and goes up.

    | to come takes                       | at once       |
    |-------------------------------------|---------------|
    | longer than to go up                | ``most``      |
    | no longer, or nobody knows by now   | ``connections`` |

    Where the store is the slower one, more would only gather in the scratch: as much work, over
    more memory or disk.
    """
    return most if coming > going else connections


class Overlap:
    """Places for the products of a run, by what those before took. For one loop."""

    def __init__(
        self, connections: int, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``connections``: products that can be received at once; ``most``: under way at once."""
        self._connections = connections
        self._most = most
        self._clock = clock
        self._coming = self._going = 0.0
        self._under_way = 0
        self._waiting: list[asyncio.Future[None]] = []

    def place(self) -> Place:
        """Hold one for a product, as soon as there is one."""
        return Place(self, self._clock)

    def _has_room(self) -> bool:
        most = at_once(self._connections, self._most, self._coming, self._going)
        return self._under_way < most

    async def take(self) -> None:
        """Wait for a place."""
        while not self._has_room():
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            try:
                await freed
            finally:
                self._waiting.remove(freed)
        self._under_way += 1

    def give_back(self, took: tuple[float, float] | None) -> None:
        """A place is free; ``took``: the seconds in which its product came, and went up."""
        self._under_way -= 1
        if took is not None:
            coming, going = took
            self._coming += _WEIGHT * (coming - self._coming)
            self._going += _WEIGHT * (going - self._going)
        for freed in self._waiting:
            if not freed.done():
                freed.set_result(None)


class Place(AbstractAsyncContextManager["Place"]):
    """One product's. It tells when all of it has come; what fails before tells nothing."""

    __slots__ = ("_begun", "_came", "_clock", "_overlap")

    def __init__(self, overlap: Overlap, clock: Callable[[], float]) -> None:
        self._overlap = overlap
        self._clock = clock
        self._came: float | None = None

    async def __aenter__(self) -> Self:
        await self._overlap.take()
        self._begun = self._clock()
        return self

    def came(self) -> None:
        """All bytes are here, and right."""
        self._came = self._clock()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        took = None
        if self._came is not None and kind is None:
            took = self._came - self._begun, self._clock() - self._came
        self._overlap.give_back(took)
