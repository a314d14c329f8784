"""One task at a time on one product."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@dataclass(slots=True)
class _Queue:
    """Who works on a product, and who waits for that."""

    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Turns:
    """Locks by name, each there only for as long as somebody needs it."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    def is_held(self, name: str) -> bool:
        """Whether somebody holds ``name``."""
        return name in self._queues

    @asynccontextmanager
    async def only_one(self, name: str) -> AsyncGenerator[None]:
        """Hold ``name``; who comes second waits."""
        queue = self._queues.setdefault(name, _Queue())
        queue.users += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[name]
