"""Where the parts of a run gather: in one folder that all see, or with the worker that fetches."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from noa_async.archive.destination import FileFacts
from noa_async.cluster.crew import WorkerLost
from noa_async.cluster.messages import Sending
from noa_async.cluster.parts import (
    adopt,
    attempt_name,
    check_sealed,
    give_away,
    hand_on,
    sealed,
    size_of,
    take_over,
)
from noa_async.failure import Failure
from noa_async.transfer.fetching import Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from noa_async.cluster.crew import Crew
    from noa_async.cluster.messages import Done, Order
    from noa_async.threads import Threads

_T = TypeVar("_T")


class Stock(Protocol):
    """What is there of products; ``path`` is where the archive has a product's part."""

    async def begin(self, product_id: str, path: Path, *, fresh: bool) -> tuple[str, bool]:
        """The name of the part for an attempt, and whether something may be in it."""

    async def end(self, order: Order, path: Path, done: Done) -> None:
        """An attempt is over, nobody writes any more."""

    async def rescue(self, order: Order, path: Path) -> None:
        """An attempt is over, but its worker may not know."""

    async def length(self, path: Path) -> int:
        """Bytes that are there."""

    async def give_away(self, path: Path, publish: Callable[..., _T], *arguments: Any) -> _T:
        """Have ``publish`` take what is whole. Raises WorkerLost where that is gone."""

    def whereabouts(self, product_id: str) -> str | None:
        """The worker that should go on with a product; None where any can."""


class SharedStock:
    """A folder that coordinator and workers see: any worker goes on with what another left."""

    def __init__(self, folder: Path, pool: Threads) -> None:
        self._folder = folder
        self._pool = pool
        self._adopted: set[str] = set()
        """Ids of which a part lies there, whoever says that it is fresh."""

    async def open(self) -> None:
        """Take over what an earlier run's workers left."""
        self._adopted = await self._pool.run(adopt, self._folder)

    async def close(self) -> None:
        """Leave what is there to a later run, whoever fetches in it."""
        await asyncio.to_thread(adopt, self._folder)

    async def begin(self, product_id: str, path: Path, *, fresh: bool) -> tuple[str, bool]:
        """The part moves to a name of its own."""
        part = path.with_name(attempt_name(product_id))
        if fresh and product_id not in self._adopted:
            return part.name, False
        self._adopted.discard(product_id)
        return part.name, await self._pool.run(hand_on, path, part)

    async def end(self, order: Order, path: Path, done: Done) -> None:
        """The part moves back. Raises DestinationError where it is not what the worker wrote."""
        part = path.with_name(order.part)
        if isinstance(done.result, Whole):
            part = sealed(part)
            await self._pool.run(check_sealed, part, done.length)
        await self._pool.run(hand_on, part, path)

    async def rescue(self, order: Order, path: Path) -> None:
        """What is in the part is copied."""
        await self._pool.run(take_over, path.with_name(order.part), path)

    async def length(self, path: Path) -> int:
        """The size of the part."""
        return await self._pool.run(size_of, path)

    async def give_away(self, path: Path, publish: Callable[..., _T], *arguments: Any) -> _T:
        """It lies here."""
        return await self._pool.run(give_away, path, publish, arguments)

    def whereabouts(self, product_id: str) -> None:
        """Any can."""


class OwnStocks:
    """Each worker's own disk, from which it sends what is whole into the object store itself.

    What a worker has not sent is gone with it, and fetched anew by another.
    """

    def __init__(self, url: str, crew: Crew, pool: Threads) -> None:
        """``url``: of the store."""
        self._url = url
        self._crew = crew
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, Done] = {}
        """How the last attempt at a product ended, by its Id; until it is sent."""

    async def begin(self, product_id: str, path: Path, *, fresh: bool) -> tuple[str, bool]:  # noqa: ARG002 (the worker looks)
        """One name for all attempts of a worker, which looks itself."""
        return own_name(product_id), True

    async def end(self, order: Order, path: Path, done: Done) -> None:  # noqa: ARG002 (not here)
        """Who has it is kept in mind."""
        self._held[order.product.id] = done

    async def rescue(self, order: Order, path: Path) -> None:  # noqa: ARG002 (not here)
        """Nothing can be had of it."""
        self._held.pop(order.product.id, None)

    async def length(self, path: Path) -> int:
        """As the worker said."""
        done = self._held.get(path.stem)
        return 0 if done is None else done.length

    async def give_away(self, path: Path, publish: Callable[..., _T], *arguments: Any) -> _T:
        """``publish`` calls ``send``, which asks the worker."""
        given: _T = await self._pool.run(give_away, path, publish, arguments)
        self._held.pop(path.stem, None)
        return given

    def whereabouts(self, product_id: str) -> str | None:
        """Who has fetched of it before."""
        done = self._held.get(product_id)
        return done.by if done is not None and done.length else None

    def send(self, part: Path, key: str, attributes: Mapping[str, str]) -> FileFacts:
        """In a thread: have the worker that holds a product send it; as ``ObjectFolder.send``.

        Raises WorkerLost, and what the store does with the worker.
        """
        sending = self._send(part.stem, key, attributes)
        return asyncio.run_coroutine_threadsafe(sending, self._loop).result()

    async def _send(self, product_id: str, key: str, attributes: Mapping[str, str]) -> FileFacts:
        held = self._held[product_id]
        name = own_name(product_id)
        sending = Sending(uuid.uuid4().hex, name, held.length, self._url, key, attributes)
        done = await self._crew.work(sending, _heed_nothing, at=held.by)
        if isinstance(done.result, Failure):
            error = done.result.error()
            error.hint = f"{error.hint} The worker {done.by} met this, with keys of its own."
            raise error
        if not isinstance(done.result, FileFacts):
            raise WorkerLost(done.result)
        return done.result


def own_name(product_id: str) -> str:
    """A part's name with a worker that alone has it.

    >>> own_name("0a5c")
    '0a5c.w-000000000000.part'
    """
    return f"{product_id}.w-{0:012}.part"


def _heed_nothing(_event: object) -> None:
    pass
