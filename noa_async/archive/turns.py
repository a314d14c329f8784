"""One task at a time on one product."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field


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

    def only_one(self, name: str) -> AbstractAsyncContextManager[None]:
        """Hold ``name``; who comes second waits."""
        return _Turn(self._queues, name)


class _Turn(AbstractAsyncContextManager[None]):
    """A class, for each product holds one: a generator's context is slow."""

    def __init__(self, queues: dict[str, _Queue], name: str) -> None:
        self._queues = queues
        self._name = name

    async def __aenter__(self) -> None:
        self._queue = self._queues.setdefault(self._name, _Queue())
        self._queue.users += 1
        try:
            await self._queue.lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._queue.lock.release()
        self._leave()

    def _leave(self) -> None:
        self._queue.users -= 1
        if not self._queue.users:
            del self._queues[self._name]
