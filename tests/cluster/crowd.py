"""Workers of a cluster in the test's own loop, which it can have die, hang and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from noa_async.cluster.worker import Desk


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what no event tells, for it happens in another process or inside the program."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Crowd:
    """A link to desks in this process: what Dask carries between machines."""

    def __init__(self, *addresses: str) -> None:
        self.desks = {address: Desk() for address in addresses}
        self.deaf: set[str] = set()
        """Whoever hears nothing, and is not heard; what it does goes on."""
        self.asked: list[tuple[str, str]] = []

    @property
    def at_work(self) -> bool:
        """Whether any desk has a session that has not ended by itself."""
        sessions = [one for desk in self.desks.values() for one in desk._sessions.values()]
        return not all(one.over for one in sessions)

    async def workers(self) -> list[str]:
        return list(self.desks)

    async def ask(self, address: str, verb: str, *arguments: Any) -> Any:
        self.asked.append((address, verb))
        if address in self.deaf:
            await asyncio.Event().wait()
        if address not in self.desks:
            raise ConnectionError(f"{address} is gone")
        return await getattr(self.desks[address], verb)(*arguments)
